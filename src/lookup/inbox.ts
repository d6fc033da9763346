const EMPTY = Buffer.alloc(0);
const LF = 0x0a;
const FIRST_BYTES = 64;

/**
 * Bytes that came and are not taken apart yet. What arrives whole is read where it lies; only the rest of a packet is
 * copied, so that it does not hold on to all of it.
 */
export class Inbox {
  private buffer: Buffer = EMPTY;
  private start = 0;
  private end = 0;
  /** The buffer is ours and may be written to. */
  private owned = false;
  /** Up to here there is no line feed. */
  private searched = 0;

  get length(): number {
    return this.end - this.start;
  }

  /** Adds bytes behind the others. They are not to be changed by the caller afterwards. */
  push(data: Buffer): void {
    if (this.start === this.end) {
      this.buffer = data;
      this.start = this.searched = 0;
      this.end = data.length;
      this.owned = false;
      return;
    }
    if (!this.owned || this.end + data.length > this.buffer.length) this.moveTo(this.length + data.length);
    data.copy(this.buffer, this.end);
    this.end += data.length;
  }

  /** Lets go of the packets that came, keeping their rest. To be called when nothing more can be taken out. */
  compact(): void {
    if (this.length === 0) {
      this.buffer = EMPTY;
      this.start = this.end = this.searched = 0;
    } else if (!this.owned) {
      this.moveTo(this.length);
    }
  }

  /**
   * Takes a line out, one character a byte, without its line feed.
   *
   * @returns undefined while there is no line feed
   */
  readLine(): string | undefined {
    const feed = this.buffer.indexOf(LF, this.searched);
    if (feed < 0 || feed >= this.end) {
      this.searched = this.end;
      return undefined;
    }
    const line = this.buffer.toString("latin1", this.start, feed);
    this.start = this.searched = feed + 1;
    return line;
  }

  /** Takes out a number in four bytes, of which there must be as many. */
  readInt32(): number {
    const value = this.buffer.readInt32BE(this.start);
    this.skip(4);
    return value;
  }

  /** Takes out so many bytes, of which there must be as many. */
  readBytes(bytes: number): Buffer {
    const taken = this.buffer.subarray(this.start, this.start + bytes);
    this.skip(bytes);
    return taken;
  }

  private skip(bytes: number): void {
    this.start += bytes;
    this.searched = Math.max(this.searched, this.start);
  }

  /** To a buffer of our own, with room to grow: bytes that come one by one are copied a few times, not each time. */
  private moveTo(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, 2 ** Math.ceil(Math.log2(bytes + 1))));
    this.buffer.copy(larger, 0, this.start, this.end);
    this.searched -= this.start;
    this.end -= this.start;
    this.start = 0;
    this.buffer = larger;
    this.owned = true;
  }
}
