const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const HASH = 0x23;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const LETTER_E = 0x65;
const LETTER_U = 0x75;
/** This bit makes an ASCII letter a lower-case one. */
const SMALL = 0x20;

/** Bytes at which the scan of a string has to look: quotes, backslashes, and control characters, which it must not have. */
export const STOPS = new Uint8Array(256).fill(1, 0, SPACE);
STOPS[QUOTE] = STOPS[BACKSLASH] = 1;
/** Characters behind a backslash, but for `u`. */
const ESCAPES = table('"\\/bfnrt');
const HEX = table("0123456789abcdefABCDEF");
const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const NULL = Buffer.from("null");

/** No more values of one text are noted. */
export const MAX_SPANS = 64;

/** Names of the members that are looked for begin so. */
const PREFIX_BYTES = 2;
const TRACE_ID = Buffer.from("##trace_id");
const TAG = Buffer.from("##client_dispatch_tag");
const KEY = Buffer.from("##key");

const NONE = 0;
const OF_TRACE_ID = 1;
const OF_TAG = 2;
const OF_KEY = 3;

/** Whether the containers around a value are objects, from the outermost to the innermost. Each takes two bytes of a text at least. */
let isObjectAt = new Uint8Array(64);

/**
 * Checks JSON (RFC 8259) in bytes as JSON.parse() checks it, and finds three members of the outermost object: the JSON headers of
 * messages. Nothing is allocated. Bytes that are no UTF-8 are accepted within strings, as they are where bytes become a string.
 * One object serves for many texts. Takes about 1 ns per byte.
 */
export class JsonScanner {
  /** The values of the members between their quotes. Both are 0 if the member is missing. */
  traceIdFrom = 0;
  traceIdTo = 0;
  tagFrom = 0;
  tagTo = 0;
  keyFrom = 0;
  keyTo = 0;
  /**
   * A member may be one of those that are looked for, and not as it is in the bytes: it has an escape, or its value is no string. The
   * text has to be parsed.
   */
  isUnusual = false;
  /** Values that are strings without escapes, from behind their quotes to their last quotes. The number counts those that are too many, too. */
  readonly starts = new Int32Array(MAX_SPANS);
  readonly ends = new Int32Array(MAX_SPANS);
  spans = 0;
  /** Whether the last string had an escape. */
  private hasEscape = false;

  /** Scans [from, to). @returns whether it is JSON. Otherwise nothing that was found counts */
  scan(bytes: Uint8Array, from: number, to: number): boolean {
    this.traceIdFrom = this.traceIdTo = this.tagFrom = this.tagTo = this.keyFrom = this.keyTo = 0;
    this.isUnusual = false;
    this.spans = 0;
    let depth = 0;
    let member = NONE;
    let at = from;
    for (;;) {
      // A value begins here.
      if (at < to && bytes[at] <= SPACE) at = skipSpace(bytes, at, to);
      if (at >= to) return false;
      const byte = bytes[at];
      if (byte === QUOTE) {
        const end = this.stringEnd(bytes, at + 1, to);
        if (end < 0) return false;
        if (!this.hasEscape) {
          if (this.spans < MAX_SPANS) {
            this.starts[this.spans] = at + 1;
            this.ends[this.spans] = end - 1;
          }
          this.spans++;
        }
        if (member !== NONE) this.found(member, at + 1, end - 1);
        at = end;
      } else if (byte === OPEN_OBJECT) {
        if (member !== NONE) this.isUnusual = true;
        if (depth === isObjectAt.length) growStack();
        isObjectAt[depth++] = 1;
        at = skipSpace(bytes, at + 1, to);
        if (at < to && bytes[at] === CLOSE_OBJECT) {
          depth--;
          at++;
        } else {
          at = this.memberValue(bytes, at, to);
          if (at < 0) return false;
          member = depth === 1 ? this.member : NONE;
          continue;
        }
      } else if (byte === OPEN_ARRAY) {
        if (member !== NONE) this.isUnusual = true;
        at = skipSpace(bytes, at + 1, to);
        if (at < to && bytes[at] === CLOSE_ARRAY) {
          at++;
        } else {
          if (depth === isObjectAt.length) growStack();
          isObjectAt[depth++] = 0;
          member = NONE;
          continue;
        }
      } else {
        if (member !== NONE) this.isUnusual = true;
        at = scalarEnd(bytes, at, to);
        if (at < 0) return false;
      }
      // A value has ended here, and containers may end, too.
      for (;;) {
        if (at < to && bytes[at] <= SPACE) at = skipSpace(bytes, at, to);
        if (depth === 0) return at === to;
        if (at === to) return false;
        const next = bytes[at++];
        if (next === COMMA) break;
        if (next !== (isObjectAt[depth - 1] === 1 ? CLOSE_OBJECT : CLOSE_ARRAY)) return false;
        depth--;
      }
      member = NONE;
      if (isObjectAt[depth - 1] === 1) {
        if (at < to && bytes[at] <= SPACE) at = skipSpace(bytes, at, to);
        at = this.memberValue(bytes, at, to);
        if (at < 0) return false;
        if (depth === 1) member = this.member;
      }
    }
  }

