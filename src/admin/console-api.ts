/**
 * The console's own HTTP API, `/api/v1/…`: what the server answers and the page asks for. Both import these types, so that
 * neither can change without the other. nsqadmin's API, `/api/…`, stands beside it (docs/compatibility.md).
 *
 * Names are in snake_case, as in all of NSQ's JSON. Times are ms since 1970, durations have their unit in the name, rates are
 * per second. An error is `{"message": CODE, "detail"?: text}`. What a broker cannot tell (Go's nsqd has no rates of its own and
 * no look into its queues) is null or left out, never 0. Messages are in message-api.ts, partitions and how channels deliver in
 * partition-api.ts.
 */

import type { TopicReplication } from "./cluster-api.ts";
import type { ChannelDelivery, ClientWishes, TopicPartitions } from "./partition-api.ts";

/** A part of a list that the server has sorted, filtered and cut. */
export interface Page<Row> {
  rows: Row[];
  /** The rows that fit the filter, on all pages. */
  total: number;
  offset: number;
}

/** `GET …?sort=-depth&filter=orders&offset=0&limit=100`: a `-` sorts downwards; a filter is looked for in the row's names. */
export interface PageQuery {
  sort?: string;
  filter?: string;
  offset?: number;
  /** At most 1,000. */
  limit?: number;
}

/** A server that is watched. `down` is why it does not answer; undefined if it does. */
export interface ServerState {
  /** `host:port` of its HTTP API: its key in every list and path. */
  address: string;
  down?: string;
  /** Since when it does not answer, as far as the console has seen. */
  down_since?: number;
  /** What its /ping says, if that is not OK. */
  unhealthy?: string;
  version: string;
  /** Whether it is Go's nsqd or nsqlookupd, or bunsq. */
  product: "bunsq" | "nsq" | "";
}

export interface Rates {
  /** Messages published per second. */
  in_rate: number | null;
  /** Messages delivered per second. */
  out_rate: number | null;
  finish_rate: number | null;
  requeue_rate: number | null;
  timeout_rate: number | null;
}

/** What topics, channels and brokers have alike. */
export interface Counts extends Rates {
  depth: number;
  backend_depth: number;
  in_flight: number;
  deferred: number;
  message_count: number;
  requeue_count: number;
  timeout_count: number;
  clients: number;
  /** Age of the oldest message that waits, ms. Null if nothing waits or the broker does not tell. */
  oldest_age_ms: number | null;
}

/** `GET /api/v1/overview` */
export interface Overview extends Counts {
  brokers: BrokerRow[];
  lookups: LookupRow[];
  topics: number;
  channels: number;
  /** The worst ten channels by each measure. */
  worst: Record<"depth" | "oldest_age_ms" | "timeout_rate" | "requeue_rate", ChannelRow[]>;
  /** The last two minutes of all rates in and out, one value every poll: for sparklines. */
  spark: Spark;
  /** How much of a replicated cluster is at risk; left out without one. */
  at_risk?: { critical: number; warning: number };
}

/** Values at equal steps up to now; null where nothing was measured. */
export interface Spark {
  step_s: number;
  in_rate: (number | null)[];
  out_rate: (number | null)[];
  depth: (number | null)[];
}

/** `GET /api/v1/brokers` → Page<BrokerRow> */
export interface BrokerRow extends ServerState, Counts {
  hostname: string;
  broadcast_address: string;
  tcp_port: number;
  http_port: number;
  topics: number;
  channels: number;
  producers: number | null;
  start_time: number | null;
  /** Bytes of the data path, and bytes free on its file system. */
  log_bytes: number | null;
  disk_free_bytes: number | null;
  region: string;
  zone: string;
  /** The lookups that list it. */
  lookups: string[];
  /** Topics for which it is tombstoned. */
  tombstones: string[];
  /** It is being drained: it takes no new consumers and publishes, and ends. */
  draining?: true;
  spark: Spark;
}

/** `GET /api/v1/lookups` → Page<LookupRow> */
export interface LookupRow extends ServerState {
  brokers: number;
  topics: number;
}

/** `GET /api/v1/topics?broker=` → Page<TopicRow>; with a broker only its topics, with its figures alone */
export interface TopicRow extends Counts {
  topic: string;
  channels: number;
  brokers: number;
  /** How many of its brokers have paused it. */
  paused: number;
  message_bytes: number | null;
  spark: Spark;
  /** Only a lookup knows it: no broker has it. */
  inactive?: true;
  /** Left out for a topic with one. */
  partitions?: TopicPartitions;
}

