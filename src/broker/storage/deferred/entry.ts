import type { FileFormat } from "../file-head.ts";
import type { WriteBuffer } from "./write-buffer.ts";

// The file with a bucket's entries (bucket.ts). All numbers are little-endian.
//
//     file  := head, entries
//     head  := magic "BQDE" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
//     entry := crc32 of the rest u32 | frame length u32 | kind u8 | 0 u8 | attempts u16 | topic id u32 | channel id u32 | 0 u32
//              | due ms f64 | number f64 | sequence f64 | frame
//
// A file of version 0 has no head; its entries are the same. Offsets of entries count from the first entry on. A file whose head
// is damaged is read as version 0: the head is passed over like a damaged entry, and an offset noted before, which is then
// too low by the head's 24 bytes, still lies between the same two entries, since each takes 48 bytes and more.

export const ENTRIES_FORMAT: FileFormat = { magic: 0x45445142, version: 1, name: "deferred entries" };

export const ENTRY_HEADER_BYTES = 48;

/** A DPUB: joins its topic's log when due. */
export const KIND_PUBLISH = 1;
/** A message of one channel: requeued with a delay, or left far behind by its channel's cursor. */
export const KIND_REQUEUE = 2;

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

/** Lays an entry out. @returns its offset in the area */
export function layEntry(area: WriteBuffer, header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
  const bytes = ENTRY_HEADER_BYTES + to - from;
  const at = area.reserve(bytes);
  const { buffer, view } = area;
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
  return at;
}

/** The length of the frame of the entry at `at`, by its header. */
export function frameBytesAt(page: Buffer, at: number): number {
  return page.readUInt32LE(at + 4);
}

/** Whether the checksum holds of an entry that takes `bytes` with its header. */
export function checksumMatches(page: Buffer, at: number, bytes: number): boolean {
  return Bun.hash.crc32(page.subarray(at + 4, at + bytes)) === page.readUInt32LE(at);
}

/** Whether what stands at `at` may be an entry's header: its kind, and what is always 0. */
export function mayBeHeader(page: Buffer, at: number): boolean {
  const kind = page[at + 8];
  return (kind === KIND_PUBLISH || kind === KIND_REQUEUE) && page[at + 9] === 0 && page.readUInt32LE(at + 20) === 0;
}

/** Reads the entry at `at` of a page into `entry`; its offset in the file is the caller's to set. */
export function readEntry(page: Buffer, at: number, entry: ScannedEntry): void {
  entry.page = page;
  entry.frameAt = at + ENTRY_HEADER_BYTES;
  entry.frameBytes = frameBytesAt(page, at);
  entry.kind = page[at + 8];
  entry.attempts = page.readUInt16LE(at + 10);
  entry.topicId = page.readUInt32LE(at + 12);
  entry.channelId = page.readUInt32LE(at + 16);
  entry.dueMs = page.readDoubleLE(at + 24);
  entry.number = page.readDoubleLE(at + 32);
  entry.sequence = page.readDoubleLE(at + 40);
}
