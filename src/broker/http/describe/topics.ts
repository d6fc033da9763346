import { jsonAnswer, NO_BODY, needs, type OperationGroup, takes } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, INTEGER, listOf, object, oneOf, optional, orNull, STRING } from "../../../http/openapi/schema.ts";
import { MAX_PARTITIONS } from "../../storage/metadata/partition-name.ts";
import { LIMIT_SETTINGS, LIMITS } from "./limits.ts";
import {
  CHANNEL,
  CHANNEL_ARGUMENTS,
  NO_CHANNEL,
  NO_TOPIC,
  NO_VALID_TOPIC,
  PARTITION,
  PARTITION_ERRORS,
  POSITION,
  TOPIC,
} from "./parameters.ts";

const SETTINGS_ARGUMENTS = [
  takes("ordered", "What it delivers one after the other", oneOf("key", "partition", "none"), "key"),
  takes("filter", "Delivers only what this filter of headers takes, as JSON", STRING, '{"type":1,"filter_ext_key":"k","filter_data":"v"}'),
  takes("max_attempts", "How often a message is delivered before it goes to dead_letter_topic; 0: without end", STRING, "5"),
  takes("dead_letter_topic", "Where it goes then; one is needed with max_attempts", STRING, "dead"),
];
const SETTINGS_ERRORS = ["INVALID_ARG_ORDER", "INVALID_ARG_FILTER", "INVALID_ARG_MAX_ATTEMPTS", "INVALID_ARG_DEAD_LETTER_TOPIC"];
const SETTINGS = jsonAnswer(
  "How the channel delivers",
  object(
    {
      topic_name: STRING,
      channel_name: STRING,
      order: oneOf("key", "partition", "none"),
      filter: orNull({ type: "object" }),
      max_attempts: { ...COUNT, description: "0: without end" },
      dead_letter_topic: STRING,
      ...LIMIT_SETTINGS,
    },
    { title: "ChannelSettings" },
  ),
);

const DURABILITY = jsonAnswer(
  "What is set, and what is in force",
  object({ topic_name: STRING, level: oneOf("write", "fsync", "default"), durability: oneOf("write", "fsync") }, { title: "Durability" }),
);

const LOG = { beginning: COUNT, end: COUNT, bytes: COUNT, oldest: orNull({ type: "string", format: "date-time" }) };
const RETENTION = jsonAnswer(
  "What is in force, and what the log has",
  object(
    {
      topic_name: STRING,
      time: { type: "string", description: "A duration as Go prints it; `0s`: none", examples: ["1h30m0s"] },
      bytes: COUNT,
      default: { type: "boolean", description: "Whether the flags say so" },
      log: object(LOG),
      partitions: optional(listOf(object({ partition: COUNT, ...LOG }))),
    },
    { title: "Retention" },
  ),
);

/** In place of a sequence, where a topic has several partitions. */
const OF_PARTITIONS = { partitions: optional(listOf(object({ partition: COUNT, sequence: INTEGER, from: optional(INTEGER) }))) };
const MOVED = jsonAnswer(
  "Where the channel is now, and which deliveries it dropped for it",
  object(
    {
      sequence: optional(INTEGER),
      ...OF_PARTITIONS,
      depth: COUNT,
      discarded: object({ in_flight: COUNT, requeued: COUNT, deferred: COUNT }),
    },
    { title: "Moved" },
  ),
);
const PREVIEWED = jsonAnswer(
  "Where the channel would be, and which deliveries it would drop for it",
  object(
    {
      sequence: optional(INTEGER),
      from: optional(INTEGER),
      ...OF_PARTITIONS,
      depth: COUNT,
      new_depth: COUNT,
      discarded: object({ in_flight: COUNT, requeued: COUNT, deferred: COUNT }),
    },
    { title: "Previewed" },
  ),
);
const NOT_MOVED = {
  404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "PARTITION_NOT_FOUND"],
  503: ["TOPIC_NOT_OPEN", "NOT_SAVED", "NOT_STORED", "TOO_MANY_REQUESTS", "FILE_UNREADABLE"],
};

/** The errors of a call for an existing channel that may name a partition. */
const NO_PART = {
  ...NO_CHANNEL,
  400: [...CHANNEL_ARGUMENTS, "INVALID_ARG_PARTITION"],
  404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "PARTITION_NOT_FOUND"],
};

