import { NAME } from "../../../http/openapi/common.ts";
import { jsonAnswer, jsonBody, NO_BODY, needs, type OperationGroup, type Parameter, takes } from "../../../http/openapi/operation.ts";
import {
  ANYTHING,
  BOOLEAN,
  COUNT,
  INTEGER,
  listOf,
  NUMBER,
  object,
  oneOf,
  optional,
  orNull,
  type Schema,
  STRING,
} from "../../../http/openapi/schema.ts";
import {
  CHANNEL,
  CHANNEL_ARGUMENTS,
  DEFER,
  FORMAT,
  ID,
  LIMIT,
  MESSAGE_ID,
  NO_CHANNEL,
  NO_TOPIC,
  PARTITION,
  PARTITION_ERRORS,
  POSITION,
  TOPIC,
} from "./parameters.ts";
import { YOUZAN_MESSAGES } from "./youzan.ts";

const TIME: Schema = { type: "string", format: "date-time" };

/** What `messageJson()` writes of every message. */
const MESSAGE = {
  id: { ...MESSAGE_ID, type: ["string", "null"], description: "null for a deferred publish, which is not in the log yet" },
  sequence: orNull(COUNT),
  timestamp: { type: "string", description: "When it was published: RFC 3339 with nanoseconds" },
  key: optional({ ...STRING, description: "What the producer said that the message belongs to" }),
  tag: optional({ ...STRING, description: "Which consumers are to get it" }),
  trace_id: optional({ ...STRING, description: "The producer's, a decimal number of 64 bits" }),
  headers: optional({ description: "What the producer sent as its headers, usually an object" }),
  size: { ...COUNT, description: "Bytes of its body" },
  encoding: optional(oneOf("base64")),
  body: ANYTHING,
};

/** What `statusJson()` writes of a message in a channel. */
const STATUS = {
  state: { type: "string", description: "`in_flight`, `deferred`, `waiting` …" },
  attempts: optional(COUNT),
  since: optional(TIME),
  timeout_at: optional(TIME),
  client: optional(orNull(object({ client_id: STRING, hostname: STRING, remote_address: STRING, user_agent: STRING }))),
  due: optional(TIME),
  last_delivered: optional(TIME),
};

const LOG_MESSAGE = object(MESSAGE, { title: "LogMessage" });
const CHANNEL_MESSAGE = object({ ...MESSAGE, ...STATUS }, { title: "ChannelMessage" });

const WITH_TRACE_ID = takes(
  "trace_id",
  "Only messages with this trace id of Youzan's clients. A page may be empty then, and others follow it",
  { type: "string", pattern: "^\\d{1,20}$" },
  "12345",
);
const LIFE_EVENT = object(
  {
    time: { ...NUMBER, description: "ms since 1970" },
    kind: STRING,
    channel: orNull(STRING),
    attempts: orNull(INTEGER),
    by: orNull(STRING),
    delay_ms: orNull(NUMBER),
    detail: orNull(STRING),
  },
  { title: "LifeEvent" },
);

const UNREADABLE = { 503: ["TOPIC_NOT_OPEN", "FILE_UNREADABLE"] };
const ID_ERRORS = ["MISSING_ARG_ID", "INVALID_ARG_ID"];
/** The errors of `MessageControl`. */
const NOT_CHANGED = ["MESSAGE_CHANGED", "MESSAGE_FINISHED", "MESSAGE_NOT_IN_CHANNEL"];
const NOT_SAVED = ["TOPIC_NOT_OPEN", "FILE_UNREADABLE", "NOT_SAVED", "NOT_STORED", "TOO_MANY_HOLES", "TOO_MANY_REQUESTS"];
const ON_ONE = {
  400: [...CHANNEL_ARGUMENTS, ...ID_ERRORS],
  404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "MESSAGE_NOT_FOUND"],
  409: NOT_CHANGED,
  503: NOT_SAVED,
};

