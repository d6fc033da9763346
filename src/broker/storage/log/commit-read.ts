import { ScratchBuffer } from "../../../base/scratch-buffer.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { LastRun } from "../file-notes.ts";
import type { Chunk, ChunkSource } from "./chunk.ts";
import { CommitPieces, type PieceCache } from "./commit-pieces.ts";
import type { IndexEntry } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** A commit of up to this size is read whole into a buffer that is kept. */
const SCRATCH_BYTES = 1024 * 1024;
const scratch = new ScratchBuffer();
/** Records are read in pieces of this size to compare their checksum. */
const VERIFY_BYTES = 256 * 1024;

/**
 * Reads the records of consecutive entries into a new chunk, and compares them with their checksums. The chunk ends before the first
 * damaged one. Of a single commit that is much larger than asked for, the chunk gets the pieces from `position` on.
 *
 * @param found entries of `maxBytes` together, or one
 * @param position in the log, in the first entry
 * @returns what is wrong with the first entry
 * @throws UnreadableFile if not even that one can be read
 */
export function readBlock(
  segment: Segment,
  found: readonly IndexEntry[],
  position: number,
  maxBytes: number,
  pool: ChunkSource,
): Chunk | Error {
  const [first] = found;
  const { pieces } = pool;
  if (pieces !== undefined && first.length > wholeBytes(maxBytes)) return readPieces(segment, first, position, maxBytes, pool, pieces);
  const last = found[found.length - 1];
  const chunk = pool.allocate(last.offset + last.length - first.offset, 0);
  const good = readCommits(segment, found, chunk, pool);
  if (good instanceof Error) {
    pool.free(chunk);
    return good;
  }
  return place(chunk, segment, first, 0, good.offset + good.length - first.offset, 0);
}

/** A commit of up to this size is kept whole where `maxBytes` were asked for: it takes the same chunk. */
function wholeBytes(maxBytes: number): number {
  return maxBytes > 128 * 1024 ? 1024 * 1024 : Math.max(16 * 1024, maxBytes);
}

function place(chunk: Chunk, segment: Segment, entry: IndexEntry, from: number, to: number, recordsBefore: number): Chunk {
  chunk.start = segment.basePosition + entry.offset + from;
  chunk.end = segment.basePosition + entry.offset + to;
  chunk.firstSequence = entry.firstSequence + recordsBefore;
  return chunk;
}

/** Reads a part of a commit. The first part of a commit that is asked for has the whole commit read, since only the whole has a checksum. */
function readPieces(
  segment: Segment,
  entry: IndexEntry,
  position: number,
  maxBytes: number,
  pool: ChunkSource,
  cache: PieceCache,
): Chunk | Error {
  const offset = position - segment.basePosition - entry.offset;
  const known = cache.get(segment, entry);
  if (known !== undefined) {
    const range = known.from(offset, maxBytes);
    const chunk = pool.allocate(range.to - range.from, 0);
    const problem = readBytes(segment, chunk.buffer, entry.offset + range.from, range.to - range.from);
    if (problem === undefined && known.match(chunk.buffer, range)) {
      return place(chunk, segment, entry, range.from, range.to, range.recordsBefore);
    }
    pool.free(chunk);
    if (problem instanceof UnreadableFile) throw problem;
  }
  const whole = entry.length > SCRATCH_BYTES ? Buffer.allocUnsafeSlow(entry.length) : scratch.reserve(entry.length);
  const problem = readBytes(segment, whole, entry.offset, entry.length);
  if (problem instanceof UnreadableFile) throw problem;
  if (problem !== undefined) return problem;
  if (Bun.hash.crc32(whole.subarray(0, entry.length)) !== entry.crc) return new Error(MISMATCH);
  const pieces = new CommitPieces(whole, entry.length);
  cache.set(segment, entry, pieces);
  const range = pieces.from(offset, maxBytes);
  const chunk = pool.allocate(range.to - range.from, 0);
  whole.copy(chunk.buffer, 0, range.from, range.to);
  return place(chunk, segment, entry, range.from, range.to, range.recordsBefore);
}

const MISMATCH = "checksum does not match";

/**
 * Reads the records of consecutive entries to the start of a chunk, and compares them with their checksums. If they cannot be read
 * together, those of the first entry are read alone: what cannot be read may be behind them.
 *
 * @param pool gets the chunk back when nothing can be read
 * @returns the last entry before the first damaged one; or what is wrong with the first one
 * @throws UnreadableFile if not even the first one can be read
 */
function readCommits(segment: Segment, found: readonly IndexEntry[], chunk: Chunk, pool: ChunkSource): IndexEntry | Error {
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
  return good ?? new Error(MISMATCH);
}

function read(segment: Segment, entries: readonly IndexEntry[], chunk: Chunk): Error | undefined {
  const first = entries[0];
  const last = entries[entries.length - 1];
  return readBytes(segment, chunk.buffer, first.offset, last.offset + last.length - first.offset);
}

/** The checksum of bytes of a segment; undefined where the file ends before. @throws UnreadableFile */
export function checksumOf(segment: Segment, offset: number, length: number): number | undefined {
  const bytes = Buffer.allocUnsafe(Math.min(VERIFY_BYTES, length));
  let crc = 0;
  try {
    for (let at = 0; at < length; at += bytes.length) {
      const count = Math.min(bytes.length, length - at);
      segment.read(bytes, 0, offset + at, count);
      crc = Bun.hash.crc32(bytes.subarray(0, count), crc);
    }
  } catch (error) {
    if (error instanceof UnreadableFile) throw error;
    return undefined;
  }
  return crc;
}

/** @returns why the bytes cannot be read */
export function readBytes(segment: Segment, target: Buffer, offset: number, length: number): Error | undefined {
  try {
    segment.read(target, 0, offset, length);
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

/**
 * Whether a record of an earlier run survived that run's end, even if its segment was removed later. @throws UnreadableFile
 *
 * @param start the log's first sequence
 * @param synced messages below this sequence were on the disk
 */
export function survives(
  segments: readonly Segment[],
  start: number,
  sequence: number,
  synced: number,
  lastRun: LastRun | undefined,
): boolean {
  const isSynced = sequence < synced;
  // What a run wrote is there after its kill, and what is not there any more was removed because it was finished.
  if (sequence < start) return isSynced || lastRun === "killed" || lastRun === "clean";
  const segment = segments.find((candidate) => sequence >= candidate.baseSequence && sequence < candidate.nextSequence);
  if (segment === undefined) return false;
  return isSynced || segment.verify(segment.entryAt(segment.findBySequence(sequence)));
}

/** Sequences [from, to) of the first commit at or after a time; undefined when all are older. */
export function commitAtTime(segments: readonly Segment[], timeMs: number): { from: number; to: number } | undefined {
  const segment = segments.find((candidate) => candidate.entries > 0 && candidate.newestMs >= timeMs);
  if (segment === undefined) return undefined;
  const number = segment.findByTime(timeMs);
  if (number === segment.entries) return { from: segment.nextSequence, to: segment.nextSequence };
  const { firstSequence, count } = segment.entryAt(number);
  return { from: firstSequence, to: firstSequence + count };
}

/** The segment that a position is in; undefined for a position in a gap. */
export function segmentAt(segments: readonly Segment[], position: number): Segment | undefined {
  for (const segment of segments) {
    if (position < segment.endPosition) return position < segment.basePosition ? undefined : segment;
  }
  return undefined;
}
