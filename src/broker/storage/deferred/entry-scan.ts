import { giveBack } from "../../../base/free-buffer.ts";
import { FRAME_TYPE_MESSAGE } from "../../../frame/frame.ts";
import type { BucketFile } from "./bucket-file.ts";
import { checksumMatches, ENTRY_HEADER_BYTES, frameBytesAt, mayBeHeader, readEntry, type ScannedEntry } from "./entry.ts";

/** Read at once. */
export const WALK_PAGE_BYTES = 1024 * 1024;
/** An entry's header and the first two words of its frame: enough to tell that one may stand there. */
const PROBE_BYTES = ENTRY_HEADER_BYTES + 8;

/** Where a walk ended, and what it passed over. */
export interface Walked {
  /** Offset behind the last entry visited. */
  end: number;
  /** Bytes of damaged entries with whole ones behind them. */
  damagedBytes: number;
}

/**
 * Visits the whole entries of a bucket's file whose checksum holds, and passes over damaged ones with whole ones behind
 * them.
 *
 * @param length of the file as far as it counts
 * @param from entries that begin in [from, to) are visited
 * @param firstPage read into first; the visitor may keep it, as any page then
 */
export function walkEntries(
  file: BucketFile,
  length: number,
  from: number,
  to: number,
  visit: (entry: ScannedEntry) => void,
  firstPage?: Buffer,
): Walked {
  let page = firstPage ?? Buffer.allocUnsafeSlow(Math.min(WALK_PAGE_BYTES, Math.max(to - from, 0)));
  let pageStart = from;
  let pageBytes = 0;
  let offset = from;
  let damagedBytes = 0;
  const header = { kind: 0, attempts: 0, topicId: 0, channelId: 0, dueMs: 0, number: 0, sequence: 0 };
  const entry: ScannedEntry = { ...header, offset: 0, frameBytes: 0, page, frameAt: 0 };
  const have = (bytes: number): boolean => {
    if (offset + bytes <= pageStart + pageBytes) return true;
    if (offset + bytes > length) return false;
    if (page.length < bytes || (firstPage !== undefined && pageBytes > 0)) {
      if (firstPage === undefined) giveBack(page);
      page = Buffer.allocUnsafeSlow(Math.max(bytes, to - offset));
    }
    pageStart = offset;
    pageBytes = Math.min(page.length, length - offset);
    file.read(page, 0, pageBytes, pageStart);
    return true;
  };
  while (offset < to && have(ENTRY_HEADER_BYTES)) {
    const bytes = ENTRY_HEADER_BYTES + frameBytesAt(page, offset - pageStart);
    const there = have(bytes);
    const at = offset - pageStart;
    if (there && checksumMatches(page, at, bytes)) {
      readEntry(page, at, entry);
      entry.offset = offset;
      visit(entry);
      offset += bytes;
      continue;
    }
    const next = wholeEntryBehind(file, length, offset, offset + bytes);
    if (next < 0) break;
    damagedBytes += next - offset;
    offset = next;
  }
  if (firstPage === undefined) giveBack(page);
  return { end: offset, damagedBytes };
}

/**
 * Where the next whole entry stands behind a damaged one: where that one says it ends, else found by looking.
 *
 * @returns -1 when there is none, so that what is damaged is the file's end
 */
function wholeEntryBehind(file: BucketFile, length: number, offset: number, statedEnd: number): number {
  const header = Buffer.alloc(PROBE_BYTES);
  if (statedEnd + PROBE_BYTES <= length) {
    file.read(header, 0, PROBE_BYTES, statedEnd);
    if (isWhole(file, length, header, 0, statedEnd)) return statedEnd;
  }
  const page = Buffer.alloc(Math.min(WALK_PAGE_BYTES, length - offset));
  for (let start = offset + 1; start + PROBE_BYTES <= length; start += page.length - PROBE_BYTES + 1) {
    const bytes = Math.min(page.length, length - start);
    file.read(page, 0, bytes, start);
    for (let at = 0; at + PROBE_BYTES <= bytes; at++) if (isWhole(file, length, page, at, start + at)) return start + at;
  }
  return -1;
}

/** Whether a whole entry stands at `offset`, the first bytes of which are at `at` in `page`. */
function isWhole(file: BucketFile, length: number, page: Buffer, at: number, offset: number): boolean {
  if (!mayBeHeader(page, at)) return false;
  const frameBytes = frameBytesAt(page, at);
  const frameAt = at + ENTRY_HEADER_BYTES;
  if (page.readUInt32BE(frameAt) !== frameBytes - 4 || page.readUInt32BE(frameAt + 4) !== FRAME_TYPE_MESSAGE) return false;
  if (offset + ENTRY_HEADER_BYTES + frameBytes > length) return false;
  const entry = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + frameBytes);
  file.read(entry, 0, entry.length, offset);
  return checksumMatches(entry, 0, entry.length);
}
