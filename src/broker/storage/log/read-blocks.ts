import type { Chunk } from "./chunk.ts";

/** The blocks that a log has read from its files, in the order of their positions. No two have a record in common. */
export class ReadBlocks {
  private readonly blocks: Chunk[] = [];

  /** The block that has a position. */
  at(position: number): Chunk | undefined {
    const block = this.blocks[this.indexBefore(position)];
    return block !== undefined && position < block.end ? block : undefined;
  }

  /** The block that ends at a position. */
  endingAt(position: number): Chunk | undefined {
    const block = this.blocks[this.indexBefore(position - 1)];
    return block?.end === position ? block : undefined;
  }

  /** Start of the first block behind a position; Infinity if there is none. */
  startAfter(position: number): number {
    return this.blocks[this.indexBefore(position) + 1]?.start ?? Number.POSITIVE_INFINITY;
  }

  /** Adds a block. @returns those that it covers, which are not among the blocks any more */
  add(block: Chunk): Chunk[] {
    let from = this.indexBefore(block.start);
    if (from < 0 || this.blocks[from].start < block.start) from++;
    let to = from;
    while (to < this.blocks.length && this.blocks[to].start < block.end) to++;
    return this.blocks.splice(from, to - from, block);
  }

  /** @returns whether the block was there */
  remove(block: Chunk): boolean {
    const index = this.indexBefore(block.start);
    if (this.blocks[index] !== block) return false;
    this.blocks.splice(index, 1);
    return true;
  }

  clear(): Chunk[] {
    return this.blocks.splice(0);
  }

  /** Index of the last block that does not begin behind a position; -1 if all do. */
  private indexBefore(position: number): number {
    let low = -1;
    let high = this.blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.blocks[middle].start <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
