const UINT32_SPAN = 2 ** 32;
const MAX_TEXT_BYTES = 255;

/** Another broker sent what no broker sends. The connection ends. */
export class WireError extends Error {
  override name = "WireError";
}

/** Writes the fields of a frame one after the other. Numbers are big-endian. */
export class FieldWriter {
  private readonly buffer: Buffer;
  private at = 0;

  /** @param bytes no less than what will be written */
  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(bytes);
  }

  written(): Buffer {
    return this.buffer.subarray(0, this.at);
  }

  u8(value: number): void {
    this.at = this.buffer.writeUInt8(value, this.at);
  }

  u16(value: number): void {
    this.at = this.buffer.writeUInt16BE(value, this.at);
  }

  u32(value: number): void {
    this.at = this.buffer.writeUInt32BE(value, this.at);
  }

  sequence(value: number): void {
    this.u32(Math.floor(value / UINT32_SPAN));
    this.u32(value % UINT32_SPAN);
  }

  f64(value: number): void {
    this.at = this.buffer.writeDoubleBE(value, this.at);
  }

  /** @throws RangeError for a text of more than 255 bytes */
  text(value: string): void {
    const bytes = Buffer.byteLength(value);
    if (bytes > MAX_TEXT_BYTES) throw new RangeError(`a text of ${bytes} bytes`);
    this.u8(bytes);
    this.at += this.buffer.write(value, this.at);
  }

  /** @throws RangeError for a text of more than 255 characters */
  latin1(value: string): void {
    if (value.length > MAX_TEXT_BYTES) throw new RangeError(`a text of ${value.length} bytes`);
    this.u8(value.length);
    this.at += this.buffer.write(value, this.at, "latin1");
  }

  bytes(value: Buffer): void {
    this.at += value.copy(this.buffer, this.at);
  }

  list<T>(values: readonly T[], write: (value: T) => void): void {
    this.u32(values.length);
    for (const value of values) write(value);
  }
}

/** Reads the fields of a frame one after the other. Each throws a WireError where there are too few bytes for it. */
export class FieldReader {
  private at = 0;

  constructor(private readonly buffer: Buffer) {}

  get left(): number {
    return this.buffer.length - this.at;
  }

  u8(): number {
    return this.buffer.readUInt8(this.take(1));
  }

  flag(): boolean {
    const value = this.u8();
    if (value > 1) throw new WireError(`a flag is ${value}`);
    return value === 1;
  }

  u16(): number {
    return this.buffer.readUInt16BE(this.take(2));
  }

  u32(): number {
    return this.buffer.readUInt32BE(this.take(4));
  }

  sequence(): number {
    const value = this.u32() * UINT32_SPAN + this.u32();
    if (value > Number.MAX_SAFE_INTEGER) throw new WireError("a sequence is too high");
    return value;
  }

  f64(): number {
    return this.buffer.readDoubleBE(this.take(8));
  }

  text(): string {
    const bytes = this.u8();
    const at = this.take(bytes);
    return this.buffer.toString("utf8", at, at + bytes);
  }

  /** Up to 255 bytes, each of which is a character. */
  latin1(): string {
    const bytes = this.u8();
    const at = this.take(bytes);
    return this.buffer.toString("latin1", at, at + bytes);
  }

  /** @param elementBytes the bytes of each element, so that a count is checked before anything is made of it */
  list<T>(elementBytes: number, read: (reader: this) => T): T[] {
    const count = this.u32();
    if (count * elementBytes > this.left) throw new WireError(`a list of ${count} does not fit ${this.left} bytes`);
    const values: T[] = [];
    for (let i = 0; i < count; i++) values.push(read(this));
    return values;
  }

  /** The next bytes, in the memory that was given. */
  bytes(count: number): Buffer {
    const at = this.take(count);
    return this.buffer.subarray(at, at + count);
  }

  /** What follows, in the memory that was given. */
  rest(): Buffer {
    return this.bytes(this.left);
  }

  /** @returns where the next bytes begin */
  private take(bytes: number): number {
    const { at } = this;
    if (bytes > this.left) throw new WireError(`${this.left} bytes left of ${bytes}`);
    this.at += bytes;
    return at;
  }
}
