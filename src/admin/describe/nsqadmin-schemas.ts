import { BOOLEAN, COUNT, INTEGER, listOf, NUMBER, object, objectOf, optional, orNull, refTo, STRING } from "../../http/openapi/schema.ts";
import type { Latency } from "../nsqadmin/latency.ts";
import type { ChannelStats, TopicStats } from "../nsqadmin/stats.ts";

// The JSON of nsqadmin's API.

const PERCENTILE = object({
  average: NUMBER,
  count: COUNT,
  max: NUMBER,
  min: NUMBER,
  quantile: NUMBER,
  value: optional({ ...NUMBER, description: "Only of one broker" }),
});

const LATENCY = objectOf<Latency>(
  { count: COUNT, percentiles: orNull(listOf(PERCENTILE)), topic: STRING, channel: STRING, host: STRING },
  { title: "Latency", description: "ns" },
);

const CLIENT = objectOf<NonNullable<ChannelStats["clients"]>[number]>(
  {
    node: STRING,
    remote_address: STRING,
    version: STRING,
    client_id: STRING,
    hostname: STRING,
    user_agent: STRING,
    connect_ts: { ...INTEGER, description: "s since 1970" },
    connected: { ...INTEGER, description: "ns" },
    in_flight_count: INTEGER,
    ready_count: INTEGER,
    finish_count: INTEGER,
    requeue_count: INTEGER,
    message_count: INTEGER,
    sample_rate: INTEGER,
    deflate: BOOLEAN,
    snappy: BOOLEAN,
    authed: BOOLEAN,
    auth_identity: STRING,
    auth_identity_url: STRING,
    tls: BOOLEAN,
    tls_cipher_suite: STRING,
    tls_version: STRING,
    tls_negotiated_protocol: STRING,
    tls_negotiated_protocol_is_mutual: BOOLEAN,
  },
  { title: "ClientStats" },
);

const CHANNEL_MEMBERS = {
  node: { ...STRING, description: "The broker; `*`: all together" },
  hostname: STRING,
  topic_name: STRING,
  channel_name: STRING,
  depth: INTEGER,
  memory_depth: INTEGER,
  backend_depth: INTEGER,
  in_flight_count: INTEGER,
  deferred_count: INTEGER,
  requeue_count: INTEGER,
  timeout_count: INTEGER,
  message_count: INTEGER,
  client_count: INTEGER,
  nodes: orNull(listOf(refTo("ChannelStats"))),
  clients: orNull(listOf(CLIENT)),
  paused: BOOLEAN,
  e2e_processing_latency: LATENCY,
};
const CHANNEL = objectOf<ChannelStats>(CHANNEL_MEMBERS, { title: "ChannelStats" });

const TOPIC_MEMBERS = {
  node: { ...STRING, description: "The broker; `*`: all together" },
  hostname: STRING,
  topic_name: STRING,
  depth: INTEGER,
  memory_depth: INTEGER,
  backend_depth: INTEGER,
  message_count: INTEGER,
  nodes: orNull(listOf(refTo("TopicStats"))),
  channels: orNull(listOf(CHANNEL)),
  paused: BOOLEAN,
  e2e_processing_latency: LATENCY,
};
const TOPIC = objectOf<TopicStats>(TOPIC_MEMBERS, { title: "TopicStats" });

const MESSAGE = { ...STRING, description: "Empty, or what went wrong at some servers" };

/** GET /api/topics/:topic. The members that refer to each other have their schemas in the document by these. */
export const TOPIC_ANSWER = object({ ...TOPIC_MEMBERS, nodes: orNull(listOf(TOPIC)), message: MESSAGE });
/** GET /api/topics/:topic/:channel */
export const CHANNEL_ANSWER = object({ ...CHANNEL_MEMBERS, nodes: orNull(listOf(CHANNEL)), message: MESSAGE });

const NODE = object(
  {
    remote_addresses: orNull(listOf(STRING)),
    remote_address: STRING,
    hostname: STRING,
    broadcast_address: STRING,
    tcp_port: INTEGER,
    http_port: INTEGER,
    version: STRING,
    topics: orNull(listOf(object({ topic: STRING, tombstoned: BOOLEAN }))),
    out_of_date: BOOLEAN,
  },
  { title: "Node" },
);

export const NODES_ANSWER = object({ nodes: orNull(listOf(NODE)), message: MESSAGE });
export const NODE_ANSWER = object({
  node: STRING,
  topics: orNull(listOf(TOPIC)),
  total_messages: INTEGER,
  total_clients: INTEGER,
  message: MESSAGE,
});
export const TOPICS_ANSWER = object({
  topics: {
    anyOf: [listOf(STRING), { type: "null" }, { type: "object", additionalProperties: orNull(listOf(STRING)) }],
    description: "The names; with `inactive=true` by name the channels",
  },
  message: MESSAGE,
});
export const COUNTER_ANSWER = object({
  stats: {
    type: "object",
    additionalProperties: object({ node: STRING, topic_name: STRING, channel_name: STRING, message_count: INTEGER }),
    description: "By `topic:channel:broker`",
  },
  message: MESSAGE,
});
export const DONE = object({ message: MESSAGE }, { title: "Done" });
