import { join } from "node:path";
import { BODY_OFFSET, ID_OFFSET } from "../../frame/frame.ts";
import { readPrefix, readSequence, SEQUENCE_SPAN, TOPIC_NUMBER_LIMIT } from "../../frame/id.ts";
import { files, readFully, removeIfThere, renameIfThere, writeFully } from "../files.ts";

/**
 * One file of a topic's log, and its index beside it.
 *
 *     NNNNNNNNNNNNNNNN.log    records, each its own wire frame, back to back
 *     NNNNNNNNNNNNNNNN.idx    a header, then one entry per commit (group of records written together)
 *
 * NNN… is the first record's sequence in hex. The index says how much of the file counts: a recycled file has
 * older bytes behind the last entry's end, and they are never looked at.
 *
 *     header := magic "BQIX" | version u32 | topic number u32 | 0 u32 | base sequence f64 | base position f64 | 0 u32 | crc32 u32
 *     entry  := offset f64 | first sequence f64 | length u32 | count u32 | time ms f64 | crc32 of the records u32 | crc32 of this entry u32
 *
 * All numbers little-endian; a double holds them exactly. An entry is written after its records, in the same
 * tick and before any OK, so what was acknowledged has an entry, and records without one were never acknowledged.
 */

const INDEX_MAGIC = 0x58495142;
const INDEX_VERSION = 1;
export const INDEX_HEADER_BYTES = 40;
export const INDEX_ENTRY_BYTES = 40;

/** Damaged index entries over more bytes than this are not made good. */
const MAX_BRIDGE_BYTES = 2 ** 30;
/** Entries read at once when walking an index. */
const ENTRY_PAGE = 64;
/** The page that was read last, of whichever segment: nothing is kept in it over a call. */
const page = Buffer.alloc(ENTRY_PAGE * INDEX_ENTRY_BYTES);
/** Guesses by proportion before a search falls back to halving. */
const GUESSES = 4;

/** Where an entry's fields stand that are searched by. */
const ENTRY_OFFSET = 0;
const ENTRY_SEQUENCE = 8;
const ENTRY_TIME = 24;

