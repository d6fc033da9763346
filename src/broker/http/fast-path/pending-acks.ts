import { AnswerQueue } from "../../acks/ack-queue.ts";
import type { Holder } from "../../acks/group-commit.ts";
import type { HeldPublish } from "../../acks/pending-publish.ts";

/** The client that waits for the acknowledgements. */
export interface AcknowledgedClient {
  readonly closed: boolean;
  respondOks(count: number): void;
  respondFailure(): void;
  /** Acknowledgements were sent. */
  onAcksSent(): void;
}

/** What waiting acknowledgements need of the broker. */
export interface AckServices {
  /** Acknowledgements that wait for the next commit. */
  readonly acks: { hold(acks: Holder): void };
  readonly turn: { schedule(): void };
}

/** The responses that a client gets once its publishes are committed, or synced to the disk. A publish that failed is undefined here. */
export class PendingAcks extends AnswerQueue<HeldPublish | undefined, AcknowledgedClient> implements Holder {
  constructor(
    client: AcknowledgedClient,
    private readonly services: AckServices,
  ) {
    super(client);
  }

  /** Adds a publish, which is answered after its commit. */
  add(pending: HeldPublish): void {
    if (!this.push(pending)) return;
    this.services.acks.hold(this);
    this.services.turn.schedule();
  }

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
      if (oks === at) this.client.respondFailure();
      else this.client.respondOks(oks - at);
      at = Math.max(oks, at + 1);
    }
    this.drop(count);
    this.client.onAcksSent();
  }

  failHeld(_error: Error, upTo: number): void {
    const count = upTo - this.gone;
    for (let i = 0; i < count; i++) if (this.waiting[i]?.target.fsync === true) this.waiting[i] = undefined;
    this.releaseHeld(upTo);
  }
}
