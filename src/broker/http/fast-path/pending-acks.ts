import { AnswerQueue } from "../../acks/ack-queue.ts";
import type { Holder } from "../../acks/group-commit.ts";
import type { HeldPublish } from "../../acks/pending-publish.ts";

/** Whom the answers are for. */
export interface ExpressClient {
  readonly closed: boolean;
  answerOks(count: number): void;
  answerFailure(): void;
  /** Held answers have gone out. */
  released(): void;
}

/** What a client of the express lane will hear of its publishes. One that failed is undefined, and the connection goes on. */
export class ExpressHeld extends AnswerQueue<HeldPublish | undefined, ExpressClient> implements Holder {
  settleHeld(): void {
    const { waiting } = this;
    for (let i = this.committed; i < waiting.length; i++) {
      const target = waiting[i]?.target;
      if (target === undefined) continue;
      if (target.failure !== undefined) waiting[i] = undefined;
      else if (target.fsync) this.syncUpTo = this.gone + i + 1;
    }
    this.committed = waiting.length;
  }

  releaseHeld(upTo: number): void {
    const { waiting } = this;
    const count = upTo - this.gone;
    if (count <= 0) return;
    for (let at = 0; at < count; ) {
      let oks = at;
      while (oks < count && waiting[oks] !== undefined) oks++;
      if (oks === at) this.client.answerFailure();
      else this.client.answerOks(oks - at);
      at = Math.max(oks, at + 1);
    }
    this.drop(count);
    this.client.released();
  }

  failHeld(_error: Error, upTo: number): void {
    const count = upTo - this.gone;
    for (let i = 0; i < count; i++) if (this.waiting[i]?.target.fsync === true) this.waiting[i] = undefined;
    this.releaseHeld(upTo);
  }
}
