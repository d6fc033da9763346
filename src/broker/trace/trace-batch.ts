import {
  BATCH_BODY_CRC_AT,
  BATCH_FIRST_NAME_AT,
  BATCH_MAGIC,
  BATCH_NAMES_AT,
  BATCH_RECORDS_AT,
  FILE_MAGIC,
  FILE_VERSION,
  HEAD_CRC_AT,
  MOST_NAME_BYTES,
  MOST_RECORDS,
  RECORD_BYTES,
  VERSION_AT,
} from "./record.ts";

/** One batch of records, in the bytes that it was found in. */
export interface TraceBatch {
  /** Offset of the first record. */
  readonly from: number;
  readonly records: number;
  /** Offset of the names, and their bytes. */
  readonly namesFrom: number;
  readonly namesTo: number;
  readonly firstName: number;
  /** Offset behind the batch. */
  readonly end: number;
}

/** What begins at an offset: a batch, the beginning of one that goes on behind the bytes, or anything else. */
export type FoundBatch = TraceBatch | "incomplete" | "damaged";

/** Reads the batch at `at`. A batch with a wrong checksum is damaged. */
export function batchAt(bytes: Buffer, at: number, to: number): FoundBatch {
  if (at + RECORD_BYTES > to) return "incomplete";
  if (!isBatchHead(bytes, at)) return "damaged";
  const records = bytes.readUInt32LE(at + BATCH_RECORDS_AT);
  const nameBytes = bytes.readUInt32LE(at + BATCH_NAMES_AT);
  if (records > MOST_RECORDS || nameBytes > MOST_NAME_BYTES) return "damaged";
  const from = at + RECORD_BYTES;
  const namesFrom = from + records * RECORD_BYTES;
  const namesTo = namesFrom + nameBytes;
  const end = namesFrom + padded(nameBytes);
  if (end > to) return "incomplete";
  if (Bun.hash.crc32(bytes.subarray(from, namesTo)) !== bytes.readUInt32LE(at + BATCH_BODY_CRC_AT)) return "damaged";
  return { from, records, namesFrom, namesTo, firstName: bytes.readUInt32LE(at + BATCH_FIRST_NAME_AT), end };
}

/** The offset of the next head of a batch behind a damaged one at `at`; `to` if there is none. */
export function nextBatch(bytes: Buffer, at: number, to: number): number {
  for (let next = at + RECORD_BYTES; next + RECORD_BYTES <= to; next += RECORD_BYTES) if (isBatchHead(bytes, next)) return next;
  // The rest is shorter than a head.
  return to - ((to - at) % RECORD_BYTES);
}

function isBatchHead(bytes: Buffer, at: number): boolean {
  if (bytes.readUInt32LE(at) !== BATCH_MAGIC) return false;
  return Bun.hash.crc32(bytes.subarray(at, at + HEAD_CRC_AT)) === bytes.readUInt32LE(at + HEAD_CRC_AT);
}

/** Visits the names of a batch, with their numbers. */
export function visitNames(bytes: Buffer, batch: TraceBatch, visit: (number: number, text: string) => void): void {
  let number = batch.firstName;
  for (let at = batch.namesFrom; at < batch.namesTo; number++) {
    const end = at + 1 + bytes[at];
    if (end > batch.namesTo) return;
    visit(number, bytes.toString("utf8", at + 1, end));
    at = end;
  }
}

/**
 * Writes the head of a batch. Its records are behind the head already, and its names behind these.
 *
 * @returns the length of the batch
 */
export function sealBatch(bytes: Buffer, records: number, nameBytes: number, firstName: number): number {
  const namesTo = RECORD_BYTES * (1 + records) + nameBytes;
  const end = RECORD_BYTES * (1 + records) + padded(nameBytes);
  bytes.fill(0, 0, RECORD_BYTES);
  bytes.fill(0, namesTo, end);
  bytes.writeUInt32LE(BATCH_MAGIC, 0);
  bytes.writeUInt32LE(records, BATCH_RECORDS_AT);
  bytes.writeUInt32LE(nameBytes, BATCH_NAMES_AT);
  bytes.writeUInt32LE(firstName, BATCH_FIRST_NAME_AT);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(RECORD_BYTES, namesTo)), BATCH_BODY_CRC_AT);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, HEAD_CRC_AT)), HEAD_CRC_AT);
  return end;
}

/** The head of a new file. */
export function encodeFileHead(): Buffer {
  const head = Buffer.alloc(RECORD_BYTES);
  head.writeUInt32LE(FILE_MAGIC, 0);
  head.writeUInt32LE(FILE_VERSION, VERSION_AT);
  head.writeUInt32LE(Bun.hash.crc32(head.subarray(0, HEAD_CRC_AT)), HEAD_CRC_AT);
  return head;
}

/** What the first bytes of a file say: whether this release reads what follows. */
export function judgeFileHead(bytes: Buffer, length: number): "sound" | "short" | "damaged" | "newer" {
  if (length < RECORD_BYTES) return "short";
  if (bytes.readUInt32LE(0) !== FILE_MAGIC) return "damaged";
  if (Bun.hash.crc32(bytes.subarray(0, HEAD_CRC_AT)) !== bytes.readUInt32LE(HEAD_CRC_AT)) return "damaged";
  return bytes.readUInt32LE(VERSION_AT) > FILE_VERSION ? "newer" : "sound";
}

function padded(bytes: number): number {
  return Math.ceil(bytes / RECORD_BYTES) * RECORD_BYTES;
}