const TRACE_STORE = object(
  {
    bytes: COUNT,
    limit_bytes: COUNT,
    written: COUNT,
    dropped: COUNT,
    spans: optional(object({ sent: COUNT, dropped: COUNT, dropped_records: COUNT, waiting: COUNT })),
  },
  { title: "TraceStore", description: "The traces of all topics" },
);
const TOPIC_TRACE = jsonAnswer(
  "What is traced",
  object({ topic_name: STRING, on: BOOLEAN, channels: listOf(STRING), store: TRACE_STORE }, { title: "TopicTrace" }),
);
const CHANNEL_TRACE = jsonAnswer(
  "Whether the channel is traced, for itself or with its topic",
  object({ topic_name: STRING, channel_name: STRING, on: BOOLEAN, own: BOOLEAN, store: TRACE_STORE }, { title: "ChannelTrace" }),
);
const ON = needs("on", "Whether to trace", oneOf("true", "false"), "true");

const FLAGS = ["orderedmulti", "multipart", "extend", "disable_channel_auto_create"];
const CHANNEL_ORDER = takes("channel_order", "The order of channels that are made from now on", oneOf("none", "key", "partition"), "key");
const PARTITION_NUM = { type: "integer", minimum: 1, maximum: MAX_PARTITIONS } as const;

