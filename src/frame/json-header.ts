import { nonFatal, type ProtocolError } from "./error.ts";
import { encodeHeader, MAX_HEADER_TEXT_BYTES, MAX_MESSAGE_KEY_BYTES, MAX_TAG_BYTES, NO_BYTES } from "./header.ts";

/** Keys of a JSON header that the broker reads. */
const TRACE_ID_KEY = "##trace_id";
const TAG_KEY = "##client_dispatch_tag";
/** Not one of Youzan's: it names what the message belongs to, such as a customer. */
export const KEY_KEY = "##key";
export const MAX_TRACE_ID = 2n ** 64n - 1n;

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
  if (from === to) return invalid('cannot parse empty string; unparsed tail: ""');
  if (to - from > MAX_HEADER_TEXT_BYTES) return invalid(`longer than ${MAX_HEADER_TEXT_BYTES} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString("utf8", from, to));
  } catch {
    return invalid("it is not valid");
  }
  // Any kind of JSON will do, but only an object has keys.
  const keys = typeof document === "object" && document !== null ? (document as Record<string, unknown>) : {};
  const isTraced = Object.hasOwn(keys, TRACE_ID_KEY);
  const traceId = isTraced ? readTraceId(keys[TRACE_ID_KEY]) : 0n;
  if (typeof traceId !== "bigint") return traceId;
  const tagged = Object.hasOwn(keys, TAG_KEY) ? keys[TAG_KEY] : "";
  const tag = typeof tagged === "string" && tagged !== "" ? Buffer.from(tagged) : NO_BYTES;
  if (tag.length > MAX_TAG_BYTES) return invalid(`${TAG_KEY} is longer than ${MAX_TAG_BYTES} bytes`);
  const key = Object.hasOwn(keys, KEY_KEY) ? readKey(keys[KEY_KEY]) : NO_BYTES;
  if ("code" in key) return key;
  return { header: encodeHeader({ traceId, key, tag, text: bytes.subarray(from, to) }), traceId, isTraced, key };
}

function readTraceId(value: unknown): bigint | ProtocolError {
  if (typeof value !== "string") return nonFatal("INVALID_TRACE_ID", "passin trace id should be string");
  const traceId = /^\d{1,20}$/.test(value) ? BigInt(value) : undefined;
  return traceId === undefined || traceId > MAX_TRACE_ID ? nonFatal("INVALID_TRACE_ID", "invalid trace id") : traceId;
}

function readKey(value: unknown): Uint8Array | ProtocolError {
  const key = typeof value === "string" ? Buffer.from(value) : NO_BYTES;
  const fits = key.length > 0 && key.length <= MAX_MESSAGE_KEY_BYTES;
  return fits ? key : invalid(`${KEY_KEY} is not a text of 1 to ${MAX_MESSAGE_KEY_BYTES} bytes`);
}

function invalid(why: string): ProtocolError {
  return nonFatal("E_INVALID_JSON_HEADER", `fail to parse json header:cannot parse JSON: ${why}`);
}
