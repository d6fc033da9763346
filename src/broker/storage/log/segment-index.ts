import { basename, join } from "node:path";
import { StartError } from "../../../base/start-error.ts";
import { type Disk, isMissing } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";

/**
 * The index beside a segment's records (segment.ts).
 *
 *     header := magic "BQIX" | version u32 | topic number u32 | prefix u32 | base sequence f64 | base position f64 | 0 u32 | crc32 u32
 *     entry  := offset f64 | first sequence f64 | length u32 | count u32 | time ms f64 | crc32 of the records u32 | crc32 of this entry u32
 *
 * All numbers are little-endian; a double holds them exactly. The prefix is that of the topic's ids (frame/id.ts) with bit 31
 * set; 0 in an index of an earlier release. A base position of NaN is unknown: the index was rebuilt from
 * the records.
 */

const INDEX_MAGIC = 0x58495142;
const INDEX_VERSION = 1;
export const INDEX_HEADER_BYTES = 40;
export const INDEX_ENTRY_BYTES = 40;
/** Is set beside a prefix, so that prefix 0 differs from none. */
const HAS_PREFIX = 0x80000000;

/** Damaged entries over more record bytes than this are not replaced. */
const MAX_BRIDGE_BYTES = 2 ** 30;
/** Entries that are read together. */
const ENTRY_PAGE = 64;
/** The page that was read last, for all indexes. A reader that continues finds the next entries there. */
const page = Buffer.alloc(ENTRY_PAGE * INDEX_ENTRY_BYTES);
/** The index that the page belongs to. Its entries [pageFirst, pageEnd) are on the page. */
let pageOf: SegmentIndex | undefined;
let pageFirst = 0;
let pageEnd = 0;
/** For encoding one entry. */
const scratch = Buffer.alloc(INDEX_ENTRY_BYTES);
/** A search guesses this many times by proportion before it falls back to bisection. */
const GUESSES = 4;

/** Why an index cannot be used. Log lines put the segment's name before the message. */
export class UnusableIndex extends Error {
  /** @param unfinished a crash while the index was created may have left it like this */
  constructor(
    message: string,
    readonly unfinished = false,
  ) {
    super(message);
  }
}

/** Offsets in an entry of the fields that can be searched for. */
const ENTRY_OFFSET = 0;
const ENTRY_SEQUENCE = 8;
const ENTRY_TIME = 24;

/** A commit, or a mebibyte of a large one: consecutive records that share a checksum. */
export interface IndexEntry {
  /** Offset of the first record in the log file. */
  offset: number;
  firstSequence: number;
  length: number;
  count: number;
  timeMs: number;
  crc: number;
}

/** The records that belong to an index. */
export interface IndexedRecords {
  /**
   * Entries for the records from the index's end up to an offset and a sequence. There are none unless the records end exactly
   * there, and one if all records are intact.
   */
  entriesUpTo(offset: number, sequence: number): IndexEntry[];
  /** Checksum of an entry's records in the file; undefined where the file ends before. @throws UnreadableFile */
  sum(entry: Pick<IndexEntry, "offset" | "length">): number | undefined;
}

/** Says which records of a segment count. Its entries cover the segment without a gap, from its first byte to the last that counts. */
export class SegmentIndex {
  entries = 0;
  /** Bytes of records under all entries. */
  length = 0;
  /** Sequence after the last record. */
  nextSequence: number;
  /** The earliest and the latest time of a commit, in ms; 0 without commits. */
  oldestMs = 0;
  newestMs = 0;
  /** Times of entries ascend. They may not in the index of a release that wrote the times of a wall clock that was set back. */
  private inOrder = true;
  /** How many damaged entries with good ones behind them loadEntries() has replaced. */
  bridgedEntries = 0;
  /** How many damaged entries loadEntries() found at the end. */
  droppedEntries = 0;
  readonly file: LazyFile;

  constructor(
    disk: Disk,
    path: string,
    private readonly topicNumber: number,
    readonly baseSequence: number,
    /** The beginning of the ids of the topic, as the header has it; undefined in an index of an earlier release. */
    public prefix: number | undefined,
  ) {
    this.file = new LazyFile(disk, path);
    this.nextSequence = baseSequence;
  }

