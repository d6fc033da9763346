import type { Family } from "../../../http/metrics/family.ts";
import { labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { Topic } from "../../topics/topic.ts";
import { type ReportedConnection, readLatency, readMemory } from "../stats.ts";
import type { MetricsSource } from "./broker-families.ts";
import { consumersOf } from "./clients.ts";
import type { Scope } from "./groups.ts";

// The names that users' dashboards and alerts have: those of Grafana's NSQ mixin, which come from statsd, and those of
// lovoo/nsq_exporter. All are gauges there, counters included, and they are given by topic and channel whatever `detail` says.

/** A metric of a topic or a channel; undefined: it has none. */
interface NamedFamily<Item> extends Family {
  read(item: Item, source: MetricsSource): number | undefined;
}

const gauge = <Item>(name: string, help: string, read: NamedFamily<Item>["read"]): NamedFamily<Item> => ({
  name,
  kind: "gauge",
  help,
  read,
});

const TOPIC_READERS = {
  depth: (topic: Topic) => topic.depth,
  backend_depth: (topic: Topic) => topic.backendDepth,
  message_count: (topic: Topic) => topic.messageCount,
};
const CHANNEL_READERS = {
  depth: (channel: Channel) => channel.depth,
  backend_depth: (channel: Channel) => channel.backendDepth,
  in_flight_count: (channel: Channel) => channel.inFlightCount,
  deferred_count: (channel: Channel) => channel.deferredCount,
  requeue_count: (channel: Channel) => channel.requeueCount,
  timeout_count: (channel: Channel) => channel.timeoutCount,
  message_count: (channel: Channel) => channel.messageCount,
};

const latencyAt =
  (quantile: number) =>
  (channels: Iterable<Channel>, { percentiles }: MetricsSource): number | undefined => {
    if (!percentiles.includes(quantile)) return undefined;
    return readLatency(percentiles, channels).percentiles?.find((percentile) => percentile.quantile === quantile)?.value;
  };
const latency99 = latencyAt(0.99);
const latency95 = latencyAt(0.95);
const LATENCY_HELP = "of the time from publish to FIN, ns; only with -e2e-processing-latency-percentile";

const MIXIN = "As nsqd reports it to statsd, for Grafana's NSQ mixin";
const MIXIN_TOPIC: NamedFamily<Topic>[] = [
  ...Object.entries(TOPIC_READERS).map(([name, read]) => gauge(`nsq_topic_${name}`, MIXIN, read)),
  gauge("nsq_topic_e2e_processing_latency_99", `99th percentile ${LATENCY_HELP}`, (topic, source) =>
    latency99(topic.channels.values(), source),
  ),
];
const MIXIN_CHANNEL: NamedFamily<Channel>[] = [
  ...Object.entries(CHANNEL_READERS).map(([name, read]) => gauge<Channel>(`nsq_topic_channel_${name}`, MIXIN, read)),
  gauge("nsq_topic_channel_clients", MIXIN, ({ consumers }) => consumers.length),
  gauge("nsq_topic_channel_e2e_processing_latency_99", `99th percentile ${LATENCY_HELP}`, (channel, source) =>
    latency99([channel], source),
  ),
];
const MIXIN_MEMORY = [
  ...(["heap_objects", "heap_in_use_bytes", "heap_idle_bytes", "heap_released_bytes", "next_gc_bytes"] as const),
  ...(["gc_pause_usec_100", "gc_pause_usec_99", "gc_pause_usec_95"] as const),
];

/** The names that `mixin` adds. */
export const MIXIN_NAMES: readonly string[] = [...MIXIN_TOPIC, ...MIXIN_CHANNEL]
  .map(({ name }) => name)
  .concat(MIXIN_MEMORY.map((key) => `nsq_mem_${key}`));

/** Writes the names of Grafana's NSQ mixin. Yields after each sample. */
export function* mixinMetrics(source: MetricsSource, scope: Scope, text: MetricText): Generator<void> {
  for (const family of MIXIN_TOPIC) {
    text.family(family);
    for (const topic of topicsOf(source, scope)) {
      const value = family.read(topic, source);
      if (value !== undefined) text.sample(labels({ topic: topic.name }), value);
      yield;
    }
  }
  for (const family of MIXIN_CHANNEL) {
    text.family(family);
    for (const channel of channelsOf(source, scope)) {
      const value = family.read(channel, source);
      if (value !== undefined) text.sample(labels({ topic: channel.topic.name, channel: channel.name }), value);
      yield;
    }
  }
  // To count the objects on a large heap takes too long here: the last count of /stats is given.
  const memory = readMemory(false);
  for (const key of MIXIN_MEMORY) one(text, { name: `nsq_mem_${key}`, kind: "gauge", help: MIXIN }, memory[key]);
  yield;
}

const LOVOO = "As lovoo/nsq_exporter gives it";
/** A metric that topics and channels have, with the label `type`. */
interface LovooFamily extends Family {
  topic?(topic: Topic, source: MetricsSource): number | undefined;
  channel?(channel: Channel, source: MetricsSource): number | undefined;
}

const lovoo = (name: string, help: string, readers: Pick<LovooFamily, "topic" | "channel">): LovooFamily => ({
  ...{ name: `nsq_${name}`, kind: "gauge", help },
  ...readers,
});

const LOVOO_FAMILIES: LovooFamily[] = [
  ...(["depth", "backend_depth", "message_count"] as const).map((name) =>
    lovoo(name, LOVOO, { topic: TOPIC_READERS[name], channel: CHANNEL_READERS[name] }),
  ),
  ...(["in_flight_count", "deferred_count", "requeue_count", "timeout_count"] as const).map((name) =>
    lovoo(name, LOVOO, { channel: CHANNEL_READERS[name] }),
  ),
  lovoo("client_count", LOVOO, { channel: ({ consumers }) => consumers.length }),
  lovoo("channel_count", LOVOO, { topic: ({ channels }) => channels.size }),
  lovoo("e2e_latency_99p", `99th percentile ${LATENCY_HELP}`, {
    topic: (topic, source) => latency99(topic.channels.values(), source),
    channel: (channel, source) => latency99([channel], source),
  }),
  lovoo("e2e_latency_95p", `95th percentile ${LATENCY_HELP}`, {
    topic: (topic, source) => latency95(topic.channels.values(), source),
    channel: (channel, source) => latency95([channel], source),
  }),
];

const LOVOO_CLIENT: [name: string, read: (connection: ReportedConnection) => number][] = [
  ["state", ({ state }) => state],
  ["finish_count", ({ finishCount }) => finishCount],
  ["message_count", ({ messageCount }) => messageCount],
  ["ready_count", ({ readyCount }) => readyCount],
  ["in_flight_count", ({ inFlightCount }) => inFlightCount],
  ["requeue_count", ({ requeueCount }) => requeueCount],
  ["connect_ts", ({ connectTimeMs }) => Math.floor(connectTimeMs / 1000)],
  ["sample_rate", ({ sampleRate }) => sampleRate],
];

/** The names that `lovoo` adds. */
export const LOVOO_NAMES: readonly string[] = LOVOO_FAMILIES.map(({ name }) => name).concat(
  LOVOO_CLIENT.map(([name]) => `nsq_client_${name}`),
);

/** Writes the names of lovoo/nsq_exporter, those of clients only with detail=client. Yields after each sample. */
export function* lovooMetrics(source: MetricsSource, scope: Scope, text: MetricText): Generator<void> {
  for (const family of LOVOO_FAMILIES) {
    text.family(family);
    for (const topic of family.topic === undefined ? [] : topicsOf(source, scope)) {
      const value = family.topic?.(topic, source);
      if (value !== undefined) text.sample(lovooLabels("topic", topic.name, "", topic.paused), value);
      yield;
    }
    for (const channel of family.channel === undefined ? [] : channelsOf(source, scope)) {
      const value = family.channel?.(channel, source);
      if (value !== undefined) text.sample(lovooLabels("channel", channel.topic.name, channel.name, channel.paused), value);
      yield;
    }
  }
  if (scope.detail !== "client") return;
  for (const [name, read] of LOVOO_CLIENT) {
    text.family({ name: `nsq_client_${name}`, kind: "gauge", help: LOVOO });
    for (const [topic, channel, connection] of consumersOf(source, scope)) {
      text.sample(clientLabels(topic, channel, connection), read(connection));
      yield;
    }
  }
}

function lovooLabels(type: "topic" | "channel", topic: string, channel: string, paused: boolean): string {
  return labels({ type, topic, channel, paused: String(paused) });
}

function clientLabels(topic: string, channel: string, connection: ReportedConnection): string {
  const { compression, clientId, hostname, remoteAddress, tls } = connection;
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

function* topicsOf({ registry }: MetricsSource, { topic: only }: Scope): Generator<Topic> {
  for (const topic of registry.topics.values()) if (only === undefined || topic.name === only) yield topic;
}

function* channelsOf(source: MetricsSource, scope: Scope): Generator<Channel> {
  for (const topic of topicsOf(source, scope)) {
    for (const channel of topic.channels.values()) if (scope.channel === undefined || channel.name === scope.channel) yield channel;
  }
}
