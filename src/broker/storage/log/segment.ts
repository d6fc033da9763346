import { join } from "node:path";
import { BODY_OFFSET, ID_OFFSET } from "../../../frame/frame.ts";
import { readPrefix } from "../../../frame/id.ts";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import type { UnreadableFile } from "../disk/unreadable-file.ts";
import { checksumOf } from "./commit-read.ts";
import { type CommitRun, encodeRun, partBefore } from "./commit-run.ts";
import type { IndexedRecords } from "./damaged-entries.ts";
import { encodeEntry, INDEX_ENTRY_BYTES, type IndexEntry, type IndexHeader, segmentName, UnusableIndex } from "./index-format.ts";
import { type FoundEntry, RecordScan } from "./record-scan.ts";
import { SegmentFiles } from "./segment-files.ts";
import { SegmentIndex } from "./segment-index.ts";

/**
 * One file of a topic's log, and its index beside it.
 *
 *     NNNNNNNNNNNNNNNN.log    records, each its own wire frame, back to back
 *     NNNNNNNNNNNNNNNN.idx    which of them count (segment-index.ts): an entry, or a few, per commit
 *
 * NNN… is the first record's sequence in hex. The index says how much of the file counts: a recycled file has older bytes
 * behind the end of the last entry's records, and they are never read. An entry is written after its records, in the same
 * tick and before any OK. So every acknowledged record has an entry, and a record without one was never acknowledged.
 */

/** The most record bytes that one index entry covers, unless a single MPUB is larger. A flipped bit costs one entry's records. */
const MAX_ENTRY_BYTES = 1024 * 1024;
/** For encoding the index entry of a commit that has only one, as most have. */
const scratch = Buffer.alloc(INDEX_ENTRY_BYTES);

/** Consecutive records of one commit, in one piece of memory. */
export interface CommitPart {
  /** The records are at [from, to) in `buffer`. */
  buffer: Buffer;
  from: number;
  to: number;
  /** Sequence of the first record. */
  firstSequence: number;
  /** The first record belongs to the same MPUB as the last record of the part before. */
  continuesBatch: boolean;
}

export class Segment implements IndexedRecords {
  /** How many records were found damaged while their index entries were rebuilt. */
  damagedRecords = 0;
  /** `basePosition` is known. Where an index was lost, recovery sets it with setBasePosition(). */
  positionKnown = true;
  /** The log file and the index file. */
  readonly files: SegmentFiles;
  /** The log file. */
  readonly file: LazyFile;
  /** The index of this segment of a replicated log was rebuilt: nothing proves that the records are what was written. */
  isDoubtful = false;
  /** The index of this segment of a replicated log could not be used when it was read. */
  isIndexDamaged = false;

  /** @param logName the name of the log file */
  constructor(
    disk: Disk,
    names: FolderNames,
    readonly topicNumber: number,
    readonly index: SegmentIndex,
    /** Position of the segment's first byte in the topic's log. */
    public basePosition: number,
    logName = `${segmentName(index.baseSequence)}.log`,
  ) {
    this.file = new LazyFile(disk, join(names.directory, logName), "fail", names);
    this.file.check = (from, to) => this.checkRecords(from, to);
    this.files = new SegmentFiles(disk, names, this.file, index);
  }

  get baseSequence(): number {
    return this.index.baseSequence;
  }

  /** Bytes of the records that have an index entry. */
  get length(): number {
    return this.index.length;
  }

  /** Sequence after the last record. */
  get nextSequence(): number {
    return this.index.nextSequence;
  }

  /** The beginning of the topic's ids, as the index has it; undefined in a segment of an earlier release. */
  get prefix(): number | undefined {
    return this.index.prefix;
  }

  /** That of all its records; 0 in a log that is not replicated. */
  get epoch(): number {
    return this.index.epoch;
  }

  get entries(): number {
    return this.index.entries;
  }

  /** When the first commit was written, in ms; 0 without commits. */
  get oldestMs(): number {
    return this.index.oldestMs;
  }

  /** When the last commit was written, in ms; 0 without commits. */
  get newestMs(): number {
    return this.index.newestMs;
  }

  /** How many damaged index entries with good ones behind them open() has replaced. */
  get bridgedEntries(): number {
    return this.index.bridgedEntries;
  }

  /** How many damaged index entries open() found at the end. cutIndexEnd() cuts them off. */
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

