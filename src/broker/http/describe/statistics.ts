import {
  BOOLEAN,
  COUNT,
  INTEGER,
  listOf,
  NUMBER,
  object,
  objectOf,
  oneOf,
  optional,
  orNull,
  type Schema,
  STRING,
} from "../../../http/openapi/schema.ts";
import type { LatencyStats } from "../../latency/percentiles.ts";
import type { ReplicaStats } from "../../metrics/cluster-report.ts";
import type { LatencyFigures, RateFigures } from "../../metrics/figures.ts";
import type { PartitionChannelStats, PartitionStats } from "../../metrics/partition-stats.ts";
import type { ChannelStats, ClientStats, MemoryStats, PublishedCount, TopicStats } from "../../metrics/stats.ts";
import { LIMIT_SETTINGS } from "./limits.ts";

// The JSON of GET /stats.

const RATE = listOf(NUMBER);
const RATES = objectOf<RateFigures>(
  { in: RATE, out: RATE, finish: RATE, requeue: RATE, timeout: RATE },
  { title: "Rates", description: "per second: in the last second, and averaged over about 1 and 5 minutes" },
);

const HISTOGRAM = objectOf<LatencyFigures>(
  {
    name: oneOf("publish_to_ok", "publish_to_delivery", "delivery_to_finish", "fsync", "message_size"),
    unit: oneOf("ms", "bytes"),
    count: COUNT,
    sum: NUMBER,
    bounds: listOf(NUMBER),
    counts: listOf(COUNT),
  },
  { title: "Histogram" },
);

/** With bunsq=true only. */
const FIGURES = { rates: optional(RATES), oldest_age_ms: optional(orNull(NUMBER)), latency: optional(listOf(HISTOGRAM)) };

const LATENCY = objectOf<LatencyStats>(
  { count: COUNT, percentiles: orNull(listOf(object({ quantile: NUMBER, value: { ...NUMBER, description: "ns" } }))) },
  { title: "Latency" },
);

const CLIENT = objectOf<ClientStats>(
  {
    client_id: STRING,
    hostname: STRING,
    version: oneOf("V2"),
    remote_address: STRING,
    state: INTEGER,
    ready_count: COUNT,
    limited_rdy: optional({ ...COUNT, description: "The most that `ready_count` can be, by `/channel/setclientlimit`" }),
    in_flight_count: COUNT,
    message_count: COUNT,
    finish_count: COUNT,
    requeue_count: COUNT,
    connect_ts: { ...COUNT, description: "s since 1970" },
    sample_rate: COUNT,
    deflate: BOOLEAN,
    snappy: BOOLEAN,
    user_agent: STRING,
    authed: optional(BOOLEAN),
    auth_identity: optional(STRING),
    auth_identity_url: optional(STRING),
    topology_region: optional(STRING),
    topology_zone: optional(STRING),
    pub_counts: optional(listOf(objectOf<PublishedCount>({ topic: STRING, count: COUNT }))),
    desired_tag: optional(STRING),
    ext_filter: optional({ type: "object" }),
    channel_order: optional(oneOf("none", "key", "partition")),
    partition: optional({ ...COUNT, description: "The only partition that it consumes" }),
    tls: BOOLEAN,
    tls_cipher_suite: STRING,
    tls_version: STRING,
    tls_negotiated_protocol: STRING,
    tls_negotiated_protocol_is_mutual: BOOLEAN,
    publish_errors: optional(COUNT),
  },
  { title: "ClientStats" },
);

const CHANNEL_COUNTS = {
  channel_name: STRING,
  depth: COUNT,
  backend_depth: COUNT,
  in_flight_count: COUNT,
  deferred_count: COUNT,
  message_count: COUNT,
  requeue_count: COUNT,
  timeout_count: COUNT,
};
const CHANNEL = objectOf<ChannelStats>(
  {
    ...CHANNEL_COUNTS,
    client_count: COUNT,
    clients: orNull(listOf(CLIENT)),
    paused: BOOLEAN,
    zone_local_msg_count: optional(COUNT),
    region_local_msg_count: optional(COUNT),
    global_msg_count: optional(COUNT),
    e2e_processing_latency: LATENCY,
    read_failure: optional(STRING),
    delivery: optional({
      ...object({
        order: optional(STRING),
        filter: optional({ type: "object" }),
        max_attempts: optional(COUNT),
        dead_letter_topic: optional(STRING),
        skip: optional(LIMIT_SETTINGS.skip),
        skip_zan_test: optional(LIMIT_SETTINGS.skip_zan_test),
        client_limits: optional(LIMIT_SETTINGS.client_limits),
        rate_limit: optional(LIMIT_SETTINGS.rate_limit),
        rate_limit_kb: optional(LIMIT_SETTINGS.rate_limit_kb),
        blocked_count: COUNT,
        filtered_count: COUNT,
        dead_letter_count: COUNT,
        most_tried: optional(object({ id: STRING, attempts: COUNT })),
      }),
      description: "Of a channel that chooses its messages, or is held back (docs/order.md)",
    }),
    ...FIGURES,
    backlog_bytes: optional(COUNT),
  },
  { title: "ChannelStats" },
);

