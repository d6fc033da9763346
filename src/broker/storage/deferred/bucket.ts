import { join } from "node:path";
import type { Ballast } from "../disk/ballast.ts";
import { type Disk, removeSoon } from "../disk/disk.ts";
import { BucketFile } from "./bucket-file.ts";
import { ENTRIES_FORMAT, ENTRY_HEADER_BYTES, type EntryHeader, layEntry, type ScannedEntry } from "./entry.ts";
import { walkEntries } from "./entry-scan.ts";
import { StatusFile } from "./status-file.ts";
import { borrowWriteBuffer, returnWriteBuffer, type WriteBuffer } from "./write-buffer.ts";

const NO_NUMBERS = new Float64Array(0);

/**
 * Messages that fall due in one span of time, in two append-only files:
 *
 *     START-WIDTH.msg     entries: header and message frame, in the order they came (entry.ts)
 *     START-WIDTH.done    a word on an entry: done with, or about to join its topic's log (words.ts)
 */
export class Bucket {
  /** Entries not done with. */
  pending = 0;
  /** Bytes of whole entries in the file. */
  length = 0;
  /** Its time is near: its entries are brought into memory, from the front on. */
  loading = false;
  /** Entries below this offset are in memory, or done with, or left behind. */
  loadedTo = 0;
  /** Channels that had no room for their entries, and the offsets from which on they stand here still. */
  readonly overflow = new Map<number, number>();
  /** Entries that are done with though they were not in memory. */
  readonly doneUnloaded = new Set<number>();
  /** Entries below this offset were moved on (buckets that are wider than the finest). */
  movedTo = 0;
  private previousMovedTo = 0;
  /** The sync that was to come next when its last entry was done with; -1 while there are some. */
  emptiedAtEpoch = -1;
  /** Bytes of damaged entries that recover() found with whole ones behind them; they are skipped. */
  damagedBytes = 0;
  /** Its files' without their endings. */
  readonly name: string;
  private readonly file: BucketFile;
  private readonly status: StatusFile;
  /** Entries to be written, as they will stand in the file. */
  private staged: WriteBuffer | undefined;
  private stagedCount = 0;
  /** What the last commitEntries() wrote. */
  private lastCommitBytes = 0;
  private lastCommitCount = 0;
  /** Bytes of refused entries stand behind `length`, because they could not be cut off. */
  private hasRefusedBytes = false;
  /** An earlier run left it; which of its entries are done with is read when it is needed. */
  private recovered = false;
  private recoveredDone = NO_NUMBERS;

  constructor(
    private readonly disk: Disk,
    readonly directory: string,
    readonly startMs: number,
    readonly widthMs: number,
  ) {
    this.name = bucketName(startMs, widthMs);
    const path = join(directory, this.name);
    this.file = new BucketFile(disk, `${path}.msg`, ENTRIES_FORMAT);
    this.status = new StatusFile(disk, `${path}.done`);
  }

  get endMs(): number {
    return this.startMs + this.widthMs;
  }

  get dirty(): boolean {
    return this.stagedCount > 0 || this.status.hasStaged;
  }

  /** All its entries are in memory, and so must new ones be. */
  get fullyLoaded(): boolean {
    return this.loading && this.loadedTo === this.length;
  }

  /** Nothing of it is still to be written, now or after the next sync. */
  get fullyWritten(): boolean {
    return !this.dirty && !this.status.hasAwaitingSync;
  }

  // ---- entries on their way in

  /**
   * Stages an entry; commit() writes it.
   *
   * @returns the offset in the file at which it will stand
   */
  stage(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
    this.staged ??= borrowWriteBuffer();
    const at = layEntry(this.staged, header, number, frame, from, to);
    this.stagedCount++;
    return this.length + at;
  }

  /**
   * Writes the staged entries.
   *
   * @returns why that failed. Then none of them counts, and none is left in the file to be found by a later start, since those
   *   who sent them are told that they were refused
   */
  commitEntries(): Error | undefined {
    const { staged, stagedCount } = this;
    this.staged = undefined;
    this.stagedCount = 0;
    this.lastCommitBytes = 0;
    this.lastCommitCount = 0;
    let failure = this.truncateRefused();
    if (staged === undefined) return failure;
    failure ??= this.write(staged);
    if (failure === undefined) {
      this.length += staged.used;
      this.pending += stagedCount;
      this.lastCommitBytes = staged.used;
      this.lastCommitCount = stagedCount;
    }
    returnWriteBuffer(staged);
    return failure;
  }

