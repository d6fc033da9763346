/** Memory of a pool. */
interface PooledMemory {
  readonly buffer: Buffer;
}

/** Where large memory comes from, and goes back to: a ChunkPool. */
export interface MemoryPool<Memory extends PooledMemory> {
  /** @returns at least `bytes` bytes, of a size class no smaller than `sizeClass` */
  allocate(bytes: number, sizeClass: number): Memory;
  free(memory: Memory): void;
}

const EMPTY = Buffer.alloc(0);

/** How long the whole will be is not known yet. */
export const UNKNOWN_LENGTH = 0;
/** While the length is unknown the memory is not the pool's. It starts with this much. */
const FIRST_SMALL_BYTES = 512;
/** Pooled memory starts with at most this much, so that a length that is only announced costs little. */
const FIRST_POOLED_BYTES = 128 * 1024;

/**
 * Bytes that come in pieces, put together. The memory doubles whenever it is full, so what comes byte by byte costs its
 * length to copy, not the square of it.
 */
export class PieceBuffer<Memory extends PooledMemory> {
  /** The bytes are in [0, length). append() may replace the buffer. */
  buffer: Buffer = EMPTY;
  length = 0;
  /** Holds `buffer` if it is the pool's. */
  private pooled: Memory | undefined;

  constructor(private readonly pool: MemoryPool<Memory>) {}

  /** Adds [from, to) of `data`. @param wholeBytes the length of the whole as far as it is known, or UNKNOWN_LENGTH */
  append(data: Buffer, from: number, to: number, wholeBytes: number): void {
    const length = this.length + to - from;
    if (length > this.buffer.length) this.grow(length, wholeBytes);
    data.copy(this.buffer, this.length, from, to);
    this.length = length;
  }

  /** Forgets the bytes, and gives pooled memory back. */
  clear(): void {
    if (this.pooled !== undefined) this.pool.free(this.pooled);
    this.pooled = undefined;
    this.buffer = EMPTY;
    this.length = 0;
  }

  private grow(bytes: number, wholeBytes: number): void {
    const { buffer, pooled } = this;
    if (wholeBytes === UNKNOWN_LENGTH) {
      this.buffer = Buffer.allocUnsafeSlow(Math.max(bytes, FIRST_SMALL_BYTES, 2 * buffer.length));
      this.pooled = undefined;
    } else {
      const ahead = pooled === undefined ? FIRST_POOLED_BYTES : 2 * buffer.length;
      this.pooled = this.pool.allocate(Math.max(bytes, Math.min(wholeBytes, ahead)), 0);
      this.buffer = this.pooled.buffer;
    }
    buffer.copy(this.buffer, 0, 0, this.length);
    if (pooled !== undefined) this.pool.free(pooled);
  }
}
