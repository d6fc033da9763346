import { join } from "node:path";
import { type Disk, renameIfThere } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { type FoundEntry, RecordScan } from "./record-scan.ts";
import {
  encodeEntry,
  INDEX_ENTRY_BYTES,
  type IndexEntry,
  type IndexedRecords,
  SegmentIndex,
  segmentName,
  UnusableIndex,
} from "./segment-index.ts";

/**
 * One file of a topic's log, and its index beside it.
 *
 *     NNNNNNNNNNNNNNNN.log    records, each its own wire frame, back to back
 *     NNNNNNNNNNNNNNNN.idx    which of them count (segment-index.ts): an entry, or a few, per commit
 *
 * NNN… is the first record's sequence in hex. The index says how much of the file counts: a recycled file has
 * older bytes behind the last entry's end, and they are never looked at. An entry is written after its records, in the same
 * tick and before any OK, so what was acknowledged has an entry, and records without one were never acknowledged.
 */

/** Records that one index entry covers, but for a single MPUB that is larger: what a flipped bit can cost. */
const MAX_ENTRY_BYTES = 1024 * 1024;
/** Records are checked against their entry in pieces of this size. */
const VERIFY_BYTES = 256 * 1024;
/** The one entry of most commits, until it is written. */
const scratch = Buffer.alloc(INDEX_ENTRY_BYTES);

/** CommitPart of one commit's records in memory. */
export interface CommitPart {
  buffer: Buffer;
  from: number;
  to: number;
  /** Of its first record. */
  firstSequence: number;
  /** Its first record is of the same MPUB as the last of the part before. */
  continuesBatch: boolean;
}

export class Segment implements IndexedRecords {
  /** Records that rebuild() found damaged, and put stand-ins for. */
  damagedRecords = 0;
  /** Its place in the log is known. Where an index was lost, recovery gives it one (setBasePosition()). */
  positionKnown = true;
  private readonly file: LazyFile;

  private constructor(
    private readonly disk: Disk,
    readonly directory: string,
    readonly topicNumber: number,
    private readonly index: SegmentIndex,
    /** Position in the topic's log of the segment's first byte. */
    public basePosition: number,
  ) {
    this.file = new LazyFile(disk, join(directory, `${segmentName(index.baseSequence)}.log`));
  }

  get baseSequence(): number {
    return this.index.baseSequence;
  }

  /** Bytes of records, all under an index entry. */
  get length(): number {
    return this.index.length;
  }

  /** Sequence after the last record. */
  get nextSequence(): number {
    return this.index.nextSequence;
  }

  /** Index entries. */
  get entries(): number {
    return this.index.entries;
  }

  /** When its first and its last commit were written, ms; 0 without commits. */
  get oldestMs(): number {
    return this.index.oldestMs;
  }

  get newestMs(): number {
    return this.index.newestMs;
  }

  /** Index entries that open() found damaged with good ones behind them, and put a stand-in for. */
  get bridgedEntries(): number {
    return this.index.bridgedEntries;
  }

  /** Index entries that open() found damaged at the end, and cut off. */
  get droppedEntries(): number {
    return this.index.droppedEntries;
  }

  get logPath(): string {
    return this.file.path;
  }

  get indexPath(): string {
    return this.index.file.path;
  }

  get endPosition(): number {
    return this.basePosition + this.length;
  }

  get isOpen(): boolean {
    return this.file.isOpen;
  }

  /** A file was made or renamed since the last sync: its name is not known to be on the disk. */
  get namesUnsynced(): boolean {
    return this.file.nameUnsynced || this.index.file.nameUnsynced;
  }

  /**
   * Starts a segment. The index comes last, so a crash in between leaves a log file that no index names.
   *
   * @param recycledFile a file to take over instead of a new one: its pages are warm
   */
  static create(
    disk: Disk,
    directory: string,
    topicNumber: number,
    baseSequence: number,
    basePosition: number,
    recycledFile: string | undefined,
  ): Segment {
    const index = new SegmentIndex(disk, indexPath(directory, baseSequence), topicNumber, baseSequence);
    const segment = new Segment(disk, directory, topicNumber, index, basePosition);
    const recycled = recycledFile !== undefined && renameIfThere(disk, recycledFile, segment.logPath);
    segment.file.nameUnsynced = true;
    try {
      if (!recycled) segment.file.create();
      index.create(basePosition);
    } catch (error) {
      segment.remove();
      throw error;
    }
    return segment;
  }