  /**
   * Opens an index of an earlier run and reads its header. loadEntries() reads its entries.
   *
   * @param name the segment's file name without ending
   * @returns the index and its segment's base position, or why the index cannot be used
   * @throws StartError for an index of a newer version
   */
  static open(disk: Disk, directory: string, name: string, topicNumber: number): { index: SegmentIndex; position: number } | UnusableIndex {
    const index = new SegmentIndex(disk, join(directory, `${name}.idx`), topicNumber, Number.parseInt(name, 16), undefined);
    try {
      const header = Buffer.alloc(INDEX_HEADER_BYTES);
      const read = index.file.readUpTo(header, 0, INDEX_HEADER_BYTES, 0);
      const problem = headerProblem(join(directory, name), header, read, topicNumber);
      if (problem === undefined) {
        const prefix = header.readUInt32LE(12);
        if (prefix !== 0) index.prefix = prefix - HAS_PREFIX;
        return { index, position: header.readDoubleLE(24) };
      }
      index.close();
      return problem;
    } catch (error) {
      index.close();
      throw error;
    }
  }

  /** Creates the file without entries. @param position base position of the segment; NaN: unknown */
  create(position: number): void {
    this.file.create();
    this.writeHeader(position);
  }

  close(): void {
    if (pageOf === this) pageOf = undefined;
    this.file.close();
  }

  // ---- adding entries

  /**
   * Adds the encoded entries of one commit. If the write fails, none of them counts.
   *
   * @param last the last of the entries
   * @throws the kernel's error
   */
  append(encoded: Buffer, bytes: number, last: IndexEntry): void {
    const end = INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES;
    try {
      this.file.write(encoded, 0, bytes, end);
    } catch (error) {
      // The first of several entries may have been written. After a crash it would bring back a part of the refused commit.
      if (bytes > INDEX_ENTRY_BYTES) this.file.truncate(end);
      throw error;
    }
    this.countEntries(last, bytes / INDEX_ENTRY_BYTES);
  }

  /** Adds one entry. */
  add(entry: IndexEntry): void {
    this.append(encodeEntry(scratch, 0, entry), INDEX_ENTRY_BYTES, entry);
  }

  /** Removes all entries but the first `entries`. */
  truncate(entries: number): void {
    if (pageOf === this) pageOf = undefined;
    this.entries = entries;
    if (entries === 0) {
      this.length = 0;
      this.nextSequence = this.baseSequence;
    } else {
      const last = this.entryAt(entries - 1);
      this.length = last.offset + last.length;
      this.nextSequence = last.firstSequence + last.count;
    }
    this.file.truncate(INDEX_HEADER_BYTES + entries * INDEX_ENTRY_BYTES);
  }

  private countEntries(last: IndexEntry, entries: number): void {
    if (this.entries === 0) {
      this.oldestMs = this.newestMs = last.timeMs;
    } else if (last.timeMs >= this.newestMs) {
      this.newestMs = last.timeMs;
    } else {
      this.inOrder = false;
      this.oldestMs = Math.min(this.oldestMs, last.timeMs);
    }
    this.entries += entries;
    this.length = last.offset + last.length;
    this.nextSequence = last.firstSequence + last.count;
  }

  // ---- finding entries

  /** @param number 0 … entries - 1 */
  entryAt(number: number): IndexEntry {
    return decodeEntry(page, this.readPage(number, 1));
  }

  /** Number of the entry that holds a byte offset (0 ≤ offset < length). */
  findByOffset(offset: number): number {
    return this.search(ENTRY_OFFSET, offset, 0, this.length);
  }

  /** Number of the entry that holds a sequence (baseSequence ≤ sequence < nextSequence). */
  findBySequence(sequence: number): number {
    return this.search(ENTRY_SEQUENCE, sequence, this.baseSequence, this.nextSequence);
  }

