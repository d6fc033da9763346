import { nonFatal, type ProtocolError } from "./error.ts";
import { encodeHeader, MAX_HEADER_TEXT_BYTES, MAX_MESSAGE_KEY_BYTES, MAX_TAG_BYTES, NO_BYTES } from "./header.ts";
import { HeaderTemplate } from "./header-template.ts";
import { JsonScanner } from "./json-scanner.ts";

/** Keys of a JSON header that the broker reads. */
const TRACE_ID_KEY = "##trace_id";
const TAG_KEY = "##client_dispatch_tag";
/** Not one of Youzan's: it names what the message belongs to, such as a customer. */
export const KEY_KEY = "##key";
export const MAX_TRACE_ID = 2n ** 64n - 1n;

const ZERO = 0x30;

const EMPTY = invalid('cannot parse empty string; unparsed tail: ""');
const TOO_LONG = invalid(`longer than ${MAX_HEADER_TEXT_BYTES} bytes`);
const NOT_VALID = invalid("it is not valid");
const TAG_TOO_LONG = invalid(`${TAG_KEY} is longer than ${MAX_TAG_BYTES} bytes`);
const BAD_KEY = invalid(`${KEY_KEY} is not a text of 1 to ${MAX_MESSAGE_KEY_BYTES} bytes`);
const BAD_TRACE_ID = nonFatal("INVALID_TRACE_ID", "invalid trace id");

/** The JSON header of a message, as Youzan's clients send it. */
export interface JsonHeader {
  /** With the JSON in it (header.ts). */
  header: Buffer;
  /** 0: none. */
  traceId: bigint;
  /** It has a trace id, and its publish is answered with the message's id. */
  isTraced: boolean;
  /** Empty: none. */
  key: Uint8Array;
}

/** Reads the JSON header in [from, to). @returns an error in Youzan's words if it is not valid */
export function readJsonHeader(bytes: Buffer, from: number, to: number): JsonHeader | ProtocolError {
  if (from === to) return EMPTY;
  if (to - from > MAX_HEADER_TEXT_BYTES) return TOO_LONG;
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString("utf8", from, to));
  } catch {
    return NOT_VALID;
  }
  // Any kind of JSON will do, but only an object has keys.
  const keys = typeof document === "object" && document !== null ? (document as Record<string, unknown>) : {};
  const isTraced = Object.hasOwn(keys, TRACE_ID_KEY);
  const traceId = isTraced ? readTraceId(keys[TRACE_ID_KEY]) : 0n;
  if (typeof traceId !== "bigint") return traceId;
  const tagged = Object.hasOwn(keys, TAG_KEY) ? keys[TAG_KEY] : "";
  const tag = typeof tagged === "string" && tagged !== "" ? Buffer.from(tagged) : NO_BYTES;
  if (tag.length > MAX_TAG_BYTES) return TAG_TOO_LONG;
  const key = Object.hasOwn(keys, KEY_KEY) ? readKey(keys[KEY_KEY]) : NO_BYTES;
  if ("code" in key) return key;
  return { header: encodeHeader({ traceId, key, tag, text: bytes.subarray(from, to) }), traceId, isTraced, key };
}

const scanner = new JsonScanner();
const template = new HeaderTemplate();
const DECIMAL_DIGITS = 20;
/** A half of a trace id. */
const HALF = 2 ** 32;

/**
 * Reads JSON headers as readJsonHeader() does, without allocating anything for most of them. What was found is valid until the next
 * read.
 */
export class JsonHeaderReader {
  /** Key and tag in the bytes that were read. Both are 0 if there is none, and with `encoded`. */
  keyFrom = 0;
  keyTo = 0;
  tagFrom = 0;
  tagTo = 0;
  /** The halves of the trace id. */
  traceHigh = 0;
  traceLow = 0;
  isTraced = false;
  hasKey = false;
  /** The whole header (header.ts), if its parts are not in the bytes as they are: one has escapes. */
  encoded: Uint8Array | undefined;
  encodedKey: Uint8Array | undefined;