export const TOPICS: OperationGroup = {
  name: "topics",
  description: "Topics of this broker. Other brokers have their own of the same name.",
  operations: {
    "POST /topic/create": {
      summary: "Make a topic",
      details:
        "A topic that exists gets as many partitions, if it has fewer, and the settings that are given. The rest of it stays as it is. Of a cluster's topics, a lookup server is given the settings.",
      parameters: [
        TOPIC,
        takes("partition_num", "How many partitions the topic has", PARTITION_NUM, 4),
        takes("partitions", "Which of them this broker has, if others have the rest: `0,2`", { type: "string", pattern: "^\\d+(,\\d+)*$" }),
        ...FLAGS.map((name) => takes(name, "As at Youzan's lookup server", BOOLEAN)),
        CHANNEL_ORDER,
      ],
      answer: NO_BODY,
      errors: {
        400: [
          "MISSING_ARG_TOPIC",
          "INVALID_TOPIC",
          "INVALID_ARG_PARTITION_NUM",
          "TOO_FEW_PARTITIONS",
          "INVALID_ARG_PARTITIONS",
          "MISSING_ARG_PARTITIONS",
          ...FLAGS.map((name) => `INVALID_ARG_${name.toUpperCase()}`),
          "INVALID_ARG_CHANNEL_ORDER",
          "SETTINGS_OF_CLUSTER: …",
        ],
        503: ["PUB_FAILED", "EXITING", "DRAINING", "TOPIC_NOT_OPEN"],
      },
    },
    "POST /topic/partition/expand": {
      summary: "Give a topic more partitions",
      details: "Those that it has stay as they are. Keys of new messages may belong to other partitions than before.",
      parameters: [TOPIC, needs("partition_num", "How many partitions the topic has then", PARTITION_NUM, 8)],
      answer: NO_BODY,
      errors: {
        ...NO_VALID_TOPIC,
        400: [
          "MISSING_ARG_TOPIC",
          "INVALID_TOPIC",
          "MISSING_ARG_PARTITION_NUM",
          "INVALID_ARG_PARTITION_NUM",
          "TOO_FEW_PARTITIONS",
          "MISSING_ARG_PARTITIONS",
        ],
        503: ["PUB_FAILED", "EXITING", "TOPIC_NOT_OPEN"],
      },
    },
    "POST /topic/meta/update": {
      summary: "Change settings of a topic",
      details:
        "With `upgradeext` its messages have headers from then on: Youzan's clients that do not understand them are disconnected, and refused.",
      parameters: [TOPIC, takes("upgradeext", "Whether its messages have headers from now on", BOOLEAN), CHANNEL_ORDER],
      answer: NO_BODY,
      errors: {
        ...NO_VALID_TOPIC,
        400: ["MISSING_ARG_TOPIC", "INVALID_TOPIC", "INVALID_ARG_UPGRADEEXT", "INVALID_ARG_CHANNEL_ORDER", "SETTINGS_OF_CLUSTER: …"],
        503: ["PUB_FAILED", "EXITING", "TOPIC_NOT_OPEN"],
      },
    },
    "POST /topic/delete": {
      summary: "Delete a topic with its channels and messages",
      details:
        "The connections of its consumers are closed. A topic of a cluster goes at all brokers, with `partition=**`; NSQ's tools, which do not say that, delete it at lookup servers.",
      parameters: [TOPIC, takes("partition", "`**`: at all brokers of the cluster", STRING, "**")],
      answer: NO_BODY,
      errors: { ...NO_TOPIC, 400: [...NO_TOPIC[400], "TOPIC_OF_CLUSTER: …"] },
    },
    "POST /topic/empty": {
      summary: "Drop the messages that no channel has got yet",
      parameters: [TOPIC],
      answer: NO_BODY,
      errors: NO_VALID_TOPIC,
    },
    "POST /topic/pause": {
      summary: "Pause a topic",
      details: "Its channels get no messages until it is unpaused.",
      parameters: [TOPIC],
      answer: NO_BODY,
      errors: NO_TOPIC,
    },
    "POST /topic/unpause": { summary: "Unpause a topic", parameters: [TOPIC], answer: NO_BODY, errors: NO_TOPIC },
    "GET /topic/durability": {
      summary: "What publishes to a topic wait for",
      parameters: [TOPIC],
      answer: DURABILITY,
      errors: NO_VALID_TOPIC,
    },
    "POST /topic/durability": {
      summary: "Set what publishes to a topic wait for",
      parameters: [TOPIC, needs("level", "`default` is what `--durability` says", oneOf("write", "fsync", "default"), "fsync")],
      answer: DURABILITY,
      errors: { ...NO_VALID_TOPIC, 400: ["MISSING_ARG_TOPIC", "INVALID_TOPIC", "MISSING_ARG_LEVEL", "INVALID_ARG_LEVEL"] },
    },
    "GET /topic/retention": {
      summary: "How long a topic keeps finished messages",
      parameters: [TOPIC],
      answer: RETENTION,
      errors: NO_TOPIC,
    },
    "POST /topic/retention": {
      summary: "Set how long a topic keeps finished messages",
      details: "`time`, `bytes` or both; one that is left out is no limit. Or `default=true`.",
      parameters: [
        TOPIC,
        takes("time", "A duration as in Go; at most ten years", STRING, "48h"),
        takes("bytes", "The most bytes", { type: "integer", minimum: 0, maximum: 2 ** 50 }, 1_000_000_000),
        takes("default", "`true` sets what the flags say", STRING),
      ],
      answer: RETENTION,
      errors: {
        ...NO_TOPIC,
        400: ["MISSING_ARG_TOPIC", "EPHEMERAL_TOPIC", "MISSING_ARG_TIME", "INVALID_ARG_TIME", "INVALID_ARG_BYTES", "INVALID_ARG_DEFAULT"],
      },
    },
    "GET /topic/trace": { summary: "Whether a topic's messages are traced", parameters: [TOPIC], answer: TOPIC_TRACE, errors: NO_TOPIC },
    "POST /topic/trace": {
      summary: "Trace a topic's messages in all its channels, or cease to",
      parameters: [TOPIC, ON],
      answer: TOPIC_TRACE,
      errors: {
        ...NO_TOPIC,
        400: ["MISSING_ARG_TOPIC", "MISSING_ARG_ON", "INVALID_ARG_ON", "TRACING_DISABLED"],
        503: ["TOPIC_NOT_OPEN", "NOT_STORED"],
      },
    },
  },
};