  /**
   * Opens a segment that an earlier run left, as far as its index vouches for it.
   *
   * @param synced records below this sequence were on the disk: where entries over them are damaged the records count,
   *   if they are whole; above they may have been torn along with their entry. 0 also where there is no log file.
   * @returns the segment, or why its index cannot be used
   * @throws StartError for an index of a newer version
   */
  static open(disk: Disk, directory: string, name: string, topicNumber: number, synced: number): Segment | UnusableIndex {
    const opened = SegmentIndex.open(disk, directory, name, topicNumber);
    if (opened instanceof UnusableIndex) return opened;
    const { index, position } = opened;
    const segment = new Segment(disk, directory, topicNumber, index, 0);
    segment.positionKnown = !Number.isNaN(position);
    if (segment.positionKnown) segment.basePosition = position;
    try {
      index.loadEntries(segment, synced);
      return segment;
    } catch (error) {
      segment.close();
      throw error;
    }
  }

  /**
   * Makes a segment's index anew from the records in its log file, under another name until adoptIndex() or
   * abandonIndex(): a crash in between leaves all as it was.
   *
   * @param endSequence records from here on do not count; Infinity for all
   */
  static rebuild(disk: Disk, directory: string, name: string, topicNumber: number, endSequence: number): Segment {
    const index = new SegmentIndex(disk, join(directory, `${name}.idx.new`), topicNumber, Number.parseInt(name, 16));
    const segment = new Segment(disk, directory, topicNumber, index, 0);
    segment.positionKnown = false;
    index.create(Number.NaN);
    segment.extend(endSequence);
    return segment;
  }

  /** The index that rebuild() made takes its place. */
  adoptIndex(): void {
    this.index.file.rename(indexPath(this.directory, this.baseSequence));
  }

  /** The index that rebuild() made is done without; the files are closed. */
  abandonIndex(): void {
    this.close();
    this.index.file.remove();
  }

  /** Whether the log file begins with this segment's first record, whether it counts or not. */
  get holdsRecords(): boolean {
    let found = false;
    new RecordScan(this.file, this.topicNumber).scan(0, this.baseSequence, this.baseSequence + 1, ({ whole }) => {
      found = whole;
    });
    return found;
  }

  /** Gives the segment its place in the log. */
  setBasePosition(position: number): void {
    this.basePosition = position;
    this.positionKnown = true;
  }

  /**
   * Adds entries for records that stand in the log file behind those the index knows, up to a sequence: the index had
   * some that were lost.
   */
  extend(endSequence: number): void {
    const scan = new RecordScan(this.file, this.topicNumber);
    scan.scan(this.length, this.nextSequence, endSequence, (found) => {
      // What was deferred joined long after its own time; entries stand in the order of theirs.
      found.timeMs = Math.max(this.newestMs, found.timeMs);
      if (!found.whole) this.damagedRecords += found.count;
      this.index.add(found);
    });
  }

  /**
   * Writes one commit: the records' parts in one go each, then their index entries: one for most commits, for a large one
   * as many as keep each small, but never two for one MPUB, which is there as a whole or not at all.
   * Throws what the kernel said; then nothing of it counts.
   */
  commit(parts: CommitPart[], count: number, timeMs: number): void {
    const entries = parts.length === 1 ? scratch : Buffer.alloc(parts.length * INDEX_ENTRY_BYTES);
    let used = 0;
    let offset = this.length;
    const entry: IndexEntry = { offset, firstSequence: this.nextSequence, length: 0, count: 0, timeMs, crc: 0 };
    for (const { buffer, from, to, firstSequence, continuesBatch } of parts) {
      this.file.write(buffer, from, to - from, offset);
      if (entry.length > 0 && !continuesBatch && entry.length + to - from > MAX_ENTRY_BYTES) {
        entry.count = firstSequence - entry.firstSequence;
        encodeEntry(entries, used, entry);
        used += INDEX_ENTRY_BYTES;
        entry.offset = offset;
        entry.firstSequence = firstSequence;
        entry.length = entry.crc = 0;
      }
      entry.crc = Bun.hash.crc32(buffer.subarray(from, to), entry.crc);
      entry.length += to - from;
      offset += to - from;
    }
    entry.count = this.nextSequence + count - entry.firstSequence;
    encodeEntry(entries, used, entry);
    used += INDEX_ENTRY_BYTES;
    this.index.append(entries, used, entry);
  }

  entriesUpTo(offset: number, sequence: number): IndexEntry[] {
    const found: FoundEntry[] = [];
    new RecordScan(this.file, this.topicNumber).scan(this.length, this.nextSequence, sequence, (entry) => found.push(entry));
    const last = found[found.length - 1];
    if (last === undefined || last.offset + last.length !== offset || last.firstSequence + last.count !== sequence) return [];
    if (found.some((entry) => !entry.whole)) return found;
    const length = offset - this.length;
    const all = { ...found[0], length, count: sequence - this.nextSequence };
    return [{ ...all, crc: this.sum(all) ?? 0 }];
  }

