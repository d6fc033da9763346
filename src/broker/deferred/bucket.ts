import { join } from "node:path";
import { FRAME_TYPE_MESSAGE } from "../../frame/frame.ts";
import { files, openOrMake, readFully, removeSoon, writeFully } from "../files.ts";
import { releaseArea, type StagingArea, takeArea } from "./staging.ts";

/**
 * Messages that fall due in one span of time, in two append-only files:
 *
 *     START-WIDTH.msg     entries: header and message frame, in the order they came
 *     START-WIDTH.done    24 bytes for each word on an entry: done with, or about to join its topic's log
 *
 *     entry  := crc32 of the rest u32 | frame length u32 | kind u8 | 0 u8 | attempts u16 | topic id u32 | channel id u32 | 0 u32
 *               | due ms f64 | number f64 | sequence f64 | frame
 *     word   := number or offset f64 | sequence f64 | what u32 | crc32 of the first 20 bytes u32
 *
 * All numbers little-endian.
 */

export const ENTRY_HEADER_BYTES = 48;
const WORD_BYTES = 24;
const SCAN_BYTES = 1024 * 1024;
/** Words read at once: a whole number of them. */
const WORDS_PAGE_BYTES = 24 * 16 * 1024;
/** An entry's header and the first two words of its frame: enough to tell that one may stand there. */
const PROBE_BYTES = ENTRY_HEADER_BYTES + 8;

/** A DPUB: joins its topic's log when due. */
export const KIND_PUBLISH = 1;
/** A message of one channel: requeued with a delay, or left far behind by its channel's cursor. */
export const KIND_REQUEUE = 2;

/** The entry with this number is done with. */
const DONE_ENTRY = 1;
/** All entries below this offset were moved to finer buckets. */
const DONE_BELOW = 2;
/** The entry is about to join its topic's log at this sequence: after a crash the log tells whether it did. */
const JOINING = 3;
/** It did not. */
const NOT_JOINED = 4;

/** What an entry says of its message. */
export interface EntryHeader {
  kind: number;
  attempts: number;
  topicId: number;
  /** 0 for a publish. */
  channelId: number;
  dueMs: number;
  /** Of the message in its topic's log; 0 for a publish, which gets one when it joins. */
  sequence: number;
}

/** An entry that stands in a bucket. */
export interface StoredEntry extends EntryHeader {
  /** Grows with each entry of a data path, over restarts. */
  number: number;
}

/** An entry that a scan has come to. One object for all: whoever keeps it copies it. */
export interface ScannedEntry extends StoredEntry {
  /** Offset of the entry in the file. */
  offset: number;
  frameBytes: number;
  /** The frame, until the visit is over. */
  page: Buffer;
  frameAt: number;
}

interface Words {
  /** Numbers of the entries that are done with, ascending. */
  done: Float64Array<ArrayBuffer>;
  /** Sequences at which entries were about to join, of those that are not done with. */
  joining: Map<number, number>;
}

