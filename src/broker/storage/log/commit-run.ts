import { BODY_OFFSET, ID_OFFSET, isMessageType } from "../../../frame/frame.ts";
import { hasHeader, isWellFormed } from "../../../frame/header.ts";
import { readSequence, SEQUENCE_SPAN } from "../../../frame/id.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { Chunk, Gap } from "./chunk.ts";
import { readBytes } from "./commit-read.ts";
import { encodeEntry, INDEX_ENTRY_BYTES, type IndexEntry } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** A commit as its log has it, or a mebibyte of a large one: what one index entry says, wherever the records are. */
export type Commit = Omit<IndexEntry, "offset">;

/** Consecutive commits of one segment, as a leader sends them to its followers. */
export interface CommitRun {
  readonly isGap: false;
  /** The epoch of all of them. */
  readonly epoch: number;
  /** The first one is the first of its segment. A follower begins a segment with it as well, so that their files are equal. */
  readonly startsSegment: boolean;
  readonly commits: readonly Commit[];
  /** Their records. They may be in the log's memory: they are valid until the caller returns to the event loop. */
  readonly bytes: Buffer;
  /** The idempotency keys of their messages, by the sequences of these. The log itself has none. */
  readonly keys?: readonly { readonly key: string; readonly sequence: number }[];
}

/** What a leader sent does not follow on the follower's log, or is not what it says. */
export class CommitRunError extends Error {
  override name = "CommitRunError";
}

/**
 * Reads the commits from a sequence on, and compares those that are read from files with their checksums. A commit in which the sequence
 * is not the first is cut: an index that was rebuilt has other commits than those of other replicas.
 *
 * @param segment the one that has the sequence, or the first one behind it; undefined: the log ends before
 * @param maxBytes the most bytes of records, but for a single commit that has more
 * @param cached finds a chunk in memory that has a position
 * @param isChecked the index is not trusted either
 * @returns a Gap where the first commit is damaged or missing; undefined at the end of the log
 * @throws UnreadableFile
 */
export function readCommits(
  segment: Segment | undefined,
  sequence: number,
  maxBytes: number,
  cached: (position: number) => Chunk | undefined,
  isChecked = false,
): CommitRun | Gap | undefined {
  if (segment === undefined) return undefined;
  const { baseSequence, basePosition, epoch } = segment;
  if (sequence < baseSequence) return { isGap: true, nextPosition: basePosition, nextSequence: baseSequence };
  const found = segment.entriesFrom(segment.findBySequence(sequence), maxBytes, isChecked).filter(({ count }) => count > 0);
  if (isChecked && !hasSequence(found[0], sequence)) throw segment.damagedIndex();
  const { commits, bytes } = cachedCommits(segment, found, cached) ?? storedCommits(segment, found);
  const [first] = commits;
  if (first === undefined) {
    const [{ offset, length, firstSequence, count }] = found;
    return { isGap: true, nextPosition: basePosition + offset + length, nextSequence: firstSequence + count };
  }
  const startsSegment = sequence === baseSequence;
  if (sequence === first.firstSequence) return { isGap: false, epoch, startsSegment, commits, bytes };
  const cut = offsetOfRecord(bytes, sequence - first.firstSequence);
  return {
    isGap: false,
    epoch,
    startsSegment,
    commits: [partFrom(first, bytes, sequence, cut), ...commits.slice(1)],
    bytes: bytes.subarray(cut),
  };
}

function hasSequence(entry: IndexEntry | undefined, sequence: number): boolean {
  return entry !== undefined && sequence >= entry.firstSequence && sequence < entry.firstSequence + entry.count;
}

interface FoundCommits {
  commits: Commit[];
  bytes: Buffer;
}

/** Those of the commits that one chunk in memory has; undefined if it has not even the first one. */
function cachedCommits(
  segment: Segment,
  found: readonly IndexEntry[],
  cached: (position: number) => Chunk | undefined,
): FoundCommits | undefined {
  const start = segment.basePosition + found[0].offset;
  const chunk = cached(start);
  if (chunk === undefined) return undefined;
  const commits = found.filter(({ offset, length }) => segment.basePosition + offset + length <= chunk.end);
  const last = commits[commits.length - 1];
  if (last === undefined) return undefined;
  const from = chunk.offsetOf(start);
  return { commits, bytes: chunk.buffer.subarray(from, from + last.offset + last.length - found[0].offset) };
}

/** The commits before the first damaged one. */
function storedCommits(segment: Segment, found: readonly IndexEntry[]): FoundCommits {
  const { offset } = found[0];
  const last = found[found.length - 1];
  const bytes = Buffer.allocUnsafeSlow(last.offset + last.length - offset);
  const commits: Commit[] = [];
  let end = 0;
  for (const entry of readable(segment, found, bytes)) {
    const to = entry.offset + entry.length - offset;
    if (Bun.hash.crc32(bytes.subarray(entry.offset - offset, to)) !== entry.crc) break;
    commits.push(entry);
    end = to;
  }
  return { commits, bytes: bytes.subarray(0, end) };
}

