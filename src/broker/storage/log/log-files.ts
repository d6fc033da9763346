import { type Ballast, NO_BALLAST } from "../disk/ballast.ts";
import { removeFolder } from "../disk/disk.ts";
import { type Chunk, type ChunkSource, type Gap, LARGEST_CLASS } from "./chunk.ts";
import { type LogRecoveryOptions, recoverSegments } from "./log-recovery.ts";
import { LogSync } from "./log-sync.ts";
import type { Recycler } from "./recycler.ts";
import { isRetained, isRetaining, MAX_AGED_SEGMENTS, NO_RETENTION, type Retention, segmentAgeMs, segmentBytes } from "./retention.ts";
import { type CommitPart, Segment } from "./segment.ts";
import type { IndexEntry } from "./segment-index.ts";

/** Segments that one log keeps open for reading: channels lag, and messages come again, at different places. */
const MAX_READING = 8;
/** An emptied segment of at least this size is exchanged for a recycled one: dead bytes on disk stay few. */
const EARLY_ROLL_BYTES = 8 * 1024 * 1024;
/** With retention every message is needed for a while, also when all channels have finished it. */
const NOTHING_FINISHED = (): number => 0;

export interface LogFilesOptions extends LogRecoveryOptions {
  /** A segment that reached this size is followed by the next. */
  maxBytesPerFile: number;
  syncEvery: number;
  recycler: Recycler;
  ballast?: Ballast;
}

/** The files under one topic's log: its segments in order, the last of which is written to. */
export class LogFiles {
  /** --sync-every and --sync-timeout count; else somebody has every commit synced. */
  syncsByItself = true;
  private readonly segments: Segment[];
  /** Segments that reads left open, the last one at the end. */
  private readonly reading: Segment[] = [];
  private retention = NO_RETENTION;
  private segmentBytes: number;
  /** A commit from then on goes to a new segment, so that the old one can be let go of in time. */
  private rollAtMs = Number.POSITIVE_INFINITY;
  /** Messages below were there already when this run began. */
  private readonly recoveredNext: number;
  /** Sequences below are not given again, though records of the last ones may be missing. */
  private skippedTo = 0;
  /** Sequence below which nobody needs a message any more, as of now. */
  finishedBelow = (): number => 0;
  private readonly syncs: LogSync;

  /**
   * Opens the files that an earlier run left, and cuts off a torn tail.
   *
   * @param firstSequence where an empty log starts
   */
  constructor(
    private readonly options: LogFilesOptions,
    private readonly firstSequence: number,
  ) {
    const made = options.disk.makeDirectory(options.directory);
    this.segmentBytes = options.maxBytesPerFile;
    this.segments = recoverSegments(options);
    this.recoveredNext = this.recordedNext;
    this.syncs = new LogSync(options, this.recordedNext, made, (segment, failure) => this.segmentSynced(segment, failure));
    this.syncs.addRecovered(this.segments);
  }

  get topicNumber(): number {
    return this.options.topicNumber;
  }

  get startSequence(): number {
    return this.segments.length > 0 ? this.segments[0].baseSequence : this.firstSequence;
  }

  get nextSequence(): number {
    return Math.max(this.skippedTo, this.recordedNext);
  }

  /** Sequence after the last record. */
  private get recordedNext(): number {
    return this.segments.length > 0 ? this.segments[this.segments.length - 1].nextSequence : this.firstSequence;
  }

  /**
   * Passes over sequences: messages that had them were lost with the log's end, and are known elsewhere still. An id
   * must never be given twice. The next commit begins a segment.
   */
  skipTo(sequence: number): void {
    this.skippedTo = Math.max(this.skippedTo, sequence);
  }

  /** Whether a sequence's record was written, damaged or not; not one that was passed over. */
  hasRecord(sequence: number): boolean {
    return this.segments.some((segment) => sequence >= segment.baseSequence && sequence < segment.nextSequence);
  }

  /**
   * Whether a sequence's record was written by an earlier run and survived it, or did until its segment was let go of. Not
   * one that was passed over, nor one that a crash tore before it was synced.
   */
  survivedRestart(sequence: number): boolean {
    const synced = sequence < (this.options.syncedSequence ?? Number.POSITIVE_INFINITY);
    if (sequence < this.startSequence) return synced;
    const segment = this.segments.find((candidate) => sequence >= candidate.baseSequence && sequence < candidate.nextSequence);
    if (segment === undefined) return false;
    return synced || segment.verify(segment.entryAt(segment.findBySequence(sequence)));
  }

