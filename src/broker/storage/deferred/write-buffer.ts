import { giveBack } from "../../../base/free-buffer.ts";

const SMALLEST_BYTES = 4096;
/** What is kept for the next turn, all areas together, and in one of them: more is given back at once. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;
const MAX_KEPT_AREA_BYTES = 2 * 1024 * 1024;

/** Where entries are laid out until they are written. */
export class WriteBuffer {
  buffer: Buffer = Buffer.allocUnsafeSlow(SMALLEST_BYTES);
  view = viewOf(this.buffer);
  /** Bytes that stand in it, from its beginning. */
  used = 0;

  /** Makes room for `bytes` more. @returns the offset at which they go */
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
    giveBack(buffer);
  }
}

const free: WriteBuffer[] = [];
let freeBytes = 0;

/** An empty area. The largest first: where there is one busy bucket, it is that one's. */
export function borrowWriteBuffer(): WriteBuffer {
  const area = free.pop();
  if (area === undefined) return new WriteBuffer();
  freeBytes -= area.buffer.length;
  return area;
}

/** The area is written, or what stands in it is refused. */
export function returnWriteBuffer(area: WriteBuffer): void {
  area.used = 0;
  const bytes = area.buffer.length;
  if (bytes > MAX_KEPT_AREA_BYTES || freeBytes + bytes > MAX_KEPT_BYTES) return giveBack(area.buffer);
  freeBytes += bytes;
  let i = free.push(area) - 1;
  for (; i > 0 && free[i - 1].buffer.length > bytes; i--) free[i] = free[i - 1];
  free[i] = area;
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
