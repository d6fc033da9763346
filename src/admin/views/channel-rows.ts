import type { ChannelRow, ChannelOnBroker as OnBrokerRow } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import { type ChannelEntry, ROW_STEP_MS } from "../watch/entries.ts";
import type { Figures } from "../watch/figures.ts";
import { noSpark } from "../watch/spark-line.ts";
import type { WatchedBroker } from "../watch/watched-broker.ts";
import { channelDelivery } from "./channel-delivery.ts";
import { figureSorts, type Listing } from "./listing.ts";

/** A channel as a row has it: over all brokers, or at one of them. */
interface ChannelItem {
  entry: ChannelEntry;
  figures: Figures;
  brokers: number;
  paused: number;
  hasSpark: boolean;
}

const SORTS = figureSorts<ChannelItem>({
  topic: ({ entry }) => entry.topic,
  channel: ({ entry }) => entry.channel,
  brokers: ({ brokers }) => brokers,
  paused: ({ paused }) => paused,
});

/**
 * @param topic the only one whose channels are shown; empty for all
 * @param broker the only one whose channels and figures are shown; undefined for all
 */
export function channelListing(
  cluster: Cluster,
  topic: string,
  broker: WatchedBroker | undefined,
  timeMs: number,
): Listing<ChannelItem, ChannelRow> {
  return {
    items: broker === undefined ? allChannels(cluster, topic) : channelsAt(broker, topic),
    names: ({ entry }) => [entry.topic, entry.channel],
    tie: ({ entry }) => entry.name,
    sorts: SORTS,
    defaultSort: "topic",
    row: (item) => rowOf(item, cluster, timeMs),
  };
}

export function channelRow(cluster: Cluster, entry: ChannelEntry, timeMs: number): ChannelRow {
  return rowOf(itemOf(entry), cluster, timeMs);
}

/** The channel's figures at each broker; the last ones of those that do not answer. */
export function channelByBroker(cluster: Cluster, topic: string, channel: string): OnBrokerRow[] {
  return [...cluster.brokers.values()].flatMap((broker) => {
    const onBroker = broker.topics.get(topic)?.channels.get(channel);
    if (onBroker === undefined) return [];
    return [
      {
        broker: broker.address,
        hostname: broker.hostname,
        ...broker.downState(),
        ...onBroker.figures.counts(),
        paused: onBroker.paused,
        ...(onBroker.readFailure === "" ? {} : { read_failure: onBroker.readFailure }),
      },
    ];
  });
}

function* allChannels({ entries }: Cluster, topic: string): Generator<ChannelItem> {
  const topics = topic === "" ? entries.topics.values() : [entries.topics.get(topic)];
  for (const entry of topics) for (const channel of entry?.channels.values() ?? []) yield itemOf(channel);
}

function* channelsAt(broker: WatchedBroker, topic: string): Generator<ChannelItem> {
  if (!broker.isUp) return;
  const topics = topic === "" ? broker.topics.values() : [broker.topics.get(topic)];
  for (const onBroker of topics) {
    for (const { entry, figures, paused } of onBroker?.channels.values() ?? []) {
      yield { entry, figures, brokers: 1, paused: Number(paused), hasSpark: false };
    }
  }
}

function itemOf(entry: ChannelEntry): ChannelItem {
  const { figures, brokers, paused } = entry;
  return { entry, figures, brokers, paused, hasSpark: true };
}

function rowOf({ entry, figures, brokers, paused, hasSpark }: ChannelItem, cluster: Cluster, timeMs: number): ChannelRow {
  const { order = "none", most_tried: tried } = channelDelivery(cluster, entry.topic, entry.channel) ?? {};
  const spark = hasSpark ? entry.spark.read(timeMs) : noSpark(ROW_STEP_MS);
  return {
    topic: entry.topic,
    channel: entry.channel,
    ...figures.counts(),
    brokers,
    paused,
    spark,
    ...(order === "none" ? {} : { order }),
    ...(tried === undefined || tried === null ? {} : { most_attempts: tried.attempts }),
  };
}