const NO_NUMBERS = new Float64Array(0);

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
  readonly leftBehind = new Map<number, number>();
  /** Entries that are done with though they were not in memory. */
  readonly doneAhead = new Set<number>();
  /** Entries below this offset were moved on (buckets that are wider than the finest). */
  movedTo = 0;
  private movedBefore = 0;
  /** The sync that was to come next when its last entry was done with; -1 while there are some. */
  emptiedAtSync = -1;
  private entriesUnsynced = false;
  private wordsUnsynced = false;
  /** Bytes of damaged entries that recover() found with whole ones behind them; they are skipped. */
  damagedBytes = 0;
  private fd = -1;
  private doneFd = -1;
  private doneLength = 0;
  /** Files were made since the last sync: their names are not known to be on the disk. */
  private namesUnsynced = false;
  /** Entries to be written, as they will stand in the file. */
  private staged: StagingArea | undefined;
  private stagedCount = 0;
  private stagedWords: number[] = [];
  /** Words that must not reach the disk before what they rest on: the log that a message joined, the bucket it was moved to. */
  private heldWords: number[] = [];
  private sealedWords = 0;
  /** What the last commitEntries() wrote. */
  private writtenBytes = 0;
  private writtenCount = 0;
  /** Bytes of refused entries stand behind `length`, because they could not be cut off. */
  private refusedBehind = false;
  /** An earlier run left it; which of its entries are done with is read when it is needed. */
  private recovered = false;
  private recoveredDone = NO_NUMBERS;

  constructor(
    readonly directory: string,
    readonly startMs: number,
    readonly widthMs: number,
  ) {}

  get endMs(): number {
    return this.startMs + this.widthMs;
  }

  get dirty(): boolean {
    return this.stagedCount > 0 || this.stagedWords.length > 0;
  }

  /** All its entries are in memory, and so must new ones be. */
  get caughtUp(): boolean {
    return this.loading && this.loadedTo === this.length;
  }

  /** Nothing of it is still to be written, now or after the next sync. */
  get settled(): boolean {
    return !this.dirty && this.heldWords.length === 0;
  }

  private get path(): string {
    return join(this.directory, `${this.startMs}-${this.widthMs}.msg`);
  }

  private get donePath(): string {
    return join(this.directory, `${this.startMs}-${this.widthMs}.done`);
  }

  /** The start and width a file's name says, or undefined for a file that is not a bucket's. */
  static parseName(name: string): { startMs: number; widthMs: number } | undefined {
    const match = /^(\d+)-(\d+)\.msg$/.exec(name);
    return match === null ? undefined : { startMs: Number(match[1]), widthMs: Number(match[2]) };
  }

  /**
   * Stages an entry; commit() writes it.
   *
   * @returns the offset in the file at which it will stand
   */
  stage(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
    this.staged ??= takeArea();
    const bytes = ENTRY_HEADER_BYTES + to - from;
    const at = this.staged.reserve(bytes);
    const { buffer, view } = this.staged;
    view.setUint32(at + 4, to - from, true);
    view.setUint16(at + 8, header.kind, true);
    view.setUint16(at + 10, header.attempts, true);
    view.setUint32(at + 12, header.topicId, true);
    view.setUint32(at + 16, header.channelId, true);
    view.setUint32(at + 20, 0, true);
    view.setFloat64(at + 24, header.dueMs, true);
    view.setFloat64(at + 32, number, true);
    view.setFloat64(at + 40, header.sequence, true);
    frame.copy(buffer, at + ENTRY_HEADER_BYTES, from, to);
    view.setUint32(at, Bun.hash.crc32(buffer.subarray(at + 4, at + bytes)), true);
    this.stagedCount++;
    return this.length + at;
  }

  /**
   * Stages the word that an entry is done with.
   *
   * @param held not before the next sync is over
   */
  stageDone(number: number, held = false): void {
    (held ? this.heldWords : this.stagedWords).push(number, 0, DONE_ENTRY);
    this.pending--;
  }

  /** The message of an entry is finished, or stands elsewhere now: the word that says so is staged. */
  finish(number: number, offset: number, channelId: number): void {
    this.stageDone(number);
    if (!this.hasLoaded(offset, channelId)) this.doneAhead.add(number);
  }

  /** Whether an entry was brought into memory, or passed over because it is done with. */
  hasLoaded(offset: number, channelId: number): boolean {
    return offset < this.loadedTo && offset < (this.leftBehind.get(channelId) ?? Number.POSITIVE_INFINITY);
  }

  /** Stages the word that an entry is about to join its topic's log. */
  stageJoining(number: number, sequence: number): void {
    this.stagedWords.push(number, sequence, JOINING);
  }

  stageNotJoined(number: number): void {
    this.stagedWords.push(number, 0, NOT_JOINED);
  }

  /** Stages the word that all entries below `offset` stand in finer buckets now. */
  stageMoved(offset: number, entries: number, held = false): void {
    (held ? this.heldWords : this.stagedWords).push(offset, 0, DONE_BELOW);
    this.movedBefore = this.movedTo;
    this.movedTo = offset;
    this.pending -= entries;
  }

  /**
   * Writes the staged entries. Throws what the kernel said; then none of them counts, and none is left in the file to be
   * found by a later start, since those who sent them are told that they were refused.
   */
  commitEntries(): void {
    const { staged } = this;
    const count = this.stagedCount;
    this.staged = undefined;
    this.stagedCount = 0;
    this.writtenBytes = 0;
    this.writtenCount = 0;
    try {
      this.cutRefused();
      if (staged === undefined) return;
      const bytes = staged.used;
      try {
        this.openEntries();
        writeFully(this.fd, staged.buffer, 0, bytes, this.length);
      } catch (error) {
        this.refused();
        throw error;
      }
      this.length += bytes;
      this.pending += count;
      this.writtenBytes = bytes;
      this.writtenCount = count;
      this.entriesUnsynced = true;
    } finally {
      if (staged !== undefined) releaseArea(staged);
    }
  }

  /** Forgets the staged entries: they are refused. */
  discardEntries(): void {
    if (this.staged !== undefined) releaseArea(this.staged);
    this.staged = undefined;
    this.stagedCount = 0;
  }

  /** Takes back what the last commitEntries() wrote: another bucket's part of the same commit could not be written. */
  rollBackEntries(): void {
    if (this.writtenBytes === 0) return;
    this.length -= this.writtenBytes;
    this.pending -= this.writtenCount;
    this.writtenBytes = 0;
    this.writtenCount = 0;
    this.refused();
  }

  /** Takes a stageMoved() back that could not be written. */
  takeBackMoved(offset: number, entries: number): void {
    if (this.movedTo !== offset) return;
    this.movedTo = this.movedBefore;
    this.pending += entries;
    for (const words of [this.stagedWords, this.heldWords]) {
      const at = words.lastIndexOf(offset);
      if (at >= 0 && words[at + 2] === DONE_BELOW) words.splice(at, 3);
    }
  }

  /** Writes the staged words. Throws what the kernel said; then they stay staged. */
  commitWords(): void {
    if (this.stagedWords.length === 0) return;
    const words = this.stagedWords;
    const bytes = Buffer.allocUnsafe((words.length / 3) * WORD_BYTES);
    for (let i = 0, at = 0; i < words.length; i += 3, at += WORD_BYTES) {
      bytes.writeDoubleLE(words[i], at);
      bytes.writeDoubleLE(words[i + 1], at + 8);
      bytes.writeUInt32LE(words[i + 2], at + 16);
      bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(at, at + 20)), at + 20);
    }
    this.openWords();
    writeFully(this.doneFd, bytes, 0, bytes.length, this.doneLength);
    this.doneLength += bytes.length;
    this.stagedWords = [];
    this.wordsUnsynced = true;
  }

  /** Both, where there is nobody to be refused alone. */
  commit(): void {
    this.commitEntries();
    this.commitWords();
  }

  /** Words held back so far may be written once a sync that begins now is over. */
  sealHeld(): void {
    this.sealedWords = this.heldWords.length;
  }

  /** The sync is over: what was sealed is staged. */
  releaseHeld(): void {
    if (this.sealedWords === 0) return;
    for (const value of this.heldWords.splice(0, this.sealedWords)) this.stagedWords.push(value);
    this.sealedWords = 0;
  }

  /** Reads the frame of the entry at `offset` into `target`. The caller knows its length from the header. */
  readFrame(target: Buffer, at: number, offset: number, frameBytes: number): void {
    this.openEntries();
    readFully(this.fd, target, at, frameBytes, offset + ENTRY_HEADER_BYTES);
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
    const { done, joining } = this.readWords();
    this.openEntries();
    const size = files.size(this.fd);
    this.length = size;
    this.recovered = true;
    this.pending = 0;
    this.damagedBytes = 0;
    this.length = this.walk(0, size, (entry) => {
      if (entry.offset < this.movedTo || contains(done, entry.number)) return;
      this.pending++;
      const sequence = joining.get(entry.number);
      if (sequence !== undefined) {
        if (hasJoined(entry, sequence)) return this.stageDone(entry.number);
        this.stageNotJoined(entry.number);
      }
      visit(entry);
    });
    if (this.length < size) files.truncate(this.fd, this.length);
    this.closeFiles();
    return size - this.length;
  }

  /**
   * Visits the entries that are not done with, from `from` on, at most `maxBytes` of them. Returns the offset behind the last one visited.
   *
   * @param firstPage read into first; the visitor may keep it, as any page then
   */
  scan(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void, firstPage?: Buffer): number {
    if (this.recovered) {
      this.recovered = false;
      this.recoveredDone = this.readWords().done;
    }
    const notDone = (entry: ScannedEntry) => {
      if (this.doneAhead.size > 0 && this.doneAhead.has(entry.number)) return;
      if (this.recoveredDone.length === 0 || !contains(this.recoveredDone, entry.number)) visit(entry);
    };
    return this.walk(from, Math.min(this.length, from + maxBytes), notDone, firstPage);
  }

  /** Visits all whole entries of a piece, those that are done with too. @returns the offset behind the last one visited */
  look(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void): number {
    return this.walk(from, Math.min(this.length, from + maxBytes), visit);
  }

  /** Whether an entry is done with. Reads all words on the bucket. */
  isDone(number: number): boolean {
    return contains(this.readWords().done, number);
  }

  /** All its entries are in memory or done with: what was noted for reading them is needed no more. */
  forgetDone(): void {
    this.doneAhead.clear();
    this.recoveredDone = NO_NUMBERS;
  }

  /** Each entry that was not done with by the earlier run, though it may be by now. */
  scanRecovered(visit: (entry: ScannedEntry) => void): void {
    const { done } = this.readWords();
    this.walk(this.movedTo, this.length, (entry) => {
      if (!contains(done, entry.number)) visit(entry);
    });
    this.closeFiles();
  }

  get unsynced(): boolean {
    return this.entriesUnsynced || this.wordsUnsynced;
  }

  /** Brings the entries to the disk, and the names of both files. */
  syncEntries(done: (error: Error | undefined) => void): void {
    const { namesUnsynced } = this;
    this.namesUnsynced = false;
    let waiting = 1;
    let failure: Error | undefined;
    const one = (error: Error | undefined) => {
      failure ??= error;
      if (--waiting === 0) done(failure);
    };
    if (this.entriesUnsynced) {
      this.entriesUnsynced = false;
      waiting++;
      this.syncFile(this.fd, one);
    }
    if (namesUnsynced) {
      waiting++;
      files.syncDirectory(this.directory, (error) => {
        if (error) this.namesUnsynced = true;
        one(error ?? undefined);
      });
    }
    one(undefined);
  }

  /** Brings the words to the disk: to be called when what they say is there. */
  syncWords(done: (error: Error | undefined) => void): void {
    if (!this.wordsUnsynced) return done(undefined);
    this.wordsUnsynced = false;
    this.syncFile(this.doneFd, done);
  }

  private syncFile(fd: number, done: (error: Error | undefined) => void): void {
    if (fd < 0) return done(undefined);
    files.sync(fd, (error) => {
      // A bucket that was finished meanwhile has closed its files: nothing of it is needed any more, and the number may
      // be another's by now, a socket's, which cannot be synced.
      const gone = fd !== this.fd && fd !== this.doneFd;
      done(error && !gone && error.code !== "EBADF" ? error : undefined);
    });
  }

  closeFiles(): void {
    if (this.fd >= 0) files.close(this.fd);
    if (this.doneFd >= 0) files.close(this.doneFd);
    this.fd = -1;
    this.doneFd = -1;
  }

  /** @param failed hears why a file is still there, under another name */
  remove(failed: (error: Error) => void): void {
    this.closeFiles();
    removeSoon(this.path, failed);
    removeSoon(this.donePath, failed);
  }

  /** Cuts off what was refused, so that a later start does not find it. Where that fails it is tried before the next write. */
  private cutRefused(): void {
    if (!this.refusedBehind) return;
    this.openEntries();
    files.truncate(this.fd, this.length);
    this.refusedBehind = false;
  }

  private refused(): void {
    this.refusedBehind = true;
    try {
      this.cutRefused();
    } catch {
      // What refused the write is what counts; the next commit tries to cut it off again.
    }
  }

  private openEntries(): void {
    if (this.fd >= 0) return;
    const { fd, made } = openOrMake(this.path);
    this.fd = fd;
    this.namesUnsynced ||= made;
  }

  private openWords(): void {
    if (this.doneFd >= 0) return;
    const { fd, made } = openOrMake(this.donePath);
    this.doneFd = fd;
    this.namesUnsynced ||= made;
  }

  /** What was said of the entries; also finds out where the moved ones end. */
  private readWords(): Words {
    this.openWords();
    const size = files.size(this.doneFd);
    let done = new Float64Array(Math.max(16, Math.floor(size / WORD_BYTES)));
    let count = 0;
    const joining = new Map<number, number>();
    const take = (value: number, sequence: number, what: number) => {
      if (what === DONE_ENTRY) {
        if (count === done.length) {
          const larger = new Float64Array(2 * count);
          larger.set(done);
          done = larger;
        }
        done[count++] = value;
        joining.delete(value);
      } else if (what === DONE_BELOW) this.movedTo = Math.max(this.movedTo, value);
      else if (what === JOINING) joining.set(value, sequence);
      else if (what === NOT_JOINED) joining.delete(value);
    };
    const page = Buffer.allocUnsafe(Math.min(size, WORDS_PAGE_BYTES));
    let at = 0;
    while (at + WORD_BYTES <= size) {
      const bytes = Math.min(page.length, size - at);
      readFully(this.doneFd, page, 0, bytes, at);
      let i = 0;
      for (; i + WORD_BYTES <= bytes; i += WORD_BYTES) {
        // A damaged word costs itself: what it was said of may come again.
        if (Bun.hash.crc32(page.subarray(i, i + 20)) !== page.readUInt32LE(i + 20)) continue;
        take(page.readDoubleLE(i), page.readDoubleLE(i + 8), page.readUInt32LE(i + 16));
      }
      at += i;
    }
    this.doneLength = at;
    for (const staged of [this.stagedWords, this.heldWords]) {
      for (let i = 0; i < staged.length; i += 3) take(staged[i], staged[i + 1], staged[i + 2]);
    }
    return { done: done.subarray(0, count).sort(), joining };
  }

  /** Visits the whole entries in [from, to) whose checksum holds, and passes over damaged ones with whole ones behind them. Returns where it stopped. */
  private walk(from: number, to: number, visit: (entry: ScannedEntry) => void, firstPage?: Buffer): number {
    this.openEntries();
    let page = firstPage ?? Buffer.allocUnsafe(Math.min(SCAN_BYTES, Math.max(to - from, 0)));
    let pageStart = from;
    let pageBytes = 0;
    let offset = from;
    const header = { kind: 0, attempts: 0, topicId: 0, channelId: 0, dueMs: 0, number: 0, sequence: 0 };
    const entry: ScannedEntry = { ...header, offset: 0, frameBytes: 0, page, frameAt: 0 };
    const have = (bytes: number): boolean => {
      if (offset + bytes <= pageStart + pageBytes) return true;
      if (offset + bytes > this.length) return false;
      if (page.length < bytes || (firstPage !== undefined && pageBytes > 0)) page = Buffer.allocUnsafe(Math.max(bytes, to - offset));
      pageStart = offset;
      pageBytes = Math.min(page.length, this.length - offset);
      readFully(this.fd, page, 0, pageBytes, pageStart);
      return true;
    };
    while (offset < to && have(ENTRY_HEADER_BYTES)) {
      const frameBytes = page.readUInt32LE(offset - pageStart + 4);
      const bytes = ENTRY_HEADER_BYTES + frameBytes;
      const there = have(bytes);
      const at = offset - pageStart;
      if (!there || Bun.hash.crc32(page.subarray(at + 4, at + bytes)) !== page.readUInt32LE(at)) {
        const next = this.wholeEntryBehind(offset, offset + bytes);
        if (next < 0) break;
        this.damagedBytes += next - offset;
        offset = next;
        continue;
      }
      entry.offset = offset;
      entry.frameBytes = frameBytes;
      entry.page = page;
      entry.frameAt = at + ENTRY_HEADER_BYTES;
      entry.kind = page[at + 8];
      entry.attempts = page.readUInt16LE(at + 10);
      entry.topicId = page.readUInt32LE(at + 12);
      entry.channelId = page.readUInt32LE(at + 16);
      entry.dueMs = page.readDoubleLE(at + 24);
      entry.number = page.readDoubleLE(at + 32);
      entry.sequence = page.readDoubleLE(at + 40);
      visit(entry);
      offset += bytes;
    }
    return offset;
  }

  /**
   * Where the next whole entry stands behind a damaged one: where that one says it ends, else found by looking.
   *
   * @returns -1 when there is none, so that what is damaged is the file's end
   */
  private wholeEntryBehind(offset: number, statedEnd: number): number {
    const header = Buffer.alloc(PROBE_BYTES);
    if (statedEnd + PROBE_BYTES <= this.length) {
      readFully(this.fd, header, 0, PROBE_BYTES, statedEnd);
      if (this.isWhole(header, 0, statedEnd)) return statedEnd;
    }
    const page = Buffer.alloc(Math.min(SCAN_BYTES, this.length - offset));
    for (let start = offset + 1; start + PROBE_BYTES <= this.length; start += page.length - PROBE_BYTES + 1) {
      const bytes = Math.min(page.length, this.length - start);
      readFully(this.fd, page, 0, bytes, start);
      for (let at = 0; at + PROBE_BYTES <= bytes; at++) if (this.isWhole(page, at, start + at)) return start + at;
    }
    return -1;
  }

  /** Whether a whole entry stands at `offset`, the first bytes of which are at `at` in `page`. */
  private isWhole(page: Buffer, at: number, offset: number): boolean {
    const kind = page[at + 8];
    if ((kind !== KIND_PUBLISH && kind !== KIND_REQUEUE) || page[at + 9] !== 0 || page.readUInt32LE(at + 20) !== 0) return false;
    const frameBytes = page.readUInt32LE(at + 4);
    if (
      page.readUInt32BE(at + ENTRY_HEADER_BYTES) !== frameBytes - 4 ||
      page.readUInt32BE(at + ENTRY_HEADER_BYTES + 4) !== FRAME_TYPE_MESSAGE
    )
      return false;
    if (offset + ENTRY_HEADER_BYTES + frameBytes > this.length) return false;
    const entry = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + frameBytes);
    readFully(this.fd, entry, 0, entry.length, offset);
    return Bun.hash.crc32(entry.subarray(4)) === entry.readUInt32LE(0);
  }
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
