import type {
  Activity,
  BrokerRow,
  ChannelDetail,
  ChannelRow,
  ClientRow,
  Counts,
  Finding,
  History,
  LatencyRow,
  LookupRow,
  Overview,
  ProducerRow,
  Spark,
  TopicDetail,
  TopicRow,
} from "../../../../src/admin/console-api.ts";

import { DELIVERY, ORDER_FINDINGS, ORDERED_CHANNEL, PARTITIONS, PLAIN_DELIVERY, SPLIT_TOPIC } from "./fake-partitions.ts";

/** Between 0 and 1, always the same for the same number. */
export function noise(seed: number): number {
  const x = Math.sin(seed * 127.1 + 11.7) * 43758.5453;
  return x - Math.floor(x);
}

const whole = (seed: number, limit: number) => Math.floor(noise(seed) * limit);

/** When the cluster was made: ages in it are as of then. */
const START_MS = Date.now();
const SPARK_VALUES = 24;
const HOUR_MS = 3_600_000;
const TOPIC_NAMES = [
  "orders",
  "payments",
  "invoices",
  "shipments",
  "emails",
  "clicks",
  "audit",
  "images.resize",
  "search-index",
  "sessions#ephemeral",
];
const CHANNEL_NAMES = ["billing", "archive", "warehouse", "metrics", "fraud-check"];
const HOSTS = ["nsq-a", "nsq-b", "nsq-c"];
const AGENTS = ["go-nsq/1.1.0", "nsqjs/0.13.0", "bunsq-client/0.1.0"];

/** How large the cluster is. */
export interface ClusterSize {
  topics: number;
  clients: number;
  /** How many partitions the replicated cluster of its brokers has; left out: they are alone. */
  partitions?: number;
}

function spark(seed: number, scale: number): Spark {
  const series = (offset: number, size: number) =>
    Array.from({ length: SPARK_VALUES }, (_, at) =>
      Math.round(size * (0.6 + 0.25 * Math.sin(at / 3 + seed) + 0.15 * noise(seed + at + offset))),
    );
  return { step_s: 5, in_rate: series(1, scale), out_rate: series(2, scale * 0.96), depth: series(3, scale * 4) };
}

function counts(seed: number, scale: number): Counts {
  return {
    in_rate: scale * (0.8 + noise(seed) * 0.4),
    out_rate: scale * (0.7 + noise(seed + 1) * 0.4),
    finish_rate: scale * (0.7 + noise(seed + 2) * 0.4),
    requeue_rate: seed % 4 === 0 ? noise(seed + 3) * 6 : 0,
    timeout_rate: seed % 7 === 0 ? noise(seed + 4) * 2 : 0,
    depth: whole(seed + 5, scale * 40),
    backend_depth: whole(seed + 5, scale * 30),
    in_flight: whole(seed + 6, 200),
    deferred: whole(seed + 7, 40),
    message_count: 1_000_000 + whole(seed + 8, scale * 100_000),
    requeue_count: whole(seed + 9, 9000),
    timeout_count: whole(seed + 10, 500),
    clients: 1 + whole(seed + 11, 24),
    oldest_age_ms: seed % 5 === 0 ? null : whole(seed + 12, 900_000),
  };
}

/** What one of two brokers has of the figures of both. */
function share(both: Counts, at: number): Counts {
  const part = (value: number) => (at === 0 ? Math.floor(value * 0.6) : value - Math.floor(value * 0.6));
  const measured = (value: number | null) => (value === null ? null : value * (at === 0 ? 0.6 : 0.4));
  return {
    in_rate: measured(both.in_rate),
    out_rate: measured(both.out_rate),
    finish_rate: measured(both.finish_rate),
    requeue_rate: measured(both.requeue_rate),
    timeout_rate: measured(both.timeout_rate),
    depth: part(both.depth),
    backend_depth: part(both.backend_depth),
    in_flight: part(both.in_flight),
    deferred: part(both.deferred),
    message_count: part(both.message_count),
    requeue_count: part(both.requeue_count),
    timeout_count: part(both.timeout_count),
    clients: part(both.clients),
    oldest_age_ms: both.oldest_age_ms,
  };
}

