/** How many bytes one read for a lagging channel brings into memory, unless a single record is larger. */
const LEVELS = [16 * 1024, 128 * 1024, 512 * 1024];
/** How large the chunk is that these take. */
const CHUNK_BYTES = [16 * 1024, 128 * 1024, 1024 * 1024];
/** So many times the next level's bytes must be read through before the reads become as large. */
const PATIENCE = 8;

/**
 * How much is read at once for channels that lag. One channel is served best by large reads. Where many are at different places, the
 * blocks of all of them have to be in memory together: a block that is evicted before its reader has passed it is read again and
 * again. So reads become smaller when that happens, and larger again when larger blocks for all readers would take no more than half of
 * the memory.
 */
export class ReadAhead {
  private level = LEVELS.length - 1;
  /** Bytes of the blocks that were passed since the level changed. */
  private passedBytes = 0;

  /** @param budgetBytes the memory for all chunks */
  constructor(private readonly budgetBytes: number) {}

  get bytes(): number {
    return LEVELS[this.level];
  }

  /** A block was read through. @param readers how many other blocks are being read */
  passed(bytes: number, readers: number): void {
    const next = this.level + 1;
    if (next === LEVELS.length) return;
    this.passedBytes += bytes;
    if (this.passedBytes < PATIENCE * LEVELS[next] || (readers + 1) * CHUNK_BYTES[next] > this.budgetBytes / 2) return;
    this.level = next;
    this.passedBytes = 0;
  }

  /** A block was evicted before it was read through. @param bytes of its chunk */
  evicted(bytes: number): void {
    // Larger ones are from before reads became smaller.
    if (this.level === 0 || bytes > CHUNK_BYTES[this.level]) return;
    this.level--;
    this.passedBytes = 0;
  }
}
