import {
  BOOLEAN,
  COUNT,
  listOf,
  NUMBER,
  object,
  objectOf,
  oneOf,
  optional,
  orNull,
  type Schema,
  STRING,
} from "../../http/openapi/schema.ts";
import type {
  BrokerRow,
  ChannelDetail,
  ChannelOnBroker,
  ChannelRow,
  ChannelTracing,
  ClientRow,
  Finding,
  History,
  LatencyRow,
  LookupRow,
  Overview,
  Page,
  ProducerRow,
  Spark,
  TopicDetail,
  TopicOnBroker,
  TopicRow,
  TopicSettings,
} from "../console-api.ts";
import type { ChannelDelivery, PartitionRow, TopicPartitions } from "../partition-api.ts";
import { TOPIC_REPLICATION } from "./console-cluster.ts";

// The rows and details of the console's own API (../console-api.ts).

const MAYBE_NUMBER = orNull(NUMBER);
const VALUES = listOf(MAYBE_NUMBER);

const COUNTS = {
  in_rate: MAYBE_NUMBER,
  out_rate: MAYBE_NUMBER,
  finish_rate: MAYBE_NUMBER,
  requeue_rate: MAYBE_NUMBER,
  timeout_rate: MAYBE_NUMBER,
  depth: COUNT,
  backend_depth: COUNT,
  in_flight: COUNT,
  deferred: COUNT,
  message_count: COUNT,
  requeue_count: COUNT,
  timeout_count: COUNT,
  clients: COUNT,
  oldest_age_ms: MAYBE_NUMBER,
};

const DOWN = {
  down: optional({ ...STRING, description: "Why it does not answer" }),
  down_since: optional({ ...NUMBER, description: "ms since 1970" }),
};

const SERVER = {
  address: STRING,
  ...DOWN,
  unhealthy: optional(STRING),
  version: STRING,
  product: oneOf("bunsq", "nsq", ""),
};

const SPARK = objectOf<Spark>({ step_s: NUMBER, in_rate: VALUES, out_rate: VALUES, depth: VALUES }, { title: "Spark" });

const BROKER_ROW = objectOf<BrokerRow>(
  {
    ...SERVER,
    ...COUNTS,
    hostname: STRING,
    broadcast_address: STRING,
    tcp_port: NUMBER,
    http_port: NUMBER,
    topics: COUNT,
    channels: COUNT,
    producers: MAYBE_NUMBER,
    start_time: MAYBE_NUMBER,
    log_bytes: MAYBE_NUMBER,
    disk_free_bytes: MAYBE_NUMBER,
    region: STRING,
    zone: STRING,
    lookups: listOf(STRING),
    tombstones: listOf(STRING),
    draining: optional(BOOLEAN),
    spark: SPARK,
  },
  { title: "BrokerRow" },
);
const LOOKUP_ROW = objectOf<LookupRow>({ ...SERVER, brokers: COUNT, topics: COUNT }, { title: "LookupRow" });

const PARTITIONS = objectOf<TopicPartitions>(
  {
    count: COUNT,
    missing: { ...COUNT, description: "How many no broker has that answers" },
    missing_indexes: { ...STRING, description: "Which, as `1,4-6`" },
    differs: optional({ ...BOOLEAN, description: "Brokers tell different counts" }),
  },
  { title: "TopicPartitions" },
);
const TOPIC_MEMBERS = {
  ...COUNTS,
  topic: STRING,
  channels: COUNT,
  brokers: COUNT,
  paused: COUNT,
  message_bytes: MAYBE_NUMBER,
  spark: SPARK,
  inactive: optional(BOOLEAN),
  partitions: optional(PARTITIONS),
};
const TOPIC_ROW = objectOf<TopicRow>(TOPIC_MEMBERS, { title: "TopicRow" });

const CHANNEL_MEMBERS = {
  ...COUNTS,
  topic: STRING,
  channel: STRING,
  brokers: COUNT,
  paused: COUNT,
  spark: SPARK,
  order: optional(oneOf("key", "partition")),
  most_attempts: optional(COUNT),
};
const CHANNEL_ROW = objectOf<ChannelRow>(CHANNEL_MEMBERS, { title: "ChannelRow" });

const FINDING = objectOf<Finding>(
  {
    kind: oneOf(
      ...["no_consumers", "ready_0", "timeouts", "requeues", "attempts", "paused", "in_flight_full", "slow_consumer", "read_failure"],
      ...["poison", "dead_letters"],
    ),
    text: STRING,
    broker: optional(STRING),
    client: optional(STRING),
    message: optional({ ...STRING, description: "A message's id" }),
    topic: optional(STRING),
  },
  { title: "Finding" },
);

const LATENCY_ROW = objectOf<LatencyRow>(
  {
    name: oneOf("publish_to_ok", "publish_to_delivery", "delivery_to_finish", "end_to_end", "message_size"),
    unit: oneOf("ms", "bytes"),
    count: COUNT,
    bounds: listOf(NUMBER),
    counts: listOf(NUMBER),
    p50: MAYBE_NUMBER,
    p99: MAYBE_NUMBER,
  },
  { title: "LatencyRow" },
);