const LATENCIES: readonly [LatencyRow["name"], LatencyRow["unit"], number[]][] = [
  ["publish_to_ok", "ms", [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25]],
  ["publish_to_delivery", "ms", [0.5, 1, 2.5, 5, 10, 25, 100, 500, 2500]],
  ["delivery_to_finish", "ms", [1, 2.5, 5, 10, 25, 100, 500, 2500, 10000, 60000]],
  ["message_size", "bytes", [64, 256, 1024, 4096, 16384, 65536, 262144]],
];

function latency(seed: number): LatencyRow[] {
  return LATENCIES.map(([name, unit, bounds], at) => {
    const peak = 1 + whole(seed + at, bounds.length - 3);
    const buckets = [...bounds, 0].map((_, bucket) => Math.floor(90_000 * Math.exp(-((bucket - peak) ** 2) / 1.6)));
    return {
      name,
      unit,
      bounds,
      counts: buckets,
      count: buckets.reduce((sum, value) => sum + value, 0),
      p50: bounds[peak] ?? null,
      p99: bounds[peak + 2] ?? null,
    };
  });
}

/** A cluster that is always the same: three brokers, one of them down, two lookup servers, topics with one to five channels. */
export class FakeCluster {
  readonly topics: TopicRow[];
  readonly channels: ChannelRow[];
  readonly brokers: BrokerRow[];
  readonly lookups: LookupRow[];
  readonly clients: ClientRow[];
  readonly producers: ProducerRow[];
  readonly activity: Activity[] = [];

  constructor({ topics, clients }: ClusterSize) {
    this.brokers = HOSTS.map((host, at) => broker(host, at));
    this.lookups = ["lookup-1:4161", "lookup-2:4161"].map((address, at) => ({
      address,
      version: at === 0 ? "0.1.0" : "",
      product: at === 0 ? ("bunsq" as const) : ("" as const),
      brokers: 2,
      topics,
      ...(at === 0 ? {} : { down: "connect ECONNREFUSED 10.0.3.12:4161" }),
    }));
    this.topics = Array.from({ length: topics }, (_, at) => topic(at));
    this.channels = this.topics.flatMap((row, at) =>
      CHANNEL_NAMES.slice(0, row.channels).map((name, index) => ({
        ...counts(at * 7 + index, 40 + whole(at, 900)),
        topic: row.topic,
        channel: name,
        brokers: 2,
        paused: at === 2 && index === 0 ? 1 : 0,
        spark: spark(at * 7 + index, 300),
        ...(row.topic === SPLIT_TOPIC && name === ORDERED_CHANNEL ? { order: "key" as const, most_attempts: 12 } : {}),
      })),
    );
    this.clients = Array.from({ length: clients }, (_, at) => this.client(at));
    this.producers = Array.from({ length: 40 }, (_, at) => this.producer(at));
    for (let at = 0; at < 30; at++) this.activity.push(this.action(START_MS - (at + 1) * 1_400_000, at));
  }

  overview(): Overview {
    const by = (name: "depth" | "oldest_age_ms" | "timeout_rate" | "requeue_rate") =>
      this.channels.toSorted((a, b) => (b[name] ?? 0) - (a[name] ?? 0)).slice(0, 10);
    return {
      ...counts(1, 18_000),
      depth: 1_284_112,
      oldest_age_ms: 754_000,
      timeout_rate: 1.4,
      brokers: this.brokers,
      lookups: this.lookups,
      topics: this.topics.length,
      channels: this.channels.length,
      clients: this.clients.length,
      worst: { depth: by("depth"), oldest_age_ms: by("oldest_age_ms"), timeout_rate: by("timeout_rate"), requeue_rate: by("requeue_rate") },
      spark: spark(3, 18_000),
    };
  }

