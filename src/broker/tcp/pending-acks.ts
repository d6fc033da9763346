import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import { AnswerQueue } from "../acks/ack-queue.ts";
import type { Holder } from "../acks/group-commit.ts";
import { HeldPublish } from "../acks/pending-publish.ts";
import type { Outbox } from "./transport/outbox.ts";

export const OK_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "OK");
/** Many OKs in a row, for the answer to a train of publishes. */
const OK_FRAMES = Buffer.concat(Array.from({ length: 256 }, () => OK_FRAME));

/** Whom the answers are for. */
export interface AnsweredClient {
  readonly closed: boolean;
  /** Held answers have gone to its outbox. */
  released(): void;
  /** For the log: what it is told is seen to. */
  publishFailed(publish: HeldPublish, error: Error): void;
  respond(frame: Buffer): void;
  /** Its connection ends when all that it still gets is out. */
  die(): void;
}

/**
 * What a client of the TCP protocol will hear once its publishes are committed, or on the disk: their OKs, and frames whose
 * turn is behind one.
 */
export class HeldAnswers extends AnswerQueue<HeldPublish | Buffer, AnsweredClient> implements Holder {
  constructor(
    client: AnsweredClient,
    private readonly outbox: Outbox,
  ) {
    super(client);
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
      // nsqd hangs up after a failed publish; what came after it in the same moment goes unanswered.
      this.client.publishFailed(answer, failure);
      waiting[i] = answer.errorFrame(failure);
      waiting.length = i + 1;
      this.client.die();
    }
    this.committed = waiting.length;
  }

  releaseHeld(upTo: number): void {
    const { waiting } = this;
    let count = upTo - this.gone;
    if (count <= 0) return;
    // What only waited for its turn goes along.
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
    this.client.released();
  }

  /** All that is held is refused by one error, and the connection ends. */
  failHeld(error: Error): void {
    const first = this.waiting.find((answer) => answer instanceof HeldPublish);
    this.clear();
    if (first !== undefined) this.client.respond((first as HeldPublish).errorFrame(error));
    this.client.die();
  }

  private writeOks(count: number): void {
    for (let left = count; left > 0; ) {
      const many = Math.min(left, 256);
      this.outbox.write(OK_FRAMES, 0, many * OK_FRAME.length);
      left -= many;
    }
  }
}
