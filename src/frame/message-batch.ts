import type { ProtocolError } from "./error.ts";
import { BODY_OFFSET, FRAME_TYPE_MESSAGE, FRAME_TYPE_WITH_HEADER, ID_OFFSET } from "./frame.ts";
import { HEADER_LENGTH_BYTES, writeHeaderParts } from "./header.ts";
import { writeId } from "./id.ts";
import { JsonHeaderReader } from "./json-header.ts";
import { copyBytes, type Timestamp } from "./layout.ts";
import { murmur3 } from "./murmur3.ts";

/** Numbers per message in `fields`. */
const FIELDS = 14;
const COPY_FROM = 0;
const BODY_FROM = 1;
const BODY_TO = 2;
const KEY_FROM = 3;
const KEY_TO = 4;
const TAG_FROM = 5;
const TAG_TO = 6;
const TRACE_HIGH = 7;
const TRACE_LOW = 8;
/** Bytes of the header; 0: the message has none. */
const HEADER_BYTES = 9;
/** The hash of its key, if there is one and it was asked for. */
const KEY_HASH = 10;
/** 1: it has a key whose hash was asked for. */
const HAS_KEY = 11;
/** The number of the part that it belongs to. */
const PART = 12;
/** The next message of its part. */
const NEXT = 13;

/** Numbers of parts are below this. */
const MAX_PARTS = 1025;
/** The first message of each part while a batch is split, and how many there are. */
const firsts = new Int32Array(MAX_PARTS);
const counts = new Int32Array(MAX_PARTS);

/** Messages of a batch that belong together. */
export interface BatchPart {
  part: number;
  /** The first one; nextOf() has the others. */
  first: number;
  count: number;
}

/** A batch with more messages than this gives its memory back afterwards. */
const KEPT_MESSAGES = 16_384;

const reader = new JsonHeaderReader();

/**
 * Messages with headers that are to be appended, as offsets in the bytes that the client sent: nothing is allocated for one.
 *
 * add…() checks them all, then each part is written. A header's text and its body follow each other in the bytes, and
 * are copied together.
 */
export class MessageBatch {
  count = 0;
  /** Some of the messages have headers. */
  hasHeaders = false;
  /** Some of them have keys whose hashes were asked for. */
  hasKeys = false;
  private fields = new Int32Array(FIELDS);
  /** Headers that were encoded, as their parts are not in the bytes. By the number of the message. */
  private readonly encoded = new Map<number, Uint8Array>();

  /** Forgets all messages. */
  reset(): this {
    if (this.fields.length > FIELDS * KEPT_MESSAGES) this.fields = new Int32Array(FIELDS);
    if (this.encoded.size > 0) this.encoded.clear();
    this.count = 0;
    this.hasHeaders = this.hasKeys = false;
    return this;
  }

  /** The trace id in the header of the last message; 0: none. */
  get lastTraceId(): bigint {
    return reader.traceId;
  }

  /** The header of the last message, which had a JSON header, has a trace id. */
  get lastIsTraced(): boolean {
    return reader.isTraced;
  }

  /**
   * Adds a message whose JSON header is in [from, bodyFrom); there is none if that is empty.
   *
   * @param byKey whether the hash of its key is wanted
   * @param view of `bytes`, for headers that may be alike
   * @returns an error in Youzan's words if the header is not valid
   */
  addWithJson(bytes: Buffer, from: number, bodyFrom: number, to: number, byKey: boolean, view?: DataView): ProtocolError | undefined {
    if (from === bodyFrom) {
      this.add(0, 0, from, bodyFrom, to, 0);
      return undefined;
    }
    const error = reader.read(bytes, from, bodyFrom, view);
    if (error !== undefined) return error;
    const { encoded, traceHigh, traceLow, keyFrom, keyTo, tagFrom, tagTo } = reader;
    const headerBytes = encoded?.length ?? writtenBytes(bodyFrom - from, traceHigh, traceLow, keyTo - keyFrom, tagTo - tagFrom);
    const at = this.add(traceHigh, traceLow, encoded === undefined ? from : bodyFrom, bodyFrom, to, headerBytes);
    const { fields } = this;
    if (encoded !== undefined) this.encoded.set(this.count - 1, encoded);
    fields[at + KEY_FROM] = keyFrom;
    fields[at + KEY_TO] = keyTo;
    fields[at + TAG_FROM] = tagFrom;
    fields[at + TAG_TO] = tagTo;
    if (!byKey || !reader.hasKey) return undefined;
    this.hasKeys = true;
    const { encodedKey: key } = reader;
    fields[at + KEY_HASH] = key === undefined ? murmur3(bytes, keyFrom, keyTo, 0) : murmur3(key, 0, key.length, 0);
    fields[at + HAS_KEY] = 1;
    return undefined;
  }

  /** Adds a message that has a trace id of two halves, and a body in [from, to). */
  addTraced(traceHigh: number, traceLow: number, from: number, to: number): void {
    this.add(traceHigh, traceLow, from, from, to, writtenBytes(0, traceHigh, traceLow, 0, 0));
  }

  /** Adds a message with an encoded header and a body in [from, to). @param header empty: none */
  addEncoded(header: Uint8Array, from: number, to: number): void {
    this.add(0, 0, from, from, to, header.length);
    if (header.length > 0) this.encoded.set(this.count - 1, header);
  }

