import { isUtf8 } from "node:buffer";
import { encodeJson } from "../../base/go/json.ts";
import { ID_OFFSET, MESSAGE_ID_BYTES, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { bodyAt, HeaderReader } from "../../frame/header.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { ReportedConnection } from "../metrics/stats.ts";
import type { MessageStatus } from "../topics/inspect/message-status.ts";
import type { BrokerApi, HttpCall } from "./call.ts";

/** The form of a message's body in an answer. A body that does not have the form is in base64, which is noted beside it. */
export type BodyFormat = "text" | "json" | "base64";

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** The limit for the bodies in one answer. An answer always has room for one message. */
const PAGE_BYTES = 1024 * 1024;
/** The limit for reads of the log for one answer. */
export const PAGE_READS = 256;

/** @throws Refusal 400 INVALID_ARG_FORMAT */
export function formatArgument({ query }: HttpCall): BodyFormat {
  const format = query.get("format") ?? "text";
  if (format !== "text" && format !== "json" && format !== "base64") throw new Refusal(400, "INVALID_ARG_FORMAT");
  return format;
}

/** @throws Refusal 400 INVALID_ARG_LIMIT */
export function limitArgument({ query }: HttpCall): number {
  const limit = query.get("limit");
  if (limit === undefined) return DEFAULT_LIMIT;
  if (!/^\d{1,9}$/.test(limit) || Number(limit) === 0) throw new Refusal(400, "INVALID_ARG_LIMIT");
  return Math.min(MAX_LIMIT, Number(limit));
}

/** The messages of one answer, within its limits. */
export class MessageList {
  readonly items: string[] = [];
  private bytes = 0;

  constructor(
    private readonly format: BodyFormat,
    private readonly limit: number,
  ) {}

  get full(): boolean {
    return this.items.length >= this.limit || this.bytes >= PAGE_BYTES;
  }

  /** @param frame has the whole frame of the message in [from, to) */
  add(sequence: number | null, frame: Buffer, from: number, to: number, more: object = {}): void {
    this.items.push(messageJson(sequence, frame, from, to, this.format, more));
    this.bytes += to - from;
  }

  /** `{"messages": […], …}` */
  toJson(more: object): string {
    return `{"messages":[${this.items.join(",")}],${encodeJson(more).slice(1)}`;
  }
}

/** One message as JSON. @param sequence null for a message that is not in the log yet, and so has no id */
export function messageJson(
  sequence: number | null,
  frame: Buffer,
  from: number,
  to: number,
  format: BodyFormat,
  more: object = {},
): string {
  const facts = encodeJson({
    id: sequence === null ? null : frame.toString("latin1", from + ID_OFFSET, from + ID_OFFSET + MESSAGE_ID_BYTES),
    sequence,
    timestamp: timestampOf(frame, from),
    ...more,
    ...headerFacts(frame, from),
    size: to - bodyAt(frame, from),
  });
  return `${facts.slice(0, -1)},${bodyJson(frame.subarray(bodyAt(frame, from), to), format)}}`;
}

/** What a message's header says; nothing for a message without one. */
function headerFacts(frame: Buffer, from: number): object {
  const header = new HeaderReader();
  if (!header.read(frame, from)) return {};
  const { traceId } = header;
  const text = frame.toString("utf8", header.textFrom, header.textTo);
  return {
    ...(header.keyTo > header.keyFrom ? { key: frame.toString("utf8", header.keyFrom, header.keyTo) } : {}),
    ...(header.tagTo > header.tagFrom ? { tag: frame.toString("utf8", header.tagFrom, header.tagTo) } : {}),
    // A number of JSON cannot hold it.
    ...(traceId === 0n ? {} : { trace_id: `${traceId}` }),
    ...(text === "" ? {} : { headers: parsedOr(text) }),
  };
}

/** A header's value, or its text if it is not JSON. */
function parsedOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The status of a message in a channel: who has it, since when, and until when. */
export function statusJson({ turn, listener }: BrokerApi, { state, attempts, deliveredAtMs, deadlineMs, owner }: MessageStatus): object {
  const facts: Record<string, unknown> = { state, attempts };
  if (state === "in_flight") {
    facts.since = isoTime(turn.toWall(deliveredAtMs));
    facts.timeout_at = isoTime(turn.toWall(deadlineMs));
    facts.client = clientJson(listener.connections.get(owner));
  } else if (state === "deferred") {
    facts.due = isoTime(turn.toWall(deadlineMs));
  }
  if (state !== "in_flight" && deliveredAtMs > 0) facts.last_delivered = isoTime(turn.toWall(deliveredAtMs));
  return facts;
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** @param connection undefined for a client that is gone */
function clientJson(connection: ReportedConnection | undefined): object | null {
  if (connection === undefined) return null;
  const { remoteAddress } = connection;
  const { clientId, hostname, userAgent } = connection.identity;
  return { client_id: clientId, hostname, remote_address: remoteAddress, user_agent: userAgent };
}

/** RFC 3339 with nine digits: a double cannot hold the timestamp. */
function timestampOf(frame: Buffer, from: number): string {
  const ns = frame.readBigUInt64BE(from + TIMESTAMP_OFFSET);
  const ms = Number(ns / 1_000_000n);
  const fraction = (ns % 1_000_000_000n).toString().padStart(9, "0");
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ns}` : `${date.toISOString().slice(0, -5)}.${fraction}Z`;
}

/** The members `"body"` and, for one in base64, `"encoding"`. */
export function bodyJson(body: Buffer, format: BodyFormat): string {
  if (format !== "base64" && isUtf8(body)) {
    const text = body.toString();
    if (format === "text") return `"body":${encodeJson(text)}`;
    // The text itself: parsed and encoded again, its numbers might change.
    if (isJson(text)) return `"body":${text}`;
  }
  return `"encoding":"base64","body":"${body.toString("base64")}"`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
