import { NAME } from "../../http/openapi/common.ts";
import { inPath, jsonAnswer, jsonBody, needs, type OperationGroup, takes } from "../../http/openapi/operation.ts";
import { INTEGER, object, oneOf, STRING } from "../../http/openapi/schema.ts";
import { CLUSTER_DETAIL, REPLICA_ROWS } from "./console-cluster.ts";
import * as messages from "./console-messages.ts";
import * as rows from "./console-rows.ts";

// The console's own API. ../console-api.ts says what its members mean.

const TOPIC = inPath("topic", "The topic", NAME, "orders");
const CHANNEL = inPath("channel", "The channel", NAME, "billing");
const ONE_TOPIC = takes("topic", "Only of this topic", NAME, "orders");
const ONE_CHANNEL = takes("channel", "Only of this channel", NAME, "billing");
const ONE_BROKER = takes("broker", "Only at this broker: `host:port`", STRING, "broker-1:4151");
/** What `PageQuery` has. */
const PAGE = [
  takes("sort", "A member of the rows; with a minus in front, downwards", STRING, "-depth"),
  takes("filter", "What is looked for in the rows' names", STRING, "orders"),
  takes("offset", "How many rows to leave out", { type: "integer", minimum: 0, default: 0 }),
  takes("limit", "The most rows in the answer", { type: "integer", minimum: 0, maximum: 1000, default: 100 }),
];
const NOT_THERE = { 404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "BROKER_NOT_FOUND", "NOT_FOUND", "NO_CLUSTER"] };
const UNANSWERED = { 502: ["UPSTREAM_ERROR: …"] };
const PAGE_ERRORS = { 400: ["INVALID_ARG_SORT", "INVALID_ARG_OFFSET", "INVALID_ARG_LIMIT"], ...NOT_THERE, ...UNANSWERED };
/** Codes of arguments of a search. */
const NO_SEARCH = [
  ...[
    "INVALID_TOPIC",
    "INVALID_CHANNEL",
    "INVALID_ARG_FROM",
    "INVALID_ARG_LIMIT",
    "INVALID_ARG_STATE",
    "INVALID_ARG_MATCH",
    "INVALID_ARG_PARTITION",
  ],
  ...["INVALID_ARG_Q", "MISSING_ARG_CHANNEL", "MISSING_ARG_TOPIC", "INVALID_ARG_TOPIC", "INVALID_ARG_CHANNEL", "INVALID_ARG_ID"],
];
const NO_DEED = [
  ...["INVALID_BODY", "INVALID_ACTION", "INVALID_TOPIC", "INVALID_CHANNEL", "INVALID_VALUE", "INVALID_MESSAGE", "INVALID_DELAY"],
  ...["INVALID_IDS", "INVALID_SELECT", "INVALID_TO_TOPIC", "MISSING_BROKER", "MISSING_TO", "NOT_CONFIRMED"],
];
const SEARCH_ERRORS = {
  400: NO_SEARCH,
  404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "BROKER_NOT_FOUND", "PARTITION_NOT_FOUND", "MESSAGE_NOT_FOUND"],
  ...UNANSWERED,
  503: ["TOO_MANY_REQUESTS", "TOO_MANY_TAILS"],
};
const SEARCH = [
  takes("partition", "Only of this partition, where the topic has several", INTEGER, "0"),
  takes("match", "How `q` is meant", messages.MATCH_ARGUMENT, "text"),
  takes(
    "q",
    'What to look for in bodies; json: `$.a.b = "x"`; key: a whole key; header: a part of key, tag, trace id or header',
    STRING,
    "4711",
  ),
];

