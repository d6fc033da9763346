import { basename, join } from "node:path";
import { StartError } from "../../base/start-error.ts";
import { files, readFully, removeIfThere, renameIfThere, writeFully } from "../files.ts";
import { type FoundEntry, RecordScan } from "./record-scan.ts";

/**
 * One file of a topic's log, and its index beside it.
 *
 *     NNNNNNNNNNNNNNNN.log    records, each its own wire frame, back to back
 *     NNNNNNNNNNNNNNNN.idx    a header, then entries, one or a few per commit (group of records written together)
 *
 * NNN… is the first record's sequence in hex. The index says how much of the file counts: a recycled file has
 * older bytes behind the last entry's end, and they are never looked at.
 *
 *     header := magic "BQIX" | version u32 | topic number u32 | 0 u32 | base sequence f64 | base position f64 | 0 u32 | crc32 u32
 *     entry  := offset f64 | first sequence f64 | length u32 | count u32 | time ms f64 | crc32 of the records u32 | crc32 of this entry u32
 *
 * All numbers little-endian; a double holds them exactly. A position that is no number is not known: the index was made
 * anew from the records. An entry is written after its records, in the same
 * tick and before any OK, so what was acknowledged has an entry, and records without one were never acknowledged.
 */

const INDEX_MAGIC = 0x58495142;
const INDEX_VERSION = 1;
export const INDEX_HEADER_BYTES = 40;
export const INDEX_ENTRY_BYTES = 40;

/** Damaged index entries over more bytes than this are not made good. */
const MAX_BRIDGE_BYTES = 2 ** 30;
/** Records that one index entry covers, but for a single MPUB that is larger: what a flipped bit can cost. */
const MAX_ENTRY_BYTES = 1024 * 1024;
/** Records are checked against their entry in pieces of this size. */
const VERIFY_BYTES = 256 * 1024;
/** Entries read at once when walking an index. */
const ENTRY_PAGE = 64;
/** The page that was read last, of whichever segment: nothing is kept in it over a call. */
const page = Buffer.alloc(ENTRY_PAGE * INDEX_ENTRY_BYTES);
/** Guesses by proportion before a search falls back to halving. */
const GUESSES = 4;

/** Why an index cannot be used that a crash may have left so while it was made. */
export const NO_HEADER = "its index has no header";

/** Where an entry's fields stand that are searched by. */
const ENTRY_OFFSET = 0;
const ENTRY_SEQUENCE = 8;
const ENTRY_TIME = 24;

/** A commit, or a mebibyte of one: a run of records that were written, and are checked, together. */
export interface IndexEntry {
  /** From the segment's first byte. */
  offset: number;
  firstSequence: number;
  length: number;
  count: number;
  timeMs: number;
  crc: number;
}

/** Part of one commit's records in memory. */
export interface Part {
  buffer: Buffer;
  from: number;
  to: number;
  /** Of its first record. */
  firstSequence: number;
  /** Its first record is of the same MPUB as the last of the part before. */
  continuesBatch: boolean;
}

export class Segment {
  /** Bytes of records, all under an index entry. */
  length = 0;
  /** Sequence after the last record. */
  nextSequence: number;
  entries = 0;
  /** When its first and its last commit were written, ms; 0 without commits. */
  oldestMs = 0;
  newestMs = 0;
  /** Index entries that open() found damaged with good ones behind them, and put a stand-in for (see bridge()). */
  bridgedEntries = 0;
  /** Index entries that open() found damaged at the end, and cut off. */
  droppedEntries = 0;
  /** Records that rebuild() found damaged, and put stand-ins for. */
  damagedRecords = 0;
  /** Its place in the log is known. Where an index was lost, recovery gives it one (place()). */
  placed = true;
  /** Path of an index that is being made anew; empty for that at its own place. */
  private newIndexPath = "";
  /** Open files; -1 while closed. */
  private logFd = -1;
  private indexFd = -1;
  private syncing = 0;
  private closeWhenSynced = false;
  /** The files were made since the last sync: their names are not known to be on the disk. */
  namesUnsynced = false;
  private readonly scratch = Buffer.alloc(INDEX_ENTRY_BYTES);