  /** takeSyncedSequence() has told of the last sync. */
  get syncedSaved(): boolean {
    return this.syncs.syncedSaved;
  }

  /** The sequence up to which all is on the disk, for the store to note. */
  takeSyncedSequence(): number {
    return this.syncs.takeSyncedSequence();
  }

  /** Something that was committed is not known to be on the disk. */
  get hasUnsynced(): boolean {
    return this.syncs.hasUnsynced;
  }

  get endPosition(): number {
    const end = this.recordedEnd;
    // A position without a byte, so that readers come upon a gap where sequences are missing.
    return this.skippedTo > this.recordedNext ? end + 1 : end;
  }

  private get recordedEnd(): number {
    return this.segments.length > 0 ? this.segments[this.segments.length - 1].endPosition : 0;
  }

  commit(parts: CommitPart[], count: number, timeMs: number): void {
    let tail = this.segments.length > 0 ? this.segments[this.segments.length - 1] : undefined;
    const aged = tail !== undefined && timeMs >= this.rollAtMs && tail.entries > 0;
    if (tail === undefined || tail.length >= this.segmentBytes || aged || this.skippedTo > tail.nextSequence) tail = this.startSegment();
    const isFirst = tail.entries === 0;
    tail.commit(parts, count, timeMs);
    if (isFirst) this.rollAtMs = this.nextRollMs(tail);
    this.syncs.add(tail);
    if (this.syncs.isFull || (this.syncsByItself && this.needsSync(timeMs))) this.sync();
  }

  /** Recovery: records that a journal has and the files lack. Sequences before them are passed over if they are not there. */
  restoreJournaled(records: Buffer, firstSequence: number, count: number, timeMs: number): void {
    if (firstSequence > this.nextSequence) this.skipTo(firstSequence);
    this.commit([{ buffer: records, from: 0, to: records.length, firstSequence, continuesBatch: false }], count, timeMs);
  }

  private needsSync(timeMs: number): boolean {
    const finishedBelow = isRetaining(this.retention) ? NOTHING_FINISHED : this.finishedBelow;
    return this.syncs.isDue(timeMs, this.recordedNext, this.recordedEnd, finishedBelow);
  }

  /**
   * Starts bringing all that was committed to the disk, off the event loop.
   *
   * @param done called once all of it is there, that which an earlier sync still has under way too; or with what went wrong
   */
  sync(done?: (error: Error | undefined) => void): void {
    this.syncs.start(this.recordedNext, done);
  }

  /**
   * Reads the commits from `position` on into a chunk of its own, checks each against its checksum,
   * and stops before the first that is damaged.
   *
   * @param quietly damage is neither reported nor counted: who only looks may look again and again
   */
  read(position: number, maxBytes: number, pool: ChunkSource, quietly = false): Chunk | Gap {
    const segment = this.segmentAt(position);
    if (segment === undefined) return this.gapAt(position);
    this.noteReading(segment);
    let entries = segment.entriesFrom(segment.findByOffset(position - segment.basePosition), maxBytes);
    const first = entries[0];
    const last = entries[entries.length - 1];
    const chunk = pool.allocate(last.offset + last.length - first.offset, LARGEST_CLASS);
    let problem = readEntries(segment, entries, chunk);
    if (problem !== undefined && entries.length > 1) {
      // What cannot be read may be behind the first commit: alone it may well be whole.
      entries = [first];
      problem = readEntries(segment, entries, chunk);
    }
    let good: IndexEntry | undefined;
    for (const entry of entries) {
      const from = entry.offset - first.offset;
      if (problem !== undefined || Bun.hash.crc32(chunk.buffer.subarray(from, from + entry.length)) !== entry.crc) break;
      good = entry;
    }
    if (good === undefined) {
      pool.free(chunk);
      if (!quietly) this.reportDamage(segment, first, problem ?? new Error("checksum does not match"));
      return {
        isGap: true,
        nextPosition: segment.basePosition + first.offset + first.length,
        nextSequence: first.firstSequence + first.count,
      };
    }
    chunk.start = segment.basePosition + first.offset;
    chunk.end = segment.basePosition + good.offset + good.length;
    chunk.firstSequence = first.firstSequence;
    return chunk;
  }

  /** Position of the commit that holds a sequence; for one that is missing between segments, where the gap begins. */
  locate(sequence: number): number {
    const index = this.segments.findIndex((candidate) => sequence < candidate.nextSequence);
    if (index < 0) return sequence < this.nextSequence ? this.recordedEnd : this.endPosition;
    const segment = this.segments[index];
    if (sequence < segment.baseSequence) return index > 0 ? this.segments[index - 1].endPosition : segment.basePosition;
    return segment.basePosition + segment.entryAt(segment.findBySequence(sequence)).offset;
  }

