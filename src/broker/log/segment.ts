import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";

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

/** Entries read at once when walking an index. */
const ENTRY_PAGE = 64;

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
  /** Open files; -1 while closed. */
  private logFd = -1;
  private indexFd = -1;
  /** Commits since the last sync began. */
  unsynced = false;
  private syncing = 0;
  private closeWhenSynced = false;
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
    if (recycledFile !== undefined) renameSync(recycledFile, segment.logPath);
    try {
      segment.logFd = openSync(segment.logPath, recycledFile === undefined ? "w+" : "r+");
      segment.indexFd = openSync(segment.indexPath, "w+");
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
    const fd = openSync(join(directory, `${name}.idx`), "r+");
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    const read = readSync(fd, header, 0, INDEX_HEADER_BYTES, 0);
    const problem = headerProblem(header, read, topicNumber);
    if (problem !== undefined) {
      closeSync(fd);
      return problem;
    }
    const segment = new Segment(directory, topicNumber, header.readDoubleLE(16), header.readDoubleLE(24));
    segment.indexFd = fd;
    try {
      segment.logFd = openSync(segment.logPath, "r+");
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
    const entry = this.scratch;
    entry.writeDoubleLE(this.length, 0);
    entry.writeDoubleLE(this.nextSequence, 8);
    entry.writeUInt32LE(offset - this.length, 16);
    entry.writeUInt32LE(count, 20);
    entry.writeDoubleLE(timeMs, 24);
    entry.writeUInt32LE(crc, 32);
    entry.writeUInt32LE(Bun.hash.crc32(entry.subarray(0, 36)), 36);
    writeFully(this.indexFd, entry, 0, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES);
    this.entries++;
    this.length = offset;
    this.nextSequence += count;
    this.unsynced = true;
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
    ftruncateSync(this.indexFd, INDEX_HEADER_BYTES + entries * INDEX_ENTRY_BYTES);
  }

  /** Index entry by number, 0 … entries-1. */
  entry(number: number): IndexEntry {
    const page = Buffer.alloc(INDEX_ENTRY_BYTES);
    this.ensureOpen();
    readFully(this.indexFd, page, 0, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + number * INDEX_ENTRY_BYTES);
    return decodeEntry(page, 0);
  }

  /** Number of the entry that holds a byte offset (0 ≤ offset < length). About 17 small reads for a million entries. */
  findByOffset(offset: number): number {
    return this.search((entry) => entry.offset <= offset);
  }

  /** Number of the entry that holds a sequence (baseSequence ≤ sequence < nextSequence). */
  findBySequence(sequence: number): number {
    return this.search((entry) => entry.firstSequence <= sequence);
  }

  /** Entries from `first` on whose records fit together in `maxBytes`; always at least one. */
  entriesFrom(first: number, maxBytes: number): IndexEntry[] {
    this.ensureOpen();
    const found: IndexEntry[] = [];
    let bytes = 0;
    for (let number = first; number < this.entries; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, this.entries - number);
      const page = Buffer.alloc(many * INDEX_ENTRY_BYTES);
      readFully(this.indexFd, page, 0, page.length, INDEX_HEADER_BYTES + number * INDEX_ENTRY_BYTES);
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
   * @param done called once both files are synced, or with what went wrong
   */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.isOpen) return done(undefined);
    this.unsynced = false;
    this.syncing++;
    const finish = (error: Error | null) => {
      this.syncing--;
      if (this.closeWhenSynced && this.syncing === 0) this.close();
      done(error ?? undefined);
    };
    fdatasync(this.logFd, (error) => {
      if (error) return finish(error);
      fdatasync(this.indexFd, finish);
    });
  }

  /** Closes the files; they open again when needed. Waits for a sync that is under way. */
  close(): void {
    if (this.syncing > 0) {
      this.closeWhenSynced = true;
      return;
    }
    this.closeWhenSynced = false;
    if (this.logFd >= 0) closeSync(this.logFd);
    if (this.indexFd >= 0) closeSync(this.indexFd);
    this.logFd = -1;
    this.indexFd = -1;
  }

  /** Removes both files. */
  remove(): void {
    this.close();
    removeIfThere(this.indexPath);
    removeIfThere(this.logPath);
  }

  /** Gives the log file away under another path and removes the index: first the index, so that no index names a foreign file. */
  giveAway(path: string): void {
    this.close();
    removeIfThere(this.indexPath);
    renameSync(this.logPath, path);
  }

  /** Size of the log file on disk, older bytes behind the end included. */
  fileBytes(): number {
    this.ensureOpen();
    return fstatSync(this.logFd).size;
  }

  private ensureOpen(): void {
    this.closeWhenSynced = false;
    if (this.logFd < 0) this.logFd = openSync(this.logPath, "r+");
    if (this.indexFd < 0) this.indexFd = openSync(this.indexPath, "r+");
  }

  private search(atOrBefore: (entry: IndexEntry) => boolean): number {
    let low = 0;
    let high = this.entries - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (atOrBefore(this.entry(middle))) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Counts the entries that are whole and follow on each other. */
  private walkIndex(): void {
    const size = fstatSync(this.indexFd).size;
    const most = Math.floor((size - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES);
    for (let number = 0; number < most; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, most - number);
      const page = Buffer.alloc(many * INDEX_ENTRY_BYTES);
      readFully(this.indexFd, page, 0, page.length, INDEX_HEADER_BYTES + number * INDEX_ENTRY_BYTES);
      for (let i = 0; i < many; i++) {
        const at = i * INDEX_ENTRY_BYTES;
        if (Bun.hash.crc32(page.subarray(at, at + 36)) !== page.readUInt32LE(at + 36)) return;
        const entry = decodeEntry(page, at);
        if (entry.offset !== this.length || entry.firstSequence !== this.nextSequence) return;
        this.entries++;
        this.length += entry.length;
        this.nextSequence += entry.count;
      }
    }
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

/** writeSync may take less than it was given (a disk about to be full); this goes on until all is taken or it throws. */
export function writeFully(fd: number, buffer: Buffer, from: number, length: number, position: number): void {
  for (let done = 0; done < length; ) done += writeSync(fd, buffer, from + done, length - done, position + done);
}

export function readFully(fd: number, buffer: Buffer, at: number, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    const read = readSync(fd, buffer, at + done, length - done, position + done);
    if (read === 0) throw new Error(`file ends ${length - done} bytes early`);
    done += read;
  }
}

export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
