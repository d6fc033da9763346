import { BODY_OFFSET, FRAME_TYPE_WITH_HEADER, MESSAGE_SIZE_OVERHEAD } from "./frame.ts";

/**
 * The header that a record may have between id and body. Its frame type word says so:
 *
 *     record := size u32 | type u32 = 0x48445202 | timestamp u64 | attempts u16 | id 16 bytes | header length u32 | header | body
 *     header := version u8 = 1 | parts u8 | [trace id u64] | [key length u16 | key] | [tag length u8 | tag] | text
 *
 * All numbers are big-endian, as in the rest of a record. `parts` says which of the parts in brackets there are: 1 trace id,
 * 2 key, 4 tag. The text is JSON, as the producer sent it; it may be empty. Key, tag and trace id are found
 * without reading the text.
 */

/** Bytes of the header's length in front of it. */
export const HEADER_LENGTH_BYTES = 4;
/** The largest text, Youzan's limit: its length has two bytes there. */
export const MAX_HEADER_TEXT_BYTES = 65_534;
export const MAX_MESSAGE_KEY_BYTES = 1_024;
/** Youzan's limit. */
export const MAX_TAG_BYTES = 100;

const VERSION = 1;
const HAS_TRACE_ID = 1;
const HAS_KEY = 2;
const HAS_TAG = 4;
const FIXED_BYTES = 2;
const TRACE_ID_BYTES = 8;

/** No header is longer. */
export const MAX_HEADER_BYTES = FIXED_BYTES + TRACE_ID_BYTES + 2 + MAX_MESSAGE_KEY_BYTES + 1 + MAX_TAG_BYTES + MAX_HEADER_TEXT_BYTES;

/** What a message carries besides its body. Texts are as the producer sent them. */
export interface MessageHeader {
  /** 0: none. */
  traceId: bigint;
  /** Messages of one key are delivered in order where the channel asks for that. Empty: none. */
  key: Uint8Array;
  /** Who is to get it (`##client_dispatch_tag`). Empty: anybody. */
  tag: Uint8Array;
  /** JSON. Empty: none. */
  text: Uint8Array;
}

export const NO_BYTES = new Uint8Array(0);

/** Encodes a header. Its parts are within their limits. */
export function encodeHeader({ traceId, key, tag, text }: MessageHeader): Buffer {
  const parts = (traceId === 0n ? 0 : HAS_TRACE_ID) | (key.length === 0 ? 0 : HAS_KEY) | (tag.length === 0 ? 0 : HAS_TAG);
  const bytes =
    FIXED_BYTES +
    (parts & HAS_TRACE_ID ? TRACE_ID_BYTES : 0) +
    (parts & HAS_KEY ? 2 + key.length : 0) +
    (parts & HAS_TAG ? 1 + tag.length : 0) +
    text.length;
  const header = Buffer.allocUnsafe(bytes);
  header[0] = VERSION;
  header[1] = parts;
  let at = FIXED_BYTES;
  if (parts & HAS_TRACE_ID) at = header.writeBigUInt64BE(traceId, at);
  if (parts & HAS_KEY) {
    header.writeUInt16BE(key.length, at);
    header.set(key, at + 2);
    at += 2 + key.length;
  }
  if (parts & HAS_TAG) {
    header[at] = tag.length;
    header.set(tag, at + 1);
    at += 1 + tag.length;
  }
  header.set(text, at);
  return header;
}

/**
 * Writes a header up to its text. Key and tag are copied from `source`; where they are empty there are none.
 *
 * @param traceHigh, traceLow the halves of the trace id; both 0: none
 * @returns where the text begins in `target`
 */
export function writeHeaderParts(
  target: Uint8Array,
  view: DataView,
  at: number,
  traceHigh: number,
  traceLow: number,
  source: Uint8Array,
  keyFrom: number,
  keyTo: number,
  tagFrom: number,
  tagTo: number,
): number {
  let parts = 0;
  let next = at + FIXED_BYTES;
  if ((traceHigh | traceLow) !== 0) {
    parts = HAS_TRACE_ID;
    view.setInt32(next, traceHigh);
    view.setInt32(next + 4, traceLow);
    next += TRACE_ID_BYTES;
  }
  if (keyTo > keyFrom) {
    parts |= HAS_KEY;
    view.setUint16(next, keyTo - keyFrom);
    next += 2;
    for (let i = keyFrom; i < keyTo; i++) target[next++] = source[i];
  }
  if (tagTo > tagFrom) {
    parts |= HAS_TAG;
    target[next++] = tagTo - tagFrom;
    for (let i = tagFrom; i < tagTo; i++) target[next++] = source[i];
  }
  target[at] = VERSION;
  target[at + 1] = parts;
  return next;
}

/** Whether the record at `at` has a header. */
export function hasHeader(record: Uint8Array, at: number): boolean {
  return record[at + 4] === FRAME_TYPE_WITH_HEADER >> 24;
}

