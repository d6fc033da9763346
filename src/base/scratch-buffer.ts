const FIRST_BYTES = 64 * 1024;

/** One buffer that many share for what they need within one call. Each next user may overwrite what the last one left in it. */
export class ScratchBuffer {
  private buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** View of the buffer that the last reserve() returned. */
  view = new DataView(this.buffer.buffer);

  /** A buffer of at least `bytes`, valid until the next call. */
  reserve(bytes: number): Buffer {
    if (this.buffer.length < bytes) {
      this.buffer = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.buffer.length));
      this.view = new DataView(this.buffer.buffer);
    }
    return this.buffer;
  }
}
