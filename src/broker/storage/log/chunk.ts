import { PieceCache } from "./commit-pieces.ts";
import { ReadAhead } from "./read-ahead.ts";

/**
 * Memory for log bytes: chunks of three sizes, pooled and reused, because the first touch of fresh memory is the most
 * expensive part of a publish (the kernel clears and maps each page). The caches of all logs share one budget. When it is
 * used up, the oldest cached chunks that nobody needs are evicted.
 */

/** A topic starts with the smallest class, so that a quiet one does not cost a mebibyte. */
const CLASS_BYTES = [16 * 1024, 128 * 1024, 1024 * 1024];
export const LARGEST_CLASS = CLASS_BYTES.length - 1;

/** Free chunks kept for reuse, per class. More than these are left to the garbage collector. */
const POOLED_PER_CLASS = [64, 32, 24];

/** Blocks that their readers have passed are kept up to this size, for channels that follow closely. Memory that was used just now is fast. */
const MAX_PASSED_BYTES = 4 * 1024 * 1024;

/** Records of a log that cannot be read: the reader continues behind them. `isGap` tells a Gap from a Chunk. */
export interface Gap {
  readonly isGap: true;
  nextPosition: number;
  nextSequence: number;
}

/** Consecutive records of one log in memory, those at the positions [start, end). */
export class Chunk {
  readonly isGap = false;
  readonly view: DataView;
  /** Position of the first record. */
  start = 0;
  /** Position after the last record. */
  end = 0;
  /** Sequence of the first record. */
  firstSequence = 0;
  /** The first record belongs to the same MPUB as the last record of the previous chunk. */
  continuesBatch = false;
  /** How many pending writes to slow consumers refer to this chunk. It is not reused before there are none. */
  pins = 0;
  /** The owner has freed the chunk. It goes back to the pool when it has no pins. */
  freed = false;
  /** The block was read from files, and is kept until memory is short. */
  isRead = false;
  /** The log that can evict the chunk when memory is short; undefined while the chunk may not be evicted. */
  owner: ChunkOwner | undefined;

  constructor(
    readonly buffer: Buffer,
    readonly sizeClass: number,
  ) {
    this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  /** Offset of a position in `buffer`. */
  offsetOf(position: number): number {
    return (position - this.start) | 0;
  }

  get freeBytes(): number {
    return this.buffer.length - (this.end - this.start);
  }
}

export interface ChunkOwner {
  /** Asks the owner to free a cached chunk. The owner may keep it. */
  evict(chunk: Chunk): void;
  /** The chunk that has the record at a position, read again if it was evicted. @throws if it cannot be read */
  chunkAt(position: number, ahead: boolean): Chunk | Gap;
}

/** The part of the pool that a reader of chunks needs. */
export type ChunkSource = Pick<ChunkPool, "allocate" | "free"> & { pieces?: PieceCache };

/** Allocates chunks outside the pool and its budget, for callers that look at a few records and forget them. No cached chunk is evicted for these. */
export const UNPOOLED: ChunkSource = {
  allocate: (bytes) => new Chunk(Buffer.allocUnsafe(bytes), -1),
  free: () => {},
};

export class ChunkPool {
  /** Bytes of all allocated chunks. */
  usedBytes = 0;
  /** Bytes of those that pending writes refer to. */
  pinnedBytes = 0;
  private readonly reusable: Chunk[][] = CLASS_BYTES.map(() => []);
  /** Chunks that may be evicted, the oldest first. Blocks that were read from files become young again when they are used. */
  private readonly evictable = new Set<Chunk>();
  /** Those of them that their readers have passed. They are evicted first. */
  private readonly passed = new Set<Chunk>();
  private passedBytes = 0;
  /** How many blocks that were read from files their readers have not passed. */
  private blocksInUse = 0;
  private usedLast: Chunk | undefined;
  /** How much is read from files at once. */
  readonly readAhead: ReadAhead;
  readonly pieces = new PieceCache();

  /** @param budgetBytes bound for caches. What must be in memory (tails, pinned chunks) can exceed it. */
  constructor(readonly budgetBytes: number) {
    this.readAhead = new ReadAhead(budgetBytes);
  }

  /**
   * Allocates a chunk of at least `bytes`, of the wished class if the budget allows it.
   * The caller sets content and positions. The buffer is not cleared.
   */
  allocate(bytes: number, wishedClass: number): Chunk {
    let smallest = 0;
    while (smallest <= LARGEST_CLASS && CLASS_BYTES[smallest] < bytes) smallest++;
    let sizeClass = Math.max(wishedClass, smallest);
    const wishedBytes = sizeClass > LARGEST_CLASS ? bytes : CLASS_BYTES[sizeClass];
    if (this.usedBytes + wishedBytes > this.budgetBytes) this.makeRoom(wishedBytes);
    while (sizeClass > smallest && this.usedBytes + CLASS_BYTES[sizeClass] > this.budgetBytes) sizeClass--;
    if (sizeClass > LARGEST_CLASS) {
      // Larger than any class: this chunk does not go back to the pool.
      const chunk = new Chunk(Buffer.allocUnsafeSlow(bytes), -1);
      this.usedBytes += bytes;
      return chunk;
    }
    const pooled = this.reusable[sizeClass].pop();
    const chunk = pooled ?? new Chunk(Buffer.allocUnsafeSlow(CLASS_BYTES[sizeClass]), sizeClass);
    chunk.freed = false;
    this.usedBytes += chunk.buffer.length;
    return chunk;
  }

