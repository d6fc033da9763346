import type { Family } from "../../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import { isSocketPath } from "../../../net/unix-socket.ts";
import type { FigureSource } from "../figures.ts";

/** What the metrics need of the broker. */
export interface MetricsSource extends FigureSource {
  readonly options: { readonly minFreeBytes: number; readonly tcpAddress: string };
  readonly startTimeMs: number;
  readonly health: { readonly text: string };
  readonly registry: FigureSource["registry"] & {
    readonly channelCount: number;
    readonly waiting: ReadonlyMap<string, unknown>;
  };
  readonly listener: FigureSource["listener"] & { readonly refused: number };
  readonly httpConnections: {
    readonly openBy: Readonly<Record<"tcp" | "tls" | "unix", number>>;
    readonly refused: number;
    readonly closedIdle: number;
  };
  readonly damage: { readonly counts: ReadonlyMap<string, number> };
  readonly readFailures: { readonly list: readonly unknown[] };
  /** Lookup servers to register with, and how many of them have all of the broker's topics now. */
  readonly lookups: { readonly configured: number; readonly registered: number };
}

const gauge = (name: string, help: string, more: Partial<Family> = {}): Family => ({ name, kind: "gauge", help, ...more });
const counter = (name: string, help: string, more: Partial<Family> = {}): Family => ({ name, kind: "counter", help, ...more });

const HEALTHY = gauge("nsq_healthy", "1 if /ping answers OK, else 0");
const START_TIME = gauge("nsq_start_time_seconds", "When the broker began to work, since 1970", { unit: "seconds" });
const TOPICS = gauge("nsq_topics", "Topics");
const CHANNELS = gauge("nsq_channels", "Channels of all topics");
export const WAITING_TOPICS = gauge("nsq_waiting_topics", "Topics of an earlier run that cannot be opened yet");
const CONNECTIONS = gauge(
  "nsq_connections",
  "Open connections of clients: protocol is nsq or http, transport tcp, tls or unix, compression none, snappy or deflate",
  {
    labels: ["protocol", "transport", "compression"],
  },
);
const REFUSED = counter("nsq_refused_connections", "Connections of clients that were refused", { labels: ["protocol"] });
const CLOSED_IDLE = counter("nsq_closed_idle_connections", "Idle HTTP connections that were closed to make room for others");
const PRODUCERS = gauge("nsq_producers", "TCP clients that have published");
const PUBLISH_ERRORS = counter("nsq_publish_errors", "Publishes that were refused or failed");
const TO_ANSWER: Family = {
  name: "nsq_publish_duration_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "Time from reading a publish to its OK, PUB and MPUB alike; those of one client that are read at once count as the first",
};
const SYNCS: Family = {
  name: "nsq_fsync_duration_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "Time that a sync took, of all files that it was for",
};
const DISK_FREE = gauge("nsq_disk_free_bytes", "Bytes free on the file system of the data path", { unit: "bytes" });
const DISK_SIZE = gauge("nsq_disk_size_bytes", "Size of the file system of the data path", { unit: "bytes" });
const DISK_MIN_FREE = gauge("nsq_disk_min_free_bytes", "Free bytes below which publishes are refused (-min-free-bytes)", { unit: "bytes" });
const DAMAGED_FILES = counter("nsq_damaged_files", "Damage found in files that no single topic owns", { labels: ["kind"] });
const READ_FAILURES = gauge("nsq_read_failures", "Parts of the broker that wait because a file cannot be read");
const LOOKUPS = gauge("nsq_lookups", "Lookup servers that the broker registers with");
const LOOKUPS_REGISTERED = gauge("nsq_lookups_registered", "Lookup servers that have all of the broker's topics and channels now");

/** The metrics of the broker as a whole. */
export const BROKER_FAMILIES: readonly Family[] = [
  ...[
    HEALTHY,
    START_TIME,
    TOPICS,
    CHANNELS,
    WAITING_TOPICS,
    CONNECTIONS,
    REFUSED,
    CLOSED_IDLE,
    PRODUCERS,
    PUBLISH_ERRORS,
    TO_ANSWER,
    SYNCS,
  ],
  ...[DISK_FREE, DISK_SIZE, DISK_MIN_FREE, DAMAGED_FILES, READ_FAILURES, LOOKUPS, LOOKUPS_REGISTERED],
];

/** The labels of connections on TCP, by transport and compression. */
const NSQ_LABELS = { tcp: nsqLabels("tcp"), tls: nsqLabels("tls"), unix: nsqLabels("unix") };

function nsqLabels(transport: string) {
  const of = (compression: string) => labels({ protocol: "nsq", transport, compression });
  return { none: of("none"), snappy: of("snappy"), deflate: of("deflate") };
}

/** Writes the metrics of the broker as a whole. Yields after some connections and families. */
export function* brokerMetrics(source: MetricsSource, text: MetricText): Generator<void> {
  const { registry, listener, httpConnections, publishing, acks, groupSync, freeSpace, options, damage, readFailures, lookups } = source;
  one(text, HEALTHY, source.health.text === "OK" ? 1 : 0);
  one(text, START_TIME, source.startTimeMs / 1000);
  one(text, TOPICS, registry.topics.size);
  one(text, CHANNELS, registry.channelCount);
  one(text, WAITING_TOPICS, registry.waiting.size);
  yield;
  const connections = new Map<string, number>();
  const isUnix = isSocketPath(options.tcpAddress);
  let producers = 0;
  let seen = 0;
  for (const { tls, compression, publisher } of listener.connections.values()) {
    const transport = isUnix ? "unix" : tls === undefined ? "tcp" : "tls";
    const key = NSQ_LABELS[transport][compression?.layer ?? "none"];
    connections.set(key, (connections.get(key) ?? 0) + 1);
    if (publisher.hasPublished) producers++;
    if (++seen % LINES_PER_STEP === 0) yield;
  }
  text.family(CONNECTIONS);
  for (const [key, count] of connections) text.sample(key, count);
  for (const transport of ["tcp", "tls", "unix"] as const) {
    const count = httpConnections.openBy[transport];
    if (count > 0) text.sample(labels({ protocol: "http", transport, compression: "none" }), count);
  }
  text.family(REFUSED);
  text.sample(labels({ protocol: "nsq" }), listener.refused);
  text.sample(labels({ protocol: "http" }), httpConnections.refused);
  one(text, CLOSED_IDLE, httpConnections.closedIdle);
  one(text, PRODUCERS, producers);
  one(text, PUBLISH_ERRORS, publishing.errorCount);
  yield;
  text.family(TO_ANSWER);
  text.histogram("", acks.toAnswer, true);
  text.family(SYNCS);
  text.histogram("", groupSync.durations, true);
  yield;
  if (freeSpace.freeNow !== undefined) {
    one(text, DISK_FREE, freeSpace.freeNow.freeBytes);
    one(text, DISK_SIZE, freeSpace.freeNow.totalBytes);
  }
  one(text, DISK_MIN_FREE, options.minFreeBytes);
  text.family(DAMAGED_FILES);
  for (const [kind, count] of damage.counts) text.sample(labels({ kind }), count);
  one(text, READ_FAILURES, readFailures.list.length);
  one(text, LOOKUPS, lookups.configured);
  one(text, LOOKUPS_REGISTERED, lookups.registered);
  yield;
}
