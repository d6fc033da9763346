import { WireError } from "./fields.ts";
import { LENGTH_BYTES } from "./wire.ts";

const EMPTY = Buffer.alloc(0);
/** Memory for a frame grows with what has come of it: a length that is only announced costs nothing. */
const FIRST_BYTES = 64 * 1024;

/** Puts the frames of one connection together, whose bytes come in pieces. */
export class FrameSplitter {
  /** The beginning of a frame that has not come whole, in [0, length). */
  private partial = EMPTY;
  private length = 0;

  constructor(private readonly maxBytes: number) {}

  /**
   * @param onFrame gets each frame without its length; the memory is not used for anything else
   * @throws WireError for a frame that is too long, and what onFrame throws
   */
  push(data: Buffer, onFrame: (frame: Buffer) => void): void {
    let at = 0;
    while (at < data.length) {
      if (this.length === 0 && data.length - at >= LENGTH_BYTES) {
        const to = at + LENGTH_BYTES + this.checked(data.readUInt32BE(at));
        if (to <= data.length) {
          onFrame(data.subarray(at + LENGTH_BYTES, to));
          at = to;
          continue;
        }
      }
      at = this.collect(data, at);
      if (this.isWhole) onFrame(this.take());
    }
  }

  private get wanted(): number {
    return this.length < LENGTH_BYTES ? LENGTH_BYTES : LENGTH_BYTES + this.checked(this.partial.readUInt32BE(0));
  }

  private get isWhole(): boolean {
    return this.length >= LENGTH_BYTES && this.length === this.wanted;
  }

  /** Adds what belongs to the frame that has begun. @returns where the rest begins */
  private collect(data: Buffer, from: number): number {
    let at = from;
    while (at < data.length && !this.isWhole) {
      const { wanted } = this;
      const to = Math.min(data.length, at + wanted - this.length);
      this.grow(Math.min(wanted, Math.max(this.length + to - at, FIRST_BYTES, 2 * this.length)));
      this.length += data.copy(this.partial, this.length, at, to);
      at = to;
    }
    return at;
  }

  private take(): Buffer {
    const frame = this.partial.subarray(LENGTH_BYTES, this.length);
    this.partial = EMPTY;
    this.length = 0;
    return frame;
  }

  private grow(bytes: number): void {
    if (bytes <= this.partial.length) return;
    const larger = Buffer.allocUnsafeSlow(bytes);
    this.partial.copy(larger, 0, 0, this.length);
    this.partial = larger;
  }

  private checked(bytes: number): number {
    if (bytes === 0 || bytes > this.maxBytes) throw new WireError(`a frame of ${bytes} bytes`);
    return bytes;
  }
}