export const CONSOLE_VIEWS: OperationGroup = {
  name: "views",
  description: "What is watched. Lists are sorted, filtered and cut by the server.",
  operations: {
    "GET /api/v1/overview": {
      summary: "All brokers, lookup servers and the worst channels",
      answer: jsonAnswer("The overview", rows.OVERVIEW),
    },
    "GET /api/v1/brokers": { summary: "The brokers", parameters: PAGE, answer: jsonAnswer("A page", rows.BROKERS), errors: PAGE_ERRORS },
    "GET /api/v1/lookups": {
      summary: "The lookup servers",
      parameters: PAGE,
      answer: jsonAnswer("A page", rows.LOOKUPS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/topics": {
      summary: "The topics",
      parameters: [ONE_BROKER, ...PAGE],
      answer: jsonAnswer("A page", rows.TOPICS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/topics/:topic": {
      summary: "A topic at all its brokers",
      parameters: [TOPIC],
      answer: jsonAnswer("The topic", rows.TOPIC_DETAIL),
      errors: { ...NOT_THERE, ...UNANSWERED },
    },
    "GET /api/v1/topics/:topic/:channel": {
      summary: "A channel at all its brokers, and why its consumers are slow",
      parameters: [TOPIC, CHANNEL],
      answer: jsonAnswer("The channel", rows.CHANNEL_DETAIL),
      errors: { ...NOT_THERE, ...UNANSWERED },
    },
    "GET /api/v1/channels": {
      summary: "The channels",
      parameters: [ONE_TOPIC, ONE_BROKER, ...PAGE],
      answer: jsonAnswer("A page", rows.CHANNELS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/partitions": {
      summary: "The partitions of a topic or channel, at each broker that has them",
      parameters: [needs("topic", "The topic", NAME, "orders"), ONE_CHANNEL, ...PAGE],
      answer: jsonAnswer("A page", rows.PARTITION_ROWS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/cluster": {
      summary: "The replicated cluster: its brokers, moves, and what is at risk and why",
      answer: jsonAnswer("The cluster, as one of its lookup servers tells it", CLUSTER_DETAIL),
      errors: { 404: ["NO_CLUSTER"] },
    },
    "GET /api/v1/replicas": {
      summary: "The partitions of the cluster with their replicas",
      parameters: [ONE_TOPIC, takes("broker", "Only those at this broker: the uid of its data path", STRING), ...PAGE],
      answer: jsonAnswer("A page", REPLICA_ROWS),
      errors: { ...PAGE_ERRORS, 404: ["NO_CLUSTER"] },
    },
    "GET /api/v1/clients": {
      summary: "The consumers' connections",
      parameters: [ONE_TOPIC, ONE_CHANNEL, ONE_BROKER, ...PAGE],
      answer: jsonAnswer("A page", rows.CLIENTS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/producers": {
      summary: "The connections that have published",
      parameters: [ONE_TOPIC, ONE_BROKER, ...PAGE],
      answer: jsonAnswer("A page", rows.PRODUCERS),
      errors: PAGE_ERRORS,
    },
    "GET /api/v1/history": {
      summary: "Depth and rates of the last hour or day",
      parameters: [ONE_TOPIC, ONE_CHANNEL, takes("range", "How long back", oneOf("1h", "24h"), "1h")],
      answer: jsonAnswer("The values, at equal steps", rows.HISTORY),
      errors: { 400: ["INVALID_ARG_RANGE"], ...NOT_THERE },
    },
    "GET /api/v1/stream": {
      summary: "Views and what changes of them, as server-sent events",
      parameters: [
        needs("view", "Path and query of a view, from behind `/api/v1`; may be given several times", STRING, "/topics?sort=-depth"),
      ],
      answer: { description: "`full`, `delta`, `activity` and `error` events", contents: { "text/event-stream": STRING } },
      errors: { 400: ["MISSING_ARG_VIEW", "INVALID_ARG_VIEW"], 503: ["TOO_MANY_STREAMS"] },
    },
  },
};

export const CONSOLE_ACTIONS: OperationGroup = {
  name: "messages and actions",
  description: "What operators do, each written to the audit log.",
  operations: {
    "GET /api/v1/messages": {
      summary: "A page of messages, found by state and body",
      parameters: [
        needs("topic", "The topic", NAME, "orders"),
        ONE_CHANNEL,
        ONE_BROKER,
        takes("state", "Which messages", messages.STATE_ARGUMENT, "waiting"),
        takes("from", "A log position, or the `next` of the page before", STRING, "ago:10m"),
        takes("limit", "The most messages in the answer", { type: "integer", minimum: 1 }),
        ...SEARCH,
      ],
      answer: jsonAnswer("A page", messages.MESSAGE_PAGE),
      errors: SEARCH_ERRORS,
    },
    "POST /api/v1/messages": {
      summary: "Do something with one message or many, or count them",
      body: jsonBody("What to do with which messages", messages.MESSAGES_REQUEST),
      answer: jsonAnswer("What was done", messages.MESSAGES_RESULT),
      errors: { ...SEARCH_ERRORS, 400: [...NO_SEARCH, ...NO_DEED], 413: ["BODY_TOO_LARGE"] },
    },
    "GET /api/v1/message": {
      summary: "One message, its state in each channel, and its life",
      parameters: [needs("topic", "The topic", NAME, "orders"), needs("id", "The message's id", STRING, "0000000000000a01"), ONE_BROKER],
      answer: jsonAnswer("The message", messages.MESSAGE_DETAIL),
      errors: SEARCH_ERRORS,
    },
    "GET /api/v1/tail": {
      summary: "What is published from now on, as server-sent events",
      parameters: [needs("topic", "The topic", NAME, "orders"), ONE_BROKER, ...SEARCH],
      answer: { description: "`messages` and `unavailable` events", contents: { "text/event-stream": STRING } },
      errors: SEARCH_ERRORS,
    },
    "POST /api/v1/actions": {
      summary: "Change topics, channels or brokers",
      body: jsonBody("What to do with what", messages.ACTION_REQUEST),
      answer: jsonAnswer("What each server said", messages.ACTION_RESULT),
      errors: { ...NOT_THERE, 400: NO_DEED, ...UNANSWERED, 413: ["BODY_TOO_LARGE"] },
    },
    "GET /api/v1/activity": {
      summary: "What was done last",
      parameters: [takes("limit", "The most lines", { type: "integer", minimum: 1 })],
      answer: jsonAnswer("The audit log, newest first", messages.ACTIVITY),
      errors: { 400: ["INVALID_ARG_LIMIT"] },
    },
    "GET /api/v1/session": { summary: "Who asks, and what they may", answer: jsonAnswer("The session", messages.SESSION) },
    "POST /api/v1/session": {
      summary: "Log in",
      body: jsonBody("A name and a password, or a token", messages.LOGIN),
      answer: jsonAnswer("The session", messages.SESSION),
      errors: {
        400: ["INVALID_BODY"],
        401: ["LOGIN_FAILED"],
        404: ["NO_LOGIN"],
        413: ["BODY_TOO_LARGE"],
        429: ["TOO_MANY_ATTEMPTS"],
        503: ["TOO_MANY_REQUESTS"],
      },
    },
    "DELETE /api/v1/session": { summary: "Log out", answer: jsonAnswer("It has ended", object({})) },
  },
};
