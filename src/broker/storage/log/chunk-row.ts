import type { Chunk, ChunkPool } from "./chunk.ts";
import type { CommitPart } from "./segment.ts";

// The chunks of one log that have its newest records: one follows on the other, the oldest is the first.

/** The chunk that has a position, which is not in front of the first one; undefined behind the last one. */
export function chunkWith(chunks: readonly Chunk[], position: number): Chunk | undefined {
  let low = 0;
  let high = chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (chunks[middle].start <= position) low = middle;
    else high = middle - 1;
  }
  return position < chunks[low].end ? chunks[low] : undefined;
}

/** The records from a position and sequence on up to a position. */
export function partsBetween(chunks: readonly Chunk[], from: number, sequence: number, to: number): CommitPart[] {
  const parts: CommitPart[] = [];
  for (let i = chunks.length - 1; i >= 0; i--) {
    const chunk = chunks[i];
    if (chunk.end <= from) break;
    if (chunk.start >= to) continue;
    parts.unshift({
      buffer: chunk.buffer,
      from: chunk.offsetOf(Math.max(chunk.start, from)),
      to: chunk.offsetOf(Math.min(chunk.end, to)),
      firstSequence: Math.max(chunk.firstSequence, sequence),
      continuesBatch: chunk.continuesBatch,
    });
  }
  return parts;
}

/** Removes the records from a position on. */
export function cutChunks(chunks: Chunk[], position: number, pool: ChunkPool): void {
  while (chunks.length > 0 && chunks[chunks.length - 1].start >= position) pool.free(chunks.pop() as Chunk);
  const last = chunks[chunks.length - 1];
  if (last !== undefined && last.end > position) last.end = position;
}
