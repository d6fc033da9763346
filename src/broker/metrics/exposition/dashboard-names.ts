import type { Family } from "../../../http/metrics/family.ts";
import { labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import { type ReportedConnection, readMemory } from "../stats.ts";
import type { MetricsSource } from "./broker-families.ts";
import { type ClientFamily, type Consumers, clientFamilies, type ShownConsumer } from "./clients.ts";
import { type ChannelValue, DashboardRows, type Names, type TopicValue } from "./dashboard-rows.ts";
import type { Scope } from "./groups.ts";

// The names that users' dashboards and alerts have: those of Grafana's NSQ mixin, which come from statsd, and those of
// lovoo/nsq_exporter. All are gauges there, counters included, and they are given by topic and channel whatever `detail` says.

/** A metric of topics, of channels, or of both. */
interface NamedFamily extends Family {
  readonly topic?: TopicValue;
  readonly channel?: ChannelValue;
}

const gauge = (name: string, help: string, values: Pick<NamedFamily, "topic" | "channel">): NamedFamily => ({
  ...{ name, kind: "gauge", help },
  ...values,
});

const LATENCY_HELP = "of the time from publish to FIN, ns; only with -e2e-processing-latency-percentile";
const HELP_99 = `99th percentile ${LATENCY_HELP}`;
const HELP_95 = `95th percentile ${LATENCY_HELP}`;
const TOPIC_COUNTS = ["depth", "backend_depth", "message_count"] as const;
const CHANNEL_COUNTS = ["in_flight_count", "deferred_count", "requeue_count", "timeout_count"] as const;

const MIXIN = "As nsqd reports it to statsd, for Grafana's NSQ mixin";
const MIXIN_FAMILIES: readonly NamedFamily[] = [
  ...TOPIC_COUNTS.map((value) => gauge(`nsq_topic_${value}`, MIXIN, { topic: value })),
  gauge("nsq_topic_e2e_processing_latency_99", HELP_99, { topic: "latency_99" }),
  ...(["depth", "backend_depth", ...CHANNEL_COUNTS, "message_count"] as const).map((value) =>
    gauge(`nsq_topic_channel_${value}`, MIXIN, { channel: value }),
  ),
  gauge("nsq_topic_channel_clients", MIXIN, { channel: "client_count" }),
  gauge("nsq_topic_channel_e2e_processing_latency_99", HELP_99, { channel: "latency_99" }),
];
const MIXIN_MEMORY = [
  ...(["heap_objects", "heap_in_use_bytes", "heap_idle_bytes", "heap_released_bytes", "next_gc_bytes"] as const),
  ...(["gc_pause_usec_100", "gc_pause_usec_99", "gc_pause_usec_95"] as const),
];

/** The names that `mixin` adds. */
export const MIXIN_NAMES: readonly string[] = MIXIN_FAMILIES.map(({ name }) => name).concat(MIXIN_MEMORY.map((key) => `nsq_mem_${key}`));

const LOVOO = "As lovoo/nsq_exporter gives it";
const LOVOO_FAMILIES: readonly NamedFamily[] = [
  ...TOPIC_COUNTS.map((value) => gauge(`nsq_${value}`, LOVOO, { topic: value, channel: value })),
  ...CHANNEL_COUNTS.map((value) => gauge(`nsq_${value}`, LOVOO, { channel: value })),
  gauge("nsq_client_count", LOVOO, { channel: "client_count" }),
  gauge("nsq_channel_count", LOVOO, { topic: "channel_count" }),
  gauge("nsq_e2e_latency_99p", HELP_99, { topic: "latency_99", channel: "latency_99" }),
  gauge("nsq_e2e_latency_95p", HELP_95, { topic: "latency_95", channel: "latency_95" }),
];

const lovooClient = (name: string, read: (connection: ReportedConnection) => number): ClientFamily => ({
  ...{ name: `nsq_client_${name}`, kind: "gauge", help: LOVOO, read },
});
const LOVOO_CLIENT: readonly ClientFamily[] = [
  lovooClient("state", ({ state }) => state),
  lovooClient("finish_count", ({ finishCount }) => finishCount),
  lovooClient("message_count", ({ messageCount }) => messageCount),
  lovooClient("ready_count", ({ readyCount }) => readyCount),
  lovooClient("in_flight_count", ({ inFlightCount }) => inFlightCount),
  lovooClient("requeue_count", ({ requeueCount }) => requeueCount),
  lovooClient("connect_ts", ({ connectTimeMs }) => Math.floor(connectTimeMs / 1000)),
  lovooClient("sample_rate", ({ sampleRate }) => sampleRate),
];

/** The names that `lovoo` adds. */
export const LOVOO_NAMES: readonly string[] = [...LOVOO_FAMILIES, ...LOVOO_CLIENT].map(({ name }) => name);

/**
 * Writes the metrics under the names that dashboards have. Yields after some samples.
 *
 * @param names "mixin", "lovoo" or both
 * @param consumers those that are asked for; none without detail=client
 */
export function* dashboardMetrics(
  source: MetricsSource,
  scope: Scope,
  names: readonly string[],
  consumers: Consumers,
  text: MetricText,
): Generator<void> {
  const wanted = (["mixin", "lovoo"] as const).filter((set) => names.includes(set));
  const rows = new DashboardRows(wanted);
  yield* rows.read(source, scope);
  for (const set of wanted) {
    yield* writeFamilies(set === "mixin" ? MIXIN_FAMILIES : LOVOO_FAMILIES, set, rows, text);
    if (set === "mixin") writeMemory(text);
    else if (scope.detail === "client") yield* lovooClients(consumers.shown, text);
    yield;
  }
}

function* writeFamilies(families: readonly NamedFamily[], names: Names, rows: DashboardRows, text: MetricText): Generator<void> {
  for (const family of families) {
    text.family(family);
    if (family.topic !== undefined) yield* rows.topics.write(family.topic, names, text);
    if (family.channel !== undefined) yield* rows.channels.write(family.channel, names, text);
  }
}

function writeMemory(text: MetricText): void {
  // To count the objects on a large heap takes too long here: the last count of /stats is given.
  const memory = readMemory(false);
  for (const key of MIXIN_MEMORY) one(text, { name: `nsq_mem_${key}`, kind: "gauge", help: MIXIN }, memory[key]);
}

function* lovooClients(shown: readonly ShownConsumer[], text: MetricText): Generator<void> {
  const rows: string[] = [];
  for (const consumer of shown) {
    rows.push(clientLabels(consumer));
    yield;
  }
  yield* clientFamilies(LOVOO_CLIENT, shown, rows, text);
}

function clientLabels({ topic, channel, connection }: ShownConsumer): string {
  const { compression, remoteAddress, tls } = connection;
  const { clientId, hostname } = connection.identity;
  return labels({
    ...{
      type: "client",
      topic,
      channel,
      deflate: String(compression?.layer === "deflate"),
      snappy: String(compression?.layer === "snappy"),
    },
    ...{ tls: String(tls !== undefined), client_id: clientId, hostname, version: "V2", remote_address: remoteAddress },
  });
}
