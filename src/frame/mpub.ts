import type { ProtocolError } from "./error.ts";
import { fatal } from "./error.ts";

/** Bytes of the count in front of an MPUB's messages, and of the size in front of each. */
const WORD = 4;

/**
 * Walks the body of an MPUB — `count:u32be`, then `size:u32be body` each — and checks every length in it.
 *
 * The walk is driven by the counts, as nsqd's readMPUB is, and can be taken up again when more bytes have
 * come, so a bad length is answered as soon as it is there and no byte is looked at twice.
 */
export class MpubCheck {
  /** How many messages the body holds; -1 until its first four bytes were seen. */
  count = -1;
  /** How many of them were walked. */
  walked = 0;
  /** Offset of the next size word from the body's first byte. */
  offset = 0;
  /** Bytes of the body that the walk needs at least to get any further. */
  needed = WORD;
  /** Set by the first length that is wrong; the walk stops there. */
  error: ProtocolError | undefined;

  reset(): this {
    this.count = -1;
    this.walked = 0;
    this.offset = 0;
    this.needed = WORD;
    this.error = undefined;
    return this;
  }

  /**
   * Goes on with the walk over `bytes[start, end)`, of which the same first part was given before.
   *
   * @returns true once the walk is over: whole (`offset` is the body's length) or with `error` set
   */
  resume(bytes: Uint8Array, start: number, end: number, maxMsgSize: number, maxBodySize: number): boolean {
    const length = end - start;
    if (this.count < 0) {
      if (length < WORD) return false;
      const count = readInt32(bytes, start);
      // Four bytes of count; a message has four of size and at least one of body.
      const most = Math.trunc((maxBodySize - WORD) / (WORD + 1));
      if (count <= 0 || count > most) return this.fail("E_BAD_BODY", `MPUB invalid message count ${count}`);
      this.count = count;
      this.offset = WORD;
    }
    let { offset, walked } = this;
    while (walked < this.count) {
      this.needed = offset + WORD;
      if (length < this.needed) break;
      const size = readInt32(bytes, start + offset);
      if (size <= 0) return this.fail("E_BAD_MESSAGE", `MPUB invalid message(${walked}) body size ${size}`);
      if (size > maxMsgSize) return this.fail("E_BAD_MESSAGE", `MPUB message too big ${size} > ${maxMsgSize}`);
      if (offset + WORD + size > maxBodySize) {
        // nsqd would read on past its own limit; a body that is longer than it said must not grow without bound.
        return this.fail("E_BAD_BODY", `MPUB body too big ${offset + WORD + size} > ${maxBodySize}`);
      }
      this.needed = offset + WORD + size;
      if (length < this.needed) break;
      offset += WORD + size;
      walked++;
    }
    this.offset = offset;
    this.walked = walked;
    return walked === this.count;
  }

  private fail(code: string, text: string): true {
    this.error = fatal(code, text);
    return true;
  }
}

function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}