const ID_OR_MSGID = takes("id", "The message's id", MESSAGE_ID, "0000000000000a01");
const MSGID = takes("msgid", "Youzan's id", { type: "integer", minimum: 1, maximum: 2 ** 53 - 1 }, 34);

const IDS = jsonBody("The messages", object({ ids: { ...listOf(MESSAGE_ID), maxItems: 1000 } }));
const OUTCOME = jsonAnswer(
  "How many it was done with, and why not with the others; `NOT_TRIED`: the call ran out of time, and may be sent again with these",
  object({ done: COUNT, failed: listOf(object({ id: STRING, message: STRING })) }, { title: "BulkOutcome" }),
);
const ON_MANY = { ...NO_CHANNEL, 400: [...CHANNEL_ARGUMENTS, "INVALID_BODY"], 413: ["TOO_MANY_IDS"] };
const TO: Parameter = needs("to", "The topic to publish to, which is made if it does not exist", NAME, "parked");
const BAD_TO = ["MISSING_ARG_TO", "INVALID_TOPIC"];
const NOT_PUBLISHED = ["TOPIC_NOT_OPEN", "PUB_FAILED", "EXITING", "DRAINING"];

/** The partition that a page is of, and all that have pages; left out for a topic with one. */
const PAGE_OF = { partition: optional(COUNT), partitions: optional(listOf(COUNT)) };