  /** Number of the first entry that was written at or after a time; `entries` when all are older. */
  findByTime(timeMs: number): number {
    if (!this.inOrder) return this.findByTimeInTurn(timeMs);
    let low = 0;
    let high = this.entries;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (page.readDoubleLE(this.readPage(middle, 1) + ENTRY_TIME) < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Looks at one entry after the other. */
  private findByTimeInTurn(timeMs: number): number {
    for (let number = 0; number < this.entries; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, this.entries - number);
      const at = this.readPage(number, many);
      for (let i = 0; i < many; i++) if (page.readDoubleLE(at + i * INDEX_ENTRY_BYTES + ENTRY_TIME) >= timeMs) return number + i;
    }
    return this.entries;
  }

  /** Entries from `first` on whose records fit into `maxBytes` together; at least one. */
  entriesFrom(first: number, maxBytes: number): IndexEntry[] {
    const found: IndexEntry[] = [];
    let bytes = 0;
    for (let number = first; number < this.entries; ) {
      const onPage = pageOf === this && number >= pageFirst && number < pageEnd;
      const many = onPage ? pageEnd - number : Math.min(ENTRY_PAGE, this.entries - number);
      const at = this.readPage(number, many);
      for (let i = 0; i < many; i++) {
        const entry = decodeEntry(page, at + i * INDEX_ENTRY_BYTES);
        if (found.length > 0 && bytes + entry.length > maxBytes) return found;
        found.push(entry);
        bytes += entry.length;
      }
      number += many;
    }
    return found;
  }

  /**
   * Number of the last entry whose field is not above `target`. Most entries are of similar size, so guessing by proportion and
   * reading a page of entries around the guess takes one or two small reads, where bisection takes fifteen.
   *
   * @param field offset of the field in an entry
   * @param from the field's value in the first entry
   * @param to the value that an entry after the last one would have
   */
  private search(field: number, target: number, from: number, to: number): number {
    let low = 0;
    let high = this.entries;
    if (pageOf === this && this.onPage(field, target)) {
      low = pageFirst;
      high = pageEnd;
    }
    for (let step = 0; high - low > ENTRY_PAGE; step++) {
      const share = step < GUESSES ? (target - from) / (to - from) : 0.5;
      const guess = Math.floor(low + share * (high - low)) - ENTRY_PAGE / 2;
      const first = Math.max(low, Math.min(guess, high - ENTRY_PAGE));
      const at = this.readPage(first, ENTRY_PAGE);
      const firstValue = page.readDoubleLE(at + field);
      const lastValue = page.readDoubleLE(at + (ENTRY_PAGE - 1) * INDEX_ENTRY_BYTES + field);
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
    const at = this.readPage(low, high - low);
    let number = high - 1;
    while (number > low && page.readDoubleLE(at + (number - low) * INDEX_ENTRY_BYTES + field) > target) number--;
    return number;
  }

  /** Whether the last entry whose field is not above `target` is on the page. The page must belong to this index. */
  private onPage(field: number, target: number): boolean {
    const last = (pageEnd - pageFirst - 1) * INDEX_ENTRY_BYTES;
    return target >= page.readDoubleLE(field) && (target < page.readDoubleLE(last + field) || pageEnd === this.entries);
  }

  /** Reads entries onto the page unless they are there. @returns the offset of the first one on the page */
  private readPage(first: number, count: number): number {
    if (pageOf === this && first >= pageFirst && first + count <= pageEnd) return (first - pageFirst) * INDEX_ENTRY_BYTES;
    // While it is being read, the page belongs to no index: the read may fail in the middle.
    pageOf = undefined;
    this.file.read(page, 0, count * INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + first * INDEX_ENTRY_BYTES);
    pageOf = this;
    pageFirst = first;
    pageEnd = first + count;
    return 0;
  }

  // ---- entries of an earlier run

  /**
   * Reads the entries up to the last intact one. A damaged entry with intact ones behind it is replaced, and costs at most its
   * own commit. Damaged entries at the end do not count; cutEnd() cuts them off.
   *
   * @param synced records below this sequence were on the disk
   */
  loadEntries(records: IndexedRecords, synced: number): void {
    const { size } = this.file;
    const most = Math.floor((size - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES);
    let damaged = 0;
    for (let number = 0; number < most; number += ENTRY_PAGE) {
      const many = Math.min(ENTRY_PAGE, most - number);
      const page = Buffer.alloc(many * INDEX_ENTRY_BYTES);
      this.file.read(page, 0, page.length, INDEX_HEADER_BYTES + number * INDEX_ENTRY_BYTES);
      for (let i = 0; i < many; i++) {
        const at = i * INDEX_ENTRY_BYTES;
        const entry = decodeEntry(page, at);
        const intact = Bun.hash.crc32(page.subarray(at, at + 36)) === page.readUInt32LE(at + 36);
        const follows = entry.offset === this.length && entry.firstSequence === this.nextSequence;
        const behindDamage = intact && damaged > 0 && entry.firstSequence > this.nextSequence && this.canBridgeTo(entry.offset);
        if (!intact || (!follows && !behindDamage)) {
          damaged++;
          continue;
        }
        if (damaged > 0) this.bridge(records, entry.offset, entry.firstSequence, damaged, synced);
        damaged = 0;
        this.countEntries(entry, 1);
      }
    }
    this.droppedEntries = damaged;
  }

  /** Cuts off what is behind the last entry that counts, so that it is never mistaken for later entries. */
  cutEnd(): void {
    const used = INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES;
    if (this.file.size > used) this.file.truncate(used);
  }

  /** Whether the records up to an offset can be covered by one replacement entry. */
  private canBridgeTo(offset: number): boolean {
    return offset > this.length && offset - this.length <= MAX_BRIDGE_BYTES;
  }

  /**
   * Replaces damaged entries between the last good one and the next good one, which begins at `offset` and `sequence`. The
   * replacements take the same slots in the file. Where the records between are damaged, or were not known to be on the disk,
   * the replacement has a wrong checksum, so that readers skip the records.
   *
   * @param slots how many entries were damaged. Slots that are not needed get empty entries.
   */
  private bridge(records: IndexedRecords, offset: number, sequence: number, slots: number, synced: number): void {
    // The damaged entries' own times are lost. The time of the entry before keeps the index in order.
    const timeMs = this.newestMs;
    const found = sequence <= synced ? records.entriesUpTo(offset, sequence) : [];
    const known = found.length > 0 && found.length <= slots;
    const all = {
      offset: this.length,
      firstSequence: this.nextSequence,
      length: offset - this.length,
      count: sequence - this.nextSequence,
    };
    const wrongCrc = () => ((sumIfThere(records, all) ?? 0) ^ 1) >>> 0;
    const entries: IndexEntry[] = known ? found : [{ ...all, timeMs, crc: wrongCrc() }];
    for (const entry of entries) this.add({ ...entry, timeMs });
    const empty: IndexEntry = { offset, firstSequence: sequence, length: 0, count: 0, timeMs, crc: 0 };
    for (let slot = entries.length; slot < slots; slot++) this.add(empty);
    this.bridgedEntries += slots;
  }

  writeHeader(position: number): void {
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    header.writeUInt32LE(INDEX_MAGIC, 0);
    header.writeUInt32LE(INDEX_VERSION, 4);
    header.writeUInt32LE(this.topicNumber, 8);
    if (this.prefix !== undefined) header.writeUInt32LE(HAS_PREFIX + this.prefix, 12);
    header.writeDoubleLE(this.baseSequence, 16);
    header.writeDoubleLE(position, 24);
    header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 36)), 36);
    this.file.write(header, 0, INDEX_HEADER_BYTES, 0);
  }
}