/** `GET /api/v1/topics/:topic` */
export interface TopicDetail extends TopicRow {
  by_broker: TopicOnBroker[];
  channel_rows: ChannelRow[];
  /** Undefined for Go's nsqd. */
  settings?: TopicSettings;
  latency: LatencyRow[];
  /** Left out for a topic that is none of a cluster's. */
  replication?: TopicReplication;
}

/** A topic or channel at one broker. If that is `down`, the figures are its last ones, without rates, and no sum has them. */
interface OnBroker extends Counts, Pick<ServerState, "down" | "down_since"> {
  broker: string;
  hostname: string;
  paused: boolean;
}

export interface TopicOnBroker extends OnBroker {
  message_bytes: number | null;
  tombstoned: boolean;
}

/** What a bunsq broker keeps of a topic; where brokers differ, the first one's, and `differs`. */
export interface TopicSettings {
  durability: string;
  retention_time: string;
  retention_bytes: number;
  is_default_retention: boolean;
  log_bytes: number;
  oldest: string | null;
  traced: boolean;
  /** Channels that are traced by themselves, at any broker; a hundred at most. */
  traced_channels: string[];
  differs: boolean;
}

/** `GET /api/v1/channels?topic=&broker=` → Page<ChannelRow>; both may be left out. With a broker: its figures alone */
export interface ChannelRow extends Counts {
  topic: string;
  channel: string;
  brokers: number;
  paused: number;
  spark: Spark;
  /** Left out if it has none. */
  order?: "key" | "partition";
  /** Attempts of the unfinished message that was delivered most often, of those that were delivered again. */
  most_attempts?: number;
}

/** `GET /api/v1/topics/:topic/:channel` */
export interface ChannelDetail extends ChannelRow {
  by_broker: ChannelOnBroker[];
  latency: LatencyRow[];
  /** Why consumers are slow, the gravest reason first. */
  findings: Finding[];
  /** Undefined for Go's nsqd. */
  trace?: ChannelTracing;
  /** Undefined for Go's nsqd. */
  delivery?: ChannelDelivery;
  /** Those of its topic; left out if that has one. */
  partitions?: TopicPartitions;
}

/** On how many of the brokers that can trace a channel's messages are traced: by itself, and with its topic. */
export interface ChannelTracing {
  brokers: number;
  own: number;
  with_topic: number;
}

export interface ChannelOnBroker extends OnBroker {
  /** Why its messages wait: a file cannot be read. */
  read_failure?: string;
}

/** Something that an operator should look at. */
export interface Finding {
  kind:
    | "no_consumers"
    | "ready_0"
    | "timeouts"
    | "requeues"
    | "attempts"
    | "paused"
    | "in_flight_full"
    | "slow_consumer"
    | "read_failure"
    | "poison"
    | "dead_letters";
  /** A sentence with the figures. */
  text: string;
  broker?: string;
  client?: string;
  /** The id of the message that it is about. */
  message?: string;
  /** The topic that it is about. */
  topic?: string;
}

/** A distribution that a broker has measured. Bounds are upper bounds, in `unit`; the last bucket has none. */
export interface LatencyRow {
  name: "publish_to_ok" | "publish_to_delivery" | "delivery_to_finish" | "end_to_end" | "message_size";
  unit: "ms" | "bytes";
  count: number;
  bounds: number[];
  /** One more than bounds. */
  counts: number[];
  p50: number | null;
  p99: number | null;
}

/** `GET /api/v1/clients?topic=&channel=&broker=` → Page<ClientRow>; each of the three may be left out */
export interface ClientRow extends ClientWishes {
  /** `broker|remote address|topic|channel` */
  key: string;
  broker: string;
  topic: string;
  channel: string;
  client_id: string;
  hostname: string;
  remote_address: string;
  user_agent: string;
  ready: number;
  in_flight: number;
  message_count: number;
  finish_count: number;
  requeue_count: number;
  out_rate: number | null;
  finish_rate: number | null;
  connected_at: number;
  tls: boolean;
  deflate: boolean;
  snappy: boolean;
  sample_rate: number;
  auth_identity: string;
  region: string;
  zone: string;
  findings: Finding[];
}

/** `GET /api/v1/producers?topic=&broker=` → Page<ProducerRow> */
export interface ProducerRow {
  key: string;
  broker: string;
  client_id: string;
  hostname: string;
  remote_address: string;
  user_agent: string;
  connected_at: number;
  published: { topic: string; count: number }[];
  count: number;
  rate: number | null;
  /** Publishes that were refused. Null where the broker does not count them. */
  errors: number | null;
}

