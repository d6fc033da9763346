// What the console's API says of messages. console-api.ts is the rest.

/** The state of a message: in the log as a whole, or in one channel. */
export type MessageState = "log" | "waiting" | "in_flight" | "deferred";

/**
 * `GET /api/v1/messages?topic=&channel=&broker=&partition=&state=&from=&limit=&match=&q=`. Without a channel the state is `log`. `from` is a
 * log position (docs/replay.md) or the `next` of the page before. `match` is `text`, `regexp` or `json` (`$.a.b = "x"`) of the body, `key` or `header`.
 */
export interface MessagePage {
  messages: MessageRow[];
  next: string | null;
  /** Messages that were looked at to find these. A search ends at its bound, and goes on from `next`. */
  scanned: number;
  beginning?: number;
  end?: number;
  /** The brokers whose messages are not among these, and why: they do not answer, or cannot show messages, as Go's nsqd. */
  unavailable?: { broker: string; message: string }[];
}

/**
 * `GET /api/v1/tail?topic=&broker=&match=&q=`: what is published from now on, as server-sent events. Nothing is consumed. Of a
 * topic that gets more than the tail can read, `skipped` counts what was left out.
 */
export type TailEvent =
  | { event: "messages"; data: { messages: MessageRow[]; scanned: number; skipped: number } }
  | { event: "unavailable"; data: { broker: string; message: string } };

export interface MessageRow {
  broker: string;
  topic: string;
  channel?: string;
  /** Null for a deferred publish: it has no id yet. */
  id: string | null;
  sequence: number | null;
  /** RFC 3339 with nanoseconds: when it was published. */
  timestamp: string;
  size: number;
  /** The body in base64, at most `body_bytes` of it. */
  body: string;
  /** How much of the body is here. The rest: `GET /api/v1/message`. */
  body_bytes: number;
  /** What its header says. Each is left out if it does not. */
  key?: string;
  tag?: string;
  /** A decimal number of 64 bits. */
  trace_id?: string;
  /** The JSON of its header, or its text if it is none. */
  headers?: unknown;
  /** Where its topic has several. */
  partition?: number;
  state?: string;
  attempts?: number;
  since?: string;
  timeout_at?: string;
  due?: string;
  last_delivered?: string;
  client?: { client_id: string; hostname: string; remote_address: string; user_agent: string } | null;
}

/** `GET /api/v1/message?topic=&id=&broker=`: without a broker all are asked. */
export interface MessageDetail extends MessageRow {
  /** Its state in each channel. */
  channels: MessageRow[];
  life: LifeEvent[];
}

/** One event of a traced message, oldest first. */
export interface LifeEvent {
  time: number;
  kind: "published" | "deferred" | "delivered" | "touched" | "requeued" | "timed_out" | "finished" | "moved" | "discarded";
  channel: string | null;
  attempts: number | null;
  /** Who: client id, host name and address, or the operator. */
  by: string | null;
  delay_ms: number | null;
  detail: string | null;
}

/** `POST /api/v1/messages` `{…}`: does something with one message or many. With `preview` nothing is done but counting. */
export interface MessagesRequest {
  action: "finish" | "requeue" | "copy" | "move" | "publish";
  topic: string;
  channel?: string;
  broker?: string;
  /** These messages … */
  ids?: string[];
  /** … or all that this finds, at most `limit`. */
  select?: {
    state: MessageState;
    partition?: number;
    match?: "text" | "regexp" | "json" | "key" | "header";
    q?: string;
    from?: string;
    limit: number;
  };
  /** requeue, publish, copy: ms. */
  delay_ms?: number;
  /** copy, move */
  to_topic?: string;
  /** publish: base64 */
  body?: string;
  /** publish: the message's key, 1 to 1,024 bytes of UTF-8, and its header. Brokers of Go's nsqd have neither. */
  key?: string;
  headers?: Record<string, unknown>;
  preview: boolean;
}

export interface MessagesResult {
  /** How many messages it is or would be about. */
  count: number;
  /** The search was cut off at its bound, and there may be more. */
  more: boolean;
  done: number;
  failed: { id: string; broker: string; message: string }[];
}
