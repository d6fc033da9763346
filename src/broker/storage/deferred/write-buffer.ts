import { freeBuffer } from "../../../base/free-buffer.ts";

const SMALLEST_BYTES = 4096;
/** Bytes kept for the next turn, in all buffers together and in one of them; memory beyond that is freed at once. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;
const MAX_KEPT_BUFFER_BYTES = 2 * 1024 * 1024;

/** Holds entries, laid out as in the file, until they are written. */
export class WriteBuffer {
  buffer: Buffer = Buffer.allocUnsafeSlow(SMALLEST_BYTES);
  view = viewOf(this.buffer);
  /** Bytes in use, from the beginning. */
  used = 0;

  /** Makes room for `bytes` more. @returns their offset */
  reserve(bytes: number): number {
    const at = this.used;
    this.used += bytes;
    if (this.used > this.buffer.length) this.grow(at);
    return at;
  }

  private grow(filled: number): void {
    const { buffer } = this;
    this.buffer = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(this.used)));
    this.view = viewOf(this.buffer);
    buffer.copy(this.buffer, 0, 0, filled);
    freeBuffer(buffer);
  }
}

const free: WriteBuffer[] = [];
let freeBytes = 0;

/** An empty buffer, the largest first: where one bucket is busy, it gets that one. */
export function borrowWriteBuffer(): WriteBuffer {
  const writeBuffer = free.pop();
  if (writeBuffer === undefined) return new WriteBuffer();
  freeBytes -= writeBuffer.buffer.length;
  return writeBuffer;
}

/** To be called when the buffer's entries are written or refused. */
export function returnWriteBuffer(writeBuffer: WriteBuffer): void {
  writeBuffer.used = 0;
  const bytes = writeBuffer.buffer.length;
  if (bytes > MAX_KEPT_BUFFER_BYTES || freeBytes + bytes > MAX_KEPT_BYTES) return freeBuffer(writeBuffer.buffer);
  freeBytes += bytes;
  let i = free.push(writeBuffer) - 1;
  for (; i > 0 && free[i - 1].buffer.length > bytes; i--) free[i] = free[i - 1];
  free[i] = writeBuffer;
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
