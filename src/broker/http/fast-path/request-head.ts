import { PLAIN_TYPES } from "../message-header.ts";

/** The bytes end before the head does. With more of them it may be one for the fast path. */
export const INCOMPLETE = 0;
/** The request is not for the fast path. */
export const OTHER = -1;

/** The length of a body that comes in chunks. */
export const IN_CHUNKS = -1;

/** Clients that publish send no longer heads. */
export const MAX_HEAD_BYTES = 8 * 1024;
/** Clients that publish send no more header lines. */
const MAX_HEADERS = 48;
const MAX_TOPIC_BYTES = 64;
/** A Content-Length with this many digits is an exact number in a double, whatever the digits are. */
const MAX_LENGTH_DIGITS = 10;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const AMPERSAND = 0x26;
const ZERO = 0x30;
const LETTER_C = 0x63;
const LETTER_E = 0x65;
const LETTER_H = 0x68;
const LETTER_I = 0x69;
const LETTER_M = 0x6d;
const LETTER_O = 0x6f;
const LETTER_S = 0x73;
const LETTER_T = 0x74;
const LETTER_U = 0x75;
const LETTER_X = 0x78;
/** This bit makes an ASCII letter a lower-case one. */
const SMALL = 0x20;

const PUB = Buffer.from("POST /pub?topic=");
const MPUB = Buffer.from("POST /mpub?topic=");
const BINARY = Buffer.from("&binary=true");
const VERSION = Buffer.from(" HTTP/1.1\r\n");
/** Offset of the first letter in which the two calls differ. */
const CALL_OFFSET = "POST /".length;

const CONTENT_LENGTH = Buffer.from("content-length");
const CONTENT_TYPE = Buffer.from("content-type");
const NO_TYPES = PLAIN_TYPES.map((type) => Buffer.from(type));
const HOST = Buffer.from("host");
const CONNECTION = Buffer.from("connection");
const KEEP_ALIVE = Buffer.from("keep-alive");
const TRANSFER_ENCODING = Buffer.from("transfer-encoding");
const CHUNKED = Buffer.from("chunked");
const TRACEPARENT = Buffer.from("traceparent");
const TRACESTATE = Buffer.from("tracestate");
const TRAILER = Buffer.from("trailer");
/** Go refuses a Trailer that announces one of these. */
const BAD_TRAILER = /content-length|transfer-encoding|trailer/i;
/**
 * Headers that change how a request is read or carried out, or whether it is (src/http/server/origin.ts): a request with one of
 * them is not for the fast path.
 */
const SPECIAL = ["te", "expect", "upgrade", "idempotency-key", "origin", "sec-fetch-site"].map((name) => Buffer.from(name));
const MESSAGE_KEY = Buffer.from("message-key");
const NSQ_PREFIX = Buffer.from("x-nsq-");
const FIELD_PREFIX = Buffer.from("x-nsqext-");