/** `GET /api/v1/history?topic=&channel=&range=1h|24h`: no topic: all together; no channel: the topic. */
export interface History {
  /** The time of the first value. */
  from: number;
  step_s: number;
  series: Record<"depth" | "in_rate" | "out_rate" | "in_flight" | "deferred" | "requeue_rate" | "timeout_rate", (number | null)[]>;
}

/**
 * `GET /api/v1/stream?view=PATH`: server-sent events. PATH is the path and query of one of the calls above, from behind
 * `/api/v1` (`/topics?sort=-depth&limit=100`), URL-encoded; several `view`s may be given. First a `full` event for each view,
 * then a `delta` after each poll that changed it, and an `activity` for each action of anybody. A view that there is not, such as that
 * of a deleted topic, gets an `error` instead: what a GET of it answers. On the wire, `event:` is the event and `data:` the rest of it
 * as JSON, `{"view", "data"}`. The server ends a stream whose user may no longer see it.
 */
export type StreamEvent =
  | { event: "full"; view: string; data: unknown }
  | { event: "delta"; view: string; data: Delta }
  | { event: "error"; view: string; data: { status: number; message: string; detail?: string } }
  | { event: "activity"; data: Activity };

/** What has changed of a view. A page's rows are merged by their keys, everything else replaces the member of its name. */
export interface Delta {
  /** Rows that are new or changed, whole. */
  rows?: unknown[];
  /** The keys of all rows in their order, if that has changed. A row's key: its `key`, `address`, or `topic` and `channel` with a space. */
  order?: string[];
  /** Other members that have changed. */
  set?: Record<string, unknown>;
}

/** `POST /api/v1/actions` `{…}` */
export interface ActionRequest {
  action:
    | "create"
    | "delete"
    | "pause"
    | "unpause"
    | "empty"
    | "tombstone"
    | "seek"
    | "retention"
    | "durability"
    | "trace"
    | "expand"
    | "delivery"
    | "drain"
    | "move"
    | "lead"
    | "replicas"
    | "remove_node"
    | "keep_node"
    | "balance";
  topic?: string;
  channel?: string;
  /** One broker's address; left out: all that have the topic. */
  broker?: string;
  /** seek: a log position. */
  to?: string;
  /**
   * retention: `{time?, bytes?}` or `{default: true}`; durability: `{value}`; trace: `{on}`; create: `{partitions?}` of a topic; expand:
   * `{partitions}`; delivery, and create of a channel: `{order?, filter?, max_attempts?, dead_letter_topic?}`, the filter as JSON, empty
   * for none. Of a cluster: move: `{partition, from, to}`, lead: `{partition, to}`, with uids or addresses of brokers; replicas: `{replicas}`.
   */
  value?: Record<string, string | number | boolean>;
  /**
   * delete, empty, tombstone, seek, expand, drain, remove_node: the name of the topic, of the channel if it is about one, or of the broker;
   * else 400 NOT_CONFIRMED.
   */
  confirm?: string;
  /** seek: only say what would change. */
  preview?: boolean;
}

export interface ActionResult {
  /** Whether all servers that can do it have done it, at least one. */
  ok: boolean;
  /** `unsupported`: the server does not know the action, as Go's nsqd those that are bunsq's own; then it has not failed. */
  results: { server: string; ok: boolean; message: string; unsupported?: true }[];
  /** seek with preview: how many messages the channel would have and has, by broker. With several partitions there is no one place. */
  preview?: { broker: string; from: number | null; to: number | null; depth: number; new_depth: number }[];
}

/** One line of the audit log. `GET /api/v1/activity?limit=` → `{activity: Activity[]}`, newest first. */
export interface Activity {
  time: number;
  user: string;
  /** Address of the client. */
  from: string;
  action: string;
  topic: string;
  channel: string;
  server: string;
  ok: boolean;
  detail: string;
}

/** `GET /api/v1/session`; `POST {user, password}` or `{token}` logs in; `DELETE` logs out. */
export interface Session {
  /** Empty if nobody has to log in. */
  user: string;
  needs_login: boolean;
  /** Whether a password can be given here. */
  can_login: boolean;
  /** Roles by topic pattern: `{"*": "admin"}`. */
  roles: Record<string, "viewer" | "operator" | "admin">;
  version: string;
  graphite_url: string;
  /** Graphite's names of the statistics: nsqadmin's --statsd-prefix, counter and gauge formats, and the interval in s. */
  statsd: { prefix: string; counter_format: string; gauge_format: string; interval_s: number };
  /** The brokers are those of a replicated cluster. */
  cluster: boolean;
  /** ms between two polls of the brokers. */
  poll_ms: number;
}