  /** The commit that holds a sequence; for one that is missing between segments, the gap. */
  runAt(sequence: number): { position: number; sequence: number } {
    const position = this.locate(sequence);
    const segment = this.segmentAt(position);
    if (segment === undefined) return { position, sequence };
    return { position, sequence: segment.entryAt(segment.findByOffset(position - segment.basePosition)).firstSequence };
  }

  /** The first commit at or after a time: its sequences. Undefined when all are older. */
  commitAtTime(timeMs: number): { from: number; to: number } | undefined {
    const segment = this.segments.find((candidate) => candidate.entries > 0 && candidate.newestMs >= timeMs);
    if (segment === undefined) return undefined;
    const number = segment.findByTime(timeMs);
    if (number === segment.entries) return { from: segment.nextSequence, to: segment.nextSequence };
    const { firstSequence, count } = segment.entryAt(number);
    return { from: firstSequence, to: firstSequence + count };
  }

  /** First sequence of the commit that holds a position; the one behind a gap for a position in it. `position < endPosition`. */
  commitAtPosition(position: number): number {
    const segment = this.segmentAt(position);
    if (segment === undefined) return this.gapAt(position).nextSequence;
    return segment.entryAt(segment.findByOffset(position - segment.basePosition)).firstSequence;
  }

  /** Recycles the segments in which everything is finished, as far as they are not retained. @param wallMs the wall clock, for retention */
  trim(floorSequence: number, wallMs: number): void {
    while (this.segments.length > 1 && this.segments[0].nextSequence <= floorSequence && !this.isRetained(this.segments[0], wallMs)) {
      // The next one remembers which ids were given: with fsync it has to be on the disk before this one goes.
      if (!this.syncsByItself && this.segments[1].namesUnsynced) return;
      this.recycleOldest();
    }
    const tail = this.segments[0];
    if (tail === undefined || this.segments.length > 1 || tail.nextSequence > floorSequence || this.isRetained(tail, wallMs)) return;
    // All is finished: a large file of dead bytes serves better as the next segment of whoever needs one.
    if (tail.length >= Math.min(EARLY_ROLL_BYTES, this.options.maxBytesPerFile)) this.replaceFinishedTail(floorSequence, wallMs);
  }

  /** Nothing was written or read for a while: syncs, and closes the files. */
  closeIdle(): void {
    this.sync();
    for (const segment of this.segments) segment.close();
    this.reading.length = 0;
  }

  /** Waits for the disk and for removals, then closes. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.sync(() => {
        for (const segment of this.segments) segment.close();
        resolve(this.options.recycler.removalsDone());
      });
    });
  }

  /** Removes everything; the files' space goes to the recycler. */
  remove(): void {
    while (this.segments.length > 0) this.recycleOldest(true);
    removeFolder(this.options.disk, this.options.directory);
  }

  /** From here on; what is not retained any more goes with the next trim(). */
  setRetention(retention: Retention): void {
    this.retention = retention;
    this.segmentBytes = segmentBytes(retention, this.options.maxBytesPerFile);
    const tail = this.segments[this.segments.length - 1];
    this.rollAtMs = tail === undefined || tail.entries === 0 ? Number.POSITIVE_INFINITY : this.nextRollMs(tail);
  }

  /** What the files hold: bytes of messages, and when the oldest were written, ms (0: unknown, or none). */
  get extent(): { bytes: number; oldestMs: number } {
    const first = this.segments[0];
    return first === undefined ? { bytes: 0, oldestMs: 0 } : { bytes: this.endPosition - first.basePosition, oldestMs: first.oldestMs };
  }

  private isRetained(segment: Segment, wallMs: number): boolean {
    return isRetained(this.retention, wallMs - segment.newestMs, this.endPosition - segment.endPosition);
  }

  private nextRollMs(tail: Segment): number {
    return this.segments.length > MAX_AGED_SEGMENTS ? Number.POSITIVE_INFINITY : tail.oldestMs + segmentAgeMs(this.retention);
  }

