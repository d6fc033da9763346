import { freeBuffer } from "../../../base/free-buffer.ts";
import { isMessageType } from "../../../frame/frame.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { BucketFile } from "./bucket-file.ts";
import { checksumMatches, ENTRY_HEADER_BYTES, frameBytesAt, mayBeHeader, readEntry, type ScannedEntry } from "./entry.ts";

/** Bytes read at once. */
const PAGE_BYTES = 1024 * 1024;
/** An entry's header and the first two words of its frame: enough to tell whether an entry may begin at an offset. */
const PROBE_BYTES = ENTRY_HEADER_BYTES + 8;

export interface Walk {
  /** The offset behind the last entry visited. */
  end: number;
  /** Bytes of damaged entries that were skipped because whole ones follow them. */
  damagedBytes: number;
  /** Why the walk ended early: the file cannot be read from `end` on. */
  failure: UnreadableFile | undefined;
}

/**
 * Visits the entries of a bucket's file that begin in [from, to) and whose checksum matches, and skips damaged ones that whole
 * ones follow.
 *
 * @param length bytes of the file that count
 * @param firstPage the first bytes are read into it; with it, the visitor may keep any page it is given
 */
export function walkEntries(
  file: BucketFile,
  length: number,
  from: number,
  to: number,
  visit: (entry: ScannedEntry) => void,
  firstPage?: Buffer,
): Walk {
  const walk: Walk = { end: from, damagedBytes: 0, failure: undefined };
  try {
    walkOn(walk, file, length, to, visit, firstPage);
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    walk.failure = error;
  }
  return walk;
}

/** Walks on from the end of a walk, and moves that. @throws UnreadableFile */
function walkOn(
  walk: Walk,
  file: BucketFile,
  length: number,
  to: number,
  visit: (entry: ScannedEntry) => void,
  firstPage: Buffer | undefined,
): void {
  const from = walk.end;
  let page = firstPage ?? Buffer.allocUnsafeSlow(Math.min(PAGE_BYTES, Math.max(to - from, 0)));
  let pageStart = from;
  let pageBytes = 0;
  let offset = from;
  const header = { kind: 0, attempts: 0, topicId: 0, channelId: 0, dueMs: 0, number: 0, sequence: 0 };
  const entry: ScannedEntry = { ...header, offset: 0, frameBytes: 0, page, frameAt: 0 };
  const load = (bytes: number): boolean => {
    if (offset + bytes <= pageStart + pageBytes) return true;
    if (offset + bytes > length) return false;
    if (page.length < bytes || (firstPage !== undefined && pageBytes > 0)) {
      if (firstPage === undefined) freeBuffer(page);
      page = Buffer.allocUnsafeSlow(Math.max(bytes, to - offset));
    }
    pageStart = offset;
    pageBytes = Math.min(page.length, length - offset);
    file.read(page, 0, pageBytes, pageStart);
    return true;
  };
  while (offset < to && load(ENTRY_HEADER_BYTES)) {
    const bytes = ENTRY_HEADER_BYTES + frameBytesAt(page, offset - pageStart);
    const complete = load(bytes);
    const at = offset - pageStart;
    if (complete && checksumMatches(page, at, bytes)) {
      readEntry(page, at, entry);
      entry.offset = offset;
      visit(entry);
      offset += bytes;
      walk.end = offset;
      continue;
    }
    const next = nextWholeEntry(file, length, offset, offset + bytes);
    if (next < 0) break;
    walk.damagedBytes += next - offset;
    offset = next;
    walk.end = offset;
  }
  if (firstPage === undefined) freeBuffer(page);
}

/**
 * Finds the next whole entry behind a damaged one: first where the damaged one says that it ends, then byte by byte.
 *
 * @returns its offset; -1 when there is none, so that the damage reaches to the end of the file
 */
function nextWholeEntry(file: BucketFile, length: number, offset: number, statedEnd: number): number {
  const header = Buffer.alloc(PROBE_BYTES);
  if (statedEnd + PROBE_BYTES <= length) {
    file.read(header, 0, PROBE_BYTES, statedEnd);
    if (isWhole(file, length, header, 0, statedEnd)) return statedEnd;
  }
  const page = Buffer.alloc(Math.min(PAGE_BYTES, length - offset));
  for (let start = offset + 1; start + PROBE_BYTES <= length; start += page.length - PROBE_BYTES + 1) {
    const bytes = Math.min(page.length, length - start);
    file.read(page, 0, bytes, start);
    for (let at = 0; at + PROBE_BYTES <= bytes; at++) if (isWhole(file, length, page, at, start + at)) return start + at;
  }
  return -1;
}

/** Whether a whole entry is at `offset` of the file; its first bytes are at `at` in `page`. */
function isWhole(file: BucketFile, length: number, page: Buffer, at: number, offset: number): boolean {
  if (!mayBeHeader(page, at)) return false;
  const frameBytes = frameBytesAt(page, at);
  const frameAt = at + ENTRY_HEADER_BYTES;
  if (page.readUInt32BE(frameAt) !== frameBytes - 4 || !isMessageType(page.readUInt32BE(frameAt + 4))) return false;
  if (offset + ENTRY_HEADER_BYTES + frameBytes > length) return false;
  const entry = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + frameBytes);
  file.read(entry, 0, entry.length, offset);
  return checksumMatches(entry, 0, entry.length);
}

/** Whether a file of `length` bytes is as long as the header of the entry at `offset` says, so that nothing of it is cut off. */
export function isComplete(file: BucketFile, length: number, offset: number): boolean {
  if (offset + ENTRY_HEADER_BYTES > length) return false;
  const header = Buffer.alloc(ENTRY_HEADER_BYTES);
  file.read(header, 0, header.length, offset);
  return offset + ENTRY_HEADER_BYTES + frameBytesAt(header, 0) <= length;
}
