import type { TopicOnBroker as OnBrokerRow, TopicRow } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import { ROW_STEP_MS, type TopicEntry } from "../watch/entries.ts";
import { Figures } from "../watch/figures.ts";
import { orNull } from "../watch/scale.ts";
import { noSpark } from "../watch/spark-line.ts";
import type { TopicOnBroker } from "../watch/topic-on-broker.ts";
import type { WatchedBroker } from "../watch/watched-broker.ts";
import { figureSorts, type Listing } from "./listing.ts";
import { topicPartitions } from "./partition-rows.ts";

/** A topic as a row has it: over all brokers, at one of them, or known to lookups only. */
interface TopicItem {
  topic: string;
  figures: Figures;
  channels: number;
  brokers: number;
  paused: number;
  messageBytes: number;
  entry: TopicEntry | undefined;
  isInactive: boolean;
}

const SORTS = figureSorts<TopicItem>({
  topic: ({ topic }) => topic,
  channels: ({ channels }) => channels,
  brokers: ({ brokers }) => brokers,
  paused: ({ paused }) => paused,
  message_bytes: ({ messageBytes }) => messageBytes,
});

/** @param broker the only one whose topics and figures are shown; undefined for all */
export function topicListing(cluster: Cluster, broker: WatchedBroker | undefined, timeMs: number): Listing<TopicItem, TopicRow> {
  return {
    items: broker === undefined ? allTopics(cluster) : topicsAt(broker),
    names: ({ topic }) => [topic],
    tie: ({ topic }) => topic,
    sorts: SORTS,
    defaultSort: "topic",
    row: (item) => rowOf(item, cluster, timeMs),
  };
}

export function topicRow(cluster: Cluster, entry: TopicEntry, timeMs: number): TopicRow {
  return rowOf(itemOf(entry), cluster, timeMs);
}

/** A topic that only a lookup knows. */
export function inactiveTopicRow(cluster: Cluster, topic: string, timeMs: number): TopicRow {
  return rowOf(inactive(topic), cluster, timeMs);
}

/** The topic's figures at each broker; the last ones of those that do not answer. */
export function topicByBroker(cluster: Cluster, topic: string): OnBrokerRow[] {
  return [...cluster.brokers.values()].flatMap((broker) => {
    const onBroker = broker.topics.get(topic);
    if (onBroker === undefined) return [];
    return [
      {
        broker: broker.address,
        hostname: broker.hostname,
        ...broker.downState(),
        ...onBroker.figures.counts(),
        paused: onBroker.paused,
        message_bytes: orNull(onBroker.messageBytes),
        tombstoned: cluster.tombstonesOf(broker.address).has(topic),
      },
    ];
  });
}

function* allTopics(cluster: Cluster): Generator<TopicItem> {
  for (const entry of cluster.entries.topics.values()) yield itemOf(entry);
  for (const topic of cluster.inactiveTopics()) yield inactive(topic);
}

function* topicsAt(broker: WatchedBroker): Generator<TopicItem> {
  if (!broker.isUp) return;
  for (const onBroker of broker.topics.values()) yield itemAt(onBroker);
}

function itemOf(entry: TopicEntry): TopicItem {
  const { topic, figures, channels, brokers, paused, messageBytes } = entry;
  return { topic, figures, channels: channels.size, brokers, paused, messageBytes, entry, isInactive: false };
}

function itemAt({ entry, figures, channels, paused, messageBytes }: TopicOnBroker): TopicItem {
  return {
    topic: entry.topic,
    figures,
    channels: channels.size,
    brokers: 1,
    paused: Number(paused),
    messageBytes,
    entry: undefined,
    isInactive: false,
  };
}

function inactive(topic: string): TopicItem {
  const figures = new Figures();
  return { topic, figures, channels: 0, brokers: 0, paused: 0, messageBytes: Number.NaN, entry: undefined, isInactive: true };
}

function rowOf(item: TopicItem, cluster: Cluster, timeMs: number): TopicRow {
  const { topic, figures, channels, brokers, paused, messageBytes, entry, isInactive } = item;
  const partitions = topicPartitions(cluster, topic);
  return {
    topic,
    ...figures.counts(),
    channels,
    brokers,
    paused,
    message_bytes: orNull(messageBytes),
    spark: entry?.spark.read(timeMs) ?? noSpark(ROW_STEP_MS),
    ...(isInactive ? { inactive: true } : {}),
    ...(partitions === undefined ? {} : { partitions }),
  };
}
