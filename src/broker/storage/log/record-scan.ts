import { BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import { expandSequence, readPrefix, readSequence, SEQUENCE_SPAN, TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import type { LazyFile } from "../disk/lazy-file.ts";
import type { IndexEntry } from "./segment-index.ts";

/** An entry made anew covers at most about this much, so that later damage costs little. */
const ENTRY_BYTES = 1024 * 1024;
const PAGE_BYTES = 256 * 1024;
/** How far ahead of the one that is due a record found behind damage may be. */
const MAX_LEAP = 2 ** 32;
const NS_PER_MS = 1_000_000;

/** A stand-in for records that are damaged: its checksum is not theirs, so that nobody is given them. */
export interface FoundEntry extends IndexEntry {
  whole: boolean;
}

/**
 * Finds a log file's records without its index: each is its own wire frame, whose id says topic and sequence. What a
 * recycled file still has of its earlier life has another topic or a lower sequence, and so is never taken for a record.
 *
 * A record counts as whole when it says the right sequence and the next one stands where it ends. Its body has no checksum
 * of its own: who calls this knows that the file's bytes were on the disk, so that a crash cannot have torn them.
 */
export class RecordScan {
  private readonly page: Buffer = Buffer.allocUnsafe(PAGE_BYTES);
  private pageStart = 0;
  private pageBytes = 0;

  /** Size of the file, older bytes at its end included. */
  private readonly fileBytes: number;

  constructor(
    private readonly file: LazyFile,
    private readonly topicNumber: number,
  ) {
    this.fileBytes = file.size;
  }

  /**
   * Visits entries for the records from `offset` and `sequence` on, and stand-ins for what is damaged between them.
   *
   * @param endSequence records from here on are not wanted; Infinity for all there are
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
        // The last record there is has nothing behind it that could vouch for its length.
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

  /** Whether a record with a sequence stands at an offset, by its header: its length in bytes, else 0. */
  private recordAt(offset: number, sequence: number): number {
    if (!this.loadHeader(offset)) return 0;
    const at = offset - this.pageStart;
    const { page } = this;
    const bytes = 4 + page.readUInt32BE(at);
    if (bytes < BODY_OFFSET || offset + bytes > this.fileBytes || page.readUInt32BE(at + 4) !== FRAME_TYPE_MESSAGE) return 0;
    const prefix = readPrefix(page, at + ID_OFFSET);
    if (prefix < 0 || prefix % TOPIC_NUMBER_LIMIT !== this.topicNumber) return 0;
    return readSequence(page, at + ID_OFFSET) === sequence % SEQUENCE_SPAN ? bytes : 0;
  }

  /** The first place behind damage at which a record stands, and another where it ends. */
  private findNext(from: number, minSequence: number, endSequence: number): { offset: number; sequence: number } | undefined {
    for (let offset = from; this.loadHeader(offset); offset++) {
      const at = offset - this.pageStart;
      const { page } = this;
      if (page[at + 7] !== FRAME_TYPE_MESSAGE || page[at + 4] !== 0 || page[at + 5] !== 0 || page[at + 6] !== 0) continue;
      const low = readSequence(page, at + ID_OFFSET);
      if (low < 0) continue;
      const sequence = expandSequence(low, minSequence);
      if (sequence < minSequence || sequence >= endSequence || sequence > minSequence + MAX_LEAP) continue;
      const bytes = this.recordAt(offset, sequence);
      if (bytes > 0 && (sequence + 1 === endSequence || this.recordAt(offset + bytes, sequence + 1) > 0)) return { offset, sequence };
    }
    return undefined;
  }

  private entry(from: number, to: number, firstSequence: number, next: number, whole: boolean): FoundEntry {
    const { crc, timeMs } = this.sum(from, to);
    return {
      offset: from,
      firstSequence,
      length: to - from,
      count: next - firstSequence,
      timeMs: whole ? timeMs : 0,
      crc: whole ? crc : (crc ^ 1) >>> 0,
      whole,
    };
  }

  /** Checksum of [from, to), and the time that the record there says. */
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

  /** Brings a record's header at `offset` into the page. @returns false where the file ends before */
  private loadHeader(offset: number): boolean {
    if (offset + BODY_OFFSET > this.fileBytes) return false;
    if (offset >= this.pageStart && offset + BODY_OFFSET <= this.pageStart + this.pageBytes) return true;
    this.pageStart = offset;
    this.pageBytes = Math.min(PAGE_BYTES, this.fileBytes - offset);
    this.file.read(this.page, 0, this.pageBytes, offset);
    return true;
  }
}
