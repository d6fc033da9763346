import { NAME } from "../../http/openapi/common.ts";
import { inPath, jsonAnswer, jsonBody, needs, type OperationGroup, takes, textAnswer } from "../../http/openapi/operation.ts";
import { BOOLEAN, listOf, NUMBER, object, oneOf, optional, STRING } from "../../http/openapi/schema.ts";
import { CHANNEL_ANSWER, COUNTER_ANSWER, DONE, NODE_ANSWER, NODES_ANSWER, TOPIC_ANSWER, TOPICS_ANSWER } from "./nsqadmin-schemas.ts";

const TOPIC = inPath("topic", "The topic", NAME, "orders");
const CHANNEL = inPath("channel", "The channel", NAME, "billing");
const NODE = inPath(
  "node",
  "`host:port` of a broker's HTTP listener",
  { type: "string", minLength: 3, pattern: "^[^/.]+:\\d+$" },
  "broker:4151",
);

const UPSTREAM = { 502: ["UPSTREAM_ERROR: …"] };
/** The errors of `bodyOf()`. */
const NOT_READ = ["EOF", "the body is not a JSON object with the members of this call"];
const MAY_NOT = { 403: ["FORBIDDEN"], 415: ["INVALID_CONTENT_TYPE"] };
const TOO_LARGE = { 413: ["BODY_TOO_LARGE"] };
const NO_TOPIC = { 404: ["TOPIC_NOT_FOUND", "NOT_FOUND"], ...UPSTREAM };
const NO_CHANNEL = { 404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "NOT_FOUND"], ...UPSTREAM };
const CHANGED = jsonAnswer("Done, at all servers or at some", DONE);

const CHANGE = jsonBody("What to do", object({ action: oneOf("pause", "unpause", "empty") }));
const CHANGE_ERRORS = { ...MAY_NOT, ...TOO_LARGE, 400: ["INVALID_ACTION", ...NOT_READ] };

const OPTION_NAME = inPath("opt", "nsqadmin's name of an option", { type: "string", minLength: 1, pattern: "^[a-z0-9_]+$" }, "log_level");
const OPTION = {
  description: "The value, in the option's type; durations in ns",
  contents: { "text/plain": STRING, "application/json": { anyOf: [NUMBER, BOOLEAN, listOf(STRING)] } },
};
const NO_OPTION = { 400: ["INVALID_OPTION", "INVALID_REMOTE_ADDR"], 403: ["FORBIDDEN"], 404: ["NOT_FOUND"] };

