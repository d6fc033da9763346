import { basename } from "node:path";
import { StartError } from "../../../base/start-error.ts";

/**
 * The index beside a segment's records (segment.ts).
 *
 *     header := magic "BQIX" | version u32 | topic number u32 | prefix u32 | base sequence f64 | base position f64 | epoch u32 | crc32 u32
 *     entry  := offset f64 | first sequence f64 | length u32 | count u32 | time ms f64 | crc32 of the records u32 | crc32 of this entry u32
 *
 * All numbers are little-endian; a double holds them exactly. The prefix is that of the topic's ids (frame/id.ts) with bit 31
 * set; 0 in an index of an earlier release. A base position of NaN is unknown: the index was rebuilt from
 * the records. The epoch is that of all records of the segment; 0 in a log that is not replicated. Earlier releases write 0 and do
 * not look at it.
 */

const INDEX_MAGIC = 0x58495142;
const INDEX_VERSION = 1;
export const INDEX_HEADER_BYTES = 40;
export const INDEX_ENTRY_BYTES = 40;
/** Is set beside a prefix, so that prefix 0 differs from none. */
const HAS_PREFIX = 0x80000000;
/** Bytes of a header and of an entry that their checksums cover. */
const CHECKED_BYTES = 36;

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
export const ENTRY_OFFSET = 0;
export const ENTRY_SEQUENCE = 8;
export const ENTRY_TIME = 24;

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

export function segmentName(baseSequence: number): string {
  return baseSequence.toString(16).padStart(16, "0");
}

export const MAX_EPOCH = 2 ** 32 - 1;

/** What the header of an index says of its segment. */
export interface IndexHeader {
  topicNumber: number;
  /** The beginning of the topic's ids; undefined: unknown, since an earlier release made the index. */
  prefix: number | undefined;
  /** Sequence of the segment's first record. */
  baseSequence: number;
  /** Position of the segment's first byte in the log; NaN: unknown. */
  basePosition: number;
  /** Grows with every change of a replicated log's leader; 0: the log is not replicated. */
  epoch: number;
}

export function encodeHeader({ topicNumber, prefix, baseSequence, basePosition, epoch }: IndexHeader): Buffer {
  const header = Buffer.alloc(INDEX_HEADER_BYTES);
  header.writeUInt32LE(INDEX_MAGIC, 0);
  header.writeUInt32LE(INDEX_VERSION, 4);
  header.writeUInt32LE(topicNumber, 8);
  if (prefix !== undefined) header.writeUInt32LE(HAS_PREFIX + prefix, 12);
  header.writeDoubleLE(baseSequence, 16);
  header.writeDoubleLE(basePosition, 24);
  header.writeUInt32LE(epoch, 32);
  header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, CHECKED_BYTES)), CHECKED_BYTES);
  return header;
}

/** Whether a header matches its checksum. */
export function isHeaderIntact(header: Buffer): boolean {
  return Bun.hash.crc32(header.subarray(0, CHECKED_BYTES)) === header.readUInt32LE(CHECKED_BYTES);
}

export function decodeHeader(header: Buffer): IndexHeader {
  const prefix = header.readUInt32LE(12);
  return {
    topicNumber: header.readUInt32LE(8),
    prefix: prefix === 0 ? undefined : prefix - HAS_PREFIX,
    baseSequence: header.readDoubleLE(16),
    basePosition: header.readDoubleLE(24),
    epoch: header.readUInt32LE(32),
  };
}

/**
 * @param path of the segment's files, without ending
 * @param bytes how many of the header's bytes the file has
 * @returns why the index cannot be used; undefined: it can
 * @throws StartError for an index of a newer version
 */
export function headerProblem(path: string, header: Buffer, bytes: number, topicNumber: number): UnusableIndex | undefined {
  if (bytes < INDEX_HEADER_BYTES || header.every((byte) => byte === 0)) return new UnusableIndex("its index has no header", true);
  if (header.readUInt32LE(0) !== INDEX_MAGIC) return new UnusableIndex("its index is not a bunsq index");
  if (!isHeaderIntact(header)) return new UnusableIndex("its index header is damaged");
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
  target.writeUInt32LE(Bun.hash.crc32(target.subarray(at, at + CHECKED_BYTES)), at + CHECKED_BYTES);
  return target;
}

/** Reads the entry at an offset of `page`, intact or not. */
export function decodeEntry(page: Buffer, at: number): IndexEntry {
  return {
    offset: page.readDoubleLE(at),
    firstSequence: page.readDoubleLE(at + 8),
    length: page.readUInt32LE(at + 16),
    count: page.readUInt32LE(at + 20),
    timeMs: page.readDoubleLE(at + 24),
    crc: page.readUInt32LE(at + 32),
  };
}

/** Whether the entry at an offset of `page` matches its checksum. */
export function isEntryIntact(page: Buffer, at: number): boolean {
  return Bun.hash.crc32(page.subarray(at, at + CHECKED_BYTES)) === page.readUInt32LE(at + CHECKED_BYTES);
}