const PARTITION_CHANNEL = objectOf<PartitionChannelStats>({
  ...CHANNEL_COUNTS,
  blocked_count: optional(COUNT),
});
const PARTITION = objectOf<PartitionStats>(
  {
    partition: COUNT,
    depth: COUNT,
    backend_depth: COUNT,
    message_count: COUNT,
    message_bytes: COUNT,
    log_bytes: COUNT,
    channels: listOf(PARTITION_CHANNEL),
  },
  { title: "PartitionStats", description: "The keys are those of topics and channels" },
);

const REPLICA = objectOf<ReplicaStats>(
  {
    partition: COUNT,
    role: oneOf("leader", "follower", "out"),
    epoch: COUNT,
    leader: { ...STRING, description: "HTTP address of the broker that leads, or the uid of its data path; empty: none does" },
    replicas: COUNT,
    in_sync: COUNT,
    lag_messages: orNull(COUNT),
    lag_bytes: orNull(COUNT),
    lag_ms: orNull(COUNT),
  },
  { title: "ReplicaStats", description: "The lag is that of the follower that is farthest behind, or at a follower its own" },
);

const TOPIC = objectOf<TopicStats>(
  {
    topic_name: STRING,
    channels: listOf(CHANNEL),
    depth: COUNT,
    backend_depth: COUNT,
    message_count: COUNT,
    message_bytes: COUNT,
    paused: BOOLEAN,
    e2e_processing_latency: LATENCY,
    corrupt_regions: optional(COUNT),
    partition_num: optional({ ...COUNT, description: "Of a topic with several partitions: how many it has, at all brokers together" }),
    partitions_here: optional({ ...STRING, description: "Which of them this broker has, as `0-2,5`; left out if it has all" }),
    partitions: optional(listOf(PARTITION)),
    replicas: optional({ ...listOf(REPLICA), description: "At a broker of a cluster: its partitions that other brokers have, too" }),
    ...FIGURES,
    log_bytes: optional(COUNT),
    traced: optional(BOOLEAN),
  },
  { title: "TopicStats" },
);

const MEMORY = objectOf<MemoryStats>(
  {
    heap_objects: COUNT,
    heap_idle_bytes: INTEGER,
    heap_in_use_bytes: COUNT,
    heap_released_bytes: COUNT,
    gc_pause_usec_100: COUNT,
    gc_pause_usec_99: COUNT,
    gc_pause_usec_95: COUNT,
    next_gc_bytes: COUNT,
    gc_total_runs: COUNT,
  },
  { title: "MemoryStats" },
);

export const STATS: Schema = object(
  {
    version: STRING,
    health: STRING,
    start_time: { ...COUNT, description: "s since 1970" },
    topics: orNull(listOf(TOPIC)),
    memory: optional(MEMORY),
    producers: orNull(listOf(CLIENT)),
    connections: optional(object({ open: COUNT, refused: COUNT })),
    http_connections: optional(object({ open: COUNT, refused: COUNT, closed_idle: COUNT })),
    corrupt_files: optional({ type: "object", additionalProperties: COUNT }),
    bunsq_version: STRING,
    read_failures: optional(listOf(object({ waiting: STRING, error: STRING }))),
    ...FIGURES,
    log_bytes: optional(COUNT),
    disk_free_bytes: optional(orNull(COUNT)),
    producer_count: optional(COUNT),
    publish_errors: optional(COUNT),
    draining: optional({ ...BOOLEAN, description: "It is being drained, and ends" }),
  },
  { title: "Stats" },
);