/** One commit: a run of records that were written, and are checked, together. */
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
  /** Open files; -1 while closed. */
  private logFd = -1;
  private indexFd = -1;
  private syncing = 0;
  private closeWhenSynced = false;
  /** The files were made since the last sync: their names are not known to be on the disk. */
  private namesUnsynced = false;
  private readonly scratch = Buffer.alloc(INDEX_ENTRY_BYTES);

  private constructor(
    readonly directory: string,
    readonly topicNumber: number,
    readonly baseSequence: number,
    /** Position in the topic's log of the segment's first byte. */
    readonly basePosition: number,
  ) {
    this.nextSequence = baseSequence;
  }

  get logPath(): string {
    return join(this.directory, `${segmentName(this.baseSequence)}.log`);
  }

  get indexPath(): string {
    return join(this.directory, `${segmentName(this.baseSequence)}.idx`);
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
   * @returns the segment, or why it cannot be used
   */
  static open(directory: string, name: string, topicNumber: number): Segment | string {
    const fd = files.open(join(directory, `${name}.idx`), "r+");
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    const read = files.read(fd, header, 0, INDEX_HEADER_BYTES, 0);
    const problem = headerProblem(header, read, topicNumber);
    if (problem !== undefined) {
      files.close(fd);
      return problem;
    }
    const segment = new Segment(directory, topicNumber, header.readDoubleLE(16), header.readDoubleLE(24));
    segment.indexFd = fd;
    try {
      segment.logFd = files.open(segment.logPath, "r+");
    } catch (error) {
      segment.close();
      return `its log file cannot be opened: ${(error as Error).message}`;
    }
    segment.walkIndex();
    return segment;
  }

  /** Writes one commit: the records' parts in one go each, then their index entry. Throws what the kernel said. */
  commit(parts: Part[], count: number, timeMs: number): void {
    this.ensureOpen();
    let offset = this.length;
    let crc = 0;
    for (const { buffer, from, to } of parts) {
      writeFully(this.logFd, buffer, from, to - from, offset);
      crc = Bun.hash.crc32(buffer.subarray(from, to), crc);
      offset += to - from;
    }
    const entry = { offset: this.length, firstSequence: this.nextSequence, length: offset - this.length, count, timeMs, crc };
    writeFully(this.indexFd, encodeEntry(this.scratch, entry), 0, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES);
    if (this.entries === 0) this.oldestMs = timeMs;
    this.newestMs = timeMs;
    this.entries++;
    this.length = offset;
    this.nextSequence += count;
  }

  /**
   * Index entries were damaged between the last good one and what follows at `offset` and `sequence`: puts a stand-in
   * for the commits between. If their records are whole, nothing is lost; else reading them finds them damaged.
   *
   * @param slots how many entries of the index were damaged; the stand-in takes one, the rest stay empty
   */
  bridge(offset: number, sequence: number, slots: number): void {
    const entry: IndexEntry = {
      offset: this.length,
      firstSequence: this.nextSequence,
      length: offset - this.length,
      count: sequence - this.nextSequence,
      // Not known any more; that of the entry before keeps the index in order of time.
      timeMs: this.newestMs,
      crc: 0,
    };
    entry.crc = this.wholeRecordsCrc(entry);
    this.ensureOpen();
    const empty: IndexEntry = { offset, firstSequence: sequence, length: 0, count: 0, timeMs: this.newestMs, crc: 0 };
    for (let slot = 0; slot < slots; slot++, this.entries++) {
      const bytes = encodeEntry(Buffer.alloc(INDEX_ENTRY_BYTES), slot === 0 ? entry : empty);
      writeFully(this.indexFd, bytes, 0, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES);
    }
    this.bridgedEntries += slots;
    this.length = offset;
    this.nextSequence = sequence;
  }

  /** Whether the file has bytes up to an offset, and not more than one stand-in can tell of. */
  canBridgeTo(offset: number): boolean {
    return offset > this.length && offset - this.length <= MAX_BRIDGE_BYTES && offset <= this.fileBytes();
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
    const bytes = Buffer.allocUnsafe(entry.length);
    try {
      this.read(bytes, 0, entry.offset, entry.length);
    } catch {
      return false;
    }
    return Bun.hash.crc32(bytes) === entry.crc;
  }

  /**
   * Brings what was committed so far to the disk, off the event loop.
   *
   * @param done called once both files are synced, and their names if they are new; or with what went wrong
   */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.isOpen) return done(undefined);
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
  private walkIndex(): void {
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
        const behindDamage = damaged > 0 && entry.firstSequence > this.nextSequence && this.canBridgeTo(entry.offset);
        if (!whole || (!follows && !behindDamage)) {
          damaged++;
          continue;
        }
        if (damaged > 0) this.bridge(entry.offset, entry.firstSequence, damaged);
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

  /** The checksum of an entry's records if they are the ones it should have, as their ids and lengths tell; else one that fits nothing. */
  private wholeRecordsCrc(entry: IndexEntry): number {
    const bytes = Buffer.alloc(entry.length);
    try {
      this.read(bytes, 0, entry.offset, entry.length);
    } catch {
      return 0;
    }
    const crc = Bun.hash.crc32(bytes);
    let at = 0;
    let sequence = entry.firstSequence;
    while (at + BODY_OFFSET <= bytes.length) {
      const next = at + 4 + bytes.readUInt32BE(at);
      const foreign = readPrefix(bytes, at + ID_OFFSET) % TOPIC_NUMBER_LIMIT !== this.topicNumber;
      if (foreign || next < at + BODY_OFFSET || readSequence(bytes, at + ID_OFFSET) !== sequence % SEQUENCE_SPAN) break;
      at = next;
      sequence++;
    }
    return at === bytes.length && sequence === entry.firstSequence + entry.count ? crc : (crc ^ 1) >>> 0;
  }

  private encodeHeader(): Buffer {
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    header.writeUInt32LE(INDEX_MAGIC, 0);
    header.writeUInt32LE(INDEX_VERSION, 4);
    header.writeUInt32LE(this.topicNumber, 8);
    header.writeDoubleLE(this.baseSequence, 16);
    header.writeDoubleLE(this.basePosition, 24);
    header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 36)), 36);
    return header;
  }
}

export function segmentName(baseSequence: number): string {
  return baseSequence.toString(16).padStart(16, "0");
}

function headerProblem(header: Buffer, bytes: number, topicNumber: number): string | undefined {
  if (bytes < INDEX_HEADER_BYTES) return "its index has no whole header";
  if (header.readUInt32LE(0) !== INDEX_MAGIC) return "its index is not one of ours";
  if (Bun.hash.crc32(header.subarray(0, 36)) !== header.readUInt32LE(36)) return "its index header is damaged";
  if (header.readUInt32LE(4) !== INDEX_VERSION)
    return `its index is of version ${header.readUInt32LE(4)}, this broker reads ${INDEX_VERSION}`;
  if (header.readUInt32LE(8) !== topicNumber) return `it belongs to topic number ${header.readUInt32LE(8)}`;
  return undefined;
}

function encodeEntry(target: Buffer, entry: IndexEntry): Buffer {
  target.writeDoubleLE(entry.offset, 0);
  target.writeDoubleLE(entry.firstSequence, 8);
  target.writeUInt32LE(entry.length, 16);
  target.writeUInt32LE(entry.count, 20);
  target.writeDoubleLE(entry.timeMs, 24);
  target.writeUInt32LE(entry.crc, 32);
  target.writeUInt32LE(Bun.hash.crc32(target.subarray(0, 36)), 36);
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
