import type { ChannelDetail, ChannelTracing, TopicDetail, TopicSettings } from "../console-api.ts";
import type { ClientLook } from "../watch/client-look.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { ChannelEntry, TopicEntry } from "../watch/entries.ts";
import type { TopicLook } from "../watch/topic-look.ts";
import type { TopicOnBroker } from "../watch/topic-on-broker.ts";
import { channelDelivery } from "./channel-delivery.ts";
import { channelByBroker, channelRow } from "./channel-rows.ts";
import { channelFindings } from "./findings.ts";
import { latencyRows } from "./latency-rows.ts";
import { topicPartitions } from "./partition-rows.ts";
import { inactiveTopicRow, topicByBroker, topicRow } from "./topic-rows.ts";

/** The channels of a topic that its detail has; the others are in the list of channels. */
const MOST_CHANNELS = 1_000;
/** The channels that the settings name as traced by themselves. */
const MOST_TRACED_CHANNELS = 100;

export function topicDetail(cluster: Cluster, entry: TopicEntry, look: TopicLook, timeMs: number): TopicDetail {
  const { topic } = entry;
  const channels = [...entry.channels.values()].sort((a, b) => (a.channel < b.channel ? -1 : 1)).slice(0, MOST_CHANNELS);
  const settings = settingsOf(look);
  return {
    ...topicRow(cluster, entry, timeMs),
    by_broker: topicByBroker(cluster, topic),
    channel_rows: channels.map((channel) => channelRow(cluster, channel, timeMs)),
    ...(settings === undefined ? {} : { settings }),
    latency: latencyRows(
      look,
      "",
      atBrokers(cluster, topic).map(({ latency }) => latency),
    ),
  };
}

/** A topic that only a lookup knows. */
export function inactiveTopic(cluster: Cluster, topic: string, timeMs: number): TopicDetail {
  return { ...inactiveTopicRow(cluster, topic, timeMs), by_broker: [], channel_rows: [], latency: [] };
}

export function channelDetail(
  cluster: Cluster,
  topic: TopicEntry,
  entry: ChannelEntry,
  look: TopicLook,
  clients: ClientLook,
  timeMs: number,
): ChannelDetail {
  const { channel } = entry;
  const row = channelRow(cluster, entry, timeMs);
  const delivery = channelDelivery(cluster, topic.topic, channel);
  const partitions = topicPartitions(cluster, topic.topic);
  const byBroker = channelByBroker(cluster, topic.topic, channel);
  const percentiles = atBrokers(cluster, topic.topic).map(({ channels }) => channels.get(channel)?.latency);
  const trace = tracingOf(look, channel);
  return {
    ...row,
    by_broker: byBroker,
    latency: latencyRows(look, channel, percentiles),
    findings: channelFindings({
      row,
      byBroker: byBroker.filter(({ down }) => down === undefined),
      topicPaused: topic.paused,
      delivery,
      consumers: [...clients.clients()],
    }),
    ...(trace === undefined ? {} : { trace }),
    ...(delivery === undefined ? {} : { delivery }),
    ...(partitions === undefined ? {} : { partitions }),
  };
}

/** Whether the brokers that have a channel and can trace it do so. */
function tracingOf(look: TopicLook, channel: string): ChannelTracing | undefined {
  const all = [...look.byBroker.values()].flatMap(({ tracing, channelLatency }) => (channelLatency.has(channel) ? (tracing ?? []) : []));
  if (all.length === 0) return undefined;
  return {
    brokers: all.length,
    own: all.filter(({ channels }) => channels.has(channel)).length,
    with_topic: all.filter(({ topic }) => topic).length,
  };
}

function atBrokers(cluster: Cluster, topic: string): TopicOnBroker[] {
  return [...cluster.brokers.values()].flatMap((broker) => (broker.isUp ? (broker.topics.get(topic) ?? []) : []));
}

function settingsOf(look: TopicLook): TopicSettings | undefined {
  const all = [...look.byBroker.values()].flatMap(({ settings }) => settings ?? []);
  const first = all[0];
  if (first === undefined) return undefined;
  const alike = ({ durability, retentionTime, retentionBytes, traced }: typeof first) =>
    `${durability} ${retentionTime} ${retentionBytes} ${traced}`;
  const oldest = all.flatMap((each) => each.oldest ?? []).sort();
  const tracedChannels = new Set([...look.byBroker.values()].flatMap(({ tracing }) => [...(tracing?.channels ?? [])]));
  return {
    durability: first.durability,
    retention_time: first.retentionTime,
    retention_bytes: first.retentionBytes,
    is_default_retention: first.isDefaultRetention,
    // What the topic takes at all brokers together.
    log_bytes: all.reduce((sum, { logBytes }) => sum + logBytes, 0),
    oldest: oldest[0] ?? null,
    traced: first.traced,
    traced_channels: [...tracedChannels].sort().slice(0, MOST_TRACED_CHANNELS),
    differs: all.some((other) => alike(other) !== alike(first)),
  };
}
