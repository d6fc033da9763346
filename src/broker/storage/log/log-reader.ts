import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { LastRun } from "../file-notes.ts";
import type { Chunk, ChunkSource, Gap } from "./chunk.ts";
import type { PieceCache } from "./commit-pieces.ts";
import { commitAtTime, missingBetween, readBlock, segmentAt, survives } from "./commit-read.ts";
import { type CommitRun, readCommits } from "./commit-run.ts";
import type { DamagedCommits } from "./damaged-commit.ts";
import type { IndexEntry } from "./index-format.ts";
import { isDamage, type Mender, RecordsAreMended } from "./mender.ts";
import { ReadingSegments } from "./reading-segments.ts";
import type { Segment } from "./segment.ts";

/** Where a log ends. */
export interface LogExtent {
  readonly startSequence: number;
  readonly nextSequence: number;
  readonly endPosition: number;
  /** Position after the last record. */
  readonly recordedEnd: number;
}

export interface LogReaderOptions {
  topicName: string;
  /** Messages below this sequence were on the disk when the run before ended. */
  syncedSequence?: number | undefined;
  lastRun?: LastRun;
}

/** Reads and finds records in the segments of one log. */
export class LogReader {
  /** Damaged records come from elsewhere, and readers wait for them; undefined: they are skipped. */
  mender: Mender | undefined;
  private readonly reading = new ReadingSegments();

  /** @param segments those of the log, in order */
  constructor(
    private readonly options: LogReaderOptions,
    private readonly segments: readonly Segment[],
    private readonly extent: LogExtent,
    private readonly damaged: DamagedCommits,
    /** Closes the files of a segment that is not read any more. */
    private readonly closeIfIdle: (segment: Segment) => void,
  ) {}

  /** Whether a segment's files stay open because it was read a while ago. */
  isReading(segment: Segment): boolean {
    return this.reading.has(segment);
  }

  forget(segment: Segment): void {
    this.reading.forget(segment);
  }

  forgetAll(): void {
    this.reading.clear();
  }

  /** A segment is about to be read. */
  note(segment: Segment): void {
    const unused = this.reading.note(segment);
    if (unused !== undefined) this.closeIfIdle(unused);
  }

  /** How many sequences from one on the log has no records for: they were skipped, or lost. */
  missingFrom(sequence: number): number {
    return missingBetween(this.segments, sequence, this.extent.nextSequence);
  }

  /** Whether a record of an earlier run survived that run's end (LogFiles.survivedRestart()). @throws UnreadableFile */
  survives(sequence: number): boolean {
    const { lastRun, syncedSequence = Number.POSITIVE_INFINITY } = this.options;
    return survives(this.segments, this.extent.startSequence, sequence, syncedSequence, lastRun);
  }

  /**
   * Reads the commits from `position` on into a new chunk, compares each with its checksum, and ends before the first damaged
   * one. Of a commit that is larger than `maxBytes` it may read a part only (commit-pieces.ts).
   *
   * @param quietly damage is neither logged nor counted nor mended, for callers that may inspect the same messages again and again
   * @returns a Gap if the first commit is damaged
   * @throws UnreadableFile if it cannot be read: whether it is damaged is not known then, or it is read from another replica
   */
  read(position: number, maxBytes: number, pool: ChunkSource, quietly = false): Chunk | Gap {
    const segment = segmentAt(this.segments, position);
    if (segment === undefined) return this.gapAt(position, quietly);
    this.note(segment);
    const found = this.entriesAt(segment, position - segment.basePosition, maxBytes);
    const [first] = found;
    let block: Chunk | Error;
    try {
      block = readBlock(segment, found, position, maxBytes, pool);
    } catch (error) {
      if (!quietly) this.mendUnreadable(error, first.firstSequence, first.firstSequence + first.count);
      throw error;
    }
    if (!(block instanceof Error)) return block;
    const nextSequence = first.firstSequence + first.count;
    if (!quietly) {
      this.mend(segment.logPath, first.firstSequence, nextSequence, block);
      this.damaged.report(segment, first, block, this.mender !== undefined);
    }
    return { isGap: true, nextPosition: segment.basePosition + first.offset + first.length, nextSequence };
  }

  /** The entries from the one at an offset on. Where damage is mended, the index is not trusted. @throws UnreadableFile */
  private entriesAt(segment: Segment, offset: number, maxBytes: number): IndexEntry[] {
    const isChecked = this.mender !== undefined;
    try {
      const found = segment.entriesFrom(segment.findByOffset(offset), maxBytes, isChecked);
      if (isChecked && (offset < found[0].offset || offset >= found[0].offset + found[0].length)) throw segment.damagedIndex();
      return found;
    } catch (error) {
      noteDamage(segment, error);
      this.mendUnreadable(error, segment.baseSequence, segment.nextSequence);
      throw error;
    }
  }

