import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { Chunk, ChunkSource } from "./chunk.ts";
import type { Segment } from "./segment.ts";
import type { IndexEntry } from "./segment-index.ts";

/**
 * Reads the records of consecutive entries to the start of a chunk, and compares them with their checksums. If they cannot be read
 * together, those of the first entry are read alone: what cannot be read may be behind them.
 *
 * @param pool gets the chunk back when nothing can be read
 * @returns the last entry before the first damaged one; or what is wrong with the first one
 * @throws UnreadableFile if not even the first one can be read
 */
export function readCommits(segment: Segment, found: readonly IndexEntry[], chunk: Chunk, pool: ChunkSource): IndexEntry | Error {
  let entries = found;
  let problem = read(segment, entries, chunk);
  if (problem !== undefined && entries.length > 1) {
    entries = entries.slice(0, 1);
    problem = read(segment, entries, chunk);
  }
  if (problem instanceof UnreadableFile) {
    pool.free(chunk);
    throw problem;
  }
  if (problem !== undefined) return problem;
  const [first] = entries;
  let good: IndexEntry | undefined;
  for (const entry of entries) {
    const from = entry.offset - first.offset;
    if (Bun.hash.crc32(chunk.buffer.subarray(from, from + entry.length)) !== entry.crc) break;
    good = entry;
  }
  return good ?? new Error("checksum does not match");
}

function read(segment: Segment, entries: readonly IndexEntry[], chunk: Chunk): Error | undefined {
  const first = entries[0];
  const last = entries[entries.length - 1];
  try {
    segment.read(chunk.buffer, 0, first.offset, last.offset + last.length - first.offset);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** How many sequences in [from, to) are in no segment: they were skipped, or lost. */
export function missingBetween(segments: readonly Segment[], from: number, to: number): number {
  let next = from;
  let missing = 0;
  for (const segment of segments) {
    missing += Math.max(0, segment.baseSequence - next);
    next = Math.max(next, segment.nextSequence);
  }
  return missing + Math.max(0, to - next);
}