  private add(traceHigh: number, traceLow: number, copyFrom: number, bodyFrom: number, to: number, headerBytes: number): number {
    const at = this.count * FIELDS;
    if (at === this.fields.length) this.grow();
    const { fields } = this;
    fields[at + COPY_FROM] = copyFrom;
    fields[at + BODY_FROM] = bodyFrom;
    fields[at + BODY_TO] = to;
    fields[at + KEY_FROM] = fields[at + KEY_TO] = fields[at + TAG_FROM] = fields[at + TAG_TO] = 0;
    fields[at + TRACE_HIGH] = traceHigh;
    fields[at + TRACE_LOW] = traceLow;
    fields[at + HEADER_BYTES] = headerBytes;
    fields[at + HAS_KEY] = 0;
    fields[at + NEXT] = ++this.count;
    if (headerBytes > 0) this.hasHeaders = true;
    return at;
  }

  private grow(): void {
    const larger = new Int32Array(2 * this.fields.length);
    larger.set(this.fields);
    this.fields = larger;
  }

  // ---- its parts

  /** Whether a message has a key whose hash was asked for. */
  hasKey(message: number): boolean {
    return this.fields[message * FIELDS + HAS_KEY] === 1;
  }

  /** The hash of the key (murmur3, 32 bits, seed 0) of a message that has one. */
  keyHash(message: number): number {
    return this.fields[message * FIELDS + KEY_HASH] >>> 0;
  }

  /** Says to which part a message belongs, for split(). @param part from 0 to 1024 */
  setPart(message: number, part: number): void {
    this.fields[message * FIELDS + PART] = part;
  }

  /** Splits the batch. nextOf() goes on in the same part from now on. @returns its parts, in the order of their first messages */
  split(): BatchPart[] {
    const { fields } = this;
    const parts: BatchPart[] = [];
    for (let i = this.count - 1; i >= 0; i--) {
      const part = fields[i * FIELDS + PART];
      if (counts[part]++ > 0) fields[i * FIELDS + NEXT] = firsts[part];
      else parts.push({ part, first: i, count: 0 });
      firsts[part] = i;
    }
    for (const one of parts) {
      one.first = firsts[one.part];
      one.count = counts[one.part];
      counts[one.part] = 0;
    }
    return parts.sort((a, b) => a.first - b.first);
  }

  /** The message behind another one in its part, or in the batch if that is not split. It is none behind the last one. */
  nextOf(message: number): number {
    return this.fields[message * FIELDS + NEXT];
  }

  // ---- writing

  bodyBytesOf(message: number): number {
    const at = message * FIELDS;
    return this.fields[at + BODY_TO] - this.fields[at + BODY_FROM];
  }

  /** Bytes of a message's record. */
  recordBytes(message: number): number {
    const at = message * FIELDS;
    const headerBytes = this.fields[at + HEADER_BYTES];
    return (
      BODY_OFFSET + (headerBytes === 0 ? 0 : HEADER_LENGTH_BYTES + headerBytes) + this.fields[at + BODY_TO] - this.fields[at + BODY_FROM]
    );
  }

  /** Writes a message's record at `at`. @param source what the messages are in @returns where the record ends in `target` */
  write(
    message: number,
    source: Uint8Array,
    target: Buffer,
    view: DataView,
    at: number,
    prefix: number,
    sequence: number,
    time: Timestamp,
  ): number {
    const { fields } = this;
    const field = message * FIELDS;
    const headerBytes = fields[field + HEADER_BYTES];
    const copyFrom = fields[field + COPY_FROM];
    const bodyTo = fields[field + BODY_TO];
    let next = at + BODY_OFFSET;
    view.setUint32(at + 4, headerBytes === 0 ? FRAME_TYPE_MESSAGE : FRAME_TYPE_WITH_HEADER);
    view.setUint32(at + 8, time.high);
    view.setUint32(at + 12, time.low);
    view.setUint16(at + 16, 1);
    writeId(view, at + ID_OFFSET, prefix, sequence);
    if (headerBytes > 0) {
      view.setUint32(next, headerBytes);
      next += HEADER_LENGTH_BYTES;
      const encoded = this.encoded.size === 0 ? undefined : this.encoded.get(message);
      if (encoded !== undefined) {
        target.set(encoded, next);
        next += encoded.length;
      } else {
        next = writeHeaderParts(
          target,
          view,
          next,
          fields[field + TRACE_HIGH],
          fields[field + TRACE_LOW],
          source,
          fields[field + KEY_FROM],
          fields[field + KEY_TO],
          fields[field + TAG_FROM],
          fields[field + TAG_TO],
        );
      }
    }
    copyBytes(source, copyFrom, target, next, bodyTo - copyFrom);
    next += bodyTo - copyFrom;
    view.setUint32(at, next - at - 4);
    return next;
  }
}

/** Bytes of a header with these parts; 0 if it would have none. */
function writtenBytes(textBytes: number, traceHigh: number, traceLow: number, keyBytes: number, tagBytes: number): number {
  const hasTrace = (traceHigh | traceLow) !== 0;
  if (textBytes === 0 && !hasTrace) return 0;
  return 2 + (hasTrace ? 8 : 0) + (keyBytes === 0 ? 0 : 2 + keyBytes) + (tagBytes === 0 ? 0 : 1 + tagBytes) + textBytes;
}