const CLIENT_ROW = objectOf<ClientRow>(
  {
    key: STRING,
    broker: STRING,
    topic: STRING,
    channel: STRING,
    client_id: STRING,
    hostname: STRING,
    remote_address: STRING,
    user_agent: STRING,
    ready: COUNT,
    in_flight: COUNT,
    message_count: COUNT,
    finish_count: COUNT,
    requeue_count: COUNT,
    out_rate: MAYBE_NUMBER,
    finish_rate: MAYBE_NUMBER,
    connected_at: NUMBER,
    tls: BOOLEAN,
    deflate: BOOLEAN,
    snappy: BOOLEAN,
    sample_rate: NUMBER,
    auth_identity: STRING,
    region: STRING,
    zone: STRING,
    findings: listOf(FINDING),
    tag: optional(STRING),
    filter: optional({ type: "object" }),
    order: optional(STRING),
    partition: optional(COUNT),
  },
  { title: "ClientRow" },
);

const PARTITION_ROW = objectOf<PartitionRow>(
  {
    key: STRING,
    partition: COUNT,
    broker: { ...STRING, description: "Empty: no broker that answers has it" },
    hostname: STRING,
    down: optional({ ...listOf(STRING), description: "Brokers that are down and had it" }),
    role: optional(oneOf("leader", "follower", "out")),
    depth: COUNT,
    in_flight: COUNT,
    deferred: COUNT,
    blocked: COUNT,
    message_count: COUNT,
    message_bytes: MAYBE_NUMBER,
    log_bytes: MAYBE_NUMBER,
  },
  { title: "PartitionRow" },
);

const PRODUCER_ROW = objectOf<ProducerRow>(
  {
    key: STRING,
    broker: STRING,
    client_id: STRING,
    hostname: STRING,
    remote_address: STRING,
    user_agent: STRING,
    connected_at: NUMBER,
    published: listOf(object({ topic: STRING, count: COUNT })),
    count: COUNT,
    rate: MAYBE_NUMBER,
    errors: MAYBE_NUMBER,
  },
  { title: "ProducerRow" },
);

const WORST = listOf(CHANNEL_ROW);
export const OVERVIEW = objectOf<Overview>({
  ...COUNTS,
  brokers: listOf(BROKER_ROW),
  lookups: listOf(LOOKUP_ROW),
  topics: COUNT,
  channels: COUNT,
  worst: objectOf<Overview["worst"]>({ depth: WORST, oldest_age_ms: WORST, timeout_rate: WORST, requeue_rate: WORST }),
  at_risk: optional(object({ critical: COUNT, warning: COUNT })),
  spark: SPARK,
});

export const BROKERS = pageOf(BROKER_ROW);
export const LOOKUPS = pageOf(LOOKUP_ROW);
export const TOPICS = pageOf(TOPIC_ROW);
export const CHANNELS = pageOf(CHANNEL_ROW);
export const PARTITION_ROWS = pageOf(PARTITION_ROW);
export const CLIENTS = pageOf(CLIENT_ROW);
export const PRODUCERS = pageOf(PRODUCER_ROW);

const ON_BROKER = { ...COUNTS, ...DOWN, broker: STRING, hostname: STRING, paused: BOOLEAN };

export const TOPIC_DETAIL = objectOf<TopicDetail>({
  ...TOPIC_MEMBERS,
  by_broker: listOf(objectOf<TopicOnBroker>({ ...ON_BROKER, message_bytes: MAYBE_NUMBER, tombstoned: BOOLEAN })),
  channel_rows: listOf(CHANNEL_ROW),
  settings: optional(
    objectOf<TopicSettings>({
      durability: STRING,
      retention_time: STRING,
      retention_bytes: COUNT,
      is_default_retention: BOOLEAN,
      log_bytes: COUNT,
      oldest: orNull(STRING),
      traced: BOOLEAN,
      traced_channels: listOf(STRING),
      differs: BOOLEAN,
    }),
  ),
  latency: listOf(LATENCY_ROW),
  replication: optional(TOPIC_REPLICATION),
});

export const CHANNEL_DETAIL = objectOf<ChannelDetail>({
  ...CHANNEL_MEMBERS,
  by_broker: listOf(objectOf<ChannelOnBroker>({ ...ON_BROKER, read_failure: optional(STRING) })),
  latency: listOf(LATENCY_ROW),
  findings: listOf(FINDING),
  trace: optional(objectOf<ChannelTracing>({ brokers: COUNT, own: COUNT, with_topic: COUNT })),
  delivery: optional(
    objectOf<ChannelDelivery>({
      order: oneOf("none", "key", "partition"),
      filter: orNull({ type: "object" }),
      max_attempts: COUNT,
      dead_letter_topic: STRING,
      limits: objectOf<ChannelDelivery["limits"]>({
        skip: BOOLEAN,
        skip_zan_test: BOOLEAN,
        client_limits: listOf(object({ prefix: STRING, ready: COUNT })),
        rate_limit: COUNT,
        rate_limit_kb: COUNT,
      }),
      differs: BOOLEAN,
      blocked: COUNT,
      filtered: COUNT,
      dead_letters: COUNT,
      most_tried: orNull(object({ id: STRING, attempts: COUNT, broker: STRING })),
    }),
  ),
  partitions: optional(PARTITIONS),
});

export const HISTORY = objectOf<History>({
  from: { ...NUMBER, description: "The time of the first value, ms since 1970" },
  step_s: NUMBER,
  series: objectOf<History["series"]>({
    depth: VALUES,
    in_rate: VALUES,
    out_rate: VALUES,
    in_flight: VALUES,
    deferred: VALUES,
    requeue_rate: VALUES,
    timeout_rate: VALUES,
  }),
});

function pageOf(row: Schema): Schema {
  return objectOf<Page<unknown>>({ rows: listOf(row), total: COUNT, offset: COUNT });
}
