import { join } from "node:path";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import { type IndexedRecords, replacementsFor } from "./damaged-entries.ts";
import {
  decodeEntry,
  decodeHeader,
  ENTRY_OFFSET,
  ENTRY_SEQUENCE,
  ENTRY_TIME,
  encodeEntry,
  encodeHeader,
  headerProblem,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  type IndexEntry,
  type IndexHeader,
  isEntryIntact,
  isHeaderIntact,
  type UnusableIndex,
} from "./index-format.ts";

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
  readonly baseSequence: number;
  private current: LazyFile;

  /** @param header the base position is that of the file: where an index was lost, the segment's own may be known and this one not */
  constructor(
    private readonly disk: Disk,
    private readonly names: FolderNames,
    name: string,
    private header: IndexHeader,
  ) {
    this.current = this.newFile(join(names.directory, name));
    this.baseSequence = this.nextSequence = header.baseSequence;
  }

  get file(): LazyFile {
    return this.current;
  }

  /** The beginning of the topic's ids; undefined in an index of an earlier release. */
  get prefix(): number | undefined {
    return this.header.prefix;
  }

  /** That of all its records; 0: the log is not replicated. */
  get epoch(): number {
    return this.header.epoch;
  }

  private newFile(path: string): LazyFile {
    const file = new LazyFile(this.disk, path, "fail", this.names);
    file.check = (from, to) => this.checkEntries(from, to);
    return file;
  }

  /**
   * Opens an index of an earlier run and reads its header. loadEntries() reads its entries.
   *
   * @param name the segment's file name without ending
   * @returns the index and its segment's base position, or why the index cannot be used
   * @throws StartError for an index of a newer version
   */
  static open(
    disk: Disk,
    names: FolderNames,
    name: string,
    topicNumber: number,
  ): { index: SegmentIndex; position: number } | UnusableIndex {
    const { directory } = names;
    const baseSequence = Number.parseInt(name, 16);
    const unknown = { topicNumber, prefix: undefined, baseSequence, basePosition: Number.NaN, epoch: 0 };
    const index = new SegmentIndex(disk, names, `${name}.idx`, unknown);
    try {
      const header = Buffer.alloc(INDEX_HEADER_BYTES);
      const read = index.file.readUpTo(header, 0, INDEX_HEADER_BYTES, 0);
      const problem = headerProblem(join(directory, name), header, read, topicNumber);
      if (problem === undefined) {
        index.header = decodeHeader(header);
        return { index, position: index.header.basePosition };
      }
      index.close();
      return problem;
    } catch (error) {
      index.close();
      throw error;
    }
  }

  /** Creates the file without entries. */
  create(): void {
    this.file.create();
    this.writeHeader();
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
   * @param firstMs the time of the first one
   * @throws the kernel's error
   */
  append(encoded: Buffer, bytes: number, last: IndexEntry, firstMs = last.timeMs): void {
    const end = INDEX_HEADER_BYTES + this.entries * INDEX_ENTRY_BYTES;
    try {
      this.file.write(encoded, 0, bytes, end);
    } catch (error) {
      // The first of several entries may have been written. After a crash it would bring back a part of the refused commit.
      if (bytes > INDEX_ENTRY_BYTES) this.file.truncate(end);
      throw error;
    }
    if (this.entries === 0) this.oldestMs = this.newestMs = firstMs;
    this.countEntries(last, bytes / INDEX_ENTRY_BYTES);
  }

  /** Adds one entry. */
  add(entry: IndexEntry): void {
    this.append(encodeEntry(scratch, 0, entry), INDEX_ENTRY_BYTES, entry);
  }

  /** Removes all entries but the first `entries`. @throws UnreadableFile; the kernel's error. They are all there then */
  truncate(entries: number): void {
    const last = entries === 0 ? undefined : this.entryAt(entries - 1);
    this.file.truncate(INDEX_HEADER_BYTES + entries * INDEX_ENTRY_BYTES);
    this.endWith(entries, last);
  }

  /**
   * Puts another file in the place of this one, with its first `entries` entries. A crash leaves the one or the other as a whole.
   *
   * @param last an entry that follows these
   * @throws UnreadableFile; the kernel's error. The file is as it was then
   */
  replace(epoch: number, entries: number, last?: IndexEntry): void {
    const kept = INDEX_HEADER_BYTES + entries * INDEX_ENTRY_BYTES;
    const bytes = Buffer.alloc(kept + (last === undefined ? 0 : INDEX_ENTRY_BYTES));
    const before = last === undefined && entries > 0 ? this.entryAt(entries - 1) : last;
    this.file.read(bytes, 0, kept, 0);
    const header = { ...this.header, epoch };
    encodeHeader(header).copy(bytes);
    if (last !== undefined) encodeEntry(bytes, kept, last);
    const file = this.newFile(`${this.file.path}.new`);
    try {
      file.create();
      file.write(bytes, 0, bytes.length, 0);
      file.syncNow();
      file.rename(this.file.path);
    } catch (error) {
      file.close();
      file.remove();
      throw error;
    }
    this.file.forgetName();
    this.file.close();
    this.current = file;
    this.header = header;
    this.endWith((bytes.length - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES, before);
  }

  /** @param last the last of the entries that are left */
  private endWith(entries: number, last: IndexEntry | undefined): void {
    if (pageOf === this) pageOf = undefined;
    this.entries = entries;
    this.length = last === undefined ? 0 : last.offset + last.length;
    this.nextSequence = last === undefined ? this.baseSequence : last.firstSequence + last.count;
    if (last === undefined) this.oldestMs = 0;
    if (last === undefined || this.inOrder) this.newestMs = last?.timeMs ?? 0;
  }

  /** An earlier run may not have synced the header and the entries from a number on, and they are written again when a sync fails. */
  markUnsynced(first: number): void {
    this.file.markUnsynced(first === 0 ? 0 : INDEX_HEADER_BYTES + first * INDEX_ENTRY_BYTES);
  }

  /** Compares entries that were written again with their checksums, and with where they have to follow. */
  private checkEntries(from: number, to: number): Error | undefined {
    const lost = new Error(`a sync of ${this.file.path} failed, and what was written to it is lost`);
    // What the page has may be older than what is in the file now.
    if (pageOf === this) pageOf = undefined;
    const header = Buffer.alloc(INDEX_HEADER_BYTES);
    this.file.read(header, 0, INDEX_HEADER_BYTES, 0);
    if (!isHeaderIntact(header)) return lost;
    const first = Math.max(0, Math.floor((from - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES));
    let [offset, sequence] = [0, this.baseSequence];
    for (let number = Math.max(0, first - 1); number < this.entries; number++) {
      const onPage = pageOf === this && number >= pageFirst && number < pageEnd;
      const at = this.readPage(number, onPage ? 1 : Math.min(ENTRY_PAGE, this.entries - number));
      const entry = decodeEntry(page, at);
      const follows = number === first - 1 || (entry.offset === offset && entry.firstSequence === sequence);
      if (!follows || !isEntryIntact(page, at)) return lost;
      offset = entry.offset + entry.length;
      sequence = entry.firstSequence + entry.count;
      if (INDEX_HEADER_BYTES + (number + 1) * INDEX_ENTRY_BYTES >= to) break;
    }
    return undefined;
  }

  private countEntries(last: IndexEntry, entries: number): void {
    if (last.timeMs >= this.newestMs) {
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

  damaged(): UnreadableFile {
    return new UnreadableFile(this.file.path, Object.assign(new Error("an entry is damaged"), { code: "EBADMSG" }));
  }

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

  /** What Segment.entriesFrom() returns. */
  entriesFrom(first: number, maxBytes: number, isChecked: boolean): IndexEntry[] {
    const found: IndexEntry[] = [];
    let bytes = 0;
    for (let number = first; number < this.entries; ) {
      const onPage = pageOf === this && number >= pageFirst && number < pageEnd;
      const many = onPage ? pageEnd - number : Math.min(ENTRY_PAGE, this.entries - number);
      const at = this.readPage(number, many);
      for (let i = 0; i < many; i++) {
        const entry = decodeEntry(page, at + i * INDEX_ENTRY_BYTES);
        if (found.length > 0 && bytes + entry.length > maxBytes) return found;
        if (isChecked && !isEntryIntact(page, at + i * INDEX_ENTRY_BYTES)) {
          // What is on the page now may be older than what will be in the file.
          pageOf = undefined;
          if (found.length > 0) return found;
          throw this.damaged();
        }
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
    try {
      this.file.read(page, 0, count * INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES + first * INDEX_ENTRY_BYTES);
    } catch (error) {
      throw error instanceof UnreadableFile ? error : this.damaged();
    }
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
        const intact = isEntryIntact(page, at);
        const follows = entry.offset === this.length && entry.firstSequence === this.nextSequence;
        const behindDamage = intact && damaged > 0 && entry.firstSequence > this.nextSequence && this.canBridgeTo(entry.offset);
        if (!intact || (!follows && !behindDamage)) {
          damaged++;
          continue;
        }
        if (damaged > 0) this.bridge(records, entry.offset, entry.firstSequence, damaged, synced);
        damaged = 0;
        if (this.entries === 0) this.oldestMs = this.newestMs = entry.timeMs;
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
    const [at, timeMs] = [this.length, this.newestMs];
    const all = { offset: at, firstSequence: this.nextSequence, length: offset - at, count: sequence - this.nextSequence, timeMs };
    for (const entry of replacementsFor(records, all, slots, sequence <= synced)) this.add(entry);
    this.bridgedEntries += slots;
  }

  /** Writes the base position of the segment into the header. */
  writePosition(basePosition: number): void {
    this.header = { ...this.header, basePosition };
    this.writeHeader();
  }

  private writeHeader(): void {
    this.file.write(encodeHeader(this.header), 0, INDEX_HEADER_BYTES, 0);
  }
}
