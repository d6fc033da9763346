import { DEBUG_GROUP, DESCRIPTION_GROUP } from "../../http/openapi/common.ts";
import { type ApiDescription, jsonAnswer, NO_BODY, needs, takes, textAnswer } from "../../http/openapi/operation.ts";
import { BOOLEAN, INTEGER, listOf, mapOf, NUMBER, object, STRING } from "../../http/openapi/schema.ts";
import { BUNSQ_VERSION } from "../../version.ts";
import { CLUSTER_GROUP } from "./cluster/describe.ts";
import { CHANNEL, NO_VALID_CHANNEL, NO_VALID_TOPIC, NODE, TOPIC } from "./describe.ts";
import {
  BROKER_CODES,
  CHANNELS,
  CHANNELS_OF_PARTITION,
  CREATE_ARGUMENTS,
  CREATE_CODES,
  EVERYWHERE,
  INVALID_PARTITION,
  LOOKUP_ARGUMENTS,
  META_INFO,
  NODES_WITH_PARTITIONS,
  PARTITION,
  PARTITION_GROUP,
  WITH_META,
  WITH_PARTITIONS,
} from "./youzan/describe.ts";

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
          parameters: [TOPIC, ...LOOKUP_ARGUMENTS],
          answer: jsonAnswer("Where it is", {
            anyOf: [object({ channels: listOf(STRING), producers: listOf(object(NODE, { title: "Producer" })) }), WITH_PARTITIONS],
          }),
          errors: { 400: ["MISSING_ARG_TOPIC", "INVALID_ACCESS_MODE", INVALID_PARTITION], 404: ["TOPIC_NOT_FOUND", "Key not found"] },
        },
        "GET /topics": {
          summary: "The names of all topics",
          parameters: [takes("metaInfo", "Whether to tell what their brokers say of them", BOOLEAN)],
          answer: jsonAnswer("The names", { anyOf: [object({ topics: listOf(STRING) }), WITH_META] }),
        },
        "GET /channels": {
          summary: "The names of a topic's channels",
          parameters: [TOPIC, PARTITION],
          answer: jsonAnswer("The names; none for an unknown topic", { anyOf: [CHANNELS, CHANNELS_OF_PARTITION] }),
          errors: { 400: ["MISSING_ARG_TOPIC", INVALID_PARTITION] },
        },
        "GET /nodes": {
          summary: "The active brokers, with their topics",
          parameters: [META_INFO],
          answer: jsonAnswer("The brokers. `tombstones` has a value for each of `topics`; with `metainfo`, for each partition.", {
            anyOf: [
              object({ producers: listOf(object({ ...NODE, tombstones: listOf(BOOLEAN), topics: listOf(STRING) }, { title: "Node" })) }),
              NODES_WITH_PARTITIONS,
            ],
          }),
        },
        "GET /debug": {
          summary: "All registrations",
          answer: jsonAnswer("By `category:key:subkey`", mapOf(listOf(REGISTRATION))),
        },
        "POST /topic/create": {
          summary: "Add a topic that no broker has yet, or have brokers make its partitions",
          details:
            "The answer to a call with `partition_num` comes when clients find the partitions here. In a cluster a topic is made in it, with or without `partition_num`.",
          parameters: [TOPIC, ...CREATE_ARGUMENTS],
          answer: NO_BODY,
          errors: { 400: [...NO_VALID_TOPIC, ...CREATE_CODES], 503: BROKER_CODES },
        },
        "POST /topic/delete": {
          summary: "Delete a topic and its channels",
          details: "Brokers are not notified without `partition`, but a topic of a cluster goes at all of them.",
          parameters: [TOPIC, EVERYWHERE],
          answer: NO_BODY,
          errors: {
            400: [...NO_VALID_TOPIC, "REMOVE_SINGLE_PARTITION_NOT_ALLOWED"],
            404: ["Key not found"],
            503: BROKER_CODES,
          },
        },
        "POST /topic/tombstone": {
          summary: "Hide a topic at a broker from clients for a while",
          parameters: [
            TOPIC,
            needs("node", "`host:http port` of the broker", STRING, "broker-1:4151"),
            takes("restore", "Whether to show it again", BOOLEAN),
          ],
          answer: NO_BODY,
          errors: { 400: ["MISSING_ARG_TOPIC", "MISSING_ARG_NODE", "TOPIC_OF_CLUSTER: …"] },
        },
        "POST /channel/create": {
          summary: "Add a channel, and its topic",
          parameters: [TOPIC, CHANNEL, EVERYWHERE],
          answer: NO_BODY,
          errors: { 400: [...NO_VALID_CHANNEL, INVALID_PARTITION], 404: ["TOPIC_NOT_FOUND"], 503: BROKER_CODES },
        },
        "POST /channel/delete": {
          summary: "Delete a channel",
          details: "Brokers are not notified without `partition`.",
          parameters: [TOPIC, CHANNEL, EVERYWHERE],
          answer: NO_BODY,
          errors: { 400: [...NO_VALID_CHANNEL, INVALID_PARTITION], 404: ["CHANNEL_NOT_FOUND", "TOPIC_NOT_FOUND"], 503: BROKER_CODES },
        },
      },
    },
    PARTITION_GROUP,
    CLUSTER_GROUP,
    {
      name: "service",
      description: "The lookup server itself.",
      operations: {
        "GET /ping": { summary: "Whether the lookup server answers", answer: textAnswer("It does.", "OK") },
        "GET /ready": {
          summary: "Whether clients should use this lookup server",
          answer: textAnswer("They should.", "OK"),
          otherAnswers: {
            503: textAnswer(
              "It has just started: brokers are registering, or etcd has not answered.",
              "NOK - starting: brokers are registering",
            ),
          },
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
