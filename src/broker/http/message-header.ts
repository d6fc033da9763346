import { encodeHeader, MAX_MESSAGE_KEY_BYTES, NO_BYTES } from "../../frame/header.ts";
import { type JsonHeader, KEY_KEY, readJsonHeader } from "../../frame/json-header.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Topic } from "../topics/topic.ts";
import { CONTEXT_BYTES, parseTraceparent } from "../trace/traceparent.ts";
import { parseTracestate } from "../trace/tracestate.ts";
import type { HttpCall } from "./call.ts";

// What a request says of the header of its messages: docs/http-api.md, docs/order.md.

/** Lines of the request that begin so go into the header, under the rest of their name. */
const FIELD_PREFIX = "x-nsqext-";
/** `type/subtype` with parameters. */
const CONTENT_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+[ \t]*(;.*)?$/;
/** Content types that clients send unasked, or that say nothing. */
export const PLAIN_TYPES = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "application/octet-stream"];

/** The header of the messages of a request. */
export interface RequestHeader extends Pick<JsonHeader, "key" | "traceId" | "isTraced"> {
  /** Encoded (frame/header.ts). Empty: none. */
  header: Uint8Array;
  /** Bytes of its JSON. */
  textBytes: number;
}

const NO_HEADER: RequestHeader = { header: NO_BYTES, key: NO_BYTES, traceId: 0n, isTraced: false, textBytes: 0 };

/** The lines of a request that go into the header of its messages as they are, beside those that are named so. */
export interface CommonFields {
  traceparent?: string | null | undefined;
  tracestate?: string | null | undefined;
  contentType?: string | null | undefined;
}

/** The members of the JSON for common fields, in the order of their names. Those that are not valid are left out. */
function membersOf({ traceparent, tracestate, contentType }: CommonFields): [string, string][] {
  const members: [string, string][] = [];
  if (typeof contentType === "string" && isKept(contentType)) members.push(["content-type", contentType]);
  if (typeof traceparent !== "string" || !isTraceparent(traceparent)) return members;
  members.push(["traceparent", traceparent]);
  const state = typeof tracestate === "string" ? parseTracestate(tracestate) : undefined;
  if (state !== undefined) members.push(["tracestate", state]);
  return members;
}

/** The encoded header of a message whose request has nothing for it but common fields. Empty: none. */
export function headerOfFields(fields: CommonFields): Uint8Array {
  const members = membersOf(fields);
  if (members.length === 0) return NO_BYTES;
  return encodeHeader({ traceId: 0n, key: NO_BYTES, tag: NO_BYTES, text: Buffer.from(JSON.stringify(Object.fromEntries(members))) });
}

function isKept(contentType: string): boolean {
  const [type = ""] = contentType.split(";", 1);
  return CONTENT_TYPE.test(contentType) && !PLAIN_TYPES.includes(type.trim().toLowerCase());
}

function isTraceparent(text: string): boolean {
  const bytes = Buffer.from(text, "latin1");
  return parseTraceparent(bytes, 0, bytes.length, new Uint8Array(CONTEXT_BYTES));
}

/**
 * The header of the messages that a request publishes.
 *
 * @param topic undefined: this broker does not have it
 * @throws Refusal 400 E_INVALID_JSON_HEADER, INVALID_TRACE_ID, INVALID_MESSAGE_KEY; E_EXT_NOT_SUPPORT if the topic was made for
 * messages without headers
 */
export function messageHeader(call: HttpCall, topic: Topic | undefined): RequestHeader {
  const { headers } = call.request;
  const ext = call.query.get("ext");
  const key = keyArgument(call);
  const named = namedFields(headers);
  const takesHeaders = topic?.settings.extended !== false;
  const isAsked = ext !== undefined || key !== undefined || named.length > 0;
  if (!isAsked && !takesHeaders) return NO_HEADER;
  const contentType = headers.get("content-type");
  const common = membersOf({
    traceparent: headers.get("traceparent"),
    tracestate: headers.get("tracestate"),
    contentType: contentType === null ? null : utf8(contentType),
  });
  if (!isAsked && common.length === 0) return NO_HEADER;
  const own = ext === undefined ? [] : Object.entries(objectIn(ext));
  const more = common.filter(([name]) => !own.some(([taken]) => taken === name));
  const isAsSent = ext !== undefined && more.length + named.length === 0 && key === undefined;
  // Where two members have one name, the last one counts.
  const members = [...more, ...own, ...named, ...(key === undefined ? [] : [[KEY_KEY, key]])];
  const text = Buffer.from(isAsSent ? ext : JSON.stringify(Object.fromEntries(members)));
  const read = readJsonHeader(text, 0, text.length);
  if ("code" in read) throw new Refusal(400, read.code);
  if (!takesHeaders) throw new Refusal(400, "E_EXT_NOT_SUPPORT");
  return { ...read, textBytes: text.length };
}

/** The members of the argument `ext`, which is a JSON object. */
function objectIn(ext: string): object {
  try {
    const document: unknown = JSON.parse(ext);
    if (typeof document === "object" && document !== null && !Array.isArray(document)) return document;
  } catch {}
  throw new Refusal(400, "E_INVALID_JSON_HEADER");
}

/** The fields X-Nsqext-NAME, by their names in lower case. */
function namedFields(headers: Headers): [string, string][] {
  const fields: [string, string][] = [];
  for (const [name, value] of headers) {
    if (name.length > FIELD_PREFIX.length && name.startsWith(FIELD_PREFIX)) fields.push([name.slice(FIELD_PREFIX.length), utf8(value)]);
  }
  return fields;
}

/** The argument `key`, or the line Message-Key of the request. */
function keyArgument({ query, request }: HttpCall): string | undefined {
  const line = request.headers.get("message-key");
  const key = query.get("key") ?? (line === null ? undefined : utf8(line));
  if (key === undefined) return undefined;
  const bytes = Buffer.byteLength(key);
  if (bytes === 0 || bytes > MAX_MESSAGE_KEY_BYTES) throw new Refusal(400, "INVALID_MESSAGE_KEY");
  return key;
}

/** Bun gives each byte of a line as a character. */
function utf8(value: string): string {
  return Buffer.from(value, "latin1").toString();
}
