import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import { AnswerQueue } from "../acks/ack-queue.ts";
import type { Holder } from "../acks/group-commit.ts";
import { HeldPublish } from "../acks/pending-publish.ts";
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
  onPublishFailed(publish: HeldPublish, error: Error): void;
  respond(frame: Buffer): void;
  closeGracefully(): void;
}

/** What waiting acknowledgements need of the broker. */
export interface AckServices {
  /** Acknowledgements that wait for the next commit. */
  readonly acks: { hold(acks: Holder): void };
  readonly turn: { schedule(): void };
}

/**
 * The frames that a client gets once its publishes are committed, or synced to the disk: their OKs, and other frames that
 * must not overtake one of them.
 */
export class PendingAcks extends AnswerQueue<HeldPublish | Buffer, AcknowledgedClient> implements Holder {
  constructor(
    client: AcknowledgedClient,
    private readonly outbox: Outbox,
    private readonly services: AckServices,
  ) {
    super(client);
  }

  /** Adds a publish, which is answered after its commit, or a frame that waits for its turn. */
  add(ack: HeldPublish | Buffer): void {
    if (!this.push(ack)) return;
    this.services.acks.hold(this);
    this.services.turn.schedule();
  }

  settleHeld(): void {
    const { waiting } = this;
    for (let i = this.committed; i < waiting.length; i++) {
      const answer = waiting[i];
      if (!(answer instanceof HeldPublish)) continue;
      const { failure, fsync } = answer.target;
      if (failure === undefined) {
        if (fsync) this.syncUpTo = this.gone + i + 1;
        continue;
      }
      // nsqd closes the connection after a failed publish. What came after it in the same turn is not answered.
      this.client.onPublishFailed(answer, failure);
      waiting[i] = answer.errorFrame(failure);
      waiting.length = i + 1;
      this.client.closeGracefully();
    }
    this.committed = waiting.length;
  }

  releaseHeld(upTo: number): void {
    const { waiting } = this;
    let count = upTo - this.gone;
    if (count <= 0) return;
    // Frames that only waited for their turn go along.
    while (count < waiting.length && !(waiting[count] instanceof HeldPublish)) count++;
    let oks = 0;
    for (let i = 0; i < count; i++) {
      const answer = waiting[i];
      if (answer instanceof HeldPublish) {
        oks++;
        continue;
      }
      this.writeOks(oks);
      oks = 0;
      this.outbox.write(answer, 0, answer.length);
    }
    this.writeOks(oks);
    this.drop(count);
    this.client.onAcksSent();
  }

  /** All waiting publishes fail by one error, and the connection ends. */
  failHeld(error: Error): void {
    const first = this.waiting.find((answer) => answer instanceof HeldPublish);
    this.clear();
    if (first !== undefined) this.client.respond((first as HeldPublish).errorFrame(error));
    this.client.closeGracefully();
  }

  private writeOks(count: number): void {
    for (let left = count; left > 0; ) {
      const many = Math.min(left, OKS);
      this.outbox.write(OK_FRAMES, 0, many * OK_FRAME.length);
      left -= many;
    }
  }
}