  private constructor(
    readonly directory: string,
    readonly topicNumber: number,
    readonly baseSequence: number,
    /** Position in the topic's log of the segment's first byte. */
    public basePosition: number,
  ) {
    this.nextSequence = baseSequence;
  }

  get logPath(): string {
    return join(this.directory, `${segmentName(this.baseSequence)}.log`);
  }

  get indexPath(): string {
    return this.newIndexPath === "" ? join(this.directory, `${segmentName(this.baseSequence)}.idx`) : this.newIndexPath;
  }

  get endPosition(): number {
    return this.basePosition + this.length;
  }

  get isOpen(): boolean {
    return this.logFd >= 0;
  }

  /**
   * Starts a segment. The index comes last, so a crash in between leaves a log file that no index names.
   *
   * @param recycledFile a file to take over instead of a new one: its pages are warm
   */
  static create(
    directory: string,
    topicNumber: number,
    baseSequence: number,
    basePosition: number,
    recycledFile: string | undefined,
  ): Segment {
    const segment = new Segment(directory, topicNumber, baseSequence, basePosition);
    segment.namesUnsynced = true;
    const recycled = recycledFile !== undefined && renameIfThere(recycledFile, segment.logPath);
    try {
      segment.logFd = files.open(segment.logPath, recycled ? "r+" : "w+");
      segment.indexFd = files.open(segment.indexPath, "w+");
      writeFully(segment.indexFd, segment.encodeHeader(), 0, INDEX_HEADER_BYTES, 0);
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
  static open(directory: string, name: string, topicNumber: number, synced: number): Segment | string {
    const fd = files.open(join(directory, `${name}.idx`), "r+");
    try {
      const header = Buffer.alloc(INDEX_HEADER_BYTES);
      const read = files.read(fd, header, 0, INDEX_HEADER_BYTES, 0);
      const problem = headerProblem(join(directory, name), header, read, topicNumber);
      if (problem !== undefined) {
        files.close(fd);
        return problem;
      }
      const position = header.readDoubleLE(24);
      const segment = new Segment(directory, topicNumber, header.readDoubleLE(16), position);
      segment.placed = !Number.isNaN(position);
      if (!segment.placed) segment.basePosition = 0;
      segment.indexFd = fd;
      segment.walkIndex(synced);
      return segment;
    } catch (error) {
      files.close(fd);
      throw error;
    }
  }

  /**
   * Makes a segment's index anew from the records in its log file, under another name until adoptIndex() or
   * abandonIndex(): a crash in between leaves all as it was.
   *
   * @param endSequence records from here on do not count; Infinity for all
   */
  static rebuild(directory: string, name: string, topicNumber: number, endSequence: number): Segment {
    const segment = new Segment(directory, topicNumber, Number.parseInt(name, 16), 0);
    segment.placed = false;
    segment.newIndexPath = join(directory, `${name}.idx.new`);
    segment.indexFd = files.open(segment.indexPath, "w+");
    segment.logFd = files.open(segment.logPath, "r+");
    writeFully(segment.indexFd, segment.encodeHeader(), 0, INDEX_HEADER_BYTES, 0);
    segment.extend(endSequence);
    return segment;
  }

  /** The index that rebuild() made takes its place. */
  adoptIndex(): void {
    const path = this.newIndexPath;
    this.newIndexPath = "";
    this.namesUnsynced = true;
    files.rename(path, this.indexPath);
  }

  /** The index that rebuild() made is done without; the files are closed. */
  abandonIndex(): void {
    this.close();
    removeIfThere(this.indexPath);
    this.newIndexPath = "";
  }

  /** Whether the log file begins with this segment's first record, whether it counts or not. */
  get holdsRecords(): boolean {
    this.ensureOpen();
    let found = false;
    new RecordScan(this.logFd, this.fileBytes(), this.topicNumber).run(0, this.baseSequence, this.baseSequence + 1, ({ whole }) => {
      found = whole;
    });
    return found;
  }

  /** Gives the segment its place in the log. */
  place(position: number): void {
    this.basePosition = position;
    this.placed = true;
  }

  /**
   * Adds entries for records that stand in the log file behind those the index knows, up to a sequence: the index had
   * some that were lost.
   */
  extend(endSequence: number): void {
    this.ensureOpen();
    const scan = new RecordScan(this.logFd, this.fileBytes(), this.topicNumber);
    scan.run(this.length, this.nextSequence, endSequence, (found) => {
      // What was deferred joined long after its own time; entries stand in the order of theirs.
      found.timeMs = Math.max(this.newestMs, found.timeMs);
      if (!found.whole) this.damagedRecords += found.count;
      this.addEntry(found);
    });
  }

  /**
   * Writes one commit: the records' parts in one go each, then their index entries: one for most commits, for a large one
   * as many as keep each small, but never two for one MPUB, which is there as a whole or not at all.
   * Throws what the kernel said; then nothing of it counts.
   */
  commit(parts: Part[], count: number, timeMs: number): void {
    this.ensureOpen();
    const entries = parts.length === 1 ? this.scratch : Buffer.alloc(parts.length * INDEX_ENTRY_BYTES);
    let used = 0;
    let offset = this.length;
    const entry: IndexEntry = { offset, firstSequence: this.nextSequence, length: 0, count: 0, timeMs, crc: 0 };
    for (const { buffer, from, to, firstSequence, continuesBatch } of parts) {
      writeFully(this.logFd, buffer, from, to - from, offset);
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
    this.writeEntries(entries, used);
    if (this.entries === 0) this.oldestMs = timeMs;
    this.newestMs = timeMs;
    this.entries += used / INDEX_ENTRY_BYTES;
    this.length = offset;
    this.nextSequence += count;
  }

  private writeEntries(entries: Buffer, bytes: number): void {
    const end = INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES;
    try {
      writeFully(this.indexFd, entries, 0, bytes, end);
    } catch (error) {
      // The first of several may stand there whole, and must not bring back after a crash what is refused now.
      if (bytes > INDEX_ENTRY_BYTES) files.truncate(this.indexFd, end);
      throw error;
    }
  }

  /**
   * Index entries were damaged between the last good one and what follows at `offset` and `sequence`: puts others for the
   * commits between, in the same slots. Where records are not whole, or were not known to be on the disk, the entry is a
   * stand-in, and reading finds them damaged.
   *
   * @param slots how many entries of the index were damaged; those that are not needed stay empty
   */
  private bridge(offset: number, sequence: number, slots: number, synced: number): void {
    // Not known any more; that of the entry before keeps the index in order of time.
    const timeMs = this.newestMs;
    const found = sequence <= synced ? this.recordsUpTo(offset, sequence) : [];
    const known = found.length > 0 && found.length <= slots;
    const standIn = {
      offset: this.length,
      firstSequence: this.nextSequence,
      length: offset - this.length,
      count: sequence - this.nextSequence,
    };
    const entries: IndexEntry[] = known ? found : [{ ...standIn, timeMs, crc: this.otherCrc(standIn) }];
    for (const entry of entries) this.addEntry({ ...entry, timeMs });
    const empty: IndexEntry = { offset, firstSequence: sequence, length: 0, count: 0, timeMs, crc: 0 };
    for (let slot = entries.length; slot < slots; slot++) this.addEntry(empty);
    this.bridgedEntries += slots;
  }

  /** Entries for the records between what the index knows and an offset; none unless they end there. One if all are whole. */
  private recordsUpTo(offset: number, sequence: number): IndexEntry[] {
    const found: FoundEntry[] = [];
    this.ensureOpen();
    new RecordScan(this.logFd, this.fileBytes(), this.topicNumber).run(this.length, this.nextSequence, sequence, (entry) =>
      found.push(entry),
    );
    const last = found[found.length - 1];
    if (last === undefined || last.offset + last.length !== offset || last.firstSequence + last.count !== sequence) return [];
    if (found.some((entry) => !entry.whole)) return found;
    const length = offset - this.length;
    const all = { ...found[0], length, count: sequence - this.nextSequence };
    return [{ ...all, crc: this.sum(all) ?? 0 }];
  }

  /** Whether the file may have bytes up to an offset, and not more than one stand-in can tell of. */
  private canBridgeTo(offset: number): boolean {
    return offset > this.length && offset - this.length <= MAX_BRIDGE_BYTES;
  }

  private otherCrc(entry: Pick<IndexEntry, "offset" | "length">): number {
    return ((this.sum(entry) ?? 0) ^ 1) >>> 0;
  }

  private addEntry(entry: IndexEntry): void {
    writeFully(
      this.indexFd,
      encodeEntry(this.scratch, 0, entry),
      0,
      INDEX_ENTRY_BYTES,
      INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES,
    );
    if (this.entries === 0) this.oldestMs = entry.timeMs;
    this.newestMs = entry.timeMs;
    this.entries++;
    this.length = entry.offset + entry.length;
    this.nextSequence = entry.firstSequence + entry.count;
  }

  /** Forgets the last `entries` commits from number `entries` on (recovery: they do not match their records). */
  truncate(entries: number): void {
    this.ensureOpen();
    this.entries = entries;
    if (entries === 0) {
      this.length = 0;
      this.nextSequence = this.baseSequence;
    } else {
      const last = this.entry(entries - 1);
      this.length = last.offset + last.length;
      this.nextSequence = last.firstSequence + last.count;
    }
    files.truncate(this.indexFd, INDEX_HEADER_BYTES + entries * INDEX_ENTRY_BYTES);
  }

  /** Index entry by number, 0 … entries-1. */
  entry(number: number): IndexEntry {
    this.ensureOpen();
    this.readPage(number, 1);
    return decodeEntry(page, 0);
  }

  /** Number of the entry that holds a byte offset (0 ≤ offset < length). */
  findByOffset(offset: number): number {
    return this.search(ENTRY_OFFSET, offset, 0, this.length);
  }

  /** Number of the entry that holds a sequence (baseSequence ≤ sequence < nextSequence). */
  findBySequence(sequence: number): number {
    return this.search(ENTRY_SEQUENCE, sequence, this.baseSequence, this.nextSequence);
  }

  /** Number of the first entry that was written at or after a time; `entries` when all were written before. */
  findByTime(timeMs: number): number {
    this.ensureOpen();
    let low = 0;
    let high = this.entries;
    while (low < high) {
      const middle = (low + high) >>> 1;
      this.readPage(middle, 1);
      if (page.readDoubleLE(ENTRY_TIME) < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Entries from `first` on whose records fit together in `maxBytes`; always at least one. */
  entriesFrom(first: number, maxBytes: number): IndexEntry[] {
    this.ensureOpen();
    const found: IndexEntry[] = [];
    let bytes = 0;
    for (let number = first; number < this.entries; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, this.entries - number);
      this.readPage(number, many);
      for (let i = 0; i < many; i++) {
        const entry = decodeEntry(page, i * INDEX_ENTRY_BYTES);
        if (found.length > 0 && bytes + entry.length > maxBytes) return found;
        found.push(entry);
        bytes += entry.length;
      }
    }
    return found;
  }

  /** Reads records' bytes. Throws if the file is shorter than its index says. */
  read(target: Buffer, at: number, offset: number, length: number): void {
    this.ensureOpen();
    readFully(this.logFd, target, at, length, offset);
  }

  /** Whether an entry's records are what was written. */
  verify(entry: IndexEntry): boolean {
    return this.sum(entry) === entry.crc;
  }

  /** Checksum of records as they stand in the file; undefined where it cannot be read that far. */
  private sum({ offset, length }: Pick<IndexEntry, "offset" | "length">): number | undefined {
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
    try {
      this.ensureOpen();
    } catch (error) {
      return done(error as Error);
    }
    this.syncing++;
    const { namesUnsynced } = this;
    const finish = (error: Error | null) => {
      this.syncing--;
      if (namesUnsynced && !error) this.namesUnsynced = false;
      if (this.closeWhenSynced && this.syncing === 0) this.close();
      done(error ?? undefined);
    };
    files.sync(this.logFd, (error) => {
      if (error) return finish(error);
      files.sync(this.indexFd, (failure) => {
        if (failure || !namesUnsynced) return finish(failure);
        files.syncDirectory(this.directory, finish);
      });
    });
  }

  /** Closes the files; they open again when needed. Waits for a sync that is under way. */
  close(): void {
    if (this.syncing > 0) {
      this.closeWhenSynced = true;
      return;
    }
    this.closeWhenSynced = false;
    if (this.logFd >= 0) files.close(this.logFd);
    if (this.indexFd >= 0) files.close(this.indexFd);
    this.logFd = -1;
    this.indexFd = -1;
  }

  /** Removes both files. */
  remove(): void {
    this.close();
    removeIfThere(this.indexPath);
    removeIfThere(this.logPath);
  }

  /**
   * Removes both files, the records' off the event loop: to free a hundred mebibytes of cached pages takes the kernel
   * ten milliseconds and more. A crash before it is done leaves a log file without an index, which recovery removes.
   *
   * @param failed called with what went wrong
   */
  discard(failed: (error: Error) => void): void {
    this.close();
    removeIfThere(this.indexPath);
    files.removeLater(this.logPath, (error) => {
      if (error !== null && error.code !== "ENOENT") failed(error);
    });
  }

  /** Gives the log file away under another path and removes the index: first the index, so that no index names a foreign file. */
  giveAway(path: string): void {
    this.close();
    removeIfThere(this.indexPath);
    files.rename(this.logPath, path);
  }

  /** Size of the log file on disk, older bytes behind the end included. */
  fileBytes(): number {
    this.ensureOpen();
    return files.size(this.logFd);
  }

  private ensureOpen(): void {
    this.closeWhenSynced = false;
    if (this.logFd < 0) this.logFd = files.open(this.logPath, "r+");
    if (this.indexFd < 0) this.indexFd = files.open(this.indexPath, "r+");
  }

  /**
   * The last entry whose field is not above `target`. Entries are of like size more often than not, so a guess by
   * proportion, and a page of entries around it, is right after one or two small reads where halving takes fifteen.
   *
   * @param field offset of the field in an entry
   * @param from the field's value in the first entry
   * @param to the value that an entry behind the last would have
   */
  private search(field: number, target: number, from: number, to: number): number {
    this.ensureOpen();
    let low = 0;
    let high = this.entries;
    for (let step = 0; high - low > ENTRY_PAGE; step++) {
      const share = step < GUESSES ? (target - from) / (to - from) : 0.5;
      const guess = Math.floor(low + share * (high - low)) - ENTRY_PAGE / 2;
      const first = Math.max(low, Math.min(guess, high - ENTRY_PAGE));
      this.readPage(first, ENTRY_PAGE);
      const firstValue = page.readDoubleLE(field);
      const lastValue = page.readDoubleLE((ENTRY_PAGE - 1) * INDEX_ENTRY_BYTES + field);
      if (target < firstValue) {
        high = first;
        to = firstValue;
      } else if (target >= lastValue) {
        low = first + ENTRY_PAGE - 1;
        from = lastValue;
      } else {
        low = first;
        high = first + ENTRY_PAGE;
      }
    }
    this.readPage(low, high - low);
    let number = high - 1;
    while (number > low && page.readDoubleLE((number - low) * INDEX_ENTRY_BYTES + field) > target) number--;
    return number;
  }

  private readPage(first: number, count: number): void {
    readFully(this.indexFd, page, 0, count * INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + first * INDEX_ENTRY_BYTES);
  }

  /**
   * Counts the entries that are whole and follow on each other. One that is damaged, with good ones behind it, costs
   * at most its own commit; what is damaged at the end is cut off, so that it is never mistaken for later entries.
   */
  private walkIndex(synced: number): void {
    const size = files.size(this.indexFd);
    const most = Math.floor((size - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES);
    let damaged = 0;
    for (let number = 0; number < most; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, most - number);
      const page = Buffer.alloc(many * INDEX_ENTRY_BYTES);
      readFully(this.indexFd, page, 0, page.length, INDEX_HEADER_BYTES + number * INDEX_ENTRY_BYTES);
      for (let i = 0; i < many; i++) {
        const at = i * INDEX_ENTRY_BYTES;
        const entry = decodeEntry(page, at);
        const whole = Bun.hash.crc32(page.subarray(at, at + 36)) === page.readUInt32LE(at + 36);
        const follows = entry.offset === this.length && entry.firstSequence === this.nextSequence;
        const behindDamage = whole && damaged > 0 && entry.firstSequence > this.nextSequence && this.canBridgeTo(entry.offset);
        if (!whole || (!follows && !behindDamage)) {
          damaged++;
          continue;
        }
        if (damaged > 0) this.bridge(entry.offset, entry.firstSequence, damaged, synced);
        damaged = 0;
        if (this.entries === 0) this.oldestMs = entry.timeMs;
        this.newestMs = entry.timeMs;
        this.entries++;
        this.length += entry.length;
        this.nextSequence += entry.count;
      }
    }
    this.droppedEntries = damaged;
    const used = INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES;
    if (size > used) files.truncate(this.indexFd, used);
  }

  private encodeHeader(): Buffer {
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    header.writeUInt32LE(INDEX_MAGIC, 0);
    header.writeUInt32LE(INDEX_VERSION, 4);
    header.writeUInt32LE(this.topicNumber, 8);
    header.writeDoubleLE(this.baseSequence, 16);
    header.writeDoubleLE(this.placed ? this.basePosition : Number.NaN, 24);
    header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 36)), 36);
    return header;
  }
}

export function segmentName(baseSequence: number): string {
  return baseSequence.toString(16).padStart(16, "0");
}

function headerProblem(path: string, header: Buffer, bytes: number, topicNumber: number): string | undefined {
  if (bytes < INDEX_HEADER_BYTES || header.every((byte) => byte === 0)) return NO_HEADER;
  if (header.readUInt32LE(0) !== INDEX_MAGIC) return "its index is not one of ours";
  if (Bun.hash.crc32(header.subarray(0, 36)) !== header.readUInt32LE(36)) return "its index header is damaged";
  const version = header.readUInt32LE(4);
  if (version > INDEX_VERSION) {
    throw new StartError(
      `${path}.idx was written by a newer bunsq (index version ${version}, this one reads ${INDEX_VERSION}); start that version, or use another --data-path`,
    );
  }
  if (header.readUInt32LE(8) !== topicNumber) return `its index belongs to topic number ${header.readUInt32LE(8)}`;
  if (segmentName(header.readDoubleLE(16)) !== basename(path)) return "its index is that of another segment";
  return undefined;
}

function encodeEntry(target: Buffer, at: number, entry: IndexEntry): Buffer {
  target.writeDoubleLE(entry.offset, at);
  target.writeDoubleLE(entry.firstSequence, at + 8);
  target.writeUInt32LE(entry.length, at + 16);
  target.writeUInt32LE(entry.count, at + 20);
  target.writeDoubleLE(entry.timeMs, at + 24);
  target.writeUInt32LE(entry.crc, at + 32);
  target.writeUInt32LE(Bun.hash.crc32(target.subarray(at, at + 36)), at + 36);
  return target;
}

function decodeEntry(page: Buffer, at: number): IndexEntry {
  return {
    offset: page.readDoubleLE(at),
    firstSequence: page.readDoubleLE(at + 8),
    length: page.readUInt32LE(at + 16),
    count: page.readUInt32LE(at + 20),
    timeMs: page.readDoubleLE(at + 24),
    crc: page.readUInt32LE(at + 32),
  };
}