  /** Forgets the commits from entry number `entries` on (recovery: they do not match their records). */
  truncate(entries: number): void {
    this.index.truncate(entries);
  }

  /** Index entry by number, 0 … entries-1. */
  entryAt(number: number): IndexEntry {
    return this.index.entryAt(number);
  }

  /** Number of the entry that holds a byte offset (0 ≤ offset < length). */
  findByOffset(offset: number): number {
    return this.index.findByOffset(offset);
  }

  /** Number of the entry that holds a sequence (baseSequence ≤ sequence < nextSequence). */
  findBySequence(sequence: number): number {
    return this.index.findBySequence(sequence);
  }

  /** Number of the first entry that was written at or after a time; `entries` when all were written before. */
  findByTime(timeMs: number): number {
    return this.index.findByTime(timeMs);
  }

  /** Entries from `first` on whose records fit together in `maxBytes`; always at least one. */
  entriesFrom(first: number, maxBytes: number): IndexEntry[] {
    return this.index.entriesFrom(first, maxBytes);
  }

  /** Reads records' bytes. Throws if the file is shorter than its index says. */
  read(target: Buffer, at: number, offset: number, length: number): void {
    this.file.read(target, at, length, offset);
  }

  /** Whether an entry's records are what was written. */
  verify(entry: IndexEntry): boolean {
    return this.sum(entry) === entry.crc;
  }

  sum({ offset, length }: Pick<IndexEntry, "offset" | "length">): number | undefined {
    const bytes = Buffer.allocUnsafe(Math.min(VERIFY_BYTES, length));
    let crc = 0;
    try {
      for (let at = 0; at < length; at += bytes.length) {
        const count = Math.min(bytes.length, length - at);
        this.read(bytes, 0, offset + at, count);
        crc = Bun.hash.crc32(bytes.subarray(0, count), crc);
      }
    } catch {
      return undefined;
    }
    return crc;
  }

  /**
   * Brings what was committed so far to the disk, off the event loop.
   *
   * @param done called once both files are synced, and their names if they are new; or with what went wrong
   */
  sync(done: (error: Error | undefined) => void): void {
    const { file, namesUnsynced } = this;
    const indexFile = this.index.file;
    const finish = (error?: Error | null) => {
      if (namesUnsynced && !error) file.nameUnsynced = indexFile.nameUnsynced = false;
      file.endUse();
      indexFile.endUse();
      done(error ?? undefined);
    };
    file.beginUse();
    indexFile.beginUse();
    file.sync((error) => {
      if (error) return finish(error);
      indexFile.sync((failure) => {
        if (failure || !namesUnsynced) return finish(failure);
        this.disk.syncDirectory(this.directory, finish);
      });
    });
  }

  /** Closes the files; they open again when needed. Waits for a sync that is under way. */
  close(): void {
    this.file.close();
    this.index.close();
  }

  /** Removes both files. */
  remove(): void {
    this.close();
    this.index.file.remove();
    this.file.remove();
  }

  /**
   * Removes both files, the records' off the event loop: to free a hundred mebibytes of cached pages takes the kernel
   * ten milliseconds and more. A crash before it is done leaves a log file without an index, which recovery removes.
   *
   * @param failed called with what went wrong
   */
  removeLogInBackground(failed: (error: Error) => void): void {
    this.close();
    this.index.file.remove();
    this.disk.removeLater(this.logPath, (error) => {
      if (error !== null && error.code !== "ENOENT") failed(error);
    });
  }

  /**
   * Removes both files of a segment that is closed, off the event loop, first the index: where the file system discards
   * what is freed, even a small file's end waits for the disk.
   *
   * @param done called once they are gone, or with what went wrong
   */
  removeInBackground(done: (error: Error | undefined) => void): void {
    const { logPath } = this;
    const problem = (error: NodeJS.ErrnoException | null) => (error === null || error.code === "ENOENT" ? undefined : error);
    this.disk.removeLater(this.indexPath, (error) => {
      if (problem(error) !== undefined) return done(problem(error));
      this.disk.removeLater(logPath, (failure) => done(problem(failure)));
    });
  }

  /** Gives the log file away under another path and removes the index: first the index, so that no index names a foreign file. */
  moveLogFile(path: string): void {
    this.close();
    this.index.file.remove();
    this.file.rename(path);
  }

  /** Size of the log file on disk, older bytes behind the end included. */
  fileBytes(): number {
    return this.file.size;
  }
}

function indexPath(directory: string, baseSequence: number): string {
  return join(directory, `${segmentName(baseSequence)}.idx`);
}
