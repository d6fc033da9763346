import { type Committed, type Replicated, WAITS_FOR_LEADER } from "../acks/pending-publish.ts";

/**
 * What a publish waits for that another broker carries out. In the queue of its client's acknowledgements it is like one that waits for
 * replicas: it has them when the other broker has answered.
 */
export class ForwardedCommit implements Committed, Replicated {
  readonly failure = undefined;
  readonly waitsFor = WAITS_FOR_LEADER;
  readonly replicated = [this];
  readonly committedNext = 1;
  readonly replicaFailure = undefined;
  readonly isElsewhere = true;
  releasable = 0;
  /** Why the publish was refused. */
  syncFailure: Error | undefined;

  settle(failure: Error | undefined): void {
    this.syncFailure = failure;
    this.releasable = this.committedNext;
  }
}