  /**
   * Reads the JSON header in [from, to).
   *
   * @param view of `bytes`, for headers that may be like the one before; undefined: they are not compared
   * @returns an error in Youzan's words if it is not valid
   */
  read(bytes: Buffer, from: number, to: number, view: DataView | undefined): ProtocolError | undefined {
    this.keyFrom = this.keyTo = this.tagFrom = this.tagTo = this.traceHigh = this.traceLow = 0;
    this.isTraced = this.hasKey = false;
    this.encoded = this.encodedKey = undefined;
    if (from === to) return EMPTY;
    if (to - from > MAX_HEADER_TEXT_BYTES) return TOO_LONG;
    const compares = view !== undefined && template.isWanted();
    if (compares && template.matches(bytes, view, from, to)) {
      const { traceIdFrom, traceIdTo, tagFrom, tagTo, keyFrom, keyTo } = template;
      return this.take(bytes, traceIdFrom, traceIdTo, tagFrom, tagTo, keyFrom, keyTo);
    }
    if (!scanner.scan(bytes, from, to)) return NOT_VALID;
    if (scanner.isUnusual) return this.parse(bytes, from, to);
    if (compares) template.learn(bytes, from, to, scanner);
    const { traceIdFrom, traceIdTo, tagFrom, tagTo, keyFrom, keyTo } = scanner;
    return this.take(bytes, traceIdFrom, traceIdTo, tagFrom, tagTo, keyFrom, keyTo);
  }

  /** Takes the members that were found in the bytes as they are. */
  private take(
    bytes: Uint8Array,
    traceIdFrom: number,
    traceIdTo: number,
    tagFrom: number,
    tagTo: number,
    keyFrom: number,
    keyTo: number,
  ): ProtocolError | undefined {
    if (traceIdFrom > 0 && !this.readTraceId(bytes, traceIdFrom, traceIdTo)) return BAD_TRACE_ID;
    if (tagTo - tagFrom > MAX_TAG_BYTES) return TAG_TOO_LONG;
    this.hasKey = keyFrom > 0;
    if (this.hasKey && (keyTo === keyFrom || keyTo - keyFrom > MAX_MESSAGE_KEY_BYTES)) return BAD_KEY;
    this.keyFrom = keyFrom;
    this.keyTo = keyTo;
    this.tagFrom = tagFrom;
    this.tagTo = tagTo;
    return undefined;
  }

  get traceId(): bigint {
    return (BigInt(this.traceHigh >>> 0) << 32n) | BigInt(this.traceLow >>> 0);
  }

  private parse(bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const read = readJsonHeader(bytes, from, to);
    if ("code" in read) return read;
    this.encoded = read.header;
    this.isTraced = read.isTraced;
    this.traceHigh = Number(read.traceId >> 32n) | 0;
    this.traceLow = Number(read.traceId & 0xffffffffn) | 0;
    this.hasKey = read.key.length > 0;
    this.encodedKey = this.hasKey ? read.key : undefined;
    return undefined;
  }

  /** Reads a decimal number of 64 bits. @returns false if it is none */
  private readTraceId(bytes: Uint8Array, from: number, to: number): boolean {
    if (to === from || to - from > DECIMAL_DIGITS) return false;
    let high = 0;
    let low = 0;
    for (let at = from; at < to; at++) {
      const digit = bytes[at] - ZERO;
      if (digit < 0 || digit > 9) return false;
      low = 10 * low + digit;
      const carry = Math.floor(low / HALF);
      low -= carry * HALF;
      high = 10 * high + carry;
    }
    if (high >= HALF) return false;
    this.isTraced = true;
    this.traceHigh = high | 0;
    this.traceLow = low | 0;
    return true;
  }
}

function readTraceId(value: unknown): bigint | ProtocolError {
  if (typeof value !== "string") return nonFatal("INVALID_TRACE_ID", "passin trace id should be string");
  const traceId = /^\d{1,20}$/.test(value) ? BigInt(value) : undefined;
  return traceId === undefined || traceId > MAX_TRACE_ID ? BAD_TRACE_ID : traceId;
}

function readKey(value: unknown): Uint8Array | ProtocolError {
  const key = typeof value === "string" ? Buffer.from(value) : NO_BYTES;
  const fits = key.length > 0 && key.length <= MAX_MESSAGE_KEY_BYTES;
  return fits ? key : BAD_KEY;
}

function invalid(why: string): ProtocolError {
  return nonFatal("E_INVALID_JSON_HEADER", `fail to parse json header:cannot parse JSON: ${why}`);
}