  /** @throws RecordsAreMended if another replica may have the records */
  private mend(path: string, from: number, to: number, problem: Error): void {
    if (this.mender?.need(from, to, problem) === true) throw new RecordsAreMended(path, from, to);
  }

  private mendUnreadable(error: unknown, from: number, to: number): void {
    if (error instanceof UnreadableFile && isDamage(error)) this.mend(error.path, from, to, error);
  }

  /**
   * Position of the commit that has a sequence, or of the gap if the sequence is missing between segments.
   *
   * @param pieces of a commit whose pieces are known, the position of the one that has the sequence
   */
  locate(sequence: number, pieces?: PieceCache): number {
    const { segments, extent } = this;
    const index = segments.findIndex((candidate) => sequence < candidate.nextSequence);
    if (index < 0) return sequence < extent.nextSequence ? extent.recordedEnd : extent.endPosition;
    const segment = segments[index];
    if (sequence < segment.baseSequence) return index > 0 ? segments[index - 1].endPosition : segment.basePosition;
    const entry = segment.entryAt(segment.findBySequence(sequence));
    const piece = pieces?.get(segment, entry)?.offsetOfRecord(sequence - entry.firstSequence) ?? 0;
    return segment.basePosition + entry.offset + piece;
  }

  /** Position, first sequence and time of the commit that has a sequence, or of the gap if the sequence is missing between segments. */
  runAt(sequence: number): { position: number; sequence: number; timeMs?: number } {
    const position = this.locate(sequence);
    const segment = segmentAt(this.segments, position);
    if (segment === undefined) return { position, sequence };
    const { firstSequence, timeMs } = segment.entryAt(segment.findByOffset(position - segment.basePosition));
    return { position, sequence: firstSequence, timeMs };
  }

  /** Sequences [from, to) of the first commit at or after a time; undefined when all are older. */
  commitAtTime(timeMs: number): { from: number; to: number } | undefined {
    return commitAtTime(this.segments, timeMs);
  }

  /** First sequence of the commit at a position, or of the commit behind the gap that the position is in. `position < endPosition`. */
  commitAtPosition(position: number): number {
    const segment = segmentAt(this.segments, position);
    if (segment === undefined) return this.gapAt(position, true).nextSequence;
    return segment.entryAt(segment.findByOffset(position - segment.basePosition)).firstSequence;
  }

  /** What TopicLog.commitsFrom() returns, without what only the journal has. @param cached finds a chunk in memory that has a position */
  commitsFrom(sequence: number, maxBytes: number, cached: (position: number) => Chunk | undefined): CommitRun | Gap | undefined {
    const segment = this.segments.find((candidate) => sequence < candidate.nextSequence);
    let run: CommitRun | Gap | undefined;
    try {
      run = readCommits(segment, sequence, maxBytes, cached, this.mender !== undefined);
    } catch (error) {
      if (segment !== undefined) noteDamage(segment, error);
      this.mendUnreadable(error, sequence, segment?.nextSequence ?? sequence + 1);
      throw error;
    }
    if (run?.isGap === true) this.mend(segment?.logPath ?? "", sequence, run.nextSequence, new Error("damaged or missing"));
    return run;
  }

  /**
   * The gap that a position is in: recovery could not use the records there, or sequences were skipped.
   * @throws RecordsAreMended if another replica may have the records
   */
  private gapAt(position: number, quietly: boolean): Gap {
    const at = this.segments.findIndex(({ basePosition }) => position < basePosition);
    if (at < 0) {
      const { endPosition: nextPosition, nextSequence } = this.extent;
      if (position < nextPosition) return { isGap: true, nextPosition, nextSequence };
      throw new Error(`log of ${this.options.topicName} ends at ${nextPosition}, before position ${position}`);
    }
    const { basePosition: nextPosition, baseSequence: nextSequence, logPath } = this.segments[at];
    const from = this.segments[at - 1]?.nextSequence;
    if (!quietly && from !== undefined && from < nextSequence) this.mend(logPath, from, nextSequence, new Error("its segment is missing"));
    return { isGap: true, nextPosition, nextSequence };
  }

  /** Compares every commit with its checksum, and reports and keeps those that are damaged and were not kept before. */
  keepDamaged(): void {
    for (const segment of this.segments) {
      this.damaged.reportAll(segment);
      this.closeIfIdle(segment);
    }
  }
}

/** The records may be whole, and nothing tells where they are. */
function noteDamage(segment: Segment, error: unknown): void {
  if (error instanceof UnreadableFile && isDamage(error) && error.path === segment.indexPath) segment.isIndexDamaged = true;
}