  /** Forgets the staged entries: they are refused. */
  discardEntries(): void {
    if (this.staged !== undefined) returnWriteBuffer(this.staged);
    this.staged = undefined;
    this.stagedCount = 0;
  }

  /** Takes back what the last commitEntries() wrote: another bucket's part of the same commit could not be written. */
  rollBackEntries(): void {
    if (this.lastCommitBytes === 0) return;
    this.length -= this.lastCommitBytes;
    this.pending -= this.lastCommitCount;
    this.lastCommitBytes = 0;
    this.lastCommitCount = 0;
    this.markRefused();
  }

  private write(staged: WriteBuffer): Error | undefined {
    try {
      this.file.write(staged.buffer, staged.used, this.length);
      return undefined;
    } catch (error) {
      this.markRefused();
      return error as Error;
    }
  }

  private markRefused(): void {
    this.hasRefusedBytes = true;
    // If that fails, the next commit tries it again before it writes.
    this.truncateRefused();
  }

  /** Cuts off what was refused, so that a later start does not find it. */
  private truncateRefused(): Error | undefined {
    if (!this.hasRefusedBytes) return undefined;
    try {
      this.file.truncate(this.length);
      this.hasRefusedBytes = false;
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  // ---- words on entries

  /**
   * Stages the word that an entry is done with.
   *
   * @param afterSync not before the next sync is over
   */
  stageDone(number: number, afterSync = false): void {
    this.status.markDone(number, afterSync);
    this.pending--;
  }

  /** The message of an entry is finished, or stands elsewhere now: the word that says so is staged. */
  finish(number: number, offset: number, channelId: number): void {
    this.stageDone(number);
    if (!this.hasLoaded(offset, channelId)) this.doneUnloaded.add(number);
  }

  /** Stages the word that an entry is about to join its topic's log. */
  stageJoining(number: number, sequence: number): void {
    this.status.markJoining(number, sequence);
  }

  stageNotJoined(number: number): void {
    this.status.markNotJoined(number);
  }

  /** Stages the word that all entries below `offset` stand in finer buckets now. */
  stageMoved(offset: number, entries: number, afterSync = false): void {
    this.status.markMoved(offset, afterSync);
    this.previousMovedTo = this.movedTo;
    this.movedTo = offset;
    this.pending -= entries;
  }

  /** Takes a stageMoved() back that could not be written. */
  undoMoved(offset: number, entries: number): void {
    if (this.movedTo !== offset) return;
    this.movedTo = this.previousMovedTo;
    this.pending += entries;
    this.status.undoMoved(offset);
  }

  /** Writes the staged words, in the ballast's place if the disk is full. @returns why that failed; then they stay staged */
  commitStatus(ballast: Ballast): Error | undefined {
    if (!this.status.hasStaged) return undefined;
    try {
      ballast.use(() => this.status.commit());
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Words held back so far may be written once a sync that begins now is over. */
  syncBegins(): void {
    this.status.syncBegins();
  }

  /** The sync is over: what was sealed is staged. */
  syncSucceeded(): void {
    this.status.syncSucceeded();
  }

  // ---- reading

  /** Whether an entry was brought into memory, or passed over because it is done with. */
  hasLoaded(offset: number, channelId: number): boolean {
    return offset < this.loadedTo && offset < (this.overflow.get(channelId) ?? Number.POSITIVE_INFINITY);
  }

  /** Reads the frame of the entry at `offset` into `target`. The caller knows its length from the header. */
  readFrame(target: Buffer, at: number, offset: number, frameBytes: number): void {
    this.file.read(target, at, frameBytes, offset + ENTRY_HEADER_BYTES);
  }

  /**
   * Reads the whole bucket after a restart: cuts a torn tail off and sets `length`, `pending` and `movedTo`. Words that
   * follow from what was joined are staged.
   *
   * @param hasJoined whether an entry that was about to join its topic's log at a sequence is there
   * @param visit called for each entry that is not done with
   * @returns bytes that were cut off
   */
  recover(hasJoined: (entry: ScannedEntry, sequence: number) => boolean, visit: (entry: ScannedEntry) => void): number {
    const { done, joining, movedTo } = this.status.readAll();
    this.movedTo = movedTo;
    const { size } = this.file;
    this.recovered = true;
    this.pending = 0;
    const { end, damagedBytes } = walkEntries(this.file, size, 0, size, (entry) => {
      if (entry.offset < movedTo || contains(done, entry.number)) return;
      this.pending++;
      const sequence = joining.get(entry.number);
      if (sequence !== undefined) {
        if (hasJoined(entry, sequence)) return this.stageDone(entry.number);
        this.stageNotJoined(entry.number);
      }
      visit(entry);
    });
    this.length = end;
    this.damagedBytes = damagedBytes;
    if (end < size) this.file.truncate(end);
    this.closeFiles();
    return size - end;
  }

  /**
   * Visits the entries that are not done with, from `from` on, at most `maxBytes` of them. Returns the offset behind the last one visited.
   *
   * @param firstPage read into first; the visitor may keep it, as any page then
   */
  scan(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void, firstPage?: Buffer): number {
    if (this.recovered) {
      this.recovered = false;
      this.recoveredDone = this.status.readAll().done;
    }
    const notDone = (entry: ScannedEntry) => {
      if (this.doneUnloaded.size > 0 && this.doneUnloaded.has(entry.number)) return;
      if (this.recoveredDone.length === 0 || !contains(this.recoveredDone, entry.number)) visit(entry);
    };
    return walkEntries(this.file, this.length, from, Math.min(this.length, from + maxBytes), notDone, firstPage).end;
  }

  /** Visits all whole entries of a piece, those that are done with too. @returns the offset behind the last one visited */
  scanAll(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void): number {
    return walkEntries(this.file, this.length, from, Math.min(this.length, from + maxBytes), visit).end;
  }

  /** Whether an entry is done with. Reads all words on the bucket. */
  isDone(number: number): boolean {
    return contains(this.status.readAll().done, number);
  }

  /** All its entries are in memory or done with: what was noted for reading them is needed no more. */
  forgetScanState(): void {
    this.doneUnloaded.clear();
    this.recoveredDone = NO_NUMBERS;
  }

  /** Each entry that was not done with by the earlier run, though it may be by now. */
  scanRecovered(visit: (entry: ScannedEntry) => void): void {
    const { done } = this.status.readAll();
    walkEntries(this.file, this.length, this.movedTo, this.length, (entry) => {
      if (!contains(done, entry.number)) visit(entry);
    });
    this.closeFiles();
  }

  // ---- its files

  get unsynced(): boolean {
    return this.file.unsynced || this.status.file.unsynced;
  }

  /** Brings the entries to the disk, and the names of both files. */
  syncEntries(done: (error: Error | undefined) => void): void {
    const parts = [this.file, this.status.file];
    const unnamed = parts.filter(({ nameUnsynced }) => nameUnsynced);
    for (const part of unnamed) part.nameUnsynced = false;
    this.file.sync((fileError) => {
      if (unnamed.length === 0) return done(fileError);
      this.disk.syncDirectory(this.directory, (error) => {
        if (error) for (const part of unnamed) part.nameUnsynced = true;
        done(fileError ?? error ?? undefined);
      });
    });
  }

  /** Brings the words to the disk: to be called when what they say is there. */
  syncStatus(done: (error: Error | undefined) => void): void {
    this.status.file.sync(done);
  }

  closeFiles(): void {
    this.file.close();
    this.status.file.close();
  }

  /** @param failed hears why a file is still there, under another name */
  remove(failed: (error: Error) => void): void {
    this.closeFiles();
    removeSoon(this.disk, this.file.path, failed);
    removeSoon(this.disk, this.status.file.path, failed);
  }
}

export function bucketName(startMs: number, widthMs: number): string {
  return `${startMs}-${widthMs}`;
}

/** The span that the name of a bucket's entries says; undefined for a file that is not a bucket's. */
export function parseBucketName(name: string): { startMs: number; widthMs: number } | undefined {
  const match = /^(\d+)-(\d+)\.msg$/.exec(name);
  return match === null ? undefined : { startMs: Number(match[1]), widthMs: Number(match[2]) };
}

/** Whether ascending numbers hold one. */
function contains(numbers: Float64Array, number: number): boolean {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] < number) low = middle + 1;
    else high = middle;
  }
  return low < numbers.length && numbers[low] === number;
}
