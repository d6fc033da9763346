import type { ProtocolError } from "./error.ts";
import { fatal } from "./error.ts";

/** The bytes of an MPUB's message count, and of the size in front of each message. */
const WORD = 4;

/**
 * Checks every length in the body of an MPUB: `count:u32be`, then for each message `size:u32be body`.
 *
 * Like nsqd's readMPUB it follows the sizes from message to message. It can be resumed when more bytes have arrived, so a bad
 * length is refused as soon as it arrives, and no byte is looked at twice.
 */
export class MpubCheck {
  /** The number of messages in the body; -1 until its first four bytes have arrived. */
  count = -1;
  /** How many messages have been checked. */
  checked = 0;
  /** Offset of the next message's size in the body. */
  offset = 0;
  /** The least length of the body with which the check gets any further. */
  needed = WORD;
  /** The first wrong length. The check ends there. */
  error: ProtocolError | undefined;

  reset(): this {
    this.count = -1;
    this.checked = 0;
    this.offset = 0;
    this.needed = WORD;
    this.error = undefined;
    return this;
  }

  /**
   * Continues the check over `bytes[start, end)`, which begins with the bytes of earlier calls.
   *
   * @returns true once the check is over: the body is complete and `offset` is its length, or `error` is set
   */
  resume(bytes: Uint8Array, start: number, end: number, maxMsgSize: number, maxBodySize: number): boolean {
    const length = end - start;
    if (this.count < 0) {
      if (length < WORD) return false;
      const count = readInt32(bytes, start);
      // The count takes four bytes, and each message four bytes of size and at least one of body.
      const most = Math.trunc((maxBodySize - WORD) / (WORD + 1));
      if (count <= 0 || count > most) return this.fail("E_BAD_BODY", `MPUB invalid message count ${count}`);
      this.count = count;
      this.offset = WORD;
    }
    let { offset, checked } = this;
    while (checked < this.count) {
      this.needed = offset + WORD;
      if (length < this.needed) break;
      const size = readInt32(bytes, start + offset);
      if (size <= 0) return this.fail("E_BAD_MESSAGE", `MPUB invalid message(${checked}) body size ${size}`);
      if (size > maxMsgSize) return this.fail("E_BAD_MESSAGE", `MPUB message too big ${size} > ${maxMsgSize}`);
      if (offset + WORD + size > maxBodySize) {
        // nsqd reads past its own limit here. A body that is longer than announced must not grow without bound.
        return this.fail("E_BAD_BODY", `MPUB body too big ${offset + WORD + size} > ${maxBodySize}`);
      }
      this.needed = offset + WORD + size;
      if (length < this.needed) break;
      offset += WORD + size;
      checked++;
    }
    this.offset = offset;
    this.checked = checked;
    return checked === this.count;
  }

  private fail(code: string, text: string): true {
    this.error = fatal(code, text);
    return true;
  }
}

function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}
