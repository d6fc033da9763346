import { renameIfThere } from "../disk/disk.ts";
import { FolderNames } from "../disk/folder-names.ts";
import type { PieceCache } from "./commit-pieces.ts";
import type { CommitRun } from "./commit-run.ts";
import { DamagedCommits } from "./damaged-commit.ts";
import { type Epoch, epochsOf } from "./epochs.ts";
import { MAX_EPOCH } from "./index-format.ts";
import { LogReader } from "./log-reader.ts";
import { type LogRecoveryOptions, recordedPrefix, recoverSegments } from "./log-recovery.ts";
import { LogRepair } from "./log-repair.ts";
import { LogSync, type LogSyncOptions } from "./log-sync.ts";
import { LogTruncation } from "./log-truncation.ts";
import type { Recycler } from "./recycler.ts";
import type { Retention } from "./retention.ts";
import { type CommitPart, Segment } from "./segment.ts";
import { SegmentTrim, type SegmentTrimOptions } from "./segment-trim.ts";

/** With retention, messages are needed for a while after all channels have finished them. */
const NOTHING_FINISHED = (): number => 0;

export interface LogFilesOptions extends LogRecoveryOptions, LogSyncOptions, SegmentTrimOptions {
  /** The topic's row in the metadata store. The journal names the log by it. */
  topicId: number;
  recycler: Recycler;
}

/** The files of one topic's log: its segments in order. Commits are written to the last one. */
export class LogFiles {
  /** True: --sync-every and --sync-timeout say when to sync. False: publishers wait for a sync of every commit. */
  syncsByItself = true;
  /** The names in the log's folder. */
  readonly names: FolderNames;
  private readonly segments: Segment[];
  readonly reader: LogReader;
  readonly repair: LogRepair;
  /** False: recovery found damage to what earlier runs wrote, or some of it is gone. */
  isSound = true;
  /** There was no folder of the log. */
  readonly isNew: boolean;
  /** Messages below this sequence are from earlier runs. */
  private recoveredNext: number;
  /** Sequences below this one are not given again, though the log may have no records for the last of them. */
  private skippedTo = 0;
  /** That of the next message, of which no segment is yet; 0: the next message is of the newest segment's. */
  private nextEpoch = 0;
  /** Returns the sequence below which all messages are finished. The topic sets this. */
  finishedBelow = (): number => 0;
  /** The beginning of the topic's ids, which the headers of new segments get; undefined until it is known. */
  prefix: number | undefined;
  private directory: string;
  readonly syncs: LogSync;
  private readonly trimming: SegmentTrim;
  private readonly truncation: LogTruncation;
  /** When the last commit was written, in ms; 0 without commits. Commits are in order of time, even if the wall clock was set back. */
  newestMs: number;

  /**
   * Opens the files of an earlier run, and repairs them if necessary.
   *
   * @param firstSequence the first sequence of a log without files
   */
  constructor(
    private readonly options: LogFilesOptions,
    private firstSequence: number,
  ) {
    this.prefix = options.prefix;
    this.directory = options.directory;
    const made = options.disk.makeDirectory(options.directory);
    this.isNew = made;
    this.names = new FolderNames(options.disk, options.directory);
    const onCorrupt = () => {
      this.isSound = false;
      options.onCorrupt();
    };
    this.segments = recoverSegments({ ...options, onCorrupt }, this.names);
    this.trimming = new SegmentTrim(options, this.segments, this);
    this.truncation = new LogTruncation(options.disk, this.segments, this.names, (segment) => this.forget(segment));
    this.recoveredNext = this.recordedNext;
    const damaged = new DamagedCommits(options, this.recordedNext);
    this.reader = new LogReader(options, this.segments, this, damaged, (segment) => this.closeIfIdle(segment));
    this.repair = new LogRepair(options, this.segments, this);
    this.newestMs = this.segments.reduce((newestMs, segment) => Math.max(newestMs, segment.newestMs), 0);
    this.syncs = new LogSync(options, this.recordedNext, (segment, failure) => this.segmentSynced(segment, failure));
    this.syncs.addRecovered(this.segments, made);
  }

