import { DEBUG_GROUP, DESCRIPTION_GROUP, NAME } from "../../http/openapi/common.ts";
import { type ApiDescription, jsonAnswer, NO_BODY, needs, textAnswer } from "../../http/openapi/operation.ts";
import { BOOLEAN, INTEGER, listOf, mapOf, NUMBER, object, STRING } from "../../http/openapi/schema.ts";
import { BUNSQ_VERSION } from "../../version.ts";

const TOPIC = needs("topic", "The topic", NAME, "orders");
const CHANNEL = needs("channel", "The channel", NAME, "billing");
const NO_TOPIC = { 400: ["MISSING_ARG_TOPIC"] };
const NO_VALID_TOPIC = ["MISSING_ARG_TOPIC", "INVALID_ARG_TOPIC"];
const NO_VALID_CHANNEL = [...NO_VALID_TOPIC, "MISSING_ARG_CHANNEL", "INVALID_ARG_CHANNEL"];

/** What `nodeFields()` writes. */
const NODE = {
  remote_address: STRING,
  hostname: STRING,
  broadcast_address: STRING,
  tcp_port: INTEGER,
  http_port: INTEGER,
  version: STRING,
};
const REGISTRATION = object(
  {
    broadcast_address: STRING,
    hostname: STRING,
    http_port: INTEGER,
    id: STRING,
    last_update: { ...NUMBER, description: "ns since 1970" },
    tcp_port: INTEGER,
    tombstoned: BOOLEAN,
    tombstoned_at: { ...NUMBER, description: "ns since 1970" },
    version: STRING,
  },
  { title: "Registration" },
);

/** What the lookup server's calls are. routes.ts has the calls themselves. */
export const LOOKUP_API: ApiDescription = {
  title: "bunsq lookup server",
  version: BUNSQ_VERSION,
  description: 'The HTTP API of nsqlookupd 1.3.0, and calls of bunsq\'s own. Errors are `{"message": CODE}`.',
  groups: [
    {
      name: "registry",
      description: "Which broker has which topics and channels.",
      operations: {
        "GET /lookup": {
          summary: "A topic's brokers and channels",
          parameters: [TOPIC],
          answer: jsonAnswer("Where it is", object({ channels: listOf(STRING), producers: listOf(object(NODE, { title: "Producer" })) })),
          errors: { ...NO_TOPIC, 404: ["TOPIC_NOT_FOUND"] },
        },
        "GET /topics": { summary: "The names of all topics", answer: jsonAnswer("The names", object({ topics: listOf(STRING) })) },
        "GET /channels": {
          summary: "The names of a topic's channels",
          parameters: [TOPIC],
          answer: jsonAnswer("The names; none for an unknown topic", object({ channels: listOf(STRING) })),
          errors: NO_TOPIC,
        },
        "GET /nodes": {
          summary: "The active brokers, with their topics",
          answer: jsonAnswer(
            "The brokers. `tombstones` has a value for each of `topics`.",
            object({ producers: listOf(object({ ...NODE, tombstones: listOf(BOOLEAN), topics: listOf(STRING) }, { title: "Node" })) }),
          ),
        },
        "GET /debug": {
          summary: "All registrations",
          answer: jsonAnswer("By `category:key:subkey`", mapOf(listOf(REGISTRATION))),
        },
        "POST /topic/create": {
          summary: "Add a topic that no broker has yet",
          parameters: [TOPIC],
          answer: NO_BODY,
          errors: { 400: NO_VALID_TOPIC },
        },
        "POST /topic/delete": {
          summary: "Delete a topic and its channels",
          details: "Brokers are not notified.",
          parameters: [TOPIC],
          answer: NO_BODY,
          errors: NO_TOPIC,
        },
        "POST /topic/tombstone": {
          summary: "Hide a topic at a broker from clients for a while",
          parameters: [TOPIC, needs("node", "`host:http port` of the broker", STRING, "broker-1:4151")],
          answer: NO_BODY,
          errors: { 400: ["MISSING_ARG_TOPIC", "MISSING_ARG_NODE"] },
        },
        "POST /channel/create": {
          summary: "Add a channel, and its topic",
          parameters: [TOPIC, CHANNEL],
          answer: NO_BODY,
          errors: { 400: NO_VALID_CHANNEL },
        },
        "POST /channel/delete": {
          summary: "Delete a channel",
          details: "Brokers are not notified.",
          parameters: [TOPIC, CHANNEL],
          answer: NO_BODY,
          errors: { 400: NO_VALID_CHANNEL, 404: ["CHANNEL_NOT_FOUND"] },
        },
      },
    },
    {
      name: "service",
      description: "The lookup server itself.",
      operations: {
        "GET /ping": { summary: "Whether the lookup server answers", answer: textAnswer("It does.", "OK") },
        "GET /ready": {
          summary: "Whether clients should use this lookup server",
          answer: textAnswer("They should.", "OK"),
          otherAnswers: { 503: textAnswer("It has just started, and brokers are registering.", "NOK - starting: brokers are registering") },
        },
        "GET /info": { summary: "Its version", answer: jsonAnswer("The versions", object({ version: STRING, bunsq_version: STRING })) },
        "GET /metrics": {
          summary: "Metrics for Prometheus",
          answer: {
            description: "Prometheus' text format, or OpenMetrics where `Accept` wants it",
            contents: { "text/plain": STRING, "application/openmetrics-text": STRING },
          },
          errors: { 503: ["TOO_MANY_REQUESTS"] },
        },
      },
    },
    DESCRIPTION_GROUP,
    DEBUG_GROUP,
  ],
  errors: {
    400: ["INVALID_REQUEST"],
    403: ["CROSS_SITE_REQUEST", "HOST_NOT_ALLOWED", "FORBIDDEN"],
    500: ["INTERNAL_ERROR"],
    503: ["TOO_MANY_CONNECTIONS"],
  },
  bodyErrors: { 408: ["REQUEST_TIMEOUT"], 503: ["TOO_MANY_REQUESTS"] },
};