const TOPIC_CHARACTER = table("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
const NAME_CHARACTER = table("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
const HOST_CHARACTER = table("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:[]");

/** The head of a request. One object is filled by each request in turn, so that none allocates. */
export class RequestHead {
  /** The request is for /mpub, not /pub. */
  batch = false;
  /** The request has `binary=true`. */
  binary = false;
  /** The topic's name, in the bytes that were parsed. */
  topicStart = 0;
  topicEnd = 0;
  /** IN_CHUNKS if the body comes so. */
  bodyBytes = 0;
  /** The line of Transfer-Encoding, in the bytes that were parsed. */
  encodingStart = 0;
  encodingEnd = 0;
  /** The value of traceparent, in the bytes that were parsed. The end is 0 if there is none, or more than one. */
  traceparentStart = 0;
  traceparentEnd = 0;
  /** The value of tracestate, likewise. A request with several is not for the fast path, since they are one list. */
  tracestateStart = 0;
  tracestateEnd = 0;
  /** The value of content-type, in the bytes that were parsed. The end is 0 if there is none, or one that messages do not keep. */
  contentTypeStart = 0;
  contentTypeEnd = 0;

  /**
   * Parses the head of a request to publish as clients send it: `POST /pub?topic=` or `POST /mpub?topic=` with an unescaped
   * name, HTTP/1.1, one Host, one Content-Length or chunks, and no header that asks for anything special. It accepts nothing that
   * Bun.serve() would refuse or read differently; whatever is unusual is left to Bun.serve().
   *
   * @returns the length of the head with its empty line, INCOMPLETE, or OTHER
   */
  parse(bytes: Uint8Array, from: number, to: number): number {
    const end = Math.min(to, from + MAX_HEAD_BYTES);
    const at = this.parseRequestLine(bytes, from, end);
    const length = at > 0 ? this.parseHeaders(bytes, at, end) : at;
    if (length === INCOMPLETE) return to - from >= MAX_HEAD_BYTES ? OTHER : INCOMPLETE;
    return length === OTHER ? OTHER : length - from;
  }

  /** @returns the offset behind the line, INCOMPLETE, or OTHER */
  private parseRequestLine(bytes: Uint8Array, from: number, end: number): number {
    this.batch = end > from + CALL_OFFSET && bytes[from + CALL_OFFSET] === LETTER_M;
    const call = this.batch ? MPUB : PUB;
    let at = expect(bytes, from, end, call);
    if (at <= 0) return at;
    this.topicStart = at;
    while (at < end && TOPIC_CHARACTER[bytes[at]] === 1) at++;
    this.topicEnd = at;
    if (at - this.topicStart > MAX_TOPIC_BYTES) return OTHER;
    if (at === end) return INCOMPLETE;
    if (at === this.topicStart) return OTHER;
    this.binary = this.batch && bytes[at] === AMPERSAND;
    if (this.binary) {
      at = expect(bytes, at, end, BINARY);
      if (at <= 0) return at;
    }
    return expect(bytes, at, end, VERSION);
  }

  /** @returns the offset behind the empty line, INCOMPLETE, or OTHER */
  private parseHeaders(bytes: Uint8Array, from: number, end: number): number {
    let at = from;
    let hosts = 0;
    let isChunked = false;
    let traceparents = 0;
    let contentTypes = 0;
    this.bodyBytes = IN_CHUNKS;
    this.traceparentEnd = this.tracestateEnd = this.contentTypeEnd = 0;
    for (let headers = 0; ; headers++) {
      if (at === end) return INCOMPLETE;
      if (bytes[at] === CR) break;
      if (headers === MAX_HEADERS) return OTHER;
      const name = at;
      while (at < end && NAME_CHARACTER[bytes[at]] === 1) at++;
      if (at === end) return INCOMPLETE;
      const nameEnd = at;
      if (nameEnd === name || bytes[at] !== COLON) return OTHER;
      at++;
      while (at < end && bytes[at] === SPACE) at++;
      const value = at;
      while (at < end && bytes[at] >= SPACE && bytes[at] < 0x7f) at++;
      if (at === end) return INCOMPLETE;
      if (bytes[at] !== CR) return OTHER;
      if (at + 1 === end) return INCOMPLETE;
      if (bytes[at + 1] !== LF) return OTHER;
      let valueEnd = at;
      while (valueEnd > value && bytes[valueEnd - 1] === SPACE) valueEnd--;
      at += 2;
      // By the first letter, so that most headers cost one comparison.
      switch (bytes[name] | SMALL) {
        case LETTER_C:
          if (same(bytes, name, nameEnd, CONTENT_LENGTH)) {
            if (this.bodyBytes >= 0) return OTHER;
            this.bodyBytes = parseLength(bytes, value, valueEnd);
            if (this.bodyBytes < 0) return OTHER;
          } else if (same(bytes, name, nameEnd, CONTENT_TYPE)) {
            if (++contentTypes > 1) return OTHER;
            this.contentTypeStart = value;
            this.contentTypeEnd = isPlainType(bytes, value, valueEnd) ? 0 : valueEnd;
          } else if (same(bytes, name, nameEnd, CONNECTION) && !same(bytes, value, valueEnd, KEEP_ALIVE)) {
            return OTHER;
          }
          break;
        case LETTER_H:
          if (!same(bytes, name, nameEnd, HOST)) break;
          if (++hosts > 1 || !isHost(bytes, value, valueEnd)) return OTHER;
          break;
        case LETTER_T:
          if (same(bytes, name, nameEnd, TRANSFER_ENCODING)) {
            if (isChunked || !same(bytes, value, valueEnd, CHUNKED)) return OTHER;
            isChunked = true;
            this.encodingStart = name;
            this.encodingEnd = at;
            break;
          }
          if (same(bytes, name, nameEnd, TRACEPARENT)) {
            this.traceparentStart = value;
            this.traceparentEnd = ++traceparents > 1 ? 0 : valueEnd;
            break;
          }
          if (same(bytes, name, nameEnd, TRACESTATE)) {
            if (this.tracestateEnd > 0) return OTHER;
            this.tracestateStart = value;
            this.tracestateEnd = valueEnd;
            break;
          }
          if (same(bytes, name, nameEnd, TRAILER)) {
            if (BAD_TRAILER.test(Buffer.from(bytes.subarray(value, valueEnd)).toString("latin1"))) return OTHER;
            break;
          }
          for (const special of SPECIAL) if (same(bytes, name, nameEnd, special)) return OTHER;
          break;
        case LETTER_E:
        case LETTER_U:
        case LETTER_I:
        case LETTER_O:
        case LETTER_S:
          for (const special of SPECIAL) if (same(bytes, name, nameEnd, special)) return OTHER;
          break;
        case LETTER_M:
          if (same(bytes, name, nameEnd, MESSAGE_KEY)) return OTHER;
          break;
        case LETTER_X:
          // Reserved for later versions of NSQ's HTTP API.
          if (begins(bytes, name, nameEnd, NSQ_PREFIX) || begins(bytes, name, nameEnd, FIELD_PREFIX)) return OTHER;
      }
    }
    if (at + 1 === end) return INCOMPLETE;
    return bytes[at + 1] === LF && hosts === 1 && (isChunked ? this.bodyBytes < 0 : this.bodyBytes > 0) ? at + 2 : OTHER;
  }
}

/** @returns the offset behind `text`, INCOMPLETE if the bytes end within it, or OTHER */
function expect(bytes: Uint8Array, from: number, end: number, text: Uint8Array): number {
  const length = Math.min(text.length, end - from);
  for (let i = 0; i < length; i++) if (bytes[from + i] !== text[i]) return OTHER;
  return length === text.length ? from + length : INCOMPLETE;
}

/** Whether bytes are a lower-case text, whatever the case of their letters. */
function same(bytes: Uint8Array, from: number, to: number, text: Uint8Array): boolean {
  if (to - from !== text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[from + i];
    if (byte !== text[i] && (byte < 0x41 || byte > 0x5a || (byte | SMALL) !== text[i])) return false;
  }
  return true;
}

function begins(bytes: Uint8Array, from: number, to: number, text: Uint8Array): boolean {
  return to - from >= text.length && same(bytes, from, from + text.length, text);
}

/** Whether messages do not keep a content type. */
function isPlainType(bytes: Uint8Array, from: number, to: number): boolean {
  let end = from;
  while (end < to && bytes[end] !== SEMICOLON && bytes[end] !== SPACE) end++;
  if (end === from) return true;
  for (const type of NO_TYPES) if (same(bytes, from, end, type)) return true;
  return false;
}

/** @returns -1 for anything but decimal digits */
function parseLength(bytes: Uint8Array, from: number, to: number): number {
  if (to === from || to - from > MAX_LENGTH_DIGITS) return -1;
  let length = 0;
  for (let at = from; at < to; at++) {
    const digit = bytes[at] - ZERO;
    if (digit < 0 || digit > 9) return -1;
    length = 10 * length + digit;
  }
  return length;
}

function isHost(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (HOST_CHARACTER[bytes[at]] === 0) return false;
  return to > from;
}

function table(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
