import { BODY_OFFSET, ID_OFFSET, isMessageType, TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import { HEADER_LENGTH_BYTES, hasHeader } from "../../../frame/header.ts";
import { expandSequence, readPrefix, readSequence, SEQUENCE_SPAN, TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import type { LazyFile } from "../disk/lazy-file.ts";
import type { IndexEntry } from "./index-format.ts";

/** A rebuilt index entry covers about this many bytes at most, so that later damage costs little. */
const ENTRY_BYTES = 1024 * 1024;
const PAGE_BYTES = 256 * 1024;
/** How far a record found behind damage may be ahead of the expected sequence. */
const MAX_LEAP = 2 ** 32;
const NS_PER_MS = 1_000_000;
const lengthWord = Buffer.alloc(HEADER_LENGTH_BYTES);

export interface FoundEntry extends IndexEntry {
  /** False for an entry over damaged records. Its checksum is a wrong one, so that the records are never delivered. */
  intact: boolean;
}

/**
 * Finds a log file's records without its index. Each record is its own wire frame, and its id contains topic and sequence.
 * Records that a recycled file still has from its earlier use belong to another topic or have a lower sequence, so they are
 * never taken for records of this segment.
 *
 * A record counts as intact when it has the expected sequence and the next record begins where it ends. Its body has no
 * checksum of its own. The caller must know that the file's bytes were on the disk, so that a crash cannot have torn them.
 */
export class RecordScan {
  private readonly page: Buffer = Buffer.allocUnsafe(PAGE_BYTES);
  private pageStart = 0;
  private pageBytes = 0;

  /** Size of the file, including the older bytes at the end of a recycled one. */
  private readonly fileBytes: number;

  constructor(
    private readonly file: LazyFile,
    private readonly topicNumber: number,
  ) {
    this.fileBytes = file.size;
  }

  /**
   * Builds entries for the records from `offset` and `sequence` on, and for the damaged records between them.
   *
   * @param endSequence the scan ends before this sequence; Infinity: it ends with the last record
   * @returns the sequence after the last record found
   */
  scan(offset: number, sequence: number, endSequence: number, visit: (entry: FoundEntry) => void): number {
    let start = offset;
    let first = sequence;
    const flush = () => {
      if (sequence > first) visit(this.entry(start, offset, first, sequence, true));
      start = offset;
      first = sequence;
    };
    while (sequence < endSequence) {
      const bytes = this.recordAt(offset, sequence);
      const last = sequence + 1 === endSequence;
      if (bytes > 0 && (last || this.recordAt(offset + bytes, sequence + 1) > 0)) {
        offset += bytes;
        sequence++;
        if (offset - start >= ENTRY_BYTES) flush();
        continue;
      }
      const next = this.findNext(offset + 1, sequence + 1, endSequence);
      if (next === undefined) {
        // No record follows the last one, so nothing confirms its length.
        if (bytes > 0) {
          offset += bytes;
          sequence++;
        }
        break;
      }
      flush();
      visit(this.entry(offset, next.offset, sequence, next.sequence, false));
      start = offset = next.offset;
      first = sequence = next.sequence;
    }
    flush();
    return sequence;
  }

  /** @returns the length in bytes of the record at an offset, if its header has the sequence; else 0 */
  private recordAt(offset: number, sequence: number): number {
    if (!this.loadHeader(offset)) return 0;
    const at = offset - this.pageStart;
    const { page } = this;
    const bytes = 4 + page.readUInt32BE(at);
    if (bytes < BODY_OFFSET || offset + bytes > this.fileBytes || !isMessageType(page.readUInt32BE(at + 4))) return 0;
    if (hasHeader(page, at) && !this.headerFits(offset, bytes)) return 0;
    const prefix = readPrefix(page, at + ID_OFFSET);
    if (prefix < 0 || prefix % TOPIC_NUMBER_LIMIT !== this.topicNumber) return 0;
    return readSequence(page, at + ID_OFFSET) === sequence % SEQUENCE_SPAN ? bytes : 0;
  }

  /** Whether the header of the record at `offset`, which takes `bytes`, ends within it. */
  private headerFits(offset: number, bytes: number): boolean {
    const lengthAt = offset + BODY_OFFSET;
    if (bytes < BODY_OFFSET + HEADER_LENGTH_BYTES) return false;
    this.file.read(lengthWord, 0, HEADER_LENGTH_BYTES, lengthAt);
    return lengthWord.readUInt32BE(0) <= bytes - BODY_OFFSET - HEADER_LENGTH_BYTES;
  }

  /** Finds the first record behind damage that another record follows. */
  private findNext(from: number, minSequence: number, endSequence: number): { offset: number; sequence: number } | undefined {
    for (let offset = from; this.loadHeader(offset); offset++) {
      const at = offset - this.pageStart;
      const { page } = this;
      if (!isMessageType(page.readUInt32BE(at + 4))) continue;
      const low = readSequence(page, at + ID_OFFSET);
      if (low < 0) continue;
      const sequence = expandSequence(low, minSequence);
      if (sequence < minSequence || sequence >= endSequence || sequence > minSequence + MAX_LEAP) continue;
      const bytes = this.recordAt(offset, sequence);
      if (bytes > 0 && (sequence + 1 === endSequence || this.recordAt(offset + bytes, sequence + 1) > 0)) return { offset, sequence };
    }
    return undefined;
  }

  private entry(from: number, to: number, firstSequence: number, next: number, intact: boolean): FoundEntry {
    const { crc, timeMs } = this.sum(from, to);
    return {
      offset: from,
      firstSequence,
      length: to - from,
      count: next - firstSequence,
      timeMs: intact ? timeMs : 0,
      crc: intact ? crc : (crc ^ 1) >>> 0,
      intact,
    };
  }

  /** The checksum of [from, to), and the timestamp of the first record in it. */
  private sum(from: number, to: number): { crc: number; timeMs: number } {
    let crc = 0;
    let timeMs = 0;
    const bytes = Buffer.allocUnsafe(Math.min(PAGE_BYTES, to - from));
    for (let at = from; at < to; at += bytes.length) {
      const count = Math.min(bytes.length, to - at);
      this.file.read(bytes, 0, count, at);
      if (at === from && count >= BODY_OFFSET)
        timeMs = Math.floor((bytes.readUInt32BE(TIMESTAMP_OFFSET) * 2 ** 32 + bytes.readUInt32BE(TIMESTAMP_OFFSET + 4)) / NS_PER_MS);
      crc = Bun.hash.crc32(bytes.subarray(0, count), crc);
    }
    return { crc, timeMs };
  }

  /** Loads the page that has the record header at `offset`. @returns false where the file ends before the header does */
  private loadHeader(offset: number): boolean {
    if (offset + BODY_OFFSET > this.fileBytes) return false;
    if (offset >= this.pageStart && offset + BODY_OFFSET <= this.pageStart + this.pageBytes) return true;
    this.pageStart = offset;
    this.pageBytes = Math.min(PAGE_BYTES, this.fileBytes - offset);
    this.file.read(this.page, 0, this.pageBytes, offset);
    return true;
  }
}
