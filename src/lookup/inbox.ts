const EMPTY = Buffer.alloc(0);
const LF = 0x0a;
const FIRST_BYTES = 64;

/**
 * Bytes that have arrived and are not decoded yet. Complete commands are read from the packet that they came in. Only the
 * incomplete rest of a packet is copied, so that it does not keep the whole packet in memory.
 */
export class Inbox {
  private buffer: Buffer = EMPTY;
  private start = 0;
  private end = 0;
  /** Whether the buffer is our own, so that it may be written to. */
  private owned = false;
  /** There is no line feed before this offset. */
  private searched = 0;

  get length(): number {
    return this.end - this.start;
  }

  /** Adds bytes. The caller must not change them afterwards. */
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

  /** Frees the packets that have been read, and copies the rest. To be called when nothing more can be read. */
  compact(): void {
    if (this.length === 0) {
      this.buffer = EMPTY;
      this.start = this.end = this.searched = 0;
    } else if (!this.owned) {
      this.moveTo(this.length);
    }
  }

  /**
   * Reads a line without its line feed, one character per byte.
   *
   * @returns undefined if there is no line feed yet
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

  /** Reads a four-byte number, which must have arrived completely. */
  readInt32(): number {
    const value = this.buffer.readInt32BE(this.start);
    this.skip(4);
    return value;
  }

  /** Reads `bytes` bytes, which must have arrived. */
  readBytes(bytes: number): Buffer {
    const taken = this.buffer.subarray(this.start, this.start + bytes);
    this.skip(bytes);
    return taken;
  }

  private skip(bytes: number): void {
    this.start += bytes;
    this.searched = Math.max(this.searched, this.start);
  }

  /** Copies the rest to our own buffer, with room to grow, so that bytes that come one by one are not copied each time. */
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