export const CHANNELS: OperationGroup = {
  name: "channels",
  description: "Channels of this broker's topics.",
  operations: {
    "POST /channel/create": {
      summary: "Make a channel",
      details: "A channel that exists stays where it is, and gets the settings that are given (docs/order.md).",
      parameters: [
        TOPIC,
        CHANNEL,
        takes("start", "Where in the topic's logs it starts; else behind what exists", POSITION, "beginning"),
        PARTITION,
        ...SETTINGS_ARGUMENTS,
      ],
      answer: NO_BODY,
      errors: {
        400: [...CHANNEL_ARGUMENTS, "INVALID_ARG_START", ...SETTINGS_ERRORS, ...PARTITION_ERRORS],
        404: ["TOPIC_NOT_FOUND", "PARTITION_NOT_FOUND"],
        503: ["TOPIC_NOT_OPEN", "FILE_UNREADABLE", "EXITING", "DRAINING", "PUB_FAILED"],
      },
    },
    "POST /channel/setorder": {
      summary: "Set what a channel delivers one after the other",
      details: "In force for a partition once none of its messages is in flight (docs/order.md).",
      parameters: [
        TOPIC,
        CHANNEL,
        takes("order", "key, partition or none; Youzan's true and false are partition and none", STRING, "key"),
        PARTITION,
      ],
      answer: NO_BODY,
      errors: { ...NO_PART, 400: [...NO_PART[400], "MISSING_ARG_ORDER", "INVALID_ARG_ORDER"] },
    },
    "GET /channel/settings": {
      summary: "How a channel delivers its messages",
      parameters: [TOPIC, CHANNEL],
      answer: SETTINGS,
      errors: NO_CHANNEL,
    },
    "POST /channel/settings": {
      summary: "Change how a channel delivers its messages",
      details: "What is not given stays as it is (docs/order.md).",
      parameters: [TOPIC, CHANNEL, ...SETTINGS_ARGUMENTS],
      answer: SETTINGS,
      errors: { ...NO_CHANNEL, 400: [...CHANNEL_ARGUMENTS, ...SETTINGS_ERRORS] },
    },
    ...LIMITS,
    "POST /channel/delete": {
      summary: "Delete a channel with its messages",
      details: "In all partitions of the topic. The connections of its consumers are closed.",
      parameters: [TOPIC, CHANNEL, PARTITION],
      answer: NO_BODY,
      errors: NO_PART,
    },
    "POST /channel/empty": {
      summary: "Drop all messages of a channel",
      details: "Those in flight, too.",
      parameters: [TOPIC, CHANNEL, PARTITION],
      answer: NO_BODY,
      errors: NO_PART,
    },
    "POST /channel/pause": {
      summary: "Pause a channel",
      details: "Its consumers get no messages until it is unpaused.",
      parameters: [TOPIC, CHANNEL, PARTITION],
      answer: NO_BODY,
      errors: NO_PART,
    },
    "POST /channel/unpause": { summary: "Unpause a channel", parameters: [TOPIC, CHANNEL, PARTITION], answer: NO_BODY, errors: NO_PART },
    "GET /channel/seek": {
      summary: "What moving a channel to a position would change",
      parameters: [TOPIC, CHANNEL, needs("to", "The position", POSITION, "ago:10m"), PARTITION],
      answer: PREVIEWED,
      errors: { ...NOT_MOVED, 400: [...CHANNEL_ARGUMENTS, "MISSING_ARG_TO", "INVALID_ARG_TO", ...PARTITION_ERRORS] },
    },
    "POST /channel/seek": {
      summary: "Move a channel to a position of its topic's log",
      parameters: [TOPIC, CHANNEL, needs("to", "The position", POSITION, "ago:10m"), PARTITION],
      answer: MOVED,
      errors: { ...NOT_MOVED, 400: [...CHANNEL_ARGUMENTS, "MISSING_ARG_TO", "INVALID_ARG_TO", ...PARTITION_ERRORS] },
    },
    "POST /channel/setoffset": {
      summary: "Move a channel, in the form of Youzan's nsqd",
      parameters: [TOPIC, CHANNEL, PARTITION],
      body: {
        description: "`timestamp:SECONDS`, `virtual_queue:BYTES`, `msgcount:N` for the Nth message, or `special:-1` for the end",
        required: true,
        contents: { "text/plain": { type: "string", maxLength: 64, examples: ["msgcount:1"] } },
      },
      answer: MOVED,
      errors: {
        ...NOT_MOVED,
        400: [...CHANNEL_ARGUMENTS, "invalid consume offset:…", ...PARTITION_ERRORS],
        406: ["MSG_EMPTY"],
        413: ["INVALID_OFFSET"],
      },
    },
    "GET /channel/trace": {
      summary: "Whether messages are traced in a channel",
      parameters: [TOPIC, CHANNEL],
      answer: CHANNEL_TRACE,
      errors: NO_CHANNEL,
    },
    "POST /channel/trace": {
      summary: "Trace messages in one channel, or cease to",
      parameters: [TOPIC, CHANNEL, ON],
      answer: CHANNEL_TRACE,
      errors: {
        ...NO_CHANNEL,
        400: [...CHANNEL_ARGUMENTS, "MISSING_ARG_ON", "INVALID_ARG_ON", "TRACING_DISABLED"],
        503: ["TOPIC_NOT_OPEN", "NOT_STORED"],
      },
    },
  },
};
