import {
  KIND_DEFERRED,
  KIND_DELETED,
  KIND_DELIVERED,
  KIND_DISCARDED,
  KIND_EMPTIED,
  KIND_FINISHED,
  KIND_JOINED,
  KIND_MOVED,
  KIND_REQUEUED,
  KIND_TIMED_OUT,
  KIND_TOUCHED,
} from "../record.ts";
import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "../traceparent.ts";

// The JSON of OTLP: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Ids are hex, 64-bit numbers are text.

const SPAN_KIND_INTERNAL = 1;
const STATUS_ERROR = 2;
const NAMES = new Map([
  [KIND_DEFERRED, "deferred"],
  [KIND_JOINED, "joined"],
  [KIND_DELIVERED, "delivered"],
  [KIND_TOUCHED, "touched"],
  [KIND_REQUEUED, "requeued"],
  [KIND_TIMED_OUT, "timed_out"],
  [KIND_FINISHED, "finished"],
  [KIND_DISCARDED, "discarded"],
  [KIND_MOVED, "moved"],
  [KIND_EMPTIED, "discarded"],
  [KIND_DELETED, "discarded"],
]);

export interface OtlpAttribute {
  key: string;
  value: { stringValue: string } | { intValue: string };
}

/** A span as OTLP has it. */
export interface OtlpSpan {
  traceId: string;
  spanId: string;
  traceState?: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: OtlpAttribute[];
  events: { timeUnixNano: string; name: string; attributes: OtlpAttribute[] }[];
  status: { code?: number; message?: string };
}

/** Something that happened while a span lasted. */
export interface SpanMoment {
  readonly timeMs: number;
  readonly name: string;
  readonly attempts: number;
  readonly by: string | undefined;
  readonly delayMs: number;
}

/** What a span is made of. */
export interface SpanFacts {
  /** Trace id and id of the parent span; zeros for none (traceparent.ts). */
  readonly context: Uint8Array;
  /** Its W3C tracestate; empty for none. */
  readonly state: string;
  readonly spanId: Uint8Array;
  readonly topic: string;
  /** Empty for a message that no channel got. */
  readonly channel: string;
  readonly messageId: string;
  readonly publishedBy: string | undefined;
  readonly startMs: number;
  readonly endMs: number;
  readonly moments: readonly SpanMoment[];
  /** The kind of the record that ended it. */
  readonly last: number;
}

export function eventName(kind: number): string {
  return NAMES.get(kind) ?? "other";
}

/** Whether a message's life in a channel is over with a record of this kind. */
export function isEnd(kind: number): boolean {
  return kind === KIND_FINISHED || kind === KIND_DISCARDED;
}

export function spanJson(facts: SpanFacts): OtlpSpan {
  const { context, topic, channel, messageId, publishedBy, moments } = facts;
  const parent = context.subarray(TRACE_ID_BYTES, TRACE_ID_BYTES + SPAN_ID_BYTES);
  const attempts = moments.reduce((most, moment) => Math.max(most, moment.attempts), 0);
  return {
    traceId: Buffer.from(context.subarray(0, TRACE_ID_BYTES)).toString("hex"),
    spanId: Buffer.from(facts.spanId).toString("hex"),
    ...(facts.state === "" ? {} : { traceState: facts.state }),
    ...(parent.some((byte) => byte !== 0) ? { parentSpanId: Buffer.from(parent).toString("hex") } : {}),
    name: channel === "" ? topic : `${topic} ${channel}`,
    kind: SPAN_KIND_INTERNAL,
    startTimeUnixNano: nanos(facts.startMs),
    endTimeUnixNano: nanos(Math.max(facts.startMs, facts.endMs)),
    attributes: [
      text("messaging.system", "nsq"),
      text("messaging.destination.name", topic),
      ...(channel === "" ? [] : [text("messaging.destination.subscription.name", channel)]),
      text("messaging.message.id", messageId),
      ...(publishedBy === undefined ? [] : [text("bunsq.published_by", publishedBy)]),
      integer("bunsq.attempts", attempts),
    ],
    events: moments.map((moment) => ({
      timeUnixNano: nanos(moment.timeMs),
      name: moment.name,
      attributes: [
        ...(moment.attempts > 0 ? [integer("bunsq.attempts", moment.attempts)] : []),
        ...(moment.by === undefined ? [] : [text("bunsq.by", moment.by)]),
        ...(moment.delayMs > 0 ? [integer("bunsq.delay_ms", Math.round(moment.delayMs))] : []),
      ],
    })),
    status: facts.last === KIND_FINISHED ? {} : { code: STATUS_ERROR, message: "the message was discarded" },
  };
}

export function text(key: string, value: string): OtlpAttribute {
  return { key, value: { stringValue: value } };
}

function integer(key: string, value: number): OtlpAttribute {
  return { key, value: { intValue: `${value}` } };
}

/** A double has the µs of a time since 1970, and not its ns. */
function nanos(ms: number): string {
  return `${BigInt(Math.round(ms * 1000)) * 1000n}`;
}
