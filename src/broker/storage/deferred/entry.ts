import type { FileFormat } from "../file-head.ts";
import type { WriteBuffer } from "./write-buffer.ts";

// The file of a bucket's entries (bucket.ts). All numbers are little-endian.
//
//     file  := head, entries
//     head  := magic "BQDE" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
//     entry := crc32 of the rest u32 | frame length u32 | kind u8 | layout u8 | attempts u16 | id f64 | 0 u32 | due ms f64
//              | number f64 | sequence f64 | frame
//
// The id is that of the topic for a publish, and that of the channel else. The layout is 1. In entries of earlier releases it is
// 0, and instead of the id there are a topic id u32 and a channel id u32. New entries are appended to files of earlier releases
// too. A file of version 0 has no head. Offsets of entries count from the first entry on. A file with a
// damaged head is read as version 0: the head is skipped like a damaged entry. An offset in a status record is then too low by
// the head's 24 bytes, but still lies between the same two entries, since an entry takes at least 48 bytes.

export const ENTRIES_FORMAT: FileFormat = { magic: 0x45445142, version: 2, name: "deferred entries" };

export const ENTRY_HEADER_BYTES = 48;
/** The layout of an entry's header: whether it names its topic and channel by ids of 32 bits, or one of them by a double. */
const SHORT_IDS = 0;
const LONG_ID = 1;

/** A deferred publish (DPUB): it joins its topic's log when it is due. */
export const KIND_PUBLISH = 1;
/** A message of one channel: requeued with a delay, or a straggler that its channel's cursor left far behind. */
export const KIND_REQUEUE = 2;

/** What an entry records of its message besides the frame. */
export interface EntryHeader {
  kind: number;
  attempts: number;
  /** The topic of a publish. A requeue is named by its channel alone. */
  topicId: number;
  /** The channel of a requeue; 0 for a publish. */
  channelId: number;
  dueMs: number;
  /** The message's sequence in its topic's log; 0 for a publish, which gets one when it joins. */
  sequence: number;
}

/** Whose entry it is. */
export type EntryOwnerIds = Pick<EntryHeader, "topicId" | "channelId">;

/** Names the channel or, for a publish, the topic of an entry: the id of the one, or the other's with a minus. */
export function overflowKey({ topicId, channelId }: EntryOwnerIds): number {
  return channelId === 0 ? -topicId : channelId;
}

/** An entry in a bucket. */
export interface StoredEntry extends EntryHeader {
  /** Unique within the data path; later entries have higher numbers, over restarts too. */
  number: number;
}

/** An entry as a scan presents it. The scan uses one object for all entries: a visitor that keeps one copies it. */
export interface ScannedEntry extends StoredEntry {
  /** The entry's offset in the file. */
  offset: number;
  frameBytes: number;
  /** Holds the frame until the visit is over. */
  page: Buffer;
  frameAt: number;
}

/** Lays an entry out in a write buffer; its frame is in [from, to) of `frame`. @returns its offset in the buffer */
export function layEntry(target: WriteBuffer, header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
  const bytes = ENTRY_HEADER_BYTES + to - from;
  const at = target.reserve(bytes);
  const { buffer, view } = target;
  view.setUint32(at + 4, to - from, true);
  view.setUint8(at + 8, header.kind);
  view.setUint8(at + 9, LONG_ID);
  view.setUint16(at + 10, header.attempts, true);
  view.setFloat64(at + 12, header.kind === KIND_PUBLISH ? header.topicId : header.channelId, true);
  view.setUint32(at + 20, 0, true);
  view.setFloat64(at + 24, header.dueMs, true);
  view.setFloat64(at + 32, number, true);
  view.setFloat64(at + 40, header.sequence, true);
  frame.copy(buffer, at + ENTRY_HEADER_BYTES, from, to);
  view.setUint32(at, Bun.hash.crc32(buffer.subarray(at + 4, at + bytes)), true);
  return at;
}

/** The frame length that the header of the entry at `at` gives. */
export function frameBytesAt(page: Buffer, at: number): number {
  return page.readUInt32LE(at + 4);
}

/** Whether the checksum of the entry at `at`, which takes `bytes` with its header, matches. */
export function checksumMatches(page: Buffer, at: number, bytes: number): boolean {
  return Bun.hash.crc32(page.subarray(at + 4, at + bytes)) === page.readUInt32LE(at);
}

/** Whether the bytes at `at` may be an entry's header: they have a known kind and layout, and zeros where a header has zeros. */
export function mayBeHeader(page: Buffer, at: number): boolean {
  const kind = page[at + 8];
  return (kind === KIND_PUBLISH || kind === KIND_REQUEUE) && page[at + 9] <= LONG_ID && page.readUInt32LE(at + 20) === 0;
}

/** Reads the entry at `at` of a page into `entry`. The caller sets its offset in the file. */
export function readEntry(page: Buffer, at: number, entry: ScannedEntry): void {
  entry.page = page;
  entry.frameAt = at + ENTRY_HEADER_BYTES;
  entry.frameBytes = frameBytesAt(page, at);
  entry.kind = page[at + 8];
  entry.attempts = page.readUInt16LE(at + 10);
  const isPublish = entry.kind === KIND_PUBLISH;
  const id = page[at + 9] === SHORT_IDS ? page.readUInt32LE(isPublish ? at + 12 : at + 16) : page.readDoubleLE(at + 12);
  entry.topicId = isPublish ? id : 0;
  entry.channelId = isPublish ? 0 : id;
  entry.dueMs = page.readDoubleLE(at + 24);
  entry.number = page.readDoubleLE(at + 32);
  entry.sequence = page.readDoubleLE(at + 40);
}