  /** Which of the members that are looked for the last name was. */
  private member = NONE;

  /** Scans a member's name and its colon. @returns where its value begins; -1: it is not valid */
  private memberValue(bytes: Uint8Array, from: number, to: number): number {
    if (from >= to || bytes[from] !== QUOTE) return -1;
    const end = this.stringEnd(bytes, from + 1, to);
    if (end < 0) return -1;
    let at = end;
    if (at < to && bytes[at] <= SPACE) at = skipSpace(bytes, at, to);
    if (at >= to || bytes[at] !== COLON) return -1;
    if (this.hasEscape) {
      this.isUnusual = true;
      this.member = NONE;
    } else {
      this.member = bytes[from + 1] === HASH && bytes[from + PREFIX_BYTES] === HASH ? memberNamed(bytes, from + 1, end - 1) : NONE;
    }
    return at + 1;
  }

  /** The last of several members with one name counts. */
  private found(member: number, from: number, to: number): void {
    if (this.hasEscape) this.isUnusual = true;
    if (member === OF_KEY) {
      this.keyFrom = from;
      this.keyTo = to;
    } else if (member === OF_TAG) {
      this.tagFrom = from;
      this.tagTo = to;
    } else {
      this.traceIdFrom = from;
      this.traceIdTo = to;
    }
  }

  /** @returns the offset behind the quote that ends the string; -1: it is not valid */
  private stringEnd(bytes: Uint8Array, from: number, to: number): number {
    this.hasEscape = false;
    for (let at = from; ; ) {
      while (at < to && STOPS[bytes[at]] === 0) at++;
      if (at >= to) return -1;
      const byte = bytes[at];
      if (byte === QUOTE) return at + 1;
      if (byte !== BACKSLASH || at + 1 >= to) return -1;
      this.hasEscape = true;
      const escaped = bytes[at + 1];
      if (escaped === LETTER_U) {
        if (at + 6 > to) return -1;
        for (let digit = at + 2; digit < at + 6; digit++) if (HEX[bytes[digit]] === 0) return -1;
        at += 6;
      } else {
        if (ESCAPES[escaped] === 0) return -1;
        at += 2;
      }
    }
  }
}

function memberNamed(bytes: Uint8Array, from: number, to: number): number {
  if (is(bytes, from, to, KEY)) return OF_KEY;
  if (is(bytes, from, to, TRACE_ID)) return OF_TRACE_ID;
  return is(bytes, from, to, TAG) ? OF_TAG : NONE;
}

function skipSpace(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  for (; at < to; at++) {
    const byte = bytes[at];
    if (byte > SPACE || (byte !== SPACE && byte !== LF && byte !== CR && byte !== TAB)) break;
  }
  return at;
}

/** @returns the offset behind a number, `true`, `false` or `null`; -1: it is none of these */
function scalarEnd(bytes: Uint8Array, from: number, to: number): number {
  const byte = bytes[from];
  if (byte === MINUS || isDigit(byte)) return numberEnd(bytes, from, to);
  for (const word of [TRUE, FALSE, NULL])
    if (byte === word[0]) return is(bytes, from, Math.min(to, from + word.length), word) ? from + word.length : -1;
  return -1;
}

function numberEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from;
  if (at === to) return -1;
  if (bytes[at] === ZERO) {
    at++;
  } else {
    const whole = at;
    at = digitsEnd(bytes, at, to);
    if (at === whole) return -1;
  }
  if (at < to && bytes[at] === DOT) {
    const part = at + 1;
    at = digitsEnd(bytes, part, to);
    if (at === part) return -1;
  }
  if (at < to && (bytes[at] | SMALL) === LETTER_E) {
    at++;
    if (at < to && (bytes[at] === PLUS || bytes[at] === MINUS)) at++;
    const exponent = at;
    at = digitsEnd(bytes, exponent, to);
    if (at === exponent) return -1;
  }
  return at;
}

function digitsEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && isDigit(bytes[at])) at++;
  return at;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte < ZERO + 10;
}

function is(bytes: Uint8Array, from: number, to: number, text: Uint8Array): boolean {
  if (to - from !== text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[from + i] !== text[i]) return false;
  return true;
}

function growStack(): void {
  const larger = new Uint8Array(2 * isObjectAt.length);
  larger.set(isObjectAt);
  isObjectAt = larger;
}

function table(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