/** Reads the records of all commits, or of the first one, if the file has no more. @returns those that were read */
function readable(segment: Segment, found: readonly IndexEntry[], bytes: Buffer): readonly IndexEntry[] {
  const [first] = found;
  let problem = readBytes(segment, bytes, first.offset, bytes.length);
  if (problem === undefined) return found;
  if (found.length > 1) problem = readBytes(segment, bytes, first.offset, first.length);
  if (problem instanceof UnreadableFile) throw problem;
  return problem === undefined ? [first] : [];
}

function offsetOfRecord(bytes: Buffer, number: number): number {
  let at = 0;
  for (let i = 0; i < number; i++) at += 4 + bytes.readUInt32BE(at);
  return at;
}

/** The part of a commit from a sequence on. @param bytes begin with the commit @param cut where the part begins */
function partFrom(commit: Commit, bytes: Buffer, sequence: number, cut: number): Commit {
  const { firstSequence, count, length, timeMs } = commit;
  const crc = Bun.hash.crc32(bytes.subarray(cut, length));
  return { firstSequence: sequence, count: firstSequence + count - sequence, length: length - cut, timeMs, crc };
}

/** What a run has below a sequence, which is above its first one. @param run its checksums match */
export function runBelow(run: CommitRun, sequence: number): CommitRun {
  const commits: Commit[] = [];
  let end = 0;
  for (const commit of run.commits) {
    const { firstSequence, count, length } = commit;
    if (firstSequence >= sequence) break;
    const isWhole = firstSequence + count <= sequence;
    const kept = isWhole ? length : offsetOfRecord(run.bytes.subarray(end), sequence - firstSequence);
    const crc = isWhole ? commit.crc : Bun.hash.crc32(run.bytes.subarray(end, end + kept));
    commits.push({ ...commit, count: Math.min(count, sequence - firstSequence), length: kept, crc });
    end += kept;
  }
  return { ...run, commits, bytes: run.bytes.subarray(0, end) };
}

/** Encodes the index entries of commits, the first of which is at an offset. */
export function encodeRun(commits: readonly Commit[], offset: number): { entries: Buffer; last: IndexEntry } {
  const entries = Buffer.alloc(commits.length * INDEX_ENTRY_BYTES);
  let last = { ...commits[0], offset };
  for (const [i, commit] of commits.entries()) {
    if (i > 0) last = { ...commit, offset: last.offset + last.length };
    encodeEntry(entries, i * INDEX_ENTRY_BYTES, last);
  }
  return { entries, last };
}

/** The part of a commit before a sequence; undefined where the commit is damaged. @throws UnreadableFile */
export function partBefore(segment: Segment, commit: IndexEntry, sequence: number): IndexEntry | undefined {
  const { bytes, commits } = storedCommits(segment, [commit]);
  if (commits.length === 0) return undefined;
  const { offset, firstSequence, timeMs } = commit;
  const count = sequence - firstSequence;
  const length = offsetOfRecord(bytes, count);
  return { offset, firstSequence, length, count, timeMs, crc: Bun.hash.crc32(bytes.subarray(0, length)) };
}

/**
 * Checks what a leader sent before anything of it is trusted.
 *
 * @param next the sequence after the follower's last record
 * @returns whether any record has a header (frame/header.ts)
 * @throws CommitRunError
 */
export function checkRun({ commits, bytes }: CommitRun, next: number): boolean {
  if (commits.length === 0) throw new CommitRunError("no commits");
  let at = 0;
  let anyHeader = false;
  for (const commit of commits) {
    const { firstSequence, count, length, timeMs, crc } = commit;
    if (!Number.isFinite(timeMs)) throw new CommitRunError(`the commit at sequence ${next} has no time`);
    if (firstSequence !== next) throw new CommitRunError(`a commit begins at sequence ${firstSequence}, and the log ends at ${next}`);
    if (!Number.isInteger(length) || length <= 0 || length > bytes.length - at)
      throw new CommitRunError(`a commit of ${length} bytes does not fit`);
    if (Bun.hash.crc32(bytes.subarray(at, at + length)) !== crc)
      throw new CommitRunError(`checksum of the commit at sequence ${next} does not match`);
    const end = at + length;
    if (readSequence(bytes, at + ID_OFFSET) !== firstSequence % SEQUENCE_SPAN)
      throw new CommitRunError(`the first record is not ${firstSequence}`);
    for (; at < end; next++) {
      const to = end - at < BODY_OFFSET ? Number.POSITIVE_INFINITY : at + 4 + bytes.readUInt32BE(at);
      if (to > end || !isMessageType(bytes.readUInt32BE(at + 4)) || !isWellFormed(bytes, at, to - at))
        throw new CommitRunError(`the record ${next} is damaged`);
      if (hasHeader(bytes, at)) anyHeader = true;
      at = to;
    }
    if (next !== firstSequence + count) throw new CommitRunError(`a commit has ${next - firstSequence} records instead of ${count}`);
  }
  if (at !== bytes.length) throw new CommitRunError(`${bytes.length - at} bytes belong to no commit`);
  return anyHeader;
}