/** Length of the header of the record at `at`, which has one. */
function headerBytesOf(record: Buffer, at: number): number {
  return record.readUInt32BE(at + BODY_OFFSET);
}

/** Bytes between the id and the body of the record at `at`. */
export function headerSpace(record: Buffer, at: number): number {
  return hasHeader(record, at) ? HEADER_LENGTH_BYTES + headerBytesOf(record, at) : 0;
}

/** Offset of the body of the record at `at`. */
export function bodyAt(record: Buffer, at: number): number {
  return at + BODY_OFFSET + headerSpace(record, at);
}

/** The encoded header of the record at `at`; empty if it has none. */
export function encodedHeader(record: Buffer, at: number): Uint8Array {
  return hasHeader(record, at) ? record.subarray(at + BODY_OFFSET + HEADER_LENGTH_BYTES, bodyAt(record, at)) : NO_BYTES;
}

/** Where the text begins in the header in [from, to); `to` if there is none, or a header that this version cannot read. */
export function textStart(bytes: Uint8Array, from: number, to: number): number {
  if (to - from < FIXED_BYTES || bytes[from] !== VERSION) return to;
  const parts = bytes[from + 1];
  let next = from + FIXED_BYTES;
  if (parts & HAS_TRACE_ID) next += TRACE_ID_BYTES;
  if (parts & HAS_KEY) next += 2 + ((bytes[next] << 8) | bytes[next + 1]);
  if (parts & HAS_TAG) next += 1 + bytes[next];
  // Behind the end of the bytes it is not a number.
  const fits = next <= to;
  return fits ? next : to;
}

/** Where the eight bytes of the trace id are in the header in [from, to); -1 if it has none. */
export function traceIdAt(bytes: Uint8Array, from: number, to: number): number {
  const hasOne = to - from >= FIXED_BYTES + TRACE_ID_BYTES && bytes[from] === VERSION && (bytes[from + 1] & HAS_TRACE_ID) !== 0;
  return hasOne ? from + FIXED_BYTES : -1;
}

/** The trace id of the record at `at`; 0 if it has none. */
export function traceIdOf(record: Buffer, at: number): bigint {
  if (!hasHeader(record, at)) return 0n;
  const found = traceIdAt(record, at + BODY_OFFSET + HEADER_LENGTH_BYTES, bodyAt(record, at));
  return found < 0 ? 0n : record.readBigUInt64BE(found);
}

/** Whether the lengths in the record at `at` fit together. Its size word says that it takes `bytes`, and all of them are there. */
export function isWellFormed(record: Buffer, at: number, bytes: number): boolean {
  if (bytes < MESSAGE_SIZE_OVERHEAD + 4) return false;
  if (!hasHeader(record, at)) return true;
  return bytes >= BODY_OFFSET + HEADER_LENGTH_BYTES && headerBytesOf(record, at) <= bytes - BODY_OFFSET - HEADER_LENGTH_BYTES;
}

/** Finds the parts of a header, without copying any. One object serves for many headers. */
export class HeaderReader {
  private bytes: Buffer = Buffer.alloc(0);
  private parts = 0;
  private traceAt = 0;
  keyFrom = 0;
  keyTo = 0;
  tagFrom = 0;
  tagTo = 0;
  textFrom = 0;
  textTo = 0;

  /**
   * Looks at the record at `at`.
   *
   * @returns false if it has no header, or one that this version cannot read: then all parts are empty
   */
  read(record: Buffer, at: number): boolean {
    this.bytes = record;
    this.parts = this.keyFrom = this.keyTo = this.tagFrom = this.tagTo = this.textFrom = this.textTo = 0;
    if (!hasHeader(record, at)) return false;
    const from = at + BODY_OFFSET + HEADER_LENGTH_BYTES;
    const to = from + headerBytesOf(record, at);
    if (to - from < FIXED_BYTES || record[from] !== VERSION) return false;
    const parts = record[from + 1];
    let next = from + FIXED_BYTES;
    if (parts & HAS_TRACE_ID) {
      this.traceAt = next;
      next += TRACE_ID_BYTES;
    }
    if (parts & HAS_KEY) {
      this.keyFrom = next + 2;
      next = this.keyTo = this.keyFrom + ((record[next] << 8) | record[next + 1]);
    }
    if (parts & HAS_TAG) {
      this.tagFrom = next + 1;
      next = this.tagTo = this.tagFrom + record[next];
    }
    // Behind the record's end there may be no bytes, and then it is not a number.
    if (!(next <= to)) {
      this.keyFrom = this.keyTo = this.tagFrom = this.tagTo = 0;
      return false;
    }
    this.parts = parts;
    this.textFrom = next;
    this.textTo = to;
    return true;
  }

  /** 0: none. */
  get traceId(): bigint {
    return this.parts & HAS_TRACE_ID ? this.bytes.readBigUInt64BE(this.traceAt) : 0n;
  }
}
