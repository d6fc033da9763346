const FIRST_BYTES = 256;

/** Writes LEB128 varints: seven bits per byte, low bits first. */
export class VarintWriter {
  private buffer: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  private length = 0;

  /** @param value a whole number, not negative */
  varint(value: number): void {
    if (this.length + 8 > this.buffer.length) this.grow(8);
    let left = value;
    while (left >= 128) {
      this.buffer[this.length++] = (left % 128) | 128;
      left = Math.floor(left / 128);
    }
    this.buffer[this.length++] = left;
  }

  bytes(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.buffer.length) this.grow(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Everything that was written. Valid until more is. */
  get written(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  private grow(bytes: number): void {
    const larger = Buffer.allocUnsafe(Math.max(2 * this.buffer.length, this.length + bytes));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}

/** Reads what a VarintWriter has written. */
export class VarintReader {
  private at = 0;

  constructor(private readonly source: Uint8Array) {}

  get isAtEnd(): boolean {
    return this.at === this.source.length;
  }

  /** @throws when the bytes end, or the number is larger than any that is written */
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (this.at >= this.source.length || scale > 2 ** 49) throw new Error("damaged progress");
      const byte = this.source[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  /** @throws when there are fewer */
  bytes(count: number): Uint8Array {
    if (count > this.source.length - this.at) throw new Error("damaged progress");
    this.at += count;
    return this.source.subarray(this.at - count, this.at);
  }

  /** Whether these bytes come next. They are passed then. */
  skip(bytes: Uint8Array): boolean {
    if (bytes.length > this.source.length - this.at || bytes.some((byte, i) => this.source[this.at + i] !== byte)) return false;
    this.at += bytes.length;
    return true;
  }
}
