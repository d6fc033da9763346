/**
 * A W3C trace context in bytes: trace id (16), id of the parent span (8), flags (1). https://www.w3.org/TR/trace-context/
 */
export const CONTEXT_BYTES = 25;
export const TRACE_ID_BYTES = 16;
export const SPAN_ID_BYTES = 8;
/** Flag: the caller records its spans. */
export const SAMPLED = 1;

/** "00-" + trace id + "-" + span id + "-" + flags. Later versions may have more behind that. */
const TEXT_BYTES = 55;
const DASH = 0x2d;
const TRACE_ID_AT = 3;
const SPAN_ID_AT = 36;
const FLAGS_AT = 53;

/**
 * Parses the value of a traceparent header in [from, to).
 *
 * @param target takes the CONTEXT_BYTES; changed also if the value is not valid
 * @returns whether it is valid
 */
export function parseTraceparent(bytes: Uint8Array, from: number, to: number, target: Uint8Array): boolean {
  const length = to - from;
  if (length < TEXT_BYTES) return false;
  if (bytes[from + 2] !== DASH || bytes[from + SPAN_ID_AT - 1] !== DASH || bytes[from + FLAGS_AT - 1] !== DASH) return false;
  const version = hexByte(bytes, from);
  if (version < 0 || version === 0xff) return false;
  if (length > TEXT_BYTES && (version === 0 || bytes[from + TEXT_BYTES] !== DASH)) return false;
  const flags = hexByte(bytes, from + FLAGS_AT);
  if (flags < 0) return false;
  target[CONTEXT_BYTES - 1] = flags;
  return (
    readHex(bytes, from + TRACE_ID_AT, target, 0, TRACE_ID_BYTES) &&
    readHex(bytes, from + SPAN_ID_AT, target, TRACE_ID_BYTES, SPAN_ID_BYTES)
  );
}

/** The text of a context. */
export function formatTraceparent(context: Uint8Array): string {
  const hex = Buffer.from(context.buffer, context.byteOffset, context.byteLength).toString("hex");
  return `00-${hex.slice(0, 32)}-${hex.slice(32, 48)}-${hex.slice(48, 50)}`;
}

/** @returns false if a character is no lower-case hex digit, or all bytes are 0 */
function readHex(bytes: Uint8Array, from: number, target: Uint8Array, at: number, count: number): boolean {
  let any = 0;
  for (let i = 0; i < count; i++) {
    const byte = hexByte(bytes, from + 2 * i);
    if (byte < 0) return false;
    any |= byte;
    target[at + i] = byte;
  }
  return any !== 0;
}

function hexByte(bytes: Uint8Array, at: number): number {
  const high = hexDigit(bytes[at]);
  const low = hexDigit(bytes[at + 1]);
  return high < 0 || low < 0 ? -1 : (high << 4) | low;
}

function hexDigit(character: number): number {
  if (character >= 0x30 && character <= 0x39) return character - 0x30;
  return character >= 0x61 && character <= 0x66 ? character - 0x57 : -1;
}
