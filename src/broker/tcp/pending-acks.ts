import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import { AckQueue, type AckServices } from "../acks/ack-queue.ts";
import { lateRefusal, PendingPublish } from "../acks/pending-publish.ts";
import type { Outbox } from "./transport/outbox.ts";

export const OK_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "OK");
/** A train of publishes is acknowledged by as many OKs at a time. */
const OKS = 256;
const OK_FRAMES = Buffer.concat(Array.from({ length: OKS }, () => OK_FRAME));

/** The client that waits for the acknowledgements. */
export interface AcknowledgedClient {
  readonly closed: boolean;
  /** Acknowledgements were written to the client's outbox. */
  onAcksSent(): void;
  /** A publish failed. The client is told by its error frame; this is for the log. */
  onPublishFailed(publish: PendingPublish, error: Error): void;
  respond(frame: Buffer): void;
  closeGracefully(): void;
}

/**
 * The frames that a client gets once its publishes are committed, or synced to the disk: their OKs, and other frames that
 * must not overtake one of them.
 */
export class PendingAcks extends AckQueue<PendingPublish | Buffer, AcknowledgedClient> {
  /** A failed publish is answered in Youzan's words, and the connection goes on. */
  isYouzan = false;

  constructor(
    client: AcknowledgedClient,
    private readonly outbox: Outbox,
    services: AckServices,
  ) {
    super(client, services);
  }

  override onCommitted(): void {
    const { waiting } = this;
    for (let i = this.committed; i < waiting.length; i++) {
      const ack = waiting[i];
      if (!(ack instanceof PendingPublish)) continue;
      const { failure, waitsFor } = ack.target;
      if (failure === undefined) {
        if (waitsFor !== 0) this.noteWait(ack.target, i);
        continue;
      }
      this.client.onPublishFailed(ack, failure);
      if (this.isYouzan) {
        waiting[i] = ack.shortErrorFrame(failure);
        continue;
      }
      // nsqd closes the connection after a failed publish. What came after it in the same turn is not answered.
      waiting[i] = ack.errorFrame(failure);
      waiting.length = i + 1;
      this.client.closeGracefully();
    }
    this.committed = waiting.length;
  }

  override sendUpTo(upTo: number): void {
    const { waiting } = this;
    let count = upTo - this.removed;
    if (count <= 0) return;
    // Frames that only waited for their turn go along.
    while (count < waiting.length && !(waiting[count] instanceof PendingPublish)) count++;
    let oks = 0;
    for (let i = 0; i < count; i++) {
      const ack = waiting[i];
      const frame = ack instanceof PendingPublish ? ack.answer : ack;
      if (frame === undefined) {
        oks++;
        continue;
      }
      this.writeOks(oks);
      oks = 0;
      this.outbox.write(frame, 0, frame.length);
    }
    this.writeOks(oks);
    this.remove(count);
    this.client.onAcksSent();
  }

  /** The first publish that was refused is answered with its error, and the connection ends: those behind it get no answer. */
  override settleUpTo(upTo: number, failure?: Error): void {
    const { waiting } = this;
    const end = upTo - this.removed;
    for (let i = 0; i < end; i++) {
      const ack = waiting[i];
      if (!(ack instanceof PendingPublish)) continue;
      const refusal = lateRefusal(ack.target, failure);
      if (refusal === undefined) continue;
      this.client.onPublishFailed(ack, refusal);
      if (this.isYouzan) {
        waiting[i] = ack.shortErrorFrame(refusal);
        continue;
      }
      waiting[i] = ack.errorFrame(refusal);
      const dropped = waiting.length - i - 1;
      waiting.length = i + 1;
      this.committed = i + 1;
      this.client.closeGracefully();
      this.sendUpTo(this.removed + i + 1);
      // Other syncs that are waited for count them.
      this.removed += dropped;
      return;
    }
    this.sendUpTo(upTo);
  }

  private writeOks(count: number): void {
    for (let left = count; left > 0; ) {
      const many = Math.min(left, OKS);
      this.outbox.write(OK_FRAMES, 0, many * OK_FRAME.length);
      left -= many;
    }
  }
}