  /** From now on the chunk is a cache that its owner can be asked to evict. */
  markEvictable(chunk: Chunk, owner: ChunkOwner): void {
    chunk.owner = owner;
    this.evictable.add(chunk);
  }

  /** Keeps a block that was read from files. @param ahead its reader goes on to the block's end; otherwise it needs one record only */
  keepRead(chunk: Chunk, owner: ChunkOwner, ahead: boolean): void {
    chunk.isRead = true;
    this.markEvictable(chunk, owner);
    if (ahead) this.blocksInUse++;
    else this.addPassed(chunk);
    this.usedLast = chunk;
  }

  /** A block that was read from files is used again. */
  useRead(chunk: Chunk): void {
    if (chunk === this.usedLast) return;
    this.usedLast = chunk;
    this.evictable.delete(chunk);
    this.evictable.add(chunk);
    if (this.removePassed(chunk)) this.blocksInUse++;
  }

  /** A reader has come to the end of a block that was read from files. */
  passRead(chunk: Chunk): void {
    if (this.passed.has(chunk)) return;
    this.blocksInUse--;
    if (this.usedLast === chunk) this.usedLast = undefined;
    this.readAhead.passed(chunk.end - chunk.start, this.blocksInUse);
    this.addPassed(chunk);
  }

  private addPassed(chunk: Chunk): void {
    this.passed.add(chunk);
    this.passedBytes += chunk.buffer.length;
    for (const oldest of this.passed) {
      if (this.passedBytes <= MAX_PASSED_BYTES || oldest === chunk) return;
      oldest.owner?.evict(oldest);
    }
  }

  private removePassed(chunk: Chunk): boolean {
    if (!this.passed.delete(chunk)) return false;
    this.passedBytes -= chunk.buffer.length;
    return true;
  }

  /** The owner no longer needs the chunk. Its memory is reused when no pending write refers to it. */
  free(chunk: Chunk): void {
    this.evictable.delete(chunk);
    if (chunk.isRead) {
      chunk.isRead = false;
      if (!this.removePassed(chunk)) this.blocksInUse--;
      if (this.usedLast === chunk) this.usedLast = undefined;
    }
    chunk.owner = undefined;
    chunk.freed = true;
    if (chunk.pins === 0) this.reuse(chunk);
  }

  /**
   * Keeps a chunk's bytes for a write that is pending. Chunks that can be read again are refused when half of the budget is pinned, so
   * that clients that do not read keep no more than that.
   *
   * @returns false if it was refused
   */
  pin(chunk: Chunk): boolean {
    if (chunk.pins === 0) {
      const pinnedBytes = this.pinnedBytes + chunk.buffer.length;
      if (pinnedBytes > this.budgetBytes / 2 && chunk.owner !== undefined) return false;
      this.pinnedBytes = pinnedBytes;
    }
    chunk.pins++;
    return true;
  }

  unpin(chunk: Chunk): void {
    chunk.pins--;
    if (chunk.pins > 0) return;
    this.pinnedBytes -= chunk.buffer.length;
    if (chunk.freed) this.reuse(chunk);
  }

  private reuse(chunk: Chunk): void {
    this.usedBytes -= chunk.buffer.length;
    if (chunk.sizeClass < 0) return;
    const pooled = this.reusable[chunk.sizeClass];
    if (pooled.length < POOLED_PER_CLASS[chunk.sizeClass]) pooled.push(chunk);
  }

  private makeRoom(bytes: number): void {
    for (const chunk of this.passed) {
      if (this.usedBytes + bytes <= this.budgetBytes) return;
      chunk.owner?.evict(chunk);
    }
    for (const chunk of this.evictable) {
      if (this.usedBytes + bytes <= this.budgetBytes) return;
      if (chunk.isRead) this.readAhead.evicted(chunk.buffer.length);
      // Pinned chunks are evicted too, though their memory comes back later: a log evicts its oldest chunk first, so a pinned
      // chunk would keep all chunks behind it.
      chunk.owner?.evict(chunk);
    }
  }
}

/** Position of `sequence` in a chunk that has it, or -1 if that is behind the chunk. Walks over the frames by their sizes. */
export function positionIn(chunk: Chunk, sequence: number): number {
  const end = chunk.end - chunk.start;
  let at = 0;
  for (let i = chunk.firstSequence; i < sequence && at < end; i++) at += 4 + chunk.view.getUint32(at);
  return at < end ? chunk.start + at : -1;
}
