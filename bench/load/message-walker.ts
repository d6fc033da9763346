import { ATTEMPTS_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_OVERHEAD_BYTES } from "../../src/frame/frame.ts";
import { printable } from "./replies.ts";
import { type ByteSink, RingWriter } from "./ring-writer.ts";
import { ANSWER_ID_OFFSET, FIN, repeat } from "./wire.ts";

/**
 * Walks over the message frames of a consumer's connection, and prepares a FIN for each in a ring of ready-made lines, into which
 * only the 16 bytes of the id are copied.
 *
 * It creates no object per message and copies no body. A message takes about 15 ns, so a benchmark measures the server and not
 * this code.
 */
export class MessageWalker {
  /** The number of messages so far. */
  messages = 0;
  /** The number of messages that had been delivered before: with attempts above 1. */
  redelivered = 0;

  private readonly fins: RingWriter;
  private readonly finsView: DataView;
  /** The offset in the ring of the next message's FIN. */
  private nextFin = 0;

  /** The missing bytes of the last message's body. */
  private bodyBytesLeft = 0;
  /** The received part of an incomplete head of a frame. */
  private readonly head = Buffer.alloc(MESSAGE_OVERHEAD_BYTES);
  private readonly headView = viewOf(this.head);
  private headBytes = 0;

  /**
   * @param inFlight the most messages that can be unfinished at a time: RDY
   * @param answer the answer to each message: FIN or REQ
   */
  constructor(
    inFlight: number,
    private readonly answer = FIN,
  ) {
    // One more than can be unfinished, because a partly sent line still occupies its place.
    this.fins = new RingWriter(repeat(answer, inFlight + 1));
    this.finsView = viewOf(this.fins.ring);
  }

  /** Handles received bytes. @throws Error for a frame that is not a message */
  walk(data: Buffer): void {
    const length = data.length;
    let at = 0;
    if (this.headBytes > 0) at = this.completeHead(data);
    if (this.bodyBytesLeft > 0) {
      const skipped = Math.min(this.bodyBytesLeft, length - at);
      this.bodyBytesLeft -= skipped;
      at += skipped;
    }
    const view = viewOf(data);
    while (at + MESSAGE_OVERHEAD_BYTES <= length) {
      const end = this.message(data, view, at);
      if (end > length) {
        this.bodyBytesLeft = end - length;
        return;
      }
      at = end;
    }
    if (at < length) this.keepHead(data, at);
  }

  /** The bytes of FINs that the socket has not accepted. */
  get owedBytes(): number {
    return this.fins.owedBytes;
  }

  /** Sends as many waiting FINs as the socket accepts. */
  flush(socket: ByteSink): void {
    this.fins.flush(socket);
  }

  /** Handles the message whose complete head is at `at`. @returns the end of its frame */
  private message(data: Buffer, view: DataView, at: number): number {
    if (view.getUint32(at + 4) !== FRAME_TYPE_MESSAGE) throw new Error(`not a message: ${printable(data.subarray(at))}`);
    if (view.getUint16(at + ATTEMPTS_OFFSET) !== 1) this.redelivered++;
    this.messages++;
    const fin = this.nextFin + ANSWER_ID_OFFSET;
    const id = at + ID_OFFSET;
    // Four words beat one copy(): a call into native code costs more than moving 16 bytes.
    this.finsView.setInt32(fin, view.getInt32(id));
    this.finsView.setInt32(fin + 4, view.getInt32(id + 4));
    this.finsView.setInt32(fin + 8, view.getInt32(id + 8));
    this.finsView.setInt32(fin + 12, view.getInt32(id + 12));
    this.nextFin += this.answer.length;
    if (this.nextFin === this.fins.ring.length) this.nextFin = 0;
    this.fins.owedBytes += this.answer.length;
    if (this.fins.owedBytes > this.fins.ring.length) throw new Error("more messages in flight than RDY allows");
    return at + 4 + view.getUint32(at);
  }

  /** Completes a head that came in pieces. @returns how many bytes of `data` belonged to it */
  private completeHead(data: Buffer): number {
    const taken = data.copy(this.head, this.headBytes, 0, MESSAGE_OVERHEAD_BYTES - this.headBytes);
    this.headBytes += taken;
    this.checkHead();
    if (this.headBytes < MESSAGE_OVERHEAD_BYTES) return taken;
    this.headBytes = 0;
    this.bodyBytesLeft = this.message(this.head, this.headView, 0) - MESSAGE_OVERHEAD_BYTES;
    return taken;
  }

  private keepHead(data: Buffer, at: number): void {
    this.headBytes = data.copy(this.head, 0, at);
    this.checkHead();
  }

  /** Checks the type of an incomplete frame, because an error frame may be shorter than a message's head. */
  private checkHead(): void {
    if (this.headBytes >= 8 && this.headView.getUint32(4) !== FRAME_TYPE_MESSAGE) {
      throw new Error(`not a message: ${printable(this.head.subarray(0, this.headBytes))}`);
    }
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