  private replaceFinishedTail(floorSequence: number, wallMs: number): void {
    try {
      // The new segment first: its header is what remembers the next sequence. On a full disk this is what makes room.
      (this.options.ballast ?? NO_BALLAST).use(() => this.startSegment());
    } catch (error) {
      this.options.logger.warn(`TOPIC(${this.options.topicName}): no new segment, the old one is kept: ${(error as Error).message}`);
      return;
    }
    if (this.syncsByItself) return this.recycleOldest();
    this.syncs.add(this.segments[this.segments.length - 1]);
    this.sync((error) => {
      if (error === undefined) this.trim(floorSequence, wallMs);
    });
  }

  /** @param wholeLog all others go too */
  private recycleOldest(wholeLog = false): void {
    const segment = this.segments.shift() as Segment;
    this.syncs.forget(segment);
    const open = this.reading.indexOf(segment);
    if (open >= 0) this.reading.splice(open, 1);
    // Files that stay behind cost space only: all in them is finished.
    const { recycler, logger, topicName } = this.options;
    const failed = (error: Error) => logger.error(`TOPIC(${topicName}): cannot remove ${segment.logPath}: ${error.message}`);
    try {
      recycler.recycle(segment, failed, wholeLog);
    } catch (error) {
      failed(error as Error);
    }
  }

  private startSegment(): Segment {
    const { disk, directory, topicNumber, recycler } = this.options;
    const segment = Segment.create(disk, directory, topicNumber, this.nextSequence, this.endPosition, recycler.takeFile());
    const full = this.segments[this.segments.length - 1];
    this.segments.push(segment);
    if (full !== undefined) this.closeIfIdle(full);
    return segment;
  }

  /** @returns what of a failed sync counts */
  private segmentSynced(segment: Segment, failure: Error | undefined): Error | undefined {
    // Let go of meanwhile: nobody needs it on the disk any more, and with its topic its folder is gone.
    if (!this.segments.includes(segment)) return undefined;
    if (failure !== undefined) {
      this.options.logger.error(`TOPIC(${this.options.topicName}): sync of ${segment.logPath} failed: ${failure.message}`);
      this.syncs.add(segment);
    }
    this.closeIfIdle(segment);
    return failure;
  }

  /** Closes a segment's files, but not those being written or read, nor those with commits still to be synced. */
  private closeIfIdle(segment: Segment): void {
    if (segment === this.segments[this.segments.length - 1] || this.reading.includes(segment) || this.syncs.awaits(segment)) return;
    segment.close();
  }

  /** Notes that a segment is read from, and closes the one that was not read from for longest. */
  private noteReading(segment: Segment): void {
    const { reading } = this;
    if (reading[reading.length - 1] === segment) return;
    const known = reading.indexOf(segment);
    if (known >= 0) reading.splice(known, 1);
    reading.push(segment);
    if (reading.length > MAX_READING) this.closeIfIdle(reading.shift() as Segment);
  }

  /** The segment that holds a position; undefined for a position in a gap between segments. */
  private segmentAt(position: number): Segment | undefined {
    for (const segment of this.segments) {
      if (position < segment.endPosition) return position < segment.basePosition ? undefined : segment;
    }
    return undefined;
  }

  /** The gap that a position is in: recovery had to leave out what was there, or sequences were passed over. */
  private gapAt(position: number): Gap {
    const next = this.segments.find(({ basePosition }) => position < basePosition);
    if (next !== undefined) return { isGap: true, nextPosition: next.basePosition, nextSequence: next.baseSequence };
    if (position < this.endPosition) return { isGap: true, nextPosition: this.endPosition, nextSequence: this.nextSequence };
    throw new Error(`log of ${this.options.topicName} ends at ${this.endPosition}, before position ${position}`);
  }

  private reportDamage(segment: Segment, entry: IndexEntry, problem: Error): void {
    const { topicName, logger, syncedSequence, onCorrupt } = this.options;
    const which = `TOPIC(${topicName}): ${entry.count} messages from sequence ${entry.firstSequence} on`;
    const where = `in ${segment.logPath} at byte ${entry.offset} (${problem.message}); they are skipped`;
    if (syncedSequence !== undefined && entry.firstSequence >= syncedSequence && entry.firstSequence < this.recoveredNext) {
      logger.warn(`${which} were torn by a crash before they reached the disk, ${where}`);
    } else {
      onCorrupt();
      logger.error(`${which} are damaged ${where}`);
    }
  }
}

/** Reads entries' records to the start of a chunk. @returns what went wrong */
function readEntries(segment: Segment, entries: readonly IndexEntry[], chunk: Chunk): Error | undefined {
  const first = entries[0];
  const last = entries[entries.length - 1];
  try {
    segment.read(chunk.buffer, 0, first.offset, last.offset + last.length - first.offset);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}
