import { BOOLEAN, COUNT, INTEGER, listOf, NUMBER, object, objectOf, oneOf, optional, orNull, STRING } from "../../http/openapi/schema.ts";
import type { ActionRequest, ActionResult, Activity, Session } from "../console-api.ts";
import type { LifeEvent, MessageDetail, MessagePage, MessageRow, MessagesRequest, MessagesResult } from "../message-api.ts";

// Messages, actions and sessions of the console's own API (../console-api.ts).

const STATES = oneOf("log", "waiting", "in_flight", "deferred");
const MATCHES = oneOf("text", "regexp", "json", "key", "header");

const MESSAGE_MEMBERS = {
  broker: STRING,
  topic: STRING,
  channel: optional(STRING),
  id: orNull(STRING),
  sequence: orNull(INTEGER),
  timestamp: { ...STRING, description: "RFC 3339 with nanoseconds" },
  size: COUNT,
  body: { ...STRING, contentEncoding: "base64" },
  body_bytes: { ...COUNT, description: "How much of the body is here" },
  key: optional(STRING),
  tag: optional(STRING),
  trace_id: optional({ ...STRING, description: "A decimal number of 64 bits" }),
  headers: optional({ description: "The JSON of its header, or its text if it is none" }),
  partition: optional(COUNT),
  state: optional(STRING),
  attempts: optional(COUNT),
  since: optional(STRING),
  timeout_at: optional(STRING),
  due: optional(STRING),
  last_delivered: optional(STRING),
  client: optional(orNull(object({ client_id: STRING, hostname: STRING, remote_address: STRING, user_agent: STRING }))),
};
const MESSAGE_ROW = objectOf<MessageRow>(MESSAGE_MEMBERS, { title: "MessageRow" });

const LIFE_EVENT = objectOf<LifeEvent>(
  {
    time: { ...NUMBER, description: "ms since 1970" },
    kind: oneOf("published", "deferred", "delivered", "touched", "requeued", "timed_out", "finished", "moved", "discarded"),
    channel: orNull(STRING),
    attempts: orNull(INTEGER),
    by: orNull(STRING),
    delay_ms: orNull(NUMBER),
    detail: orNull(STRING),
  },
  { title: "LifeEvent" },
);

export const MESSAGE_PAGE = objectOf<MessagePage>({
  messages: listOf(MESSAGE_ROW),
  next: orNull(STRING),
  scanned: COUNT,
  beginning: optional(INTEGER),
  end: optional(INTEGER),
  unavailable: optional(listOf(object({ broker: STRING, message: STRING }))),
});
export const MESSAGE_DETAIL = objectOf<MessageDetail>({ ...MESSAGE_MEMBERS, channels: listOf(MESSAGE_ROW), life: listOf(LIFE_EVENT) });

export const MESSAGES_REQUEST = objectOf<MessagesRequest>({
  action: oneOf("finish", "requeue", "copy", "move", "publish"),
  topic: STRING,
  channel: optional(STRING),
  broker: optional(STRING),
  ids: optional(listOf(STRING)),
  select: optional(
    objectOf<NonNullable<MessagesRequest["select"]>>({
      state: STATES,
      partition: optional(COUNT),
      match: optional(MATCHES),
      q: optional(STRING),
      from: optional(STRING),
      limit: COUNT,
    }),
  ),
  delay_ms: optional(COUNT),
  to_topic: optional(STRING),
  body: optional({ ...STRING, contentEncoding: "base64" }),
  key: optional(STRING),
  headers: optional({ type: "object" }),
  preview: BOOLEAN,
});
export const MESSAGES_RESULT = objectOf<MessagesResult>({
  count: COUNT,
  more: BOOLEAN,
  done: COUNT,
  failed: listOf(object({ id: STRING, broker: STRING, message: STRING })),
});

export const ACTION_REQUEST = objectOf<ActionRequest>({
  action: oneOf(
    ...[
      "create",
      "delete",
      "pause",
      "unpause",
      "empty",
      "tombstone",
      "seek",
      "retention",
      "durability",
      "trace",
      "expand",
      "delivery",
      "drain",
      "move",
      "lead",
      "replicas",
      "remove_node",
      "keep_node",
      "balance",
    ],
  ),
  topic: optional(STRING),
  channel: optional(STRING),
  broker: optional({ ...STRING, description: "Left out: all that have the topic" }),
  to: optional({ ...STRING, description: "seek: a log position" }),
  value: optional({ type: "object", additionalProperties: { type: ["string", "number", "boolean"] } }),
  confirm: optional({ ...STRING, description: "delete, empty, tombstone, seek, expand, drain, remove_node: the name of what it is about" }),
  preview: optional(BOOLEAN),
});
export const ACTION_RESULT = objectOf<ActionResult>({
  ok: BOOLEAN,
  results: listOf(
    object({
      server: STRING,
      ok: BOOLEAN,
      message: STRING,
      unsupported: optional({ ...BOOLEAN, description: "The server does not know the action, and has not failed" }),
    }),
  ),
  preview: optional(listOf(object({ broker: STRING, from: orNull(NUMBER), to: orNull(NUMBER), depth: NUMBER, new_depth: NUMBER }))),
});

export const ACTIVITY = object({
  activity: listOf(
    objectOf<Activity>(
      {
        time: { ...NUMBER, description: "ms since 1970" },
        user: STRING,
        from: STRING,
        action: STRING,
        topic: STRING,
        channel: STRING,
        server: STRING,
        ok: BOOLEAN,
        detail: STRING,
      },
      { title: "Activity" },
    ),
  ),
});

export const LOGIN = { anyOf: [object({ user: STRING, password: STRING }), object({ token: STRING })] };
export const SESSION = objectOf<Session>(
  {
    user: STRING,
    needs_login: BOOLEAN,
    can_login: BOOLEAN,
    roles: { type: "object", additionalProperties: oneOf("viewer", "operator", "admin") },
    version: STRING,
    graphite_url: STRING,
    statsd: objectOf<Session["statsd"]>({ prefix: STRING, counter_format: STRING, gauge_format: STRING, interval_s: NUMBER }),
    cluster: { ...BOOLEAN, description: "The brokers are those of a replicated cluster" },
    poll_ms: NUMBER,
  },
  { title: "Session" },
);

export const STATE_ARGUMENT = STATES;
export const MATCH_ARGUMENT = MATCHES;