/** The checksum of an entry's records; undefined where there is no log file, or it ends before. @throws UnreadableFile */
function sumIfThere(records: IndexedRecords, entry: Pick<IndexEntry, "offset" | "length">): number | undefined {
  try {
    return records.sum(entry);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

export function segmentName(baseSequence: number): string {
  return baseSequence.toString(16).padStart(16, "0");
}

function headerProblem(path: string, header: Buffer, bytes: number, topicNumber: number): UnusableIndex | undefined {
  if (bytes < INDEX_HEADER_BYTES || header.every((byte) => byte === 0)) return new UnusableIndex("its index has no header", true);
  if (header.readUInt32LE(0) !== INDEX_MAGIC) return new UnusableIndex("its index is not a bunsq index");
  if (Bun.hash.crc32(header.subarray(0, 36)) !== header.readUInt32LE(36)) return new UnusableIndex("its index header is damaged");
  const version = header.readUInt32LE(4);
  if (version > INDEX_VERSION) {
    throw new StartError(
      `${path}.idx was written by a newer bunsq (index version ${version}, this one reads ${INDEX_VERSION}); start that version, or use another --data-path`,
    );
  }
  if (header.readUInt32LE(8) !== topicNumber) return new UnusableIndex(`its index belongs to topic number ${header.readUInt32LE(8)}`);
  if (segmentName(header.readDoubleLE(16)) !== basename(path)) return new UnusableIndex("its index belongs to another segment");
  return undefined;
}

/** Writes an entry into `target` at an offset. @returns `target` */
export function encodeEntry(target: Buffer, at: number, entry: IndexEntry): Buffer {
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
