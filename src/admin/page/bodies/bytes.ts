/** Bodies of messages: from base64 to something that a person can read. */

export type BodyKind = "empty" | "json" | "text" | "gzip" | "msgpack" | "binary";

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

export function toBase64(bytes: Uint8Array): string {
  let characters = "";
  for (const byte of bytes) characters += String.fromCharCode(byte);
  return btoa(characters);
}

/**
 * The text, if the bytes are UTF-8 without control characters other than those of lines.
 *
 * @param isCut the bytes may end within a character
 */
export function asText(bytes: Uint8Array, isCut = false): string | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: isCut });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
    return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

/** The value, if the bytes are a JSON object, array or other JSON text. */
export function asJson(bytes: Uint8Array): { value: unknown } | undefined {
  const text = asText(bytes);
  if (text === undefined) return undefined;
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}

/** What a body most likely is, by its bytes. A body that is cut off may have lost what would tell. */
export function kindOf(bytes: Uint8Array, isCut = false): BodyKind {
  if (bytes.length === 0) return "empty";
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return "gzip";
  if (asText(bytes, isCut) !== undefined) return asJson(bytes) === undefined ? "text" : "json";
  return looksLikeMsgpack(bytes[0] ?? 0) ? "msgpack" : "binary";
}

/** Programs send maps and arrays, so the first byte is that of one. */
function looksLikeMsgpack(first: number): boolean {
  return (first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf);
}

const HEX_COLUMNS = 16;

/** Lines of `00000010  7b 22 …  |{"…|`. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += HEX_COLUMNS) {
    const row = bytes.subarray(offset, offset + HEX_COLUMNS);
    const hex = [...row].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const characters = [...row].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${offset.toString(16).padStart(8, "0")}  ${hex.padEnd(HEX_COLUMNS * 3 - 1)}  |${characters}|`);
  }
  return lines.join("\n");
}

/** A small body may unpack to gigabytes. */
const MAX_UNPACKED_BYTES = 4 * 1024 * 1024;

export interface Unpacked {
  bytes: Uint8Array<ArrayBuffer>;
  /** There is more, which is not unpacked. */
  isCut: boolean;
}

/**
 * Opens gzip, up to MAX_UNPACKED_BYTES. What comes before damage, or before the place where the body is cut off, counts.
 *
 * @throws TypeError if nothing can be unpacked
 */
export async function gunzip(packed: Uint8Array<ArrayBuffer>, limit = MAX_UNPACKED_BYTES): Promise<Unpacked> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isCut = false;
  try {
    while (length < limit) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      length += value.length;
    }
    if (length >= limit) {
      isCut = length > limit || !(await reader.read()).done;
      await reader.cancel();
    }
  } catch (error) {
    if (length === 0) throw error;
    isCut = true;
  }
  const bytes = new Uint8Array(Math.min(length, limit));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece.subarray(0, bytes.length - at), at);
    at += piece.length;
    if (at >= bytes.length) break;
  }
  return { bytes, isCut };
}

/** @throws an error that says what does not fit */
export async function decodeMsgpack(bytes: Uint8Array): Promise<unknown> {
  const { decode } = await import("@msgpack/msgpack");
  return decode(bytes, {
    maxStrLength: bytes.length,
    maxBinLength: bytes.length,
    maxArrayLength: bytes.length,
    maxMapLength: bytes.length,
    maxExtLength: bytes.length,
  });
}

/** A body in one line, for a list. */
export function oneLine(bytes: Uint8Array, maxLength = 160): string {
  const text = asText(bytes, true);
  if (text !== undefined)
    return text
      .slice(0, maxLength * 2)
      .replace(/\s+/g, " ")
      .trim()
      .slice(0, maxLength);
  return [...bytes.subarray(0, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
