import { NAME } from "../../../http/openapi/common.ts";
import { inPath, jsonAnswer, type OperationGroup, takes, textAnswer } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, INTEGER, listOf, NUMBER, object, oneOf, optional, type Schema, STRING } from "../../../http/openapi/schema.ts";
import { STATS } from "./statistics.ts";
import { YOUZAN_SERVICE, YOUZAN_STATS } from "./youzan.ts";

const INFO = object(
  {
    version: { type: "string", description: "The release of NSQ whose API this is" },
    broadcast_address: STRING,
    hostname: STRING,
    http_port: { ...INTEGER, description: "-1 on a unix socket" },
    tcp_port: { ...INTEGER, description: "-1 on a unix socket" },
    start_time: { ...COUNT, description: "s since 1970" },
    max_heartbeat_interval: { ...COUNT, description: "ns" },
    max_output_buffer_size: COUNT,
    max_output_buffer_timeout: { ...COUNT, description: "ns" },
    max_deflate_level: COUNT,
    topology_region: optional(STRING),
    topology_zone: optional(STRING),
    bunsq_version: STRING,
  },
  { title: "Info" },
);

const DRAIN = jsonAnswer(
  "How far it is",
  object(
    {
      state: oneOf("serving", "draining", "drained"),
      in_flight: COUNT,
      consumers: COUNT,
      connections: COUNT,
      elapsed_ms: COUNT,
      timeout_ms: COUNT,
    },
    { title: "Drain" },
  ),
);

/** The option's own type. Text has no quotes, as in nsqd. */
const OPTION = {
  description: "The value, in the option's type; durations in ns",
  contents: {
    "text/plain": STRING,
    "application/json": { anyOf: [NUMBER, BOOLEAN, listOf(STRING), listOf(NUMBER)] } satisfies Schema,
  },
};
const OPTION_NAME = inPath("opt", "The config key of an option", { type: "string", minLength: 1, pattern: "^[a-z0-9_]+$" }, "log_level");

export const SERVICE: OperationGroup = {
  name: "service",
  description: "The broker itself.",
  operations: {
    "GET /ping": {
      summary: "Whether the broker is healthy",
      answer: textAnswer("It is.", "OK"),
      otherAnswers: { 500: textAnswer("It is not, and why.", "NOK - disk is full") },
    },
    "GET /ready": {
      summary: "Whether clients should use this broker",
      answer: textAnswer("They should.", "OK"),
      otherAnswers: {
        503: textAnswer("It is recovering, drained, shuts down, its disk is nearly full, or it is unhealthy.", "NOK - draining"),
      },
    },
    "GET /info": { summary: "The broker's addresses, version and limits", answer: jsonAnswer("What it is", INFO) },
    "GET /stats": {
      summary: "Statistics of topics, channels and clients",
      parameters: [
        takes("format", "`json`; anything else is text", STRING, "json"),
        takes("topic", "Only this topic", NAME, "orders"),
        takes("channel", "Only this channel", NAME, "billing"),
        takes("partition", "Of `partitions`, only this one", { type: "integer", minimum: 0, maximum: 1023 }, 0),
        takes("include_clients", "`false` or `0` leaves them out", STRING, "false"),
        takes("include_partitions", "`false` or `0` leaves `partitions` out: the sums are enough for most", STRING, "false"),
        takes("include_mem", "`false` or `0` leaves the memory out", STRING, "false"),
        takes("needClients", "With `format=json`: Youzan's form (docs/youzan.md); `true`: with clients", STRING, "true"),
        takes("leaderOnly", "With `format=json`: Youzan's form", STRING, "true"),
      ],
      answer: {
        description: "The statistics. `topics` is null if the topic does not exist.",
        contents: { "application/json": { anyOf: [STATS, YOUZAN_STATS] }, "text/plain": STRING },
      },
      errors: { 400: ["INVALID_ARG_PARTITION"] },
    },
    ...YOUZAN_SERVICE,
    "GET /metrics": {
      summary: "Metrics for Prometheus",
      parameters: [
        takes(
          "detail",
          "Also of each topic, channel, partition or client",
          oneOf("none", "topic", "channel", "partition", "client"),
          "topic",
        ),
        takes("topic", "Only this topic", NAME, "orders"),
        takes("channel", "Only this channel", NAME, "billing"),
      ],
      answer: {
        description: "Prometheus' text format, or OpenMetrics where `Accept` wants it",
        contents: { "text/plain": STRING, "application/openmetrics-text": STRING },
      },
      errors: { 400: ["INVALID_ARG_DETAIL"], 503: ["TOO_MANY_REQUESTS"] },
    },
    "GET /drain": { summary: "How far a drain is", answer: DRAIN },
    "POST /drain": {
      summary: "Take no more consumers and publishes, let what is in flight finish, and end",
      details: "Repeated calls change nothing.",
      parameters: [takes("timeout", "For how long at most; else `--drain-timeout`. A duration as in Go, at most a day", STRING, "30s")],
      answer: DRAIN,
      errors: { 400: ["INVALID_ARG_TIMEOUT"] },
    },
    "GET /config/:opt": {
      summary: "The value of an option",
      parameters: [OPTION_NAME],
      answer: OPTION,
      errors: { 400: ["INVALID_OPTION"] },
    },
    "PUT /config/:opt": {
      summary: "Change an option until the next start",
      details: "`log_level` and `nsqlookupd_tcp_addresses` can be changed.",
      parameters: [OPTION_NAME],
      body: {
        description: "A log level, or a list of addresses in JSON",
        required: true,
        contents: { "text/plain": { type: "string", examples: ["debug"] } },
      },
      answer: OPTION,
      errors: { 400: ["INVALID_OPTION", "INVALID_VALUE"], 413: ["INVALID_VALUE"] },
    },
  },
};