  topic(name: string): TopicDetail | undefined {
    const row = this.topics.find((known) => known.topic === name);
    if (row === undefined) return undefined;
    const seed = this.topics.indexOf(row);
    return {
      ...row,
      by_broker: this.brokers.slice(0, 2).map(({ address, hostname }, at) => ({
        ...share(row, at),
        broker: address,
        hostname,
        paused: false,
        message_bytes: 48_000_000 + seed,
        tombstoned: at === 1 && seed === 1,
      })),
      channel_rows: this.channels.filter((channel) => channel.topic === name),
      settings: {
        durability: "write",
        retention_time: "48h",
        retention_bytes: 10_000_000_000,
        is_default_retention: false,
        log_bytes: 4_812_000_000,
        oldest: "2026-11-26T08:00:00Z",
        traced: seed === 0,
        traced_channels: [],
        differs: false,
      },
      latency: latency(seed),
    };
  }

  channel(topicName: string, name: string): ChannelDetail | undefined {
    const row = this.channels.find((known) => known.topic === topicName && known.channel === name);
    if (row === undefined) return undefined;
    const seed = this.channels.indexOf(row);
    const isOrdered = topicName === SPLIT_TOPIC && name === ORDERED_CHANNEL;
    return {
      ...row,
      by_broker: this.brokers.slice(0, 2).map(({ address, hostname }, at) => ({
        ...share(row, at),
        broker: address,
        hostname,
        paused: false,
        ...(at === 1 && seed === 1 ? { read_failure: "orders.000017.log: EIO: i/o error, read" } : {}),
      })),
      latency: latency(seed + 1),
      findings: isOrdered ? [...ORDER_FINDINGS] : FINDINGS,
      trace: { brokers: 2, own: seed === 0 ? 2 : 0, with_topic: 0 },
      delivery: isOrdered ? DELIVERY : PLAIN_DELIVERY,
      ...(topicName === SPLIT_TOPIC ? { partitions: PARTITIONS } : {}),
    };
  }

  history(range: string): History {
    const stepS = range === "24h" ? 60 : 10;
    const length = range === "24h" ? 1440 : 360;
    const series = (seed: number, size: number) =>
      Array.from({ length }, (_, at) =>
        at < length / 20 ? null : size * (1 + 0.4 * Math.sin(at / (length / 9) + seed) + 0.2 * noise(at + seed)),
      );
    return {
      from: Date.now() - length * stepS * 1000,
      step_s: stepS,
      series: {
        depth: series(1, 4000),
        in_rate: series(2, 900),
        out_rate: series(3, 880),
        in_flight: series(4, 180),
        deferred: series(5, 40),
        requeue_rate: series(6, 14),
        timeout_rate: series(7, 2),
      },
    };
  }

  action(time: number, seed: number): Activity {
    const row = this.channels[seed % this.channels.length];
    return {
      time,
      user: ["ada", "grace", ""][seed % 3] ?? "",
      from: `10.0.9.${seed % 200}`,
      action: ["pause_channel", "unpause_channel", "empty_channel", "create_topic", "seek_channel", "requeue_messages"][seed % 6] ?? "",
      topic: row?.topic ?? "",
      channel: seed % 6 === 3 ? "" : (row?.channel ?? ""),
      server: seed % 2 === 0 ? "nsq-a:4151" : "",
      ok: seed % 9 !== 4,
      detail: seed % 9 === 4 ? "nsq-c:4151: connect ECONNREFUSED" : "",
    };
  }

  private client(at: number): ClientRow {
    const row = this.channels[at % this.channels.length];
    const isIdle = at % 11 === 3;
    return {
      key: `client ${at}`,
      broker: this.brokers[at % 2]?.address ?? "",
      topic: row?.topic ?? "",
      channel: row?.channel ?? "",
      client_id: `worker-${String(at).padStart(5, "0")}`,
      hostname: `worker-${at}.internal`,
      remote_address: `10.1.${Math.floor(at / 250) % 250}.${at % 250}:${40_000 + (at % 20_000)}`,
      user_agent: AGENTS[at % 3] ?? "",
      ready: isIdle ? 0 : 20,
      in_flight: isIdle ? 0 : whole(at, 20),
      message_count: whole(at + 1, 900_000),
      finish_count: whole(at + 1, 890_000),
      requeue_count: whole(at + 2, 900),
      out_rate: isIdle ? 0 : noise(at) * 40,
      finish_rate: isIdle ? 0 : noise(at) * 38,
      connected_at: START_MS - whole(at + 3, 400) * 60_000,
      tls: at % 5 === 0,
      deflate: false,
      snappy: at % 10 === 5,
      sample_rate: at % 17 === 9 ? 25 : 0,
      auth_identity: "",
      region: "eu",
      zone: "eu-1",
      findings: isIdle ? [{ kind: "ready_0", text: "RDY is 0 for 4 minutes: it asks for no messages.", client: `client ${at}` }] : [],
      ...(row?.topic === SPLIT_TOPIC && row.channel === ORDERED_CHANNEL ? { order: "key", tag: "priority", partition: at % 6 } : {}),
    };
  }