export const NSQADMIN: OperationGroup = {
  name: "nsqadmin",
  description: "nsqadmin's calls, which its scripts go on using.",
  operations: {
    "GET /api/topics": {
      summary: "The names of all topics",
      parameters: [takes("inactive", "`true`: only those that no broker has, with their channels", STRING, "true")],
      answer: jsonAnswer("The topics", TOPICS_ANSWER),
      errors: UPSTREAM,
    },
    "POST /api/topics": {
      summary: "Create a topic, and a channel of it",
      body: jsonBody("What to create", object({ topic: NAME, channel: optional(NAME) })),
      answer: CHANGED,
      errors: { ...MAY_NOT, ...TOO_LARGE, ...UPSTREAM, 400: ["INVALID_TOPIC", "INVALID_CHANNEL", ...NOT_READ] },
    },
    "GET /api/topics/:topic": {
      summary: "A topic at all its brokers",
      parameters: [TOPIC],
      answer: jsonAnswer("The topic", TOPIC_ANSWER),
      errors: NO_TOPIC,
    },
    "POST /api/topics/:topic": {
      summary: "Pause, unpause or empty a topic at all its brokers",
      parameters: [TOPIC],
      body: CHANGE,
      answer: CHANGED,
      errors: { ...CHANGE_ERRORS, ...NO_TOPIC },
    },
    "DELETE /api/topics/:topic": {
      summary: "Delete a topic everywhere",
      parameters: [TOPIC],
      answer: CHANGED,
      errors: { ...MAY_NOT, ...NO_TOPIC },
    },
    "GET /api/topics/:topic/:channel": {
      summary: "A channel at all its brokers, with its clients",
      parameters: [TOPIC, CHANNEL],
      answer: jsonAnswer("The channel", CHANNEL_ANSWER),
      errors: NO_CHANNEL,
    },
    "POST /api/topics/:topic/:channel": {
      summary: "Pause, unpause or empty a channel at all its brokers",
      parameters: [TOPIC, CHANNEL],
      body: CHANGE,
      answer: CHANGED,
      errors: { ...CHANGE_ERRORS, ...NO_CHANNEL },
    },
    "DELETE /api/topics/:topic/:channel": {
      summary: "Delete a channel everywhere",
      parameters: [TOPIC, CHANNEL],
      answer: CHANGED,
      errors: { ...MAY_NOT, ...NO_CHANNEL },
    },
    "GET /api/nodes": { summary: "The brokers", answer: jsonAnswer("The brokers", NODES_ANSWER), errors: UPSTREAM },
    "GET /api/nodes/:node": {
      summary: "A broker with its topics, channels and clients",
      parameters: [NODE],
      answer: jsonAnswer("The broker", NODE_ANSWER),
      errors: { 404: ["NODE_NOT_FOUND", "NOT_FOUND"], ...UPSTREAM },
    },
    "DELETE /api/nodes/:node": {
      summary: "Tombstone a broker for a topic",
      parameters: [NODE],
      body: jsonBody("The topic", object({ topic: NAME })),
      answer: CHANGED,
      errors: {
        ...MAY_NOT,
        ...TOO_LARGE,
        ...UPSTREAM,
        400: ["INVALID_BODY", "INVALID_TOPIC"],
        404: ["NODE_NOT_FOUND", "TOPIC_NOT_FOUND", "NOT_FOUND"],
      },
    },
    "GET /api/counter": {
      summary: "How many messages each channel has had, at each broker",
      answer: jsonAnswer("The counts", COUNTER_ANSWER),
      errors: UPSTREAM,
    },
    "GET /api/graphite": {
      summary: "The rate that graphite has for the last interval of statsd",
      parameters: [
        needs("metric", "", oneOf("rate"), "rate"),
        needs("target", "Graphite's target", STRING, "sumSeries(nsq.*.topic.orders.message_count)"),
      ],
      answer: jsonAnswer("Per second, with two decimals; `N/A`: graphite does not know", object({ rate: STRING })),
      errors: { 400: ["INVALID_ARG_METRIC", "INVALID_ARG_TARGET"] },
    },
    "GET /render": {
      summary: "A chart of graphite's, with `--proxy-graphite`",
      details: "Graphite gets the query, and the answer is graphite's.",
      answer: { description: "Graphite's answer", contents: { "*/*": {} } },
      errors: UPSTREAM,
    },
    "GET /config/:opt": { summary: "The value of an option", parameters: [OPTION_NAME], answer: OPTION, errors: NO_OPTION },
    "PUT /config/:opt": {
      summary: "Change an option until the next start",
      details: "`log_level` and `nsqlookupd_http_addresses` can be changed.",
      parameters: [OPTION_NAME],
      body: {
        description: "A log level, or a list of addresses in JSON",
        required: true,
        contents: { "text/plain": { type: "string", examples: ["debug"] } },
      },
      answer: OPTION,
      errors: { ...NO_OPTION, 400: ["INVALID_OPTION", "INVALID_VALUE", "INVALID_REMOTE_ADDR"], 413: ["INVALID_VALUE"] },
    },
    "GET /ping": { summary: "Whether the console answers", answer: textAnswer("It does.", "OK") },
    "GET /ready": { summary: "Whether the console answers, whatever brokers do", answer: textAnswer("It does.", "OK") },
    "GET /metrics": {
      summary: "Metrics of the console's process, for Prometheus",
      answer: {
        description: "Prometheus' text format, or OpenMetrics where `Accept` wants it",
        contents: { "text/plain": STRING, "application/openmetrics-text": STRING },
      },
      errors: { 503: ["TOO_MANY_REQUESTS"] },
    },
  },
};