  /** A power cut leaves the segment, with its first sequence at least. */
  get survivesPowerCut(): boolean {
    return this.files.wereSynced;
  }

  /**
   * Starts a segment. The index is created last, so a crash in between leaves a log file without an index.
   *
   * @param recycler may have a file to overwrite instead of a new one, whose pages are warm
   */
  static create(disk: Disk, names: FolderNames, header: IndexHeader, recycler: { giveFile(path: string): boolean }): Segment {
    const index = new SegmentIndex(disk, names, `${segmentName(header.baseSequence)}.idx`, header);
    const segment = new Segment(disk, names, header.topicNumber, index, header.basePosition);
    const recycled = recycler.giveFile(segment.logPath);
    try {
      if (!recycled) segment.file.create();
      index.create();
      segment.files.noteNames();
    } catch (error) {
      segment.remove();
      throw error;
    }
    return segment;
  }

  /**
   * Opens a segment of an earlier run. Only records with an index entry count.
   *
   * @param synced records below this sequence were on the disk: if their entries are damaged, the records count where they
   *   are intact. Records above may have been torn along with their entry. 0 also where there is no log file.
   * @returns the segment, or why its index cannot be used
   * @throws StartError for an index of a newer version
   */
  static open(disk: Disk, names: FolderNames, name: string, topicNumber: number, synced: number): Segment | UnusableIndex {
    const opened = SegmentIndex.open(disk, names, name, topicNumber);
    if (opened instanceof UnusableIndex) return opened;
    const { index, position } = opened;
    const segment = new Segment(disk, names, topicNumber, index, 0);
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

  /** Sets the position of the segment's first byte in the log. @param written in the index file too */
  setBasePosition(position: number, written = false): void {
    this.basePosition = position;
    this.positionKnown = true;
    if (written) this.index.writePosition(position);
  }

  /**
   * Writes one commit: each part in one write, and then the index entries. Most commits have one entry. A large commit has
   * several small ones, but never two for one MPUB, since an MPUB is kept or lost as a whole.
   * If a write fails, nothing of the commit counts.
   *
   * @throws the kernel's error
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

  /** Writes commits of another replica as they are there. If a write fails, none of them counts. @throws the kernel's error */
  commitRun({ commits, bytes }: CommitRun): void {
    this.file.write(bytes, 0, bytes.length, this.length);
    const { entries, last } = encodeRun(commits, this.length);
    this.index.append(entries, entries.length, last, commits[0].timeMs);
  }

  /**
   * Removes the index entries of the records from a sequence on. Where it is in the middle of a commit, the index is replaced as a whole;
   * a commit that is damaged goes as a whole.
   *
   * @returns whether the index was replaced. cutFile() must follow, after a sync of its name if it was
   * @throws UnreadableFile; the kernel's error
   */
  cutIndex(sequence: number): boolean {
    const number = this.findBySequence(Math.max(sequence, this.baseSequence));
    const commit = this.entryAt(number);
    const kept = sequence > commit.firstSequence ? partBefore(this, commit, sequence) : undefined;
    if (kept !== undefined) this.index.replace(this.epoch, number, kept);
    else this.index.truncate(number);
    return kept !== undefined;
  }

  /** Cuts the records off that have no entry. A start that finds the index damaged would take them for newer ones. @throws the kernel's error */
  cutFile(): void {
    this.file.truncate(this.length);
  }

  /** Removes the newest segment of a log, so that nothing of it comes back. @throws the kernel's error. It is empty then, or as it was */
  discard(): void {
    this.index.truncate(0);
    this.file.remove();
    this.index.file.remove();
    this.close();
  }

  /** Gives an empty segment another epoch. @throws the kernel's error; it has the old one then */
  setEpoch(epoch: number): void {
    this.index.replace(epoch, 0);
    this.files.noteNames();
  }

  /** To be called when the records under damaged entries at the index's end were looked for, and before commit(). */
  cutIndexEnd(): void {
    this.index.cutEnd();
  }

  entriesUpTo(offset: number, sequence: number): IndexEntry[] {
    const found: FoundEntry[] = [];
    new RecordScan(this.file, this.topicNumber).scan(this.length, this.nextSequence, sequence, (entry) => found.push(entry));
    const last = found[found.length - 1];
    if (last === undefined || last.offset + last.length !== offset || last.firstSequence + last.count !== sequence) return [];
    if (found.some((entry) => !entry.intact)) return found;
    const length = offset - this.length;
    const all = { ...found[0], length, count: sequence - this.nextSequence };
    return [{ ...all, crc: this.sum(all) ?? 0 }];
  }

  /** Removes all index entries but the first `entries`. Recovery does this when entries do not match their records. */
  truncate(entries: number): void {
    this.index.truncate(entries);
  }

  /** @param number of an index entry, 0 … entries - 1 */
  entryAt(number: number): IndexEntry {
    return this.index.entryAt(number);
  }

  /** Number of the index entry that covers a byte offset (0 ≤ offset < length). */
  findByOffset(offset: number): number {
    return this.index.findByOffset(offset);
  }

  /** Number of the index entry that covers a sequence (baseSequence ≤ sequence < nextSequence). */
  findBySequence(sequence: number): number {
    return this.index.findBySequence(sequence);
  }

  /** Number of the first index entry that was written at or after a time; `entries` when all are older. */
  findByTime(timeMs: number): number {
    return this.index.findByTime(timeMs);
  }

  /**
   * Index entries from `first` on whose records fit into `maxBytes` together; at least one.
   *
   * @param isChecked those from the first damaged one on are left out
   * @throws UnreadableFile, also if the first one is damaged
   */
  entriesFrom(first: number, maxBytes: number, isChecked = false): IndexEntry[] {
    return this.index.entriesFrom(first, maxBytes, isChecked);
  }

  /** What to throw where the index does not say what it must. */
  damagedIndex(): UnreadableFile {
    return this.index.damaged();
  }

  /** Writes the records of consecutive entries again, which the entries' checksums match. @throws the kernel's error */
  overwrite(offset: number, records: Buffer): void {
    this.file.write(records, 0, records.length, offset);
  }

  /** Reads bytes of records. @throws also if the file is shorter than its index says */
  read(target: Buffer, at: number, offset: number, length: number): void {
    this.file.read(target, at, length, offset);
  }

  /** The prefix of the first record's id; -1 if it has none. @throws UnreadableFile */
  readFirstPrefix(): number {
    const header = Buffer.alloc(BODY_OFFSET);
    if (this.file.readUpTo(header, 0, BODY_OFFSET, 0) < BODY_OFFSET) return -1;
    return readPrefix(header, ID_OFFSET);
  }

  /** Whether the records that an entry covers match its checksum. @throws UnreadableFile */
  verify(entry: IndexEntry): boolean {
    return this.sum(entry) === entry.crc;
  }

  sum({ offset, length }: Pick<IndexEntry, "offset" | "length">): number | undefined {
    return checksumOf(this, offset, length);
  }

  /**
   * An earlier run may not have synced its files, nor their names.
   *
   * @param writeAgainFrom what a failed sync loses of the messages from this sequence on is written again; undefined: nothing is
   * @throws UnreadableFile
   */
  markUnsynced(writeAgainFrom: number | undefined): void {
    let offset: number | undefined;
    if (writeAgainFrom !== undefined && writeAgainFrom < this.nextSequence) {
      const first = this.findBySequence(Math.max(writeAgainFrom, this.baseSequence));
      ({ offset } = this.entryAt(first));
      this.index.markUnsynced(first);
    } else {
      this.index.file.markUnsynced();
    }
    this.file.markUnsynced(offset);
    this.files.noteNames();
  }

  /** Compares records that were written again with their checksums. */
  private checkRecords(from: number, to: number): Error | undefined {
    if (from >= this.length) return undefined;
    for (let number = this.findByOffset(from); number < this.entries; number++) {
      const entry = this.entryAt(number);
      if (entry.offset >= to) break;
      if (!this.verify(entry))
        return new Error(`a sync of ${this.logPath} failed, and the ${entry.count} messages at byte ${entry.offset} are lost`);
    }
    return undefined;
  }

  /**
   * Makes the commits so far durable, off the event loop.
   *
   * @param done called when both files are synced, and their names if they are new; or with the error
   */
  sync(done: (error: Error | undefined) => void): void {
    this.files.sync(done);
  }

  /** Closes the files, which their next use opens again. A running sync keeps them open until it ends. */
  close(): void {
    this.files.close();
  }

  /** To be called when the folder has another name. */
  moveTo(directory: string): void {
    this.files.moveTo(directory);
  }

  /** Removes both files. */
  remove(): void {
    this.files.remove();
  }
}
