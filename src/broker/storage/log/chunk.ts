/**
 * Memory for log bytes: chunks of three sizes, pooled and reused, because the first touch of fresh memory
 * is the dearest part of a publish (the kernel clears and maps each page). All caches of all logs share one
 * budget; when it is used up the oldest cached chunk that nobody needs makes room.
 */

/** Smallest first: a quiet topic must not cost a mebibyte. */
const CLASS_BYTES = [16 * 1024, 128 * 1024, 1024 * 1024];
export const LARGEST_CLASS = CLASS_BYTES.length - 1;

/** Free chunks kept per class; beyond that they go back to the collector. */
const POOLED_PER_CLASS = [64, 32, 24];

/** Where a log's records could not be read back: the reader goes on behind it. Told from a Chunk by `isGap`. */
export interface Gap {
  readonly isGap: true;
  nextPosition: number;
  nextSequence: number;
}

/** A run of whole records of one log, [start, end) in positions, in memory. */
export class Chunk {
  readonly isGap = false;
  readonly view: DataView;
  /** Position of the first record. */
  start = 0;
  /** Position after the last. */
  end = 0;
  /** Sequence of the first record. */
  firstSequence = 0;
  /** Its first record is of the same MPUB as the last of the chunk before. */
  continuesBatch = false;
  /** Pending writes of slow consumers that refer to this chunk; it is not reused before they are gone. */
  pins = 0;
  /** Dropped by its owner; goes back to the pool with the last pin. */
  freed = false;
  /** Who can give the chunk up when memory is short; undefined while it may not be. */
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
  /** Asks the owner to let go of a cached chunk. It may keep it. */
  evict(chunk: Chunk): void;
}

/** Where a reader gets a chunk from, and gives it back to. */
export type ChunkSource = Pick<ChunkPool, "allocate" | "free">;

/** Chunks beside the pool and its budget, for who looks at a few records and forgets them: nothing makes room for them. */
export const UNPOOLED: ChunkSource = {
  allocate: (bytes) => new Chunk(Buffer.allocUnsafe(bytes), -1),
  free: () => {},
};

export class ChunkPool {
  /** Bytes of all chunks handed out. */
  usedBytes = 0;
  private readonly reusable: Chunk[][] = CLASS_BYTES.map(() => []);
  /** Chunks that may be evicted, oldest first. */
  private readonly evictable = new Set<Chunk>();

  /** @param budgetBytes what caches may hold; what must be held (tails, pinned ranges) is held beyond it too */
  constructor(readonly budgetBytes: number) {}

  /**
   * A chunk of at least `bytes`, of the wished class if the budget allows.
   * Content and positions are the caller's to set; the buffer is not cleared.
   */
  allocate(bytes: number, wishedClass: number): Chunk {
    let sizeClass = wishedClass;
    if (this.usedBytes + CLASS_BYTES[sizeClass] > this.budgetBytes) this.makeRoom(CLASS_BYTES[sizeClass]);
    while (sizeClass > 0 && this.usedBytes + CLASS_BYTES[sizeClass] > this.budgetBytes) sizeClass--;
    while (sizeClass <= LARGEST_CLASS && CLASS_BYTES[sizeClass] < bytes) sizeClass++;
    if (sizeClass > LARGEST_CLASS) {
      // Larger than any class: a chunk of its own, not pooled.
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

  /** From here on the chunk is a cache: its owner can be asked to give it up. */
  markEvictable(chunk: Chunk, owner: ChunkOwner): void {
    chunk.owner = owner;
    this.evictable.add(chunk);
  }

  /** The owner no longer needs the chunk. Its memory is reused once no pending write refers to it. */
  free(chunk: Chunk): void {
    this.evictable.delete(chunk);
    chunk.owner = undefined;
    chunk.freed = true;
    if (chunk.pins === 0) this.reuse(chunk);
  }

  unpin(chunk: Chunk): void {
    chunk.pins--;
    if (chunk.pins === 0 && chunk.freed) this.reuse(chunk);
  }

  private reuse(chunk: Chunk): void {
    this.usedBytes -= chunk.buffer.length;
    if (chunk.sizeClass < 0) return;
    const pooled = this.reusable[chunk.sizeClass];
    if (pooled.length < POOLED_PER_CLASS[chunk.sizeClass]) pooled.push(chunk);
  }

  private makeRoom(bytes: number): void {
    for (const chunk of this.evictable) {
      if (this.usedBytes + bytes <= this.budgetBytes) return;
      // One that a slow consumer pins too, though its memory comes back later: a log gives up its oldest chunk first,
      // so a pinned one would keep all behind it.
      chunk.owner?.evict(chunk);
    }
  }
}
