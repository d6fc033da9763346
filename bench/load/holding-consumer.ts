import { FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_OVERHEAD_BYTES } from "../../src/frame/frame.ts";
import type { Load, LoadConnection } from "./connection.ts";
import { printable } from "./replies.ts";
import { ANSWER_ID_OFFSET, FIN, readyCommand } from "./wire.ts";

/** A consumer that works for a time on each of its messages, on all that it has at once, before it finishes them. */
export class HoldingConsumer implements Load {
  private received: Buffer = Buffer.alloc(0);
  private unsent: Buffer = Buffer.alloc(0);

  /**
   * @param holdMs how long it works on a message
   * @param takes whether it finishes the message with a body; it keeps the others for ever
   * @param finished called with the number of messages that were finished
   */
  constructor(
    private readonly connection: LoadConnection,
    private readonly holdMs: number,
    private readonly takes: (body: Buffer) => boolean,
    private readonly finished: (messages: number) => void,
  ) {
    connection.load = this;
  }

  ready(count: number): void {
    this.send(readyCommand(count));
  }

  receive(data: Buffer): void {
    const bytes = Buffer.concat([this.received, data]);
    const fins: Buffer[] = [];
    let at = 0;
    while (at + MESSAGE_OVERHEAD_BYTES <= bytes.length && at + 4 + bytes.readUInt32BE(at) <= bytes.length) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (bytes.readUInt32BE(at + 4) !== FRAME_TYPE_MESSAGE) throw new Error(`not a message: ${printable(bytes.subarray(at, end))}`);
      if (this.takes(bytes.subarray(at + MESSAGE_OVERHEAD_BYTES, end))) fins.push(finOf(bytes, at));
      at = end;
    }
    this.received = Buffer.from(bytes.subarray(at));
    if (fins.length === 0) return;
    setTimeout(() => {
      this.send(Buffer.concat(fins));
      this.finished(fins.length);
    }, this.holdMs);
  }

  drain(): void {
    this.send(Buffer.alloc(0));
  }

  private send(more: Buffer): void {
    const bytes = Buffer.concat([this.unsent, more]);
    const taken = bytes.length === 0 ? 0 : this.connection.write(bytes, 0, bytes.length);
    this.unsent = bytes.subarray(Math.max(0, taken));
  }
}

function finOf(frames: Buffer, at: number): Buffer {
  const fin = Buffer.from(FIN);
  frames.copy(fin, ANSWER_ID_OFFSET, at + ID_OFFSET, at + MESSAGE_OVERHEAD_BYTES);
  return fin;
}