export const MESSAGES: OperationGroup = {
  name: "messages",
  description: "Looking at messages changes nothing: no attempt is counted, and no consumer gets them later. docs/replay.md has more.",
  operations: {
    "GET /topic/messages": {
      summary: "A page of a topic's log",
      parameters: [
        TOPIC,
        PARTITION,
        takes("from", "Where the page begins; else at the beginning", POSITION, "ago:10m"),
        WITH_TRACE_ID,
        LIMIT,
        FORMAT,
      ],
      answer: jsonAnswer(
        "`next` is the `from` of the next page; it is `end` when there is none",
        object({ messages: listOf(LOG_MESSAGE), next: COUNT, beginning: COUNT, end: COUNT, ...PAGE_OF }),
      ),
      errors: {
        400: ["MISSING_ARG_TOPIC", "INVALID_ARG_FROM", "INVALID_ARG_FORMAT", "INVALID_ARG_LIMIT", "INVALID_TRACE_ID", ...PARTITION_ERRORS],
        404: ["TOPIC_NOT_FOUND", "PARTITION_NOT_FOUND"],
        ...UNREADABLE,
      },
    },
    "GET /message": {
      summary: "One message, and its status in each channel",
      parameters: [TOPIC, ID, FORMAT],
      answer: jsonAnswer(
        "The message",
        object({
          ...MESSAGE,
          traced: BOOLEAN,
          partition: optional(COUNT),
          channels: listOf(object({ channel_name: STRING, ...STATUS, traced: BOOLEAN })),
        }),
      ),
      errors: {
        400: ["MISSING_ARG_TOPIC", "INVALID_ARG_FORMAT", ...ID_ERRORS],
        404: ["TOPIC_NOT_FOUND", "MESSAGE_NOT_FOUND"],
        ...UNREADABLE,
      },
    },
    "GET /channel/messages": {
      summary: "A page of a channel's messages in one state",
      parameters: [
        TOPIC,
        CHANNEL,
        PARTITION,
        needs("state", "Which messages", oneOf("in_flight", "waiting", "deferred"), "waiting"),
        takes("from", "Where the page begins: a position, or the `next` of the page before", { type: "string" }, "0"),
        LIMIT,
        FORMAT,
      ],
      answer: jsonAnswer(
        "`next` is the `from` of the next page, null at the end",
        object({ messages: listOf(CHANNEL_MESSAGE), next: { type: ["integer", "string", "null"] }, ...PAGE_OF }),
      ),
      errors: {
        404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "PARTITION_NOT_FOUND"],
        400: [
          ...CHANNEL_ARGUMENTS,
          "INVALID_ARG_PARTITION",
          "MISSING_ARG_STATE",
          "INVALID_ARG_STATE",
          "INVALID_ARG_FROM",
          "INVALID_ARG_FORMAT",
          "INVALID_ARG_LIMIT",
        ],
        ...UNREADABLE,
      },
    },
    "POST /message/finish": {
      summary: "Finish a message in a channel, whoever has it",
      details: "`msgid` is Youzan's id, in place of `id`.",
      parameters: [TOPIC, CHANNEL, ID_OR_MSGID, MSGID, PARTITION],
      answer: NO_BODY,
      errors: {
        ...ON_ONE,
        400: [...ON_ONE[400], "INVALID_ARG_PARTITION"],
        404: [...ON_ONE[404], "PARTITION_NOT_FOUND"],
      },
    },
    ...YOUZAN_MESSAGES,
    "POST /message/requeue": {
      summary: "Have a channel deliver a message again, whoever has it",
      parameters: [TOPIC, CHANNEL, ID, DEFER],
      answer: NO_BODY,
      errors: { ...ON_ONE, 400: [...ON_ONE[400], "INVALID_DEFER"] },
    },
    "POST /messages/finish": {
      summary: "Finish up to 1,000 messages in a channel",
      parameters: [TOPIC, CHANNEL],
      body: IDS,
      answer: OUTCOME,
      errors: ON_MANY,
    },
    "POST /messages/requeue": {
      summary: "Have a channel deliver up to 1,000 messages again",
      parameters: [TOPIC, CHANNEL, DEFER],
      body: IDS,
      answer: OUTCOME,
      errors: { ...ON_MANY, 400: [...ON_MANY[400], "INVALID_DEFER"] },
    },
    "POST /messages/move": {
      summary: "Publish up to 1,000 messages to another topic, and then finish them in a channel",
      parameters: [TOPIC, CHANNEL, TO],
      body: IDS,
      answer: OUTCOME,
      errors: { ...ON_MANY, 400: [...ON_MANY[400], ...BAD_TO, "INVALID_ARG_TO"], 503: NOT_PUBLISHED },
    },
    "POST /messages/copy": {
      summary: "Publish up to 1,000 messages once more",
      parameters: [TOPIC, TO, DEFER],
      body: IDS,
      answer: OUTCOME,
      errors: {
        400: ["MISSING_ARG_TOPIC", "INVALID_BODY", "INVALID_DEFER", ...BAD_TO],
        404: ["TOPIC_NOT_FOUND"],
        413: ["TOO_MANY_IDS"],
        503: NOT_PUBLISHED,
      },
    },
    "GET /message/trace": {
      summary: "What was recorded of one message, oldest first",
      parameters: [TOPIC, ID, takes("channel", "Only in this channel", NAME, "billing")],
      answer: jsonAnswer("Its life", object({ events: listOf(LIFE_EVENT), left_out: COUNT, trace_id: optional(STRING) })),
      errors: { ...NO_TOPIC, 400: ["MISSING_ARG_TOPIC", ...ID_ERRORS], 503: ["TOPIC_NOT_OPEN", "TOO_MANY_REQUESTS"] },
    },
    "POST /message/trace/enable": youzanTrace("Trace messages of a topic, or in one channel: Youzan's call"),
    "POST /message/trace/disable": youzanTrace("Cease to trace messages: Youzan's call"),
  },
};

function youzanTrace(summary: string) {
  return {
    summary,
    parameters: [TOPIC, takes("channel", "Only in this channel", NAME, "billing")],
    answer: NO_BODY,
    errors: {
      400: ["MISSING_ARG_TOPIC", "TRACING_DISABLED"],
      404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND"],
      503: ["TOPIC_NOT_OPEN", "NOT_STORED"],
    },
  };
}
