import { MAX_HEADER_TEXT_BYTES, MAX_MESSAGE_KEY_BYTES, MAX_TAG_BYTES } from "../frame/header.ts";
import { ClientError } from "./errors.ts";

/** A value of a header. Filters look at strings. */
export type HeaderValue = string | number | boolean | null | readonly HeaderValue[] | { readonly [name: string]: HeaderValue };
/** The headers of a message, by their names. */
export type MessageHeaders = Readonly<Record<string, HeaderValue>>;

/** What a message carries beside its body. Brokers other than bunsq take a key alone, and do not pass it on. */
export interface MessageOptions {
  /**
   * Messages with the same key go to the same broker and the same partition of the topic, and are delivered in their order where the
   * channel has one. 1 to 1,024 bytes of UTF-8.
   */
  key?: string;
  /** Headers, for consumers that ask for them, and for filters. */
  headers?: MessageHeaders;
  /** Consumers with this tag get the message, if there are any. 1 to 100 bytes of UTF-8. */
  tag?: string;
  /** An id for tracing, 1 to 2^64 - 1. */
  traceId?: bigint;
}

export const KEY_NAME = "##key";
export const TAG_NAME = "##client_dispatch_tag";
export const TRACE_ID_NAME = "##trace_id";
const RESERVED = [KEY_NAME, TAG_NAME, TRACE_ID_NAME];
const MAX_TRACE_ID = 2n ** 64n - 1n;
/** No character of a string takes more bytes in UTF-8. */
const MAX_CHARACTER_BYTES = 3;

const encoder = new TextEncoder();

/** The JSON that a message has as its header; undefined: none. @throws ClientError INVALID_OPTION */
export function encodeHeader({ key, headers, tag, traceId }: MessageOptions): string | undefined {
  if (key !== undefined) checkLength("key", key, MAX_MESSAGE_KEY_BYTES);
  if (headers === undefined && tag === undefined && traceId === undefined) {
    return key === undefined ? undefined : `{"${KEY_NAME}":${JSON.stringify(key)}}`;
  }
  const fields: Record<string, HeaderValue> = { ...headers };
  for (const name of RESERVED) {
    if (Object.hasOwn(fields, name))
      throw new ClientError("INVALID_OPTION", `the header ${name} is set by the options key, tag and traceId`);
  }
  if (key !== undefined) fields[KEY_NAME] = key;
  if (tag !== undefined) {
    checkLength("tag", tag, MAX_TAG_BYTES);
    fields[TAG_NAME] = tag;
  }
  if (traceId !== undefined) {
    if (typeof traceId !== "bigint" || traceId < 1n || traceId > MAX_TRACE_ID) {
      throw new ClientError("INVALID_OPTION", `a trace id is a bigint from 1 to 2^64 - 1, not ${traceId}`);
    }
    fields[TRACE_ID_NAME] = traceId.toString();
  }
  const text = toJson(fields);
  if (isLonger(text, MAX_HEADER_TEXT_BYTES))
    throw new ClientError("INVALID_OPTION", `headers are longer than ${MAX_HEADER_TEXT_BYTES} bytes as JSON`);
  return text;
}

/** Whether brokers without headers would lose something: anything but the key. */
export function needsHeader({ headers, tag, traceId }: MessageOptions): boolean {
  return headers !== undefined || tag !== undefined || traceId !== undefined;
}

/** What a message's header says. */
export interface ReadHeader {
  readonly key: string | undefined;
  readonly tag: string | undefined;
  readonly headers: MessageHeaders;
}

const NO_HEADERS: MessageHeaders = Object.freeze({});
export const NO_HEADER: ReadHeader = { key: undefined, tag: undefined, headers: NO_HEADERS };

/** Reads the JSON of a header. One that is no object has no names. */
export function readHeader(text: string): ReadHeader {
  let fields: Record<string, HeaderValue>;
  try {
    const document: unknown = JSON.parse(text);
    if (typeof document !== "object" || document === null || Array.isArray(document)) return NO_HEADER;
    fields = document as Record<string, HeaderValue>;
  } catch {
    return NO_HEADER;
  }
  const { [KEY_NAME]: key, [TAG_NAME]: tag, [TRACE_ID_NAME]: _traceId, ...headers } = fields;
  return { key: named(key), tag: named(tag), headers };
}

function named(value: HeaderValue | undefined): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function toJson(fields: Record<string, HeaderValue>): string {
  try {
    return JSON.stringify(fields);
  } catch (cause) {
    throw new ClientError("INVALID_OPTION", "headers must be values of JSON", { cause });
  }
}

function checkLength(name: string, text: string, most: number): void {
  if (typeof text === "string" && text !== "" && !isLonger(text, most)) return;
  throw new ClientError("INVALID_OPTION", `a ${name} is a text of 1 to ${most.toLocaleString("en")} bytes`);
}

function isLonger(text: string, most: number): boolean {
  return text.length * MAX_CHARACTER_BYTES > most && (text.length > most || encoder.encode(text).length > most);
}
