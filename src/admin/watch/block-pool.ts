import { NO_VALUE } from "./scale.ts";

/** Values in a block. */
export const BLOCK_VALUES = 120;
/** Memory is taken from the system this many blocks at a time. */
const BLOCKS_PER_CHUNK = 4_096;
const BLOCK_BYTES = BLOCK_VALUES * Uint16Array.BYTES_PER_ELEMENT;
/** References have 31 bits. */
const MOST_BLOCKS = 2 ** 30;
/** A reclaim takes about 2 ms. */
const MOST_RECLAIMS = 4;

/** Blocks of 16-bit values out of a bounded amount of memory, which grows as it is needed and is used again. */
export class BlockPool {
  private readonly chunks: Uint16Array[] = [];
  private readonly free: number[] = [];
  private readonly mostBlocks: number;
  private made = 0;
  private reclaims = 0;

  /**
   * @param budgetBytes what all blocks may take together
   * @param reclaim is called when all blocks are in use, and gives back those that will be missed least; false if there are none
   */
  constructor(
    budgetBytes: number,
    private readonly reclaim: () => boolean,
  ) {
    this.mostBlocks = Math.min(MOST_BLOCKS, Math.floor(budgetBytes / BLOCK_BYTES));
  }

  /** What has been taken from the system. */
  get bytes(): number {
    return this.chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Blocks may be reclaimed again. It takes a look at all series, so it is done no more than a few times for all values of a slot. */
  allowReclaim(): void {
    this.reclaims = 0;
  }

  /** @returns a block without values; undefined if all are in use */
  take(): number | undefined {
    const isFull = this.free.length === 0 && this.made >= this.mostBlocks;
    if (isFull && this.reclaims < MOST_RECLAIMS) {
      this.reclaims++;
      this.reclaim();
    }
    const freed = this.free.pop();
    if (freed !== undefined) {
      const at = (freed % BLOCKS_PER_CHUNK) * BLOCK_VALUES;
      this.chunkOf(freed).fill(NO_VALUE, at, at + BLOCK_VALUES);
      return freed;
    }
    if (this.made >= this.mostBlocks) return undefined;
    if (this.made === this.chunks.length * BLOCKS_PER_CHUNK) {
      const blocks = Math.min(BLOCKS_PER_CHUNK, this.mostBlocks - this.made);
      this.chunks.push(new Uint16Array(blocks * BLOCK_VALUES).fill(NO_VALUE));
    }
    return this.made++;
  }

  give(block: number): void {
    this.free.push(block);
  }

  get(block: number, index: number): number {
    return this.chunkOf(block)[(block % BLOCKS_PER_CHUNK) * BLOCK_VALUES + index]!;
  }

  /** Sets the values of a block from `from` to in front of `to`. */
  fill(block: number, from: number, to: number, code: number): void {
    const at = (block % BLOCKS_PER_CHUNK) * BLOCK_VALUES;
    this.chunkOf(block).fill(code, at + from, at + to);
  }

  private chunkOf(block: number): Uint16Array {
    return this.chunks[Math.floor(block / BLOCKS_PER_CHUNK)]!;
  }
}