  private producer(at: number): ProducerRow {
    const published = [0, 1, 2, 3, 4].slice(0, 1 + (at % 5)).map((step) => ({
      topic: this.topics[(at + step) % this.topics.length]?.topic ?? "",
      count: whole(at + step, 100_000),
    }));
    return {
      key: `producer ${at}`,
      broker: this.brokers[at % 2]?.address ?? "",
      client_id: `api-${at}`,
      hostname: `api-${at}.internal`,
      remote_address: `10.2.0.${at}:50012`,
      user_agent: AGENTS[at % 3] ?? "",
      connected_at: START_MS - at * 700_000,
      published,
      count: published.reduce((sum, { count }) => sum + count, 0),
      rate: noise(at) * 700,
      errors: at % 9 === 2 ? 14 : 0,
    };
  }
}

const FINDINGS: readonly Finding[] & Finding[] = [
  { kind: "timeouts", text: "1.4 messages per second time out after 60 s: handlers take longer, or do not answer.", broker: "nsq-a:4151" },
  { kind: "ready_0", text: "1 of 2 consumers has RDY 0: it asks for no messages.", broker: "nsq-b:4151" },
];

function broker(host: string, at: number): BrokerRow {
  return {
    ...counts(at + 20, 6000),
    address: `${host}:4151`,
    ...(at === 2 ? { down: "connect ECONNREFUSED 10.0.1.13:4151" } : {}),
    ...(at === 1 ? { unhealthy: "NOK - /data has 0.4 GB left" } : {}),
    version: at === 2 ? "" : at === 1 ? "1.3.0" : "0.1.0",
    product: at === 2 ? "" : at === 1 ? "nsq" : "bunsq",
    hostname: `${host}.internal`,
    broadcast_address: `10.0.1.1${at}`,
    tcp_port: 4150,
    http_port: 4151,
    topics: 40,
    channels: 96,
    producers: at === 1 ? null : 22,
    start_time: at === 2 ? null : START_MS - 9 * 24 * HOUR_MS,
    log_bytes: at === 0 ? 48_212_000_000 : null,
    disk_free_bytes: at === 0 ? 412_000_000_000 : null,
    region: "eu",
    zone: `eu-${at}`,
    lookups: at === 2 ? [] : ["lookup-1:4161"],
    tombstones: at === 1 ? ["payments"] : [],
    spark: spark(at, 6000),
  };
}

function topic(at: number): TopicRow {
  const base = TOPIC_NAMES[at % TOPIC_NAMES.length] ?? "";
  const isInactive = at === 9;
  return {
    ...counts(at, 40 + whole(at, 900)),
    topic: at < TOPIC_NAMES.length ? base : `${base.replace("#ephemeral", "")}.${Math.floor(at / TOPIC_NAMES.length)}`,
    channels: isInactive ? 0 : 1 + (at % 5),
    brokers: isInactive ? 0 : 2,
    paused: at === 3 ? 2 : at === 5 ? 1 : 0,
    message_bytes: 1_000_000 + whole(at, 9_000_000_000),
    spark: spark(at, 300),
    ...(isInactive ? { inactive: true as const } : {}),
    ...(base === SPLIT_TOPIC && at < TOPIC_NAMES.length ? { partitions: PARTITIONS } : {}),
  };
}