  get topicId(): number {
    return this.options.topicId;
  }

  /** The prefix that earlier runs gave to this log's ids; undefined where nothing tells it. */
  get recordedPrefix(): number | undefined {
    return recordedPrefix(this.segments, this.options.topicNumber);
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

  /** Skips sequences whose messages were lost with the log's end but are known elsewhere. The next commit starts a new segment. */
  skipTo(sequence: number): void {
    // Without a segment nothing would tell that the log begins with what it skips.
    if (this.segments.length === 0 && this.nextEpoch > 0) this.startEpoch();
    this.skippedTo = Math.max(this.skippedTo, sequence);
  }

  /**
   * Whether an earlier run wrote the record with a sequence and the record survived that run's end, even if its segment was
   * removed later. False for skipped sequences, and for a record that a crash tore before it was synced. @throws UnreadableFile
   */
  survivedRestart(sequence: number): boolean {
    return sequence < this.recoveredNext && this.reader.survives(sequence);
  }

  /** False after a sync, until takeSyncedSequence() is called. */
  get syncedSaved(): boolean {
    return this.syncs.syncedSaved;
  }

  /** The sequence below which all messages are on the disk, for the caller to save in the metadata store. */
  takeSyncedSequence(): number {
    return this.syncs.takeSyncedSequence();
  }

  /** What takeSyncedSequence() returned could not be saved. */
  syncedNotSaved(): void {
    this.syncs.syncedSaved = false;
  }

  /** Some commits are not known to be on the disk. */
  get hasUnsynced(): boolean {
    return this.syncs.hasUnsynced;
  }

  get endPosition(): number {
    const end = this.recordedEnd;
    // One position without a byte, at which readers find the gap that skipped sequences leave.
    return this.skippedTo > this.recordedNext ? end + 1 : end;
  }

  /** Position after the last record. */
  get recordedEnd(): number {
    return this.segments.length > 0 ? this.segments[this.segments.length - 1].endPosition : (this.options.firstPosition ?? 0);
  }

  commit(parts: CommitPart[], count: number, timeMs: number): void {
    let tail = this.segments.length > 0 ? this.segments[this.segments.length - 1] : undefined;
    this.newestMs = Math.max(this.newestMs, timeMs);
    if (this.nextEpoch > 0) tail = this.startEpoch();
    else if (tail === undefined || this.skippedTo > tail.nextSequence || this.trimming.endsBefore(tail, timeMs)) tail = this.startSegment();
    const isFirst = tail.entries === 0;
    tail.commit(parts, count, this.newestMs);
    if (isFirst) this.trimming.onFirstCommit(tail);
    this.syncs.add(tail);
    if (this.syncs.isFull || this.needsSync(this.recordedNext, this.recordedEnd)) this.sync();
  }

  /**
   * Whether --sync-every asks for a sync. To be called for a commit that only the journal has; commit() does by itself.
   *
   * @param next sequence after the log's last record
   * @param end position after that record
   */
  needsSync(next: number, end: number): boolean {
    if (!this.syncsByItself) return false;
    return this.syncs.isDue(next, end, this.trimming.isRetaining ? NOTHING_FINISHED : this.finishedBelow);
  }

  /** Recovery: commits records that the journal has and the files lack. Missing sequences before them are skipped. */
  restoreJournaled(records: Buffer, firstSequence: number, count: number, timeMs: number): void {
    if (firstSequence > this.nextSequence) this.skipTo(firstSequence);
    this.commit([{ buffer: records, from: 0, to: records.length, firstSequence, continuesBatch: false }], count, timeMs);
  }

  /**
   * Starts to sync all commits, off the event loop.
   *
   * @param done called when all commits are on the disk, including those of an earlier sync that is still running; or with the
   *   first failure
   */
  sync(done?: (error: Error | undefined) => void): void {
    this.syncs.start(this.recordedNext, done);
  }

  /**
   * Recycles the segments whose messages are all finished and not retained.
   *
   * @param floorSequence all messages below this sequence are finished
   * @param agingMs wall-clock time by which messages are too old for retention
   */
  trim(floorSequence: number, agingMs: number): void {
    this.trimming.trim(floorSequence, agingMs);
  }

  /** Syncs and closes the files, because nothing was written or read for a while. */
  closeIdle(): void {
    this.sync();
    this.closeSegments();
  }

  /** Closes the files, which their next use opens again. */
  closeSegments(): void {
    for (const segment of this.segments) segment.close();
    this.reader.forgetAll();
  }

  /**
   * Syncs and closes the files. Resolves when that is done and all segments that were to be removed are gone.
   *
   * @returns why the sync failed
   */
  close(): Promise<Error | undefined> {
    this.rememberSkipped();
    return new Promise((resolve) => {
      this.sync((failure) => {
        for (const segment of this.segments) segment.close();
        resolve(this.options.recycler.removalsDone().then(() => failure));
      });
    });
  }

  /** Starts a segment whose header has the next sequence, so that the next start does not report skipped ones again. */
  private rememberSkipped(): void {
    if (this.skippedTo <= this.recordedNext) return;
    try {
      this.syncs.add(this.startSegment());
    } catch (error) {
      this.logAs("warn", `cannot start a segment: ${(error as Error).message}`);
    }
  }

  private logAs(level: "warn" | "error", text: string): void {
    const { logger, topicName: topic } = this.options;
    logger[level](`TOPIC(${topic}): ${text}`, { topic });
  }

  /** Gives the log's folder another path. Files that are open stay open. @throws the kernel's error; nothing has changed then */
  moveTo(directory: string): void {
    // A folder that somebody has removed needs no other name.
    renameIfThere(this.options.disk, this.directory, directory);
    this.directory = directory;
    this.names.moveTo(directory);
    this.syncs.forgetFolder();
    for (const segment of this.segments) segment.moveTo(directory);
  }

  /** Takes moveTo() back: the old name needs a sync, since the disk may have the other one. @throws the kernel's error */
  moveBack(directory: string): void {
    this.moveTo(directory);
    this.syncs.noteFolder();
  }

  /** Removes the log. The recycler gets some of the segments' files. @param failed called when the folder could not be removed */
  remove(failed: (error: Error) => void): void {
    this.syncs.forgetFolder();
    const segments = this.segments.splice(0);
    for (const segment of segments) this.syncs.forget(segment);
    this.reader.forgetAll();
    this.options.recycler.removeLog(segments, this.directory, failed);
  }

  /** Applies from now on; the next trim() removes what is no longer retained. */
  setRetention(retention: Retention): void {
    this.trimming.setRetention(retention);
  }

  /** How many bytes of messages the files have, and when the oldest were written, in ms (0: unknown, or there are none). */
  get extent(): { bytes: number; oldestMs: number } {
    const first = this.segments[0];
    return first === undefined ? { bytes: 0, oldestMs: 0 } : { bytes: this.endPosition - first.basePosition, oldestMs: first.oldestMs };
  }

  /** A segment is in the log no more. */
  forget(segment: Segment): void {
    this.syncs.forget(segment);
    this.reader.forget(segment);
  }

  /** Has the newest segment synced with its first sequence at least, off the event loop. */
  syncNewest(done: (failure: Error | undefined) => void): void {
    this.syncs.add(this.segments[this.segments.length - 1]);
    this.sync(done);
  }

  /** Adds an empty segment. @throws the kernel's error */
  startSegment(epoch = this.epoch, baseSequence = this.nextSequence, basePosition = this.endPosition): Segment {
    const { disk, topicNumber, recycler } = this.options;
    const segment = Segment.create(disk, this.names, { topicNumber, prefix: this.prefix, baseSequence, basePosition, epoch }, recycler);
    const full = this.segments[this.segments.length - 1];
    this.segments.push(segment);
    if (epoch >= this.nextEpoch) this.nextEpoch = 0;
    if (full !== undefined) this.closeIfIdle(full);
    return segment;
  }

  /** That of the messages to come; 0 in a log that is not replicated. */
  get epoch(): number {
    return this.nextEpoch > 0 ? this.nextEpoch : (epochsOf(this.segments).at(-1)?.epoch ?? 0);
  }

  /** The epochs of its messages, oldest first. The last one may have no messages yet. */
  epochs(): Epoch[] {
    const epochs = epochsOf(this.segments);
    const { nextEpoch, nextSequence } = this;
    if (nextEpoch === 0) return epochs;
    return [...epochs.filter(({ firstSequence }) => firstSequence < nextSequence), { epoch: nextEpoch, firstSequence: nextSequence }];
  }

  /** What TopicLog.truncateTo() does to the files. @param pieces of commits, which some may lose */
  truncateTo(sequence: number, pieces: PieceCache): void {
    this.syncs.truncateTo(sequence);
    this.nextEpoch = 0;
    this.recoveredNext = Math.min(this.recoveredNext, sequence);
    const tail = this.truncation.run(sequence, pieces);
    // Where the end was in a gap, or a commit in front of it is damaged, the log ends there nevertheless.
    this.skippedTo = sequence;
    this.newestMs = this.segments.reduce((newestMs, segment) => Math.max(newestMs, segment.newestMs), 0);
    if (tail === undefined) return;
    this.syncs.add(tail);
    if (tail.entries > 0) this.trimming.onFirstCommit(tail);
  }

  /** What TopicLog.restartAt() does to files without records. */
  restartAt(sequence: number, position: number): void {
    this.syncs.truncateTo(sequence);
    [this.firstSequence, this.skippedTo] = [sequence, 0];
    this.syncs.add(this.truncation.restart(sequence, () => this.startSegment(0, sequence, position)));
  }

  /** Commits what another replica has. Segments begin where they do there, whatever their size and age. @throws the kernel's error */
  commitRun(run: CommitRun): void {
    let tail = this.segments[this.segments.length - 1];
    const isNew = tail === undefined || this.skippedTo > tail.nextSequence || (run.startsSegment && tail.entries > 0);
    if (this.nextEpoch > 0) tail = this.startEpoch();
    else if (isNew) tail = this.startSegment();
    tail.commitRun(run);
    this.newestMs = Math.max(this.newestMs, tail.newestMs);
    this.syncs.add(tail);
    if (this.syncs.isFull || this.needsSync(this.recordedNext, this.recordedEnd)) this.sync();
  }

  /**
   * The messages to come are of a new epoch. A segment begins with the first of them, so that the segments' headers tell where each epoch
   * begins. Until then nothing is written: a broker begins hundreds of epochs at once when it takes over from another one, and what none
   * has a message of need not be remembered over restarts.
   *
   * @throws RangeError for an epoch that is not above the newest one
   */
  beginEpoch(epoch: number): void {
    if (!Number.isInteger(epoch) || epoch <= this.epoch || epoch > MAX_EPOCH) throw new RangeError(`epoch ${epoch} follows ${this.epoch}`);
    this.nextEpoch = epoch;
  }

  /** The segment of the epoch that has begun. @throws the kernel's error; the epoch is still to begin then */
  private startEpoch(): Segment {
    const tail = this.segments[this.segments.length - 1];
    if (tail?.nextSequence !== this.nextSequence || tail.entries > 0) return this.startSegment();
    tail.setEpoch(this.nextEpoch);
    this.nextEpoch = 0;
    return tail;
  }

  /** @returns the failure if it counts */
  private segmentSynced(segment: Segment, failure: Error | undefined): Error | undefined {
    // It was removed in the meantime, perhaps with its topic: nobody needs it on the disk, and the sync may have opened it again.
    if (!this.segments.includes(segment)) return void segment.close();
    if (failure !== undefined) {
      this.logAs("error", `sync of ${segment.logPath} failed: ${failure.message}`);
      this.syncs.add(segment);
    }
    this.closeIfIdle(segment);
    return failure;
  }

  /** Closes a segment's files unless they are being written or read, or have commits to be synced. */
  private closeIfIdle(segment: Segment): void {
    if (segment === this.segments[this.segments.length - 1] || this.reader.isReading(segment) || this.syncs.awaits(segment)) return;
    segment.close();
  }
}
