import type { Committed, Replicated } from "../acks/pending-publish.ts";
import type { TopicPartition } from "./topic-partition.ts";

/** What the repetition of a publish waits for. The publish itself is committed; under `fsync` the next sync covers it, and replicas have it once they have all that is committed. */
export class RepeatCommit implements Committed {
  readonly failure = undefined;

  constructor(private readonly partition: TopicPartition) {}

  get waitsFor(): number {
    return this.partition.waitsFor;
  }

  get replicated(): readonly Replicated[] | undefined {
    return this.partition.replicated;
  }

  get syncFailure(): Error | undefined {
    return this.partition.syncFailure ?? this.partition.deferredPublishes.syncFailure;
  }
}
