import { AckQueue } from "../../acks/ack-queue.ts";
import { lateRefusal, type PendingPublish } from "../../acks/pending-publish.ts";

/** The client that waits for the acknowledgements. */
export interface AcknowledgedClient {
  readonly closed: boolean;
  respondOks(count: number): void;
  respondFailure(): void;
  /** Acknowledgements were sent. */
  onAcksSent(): void;
}

/** The responses that a client gets once its publishes are committed, or synced to the disk. A publish that failed is undefined here. */
export class PendingAcks extends AckQueue<PendingPublish | undefined, AcknowledgedClient> {
  override onCommitted(): void {
    const { waiting } = this;
    for (let i = this.committed; i < waiting.length; i++) {
      const target = waiting[i]?.target;
      if (target === undefined) continue;
      if (target.failure !== undefined) waiting[i] = undefined;
      else if (target.waitsFor !== 0) this.noteWait(target, i);
    }
    this.committed = waiting.length;
  }

  override sendUpTo(upTo: number): void {
    const { waiting } = this;
    const count = upTo - this.removed;
    if (count <= 0) return;
    for (let at = 0; at < count; ) {
      let oks = at;
      while (oks < count && waiting[oks] !== undefined) oks++;
      if (oks === at) this.client.respondFailure();
      else this.client.respondOks(oks - at);
      at = Math.max(oks, at + 1);
    }
    this.remove(count);
    this.client.onAcksSent();
  }

  override settleUpTo(upTo: number, failure?: Error): void {
    const count = upTo - this.removed;
    for (let i = 0; i < count; i++) {
      const target = this.waiting[i]?.target;
      if (target !== undefined && lateRefusal(target, failure) !== undefined) this.waiting[i] = undefined;
    }
    this.sendUpTo(upTo);
  }
}
