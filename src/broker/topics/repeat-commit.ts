import type { Committed } from "../acks/pending-publish.ts";
import type { TopicPartition } from "./topic-partition.ts";

/** What the repetition of a publish waits for. The publish itself is committed; under `fsync` the next sync covers it. */
export class RepeatCommit implements Committed {
  readonly failure = undefined;

  constructor(private readonly partition: TopicPartition) {}

  get fsync(): boolean {
    return this.partition.fsync;
  }

  get syncFailure(): Error | undefined {
    return this.partition.syncFailure ?? this.partition.deferredPublishes.syncFailure;
  }
}
