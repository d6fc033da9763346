import type { Committed } from "../acks/pending-publish.ts";
import type { Topic } from "./topic.ts";

/** What the repetition of a publish waits for. The publish itself is committed; under `fsync` the next sync covers it. */
export class RepeatCommit implements Committed {
  readonly failure = undefined;

  constructor(private readonly topic: Topic) {}

  get fsync(): boolean {
    return this.topic.fsync;
  }

  get syncFailure(): Error | undefined {
    return this.topic.syncFailure ?? this.topic.deferredPublishes.syncFailure;
  }
}
