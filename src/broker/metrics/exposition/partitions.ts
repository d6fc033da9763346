import type { Family } from "../../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import type { ChannelPartition } from "../../topics/channel/channel-partition.ts";
import type { TopicPartition } from "../../topics/topic-partition.ts";
import type { MetricsSource } from "./broker-families.ts";
import type { Scope } from "./groups.ts";

/** Partitions, and partitions of channels, that one answer has at most. A topic of 1,024 partitions with ten channels has 11,264. */
const MAX_ROWS = 20_000;

/** A metric that each partition has, or each channel of each. */
export interface PartitionFamily<Item> extends Family {
  read(item: Item): number;
}

const family = <Item>(
  of: "topic" | "channel",
  name: string,
  kind: "counter" | "gauge",
  help: string,
  read: (item: Item) => number,
): PartitionFamily<Item> => ({
  ...{ name, kind, help, read, labels: of === "topic" ? ["topic", "partition"] : ["topic", "channel", "partition"] },
  unit: name.endsWith("_bytes") ? "bytes" : "messages",
});

/** The metrics of the partitions of topics with several. */
export const TOPIC_PARTITION_FAMILIES: readonly PartitionFamily<TopicPartition>[] = [
  family("topic", "nsq_partition_depth_messages", "gauge", "Messages that wait in a partition and in no channel", ({ depth }) => depth),
  family("topic", "nsq_partition_messages", "counter", "Messages published to a partition", ({ messageCount }) => messageCount),
  family("topic", "nsq_partition_message_bytes", "counter", "Bytes of the bodies of these messages", ({ messageBytes }) => messageBytes),
  family("topic", "nsq_partition_log_bytes", "gauge", "Log of a partition on disk", ({ log }) => log.files?.extent.bytes ?? 0),
];

/** The metrics of what channels have of these partitions. */
export const CHANNEL_PARTITION_FAMILIES: readonly PartitionFamily<ChannelPartition>[] = [
  family("channel", "nsq_channel_partition_depth_messages", "gauge", "Messages that wait to be delivered", ({ depth }) => depth),
  family(
    "channel",
    "nsq_channel_partition_in_flight_messages",
    "gauge",
    "Messages that consumers have and have not finished",
    ({ inFlightCount }) => inFlightCount,
  ),
  family("channel", "nsq_channel_partition_deferred_messages", "gauge", "Messages that are deferred", ({ deferredCount }) => deferredCount),
  family(
    "channel",
    "nsq_channel_partition_blocked_messages",
    "gauge",
    "Messages of the depth that wait for others of their key or partition",
    ({ inFlight }) => inFlight.selection?.blocked ?? 0,
  ),
];

export const PARTITIONS_LEFT_OUT: Family = {
  name: "nsq_partitions_left_out",
  kind: "gauge",
  help: `Partitions of topics and channels that this answer has no metrics of, because there are more than ${MAX_ROWS}; ask for one topic`,
};

/** Writes the metrics of partitions that are asked for. Yields after some samples. */
export function* partitionMetrics(source: MetricsSource, scope: Scope, text: MetricText): Generator<void> {
  const topics: Rows<TopicPartition> = { labels: [], items: [] };
  const channels: Rows<ChannelPartition> = { labels: [], items: [] };
  let leftOut = 0;
  const add = <Item>(rows: Rows<Item>, item: Item, of: Record<string, string>): void => {
    if (topics.items.length + channels.items.length >= MAX_ROWS) leftOut++;
    else {
      rows.labels.push(labels(of));
      rows.items.push(item);
    }
  };
  const { registry } = source;
  for (const topic of scope.topic === undefined ? registry.topics.values() : [registry.topics.get(scope.topic)]) {
    // Those of a topic with one are the topic's own.
    if (topic === undefined || topic.settings.partitions === 1) continue;
    for (const partition of topic.partitions) {
      if (scope.channel === undefined) add(topics, partition, { topic: topic.name, partition: String(partition.index) });
      yield;
    }
    for (const channel of topic.channels.values()) {
      if (scope.channel !== undefined && channel.name !== scope.channel) continue;
      for (const part of channel.partitions) {
        add(channels, part, { topic: topic.name, channel: channel.name, partition: String(part.partition.index) });
        yield;
      }
    }
  }
  yield* write(TOPIC_PARTITION_FAMILIES, topics, text);
  yield* write(CHANNEL_PARTITION_FAMILIES, channels, text);
  one(text, PARTITIONS_LEFT_OUT, leftOut);
}

interface Rows<Item> {
  labels: string[];
  items: Item[];
}

function* write<Item>(families: readonly PartitionFamily<Item>[], rows: Rows<Item>, text: MetricText): Generator<void> {
  for (const family of families) {
    text.family(family);
    for (let row = 0; row < rows.items.length; row++) {
      text.sample(rows.labels[row], family.read(rows.items[row]));
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}
