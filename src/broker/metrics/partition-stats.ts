import { rangesOf } from "../../base/ranges.ts";
import { heldIndexes } from "../storage/metadata/topic-settings.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { byName } from "./by-name.ts";
import { type ChannelCounts, readCounts } from "./channel-counts.ts";
import type { Shown, TopicStats } from "./stats.ts";

/** One partition of a topic. The keys are those of the topic and its channels. */
export interface PartitionStats {
  partition: number;
  depth: number;
  backend_depth: number;
  message_count: number;
  message_bytes: number;
  /** Bytes of its log on the disk. */
  log_bytes: number;
  channels: PartitionChannelStats[];
}

export interface PartitionChannelStats extends ChannelCounts {
  /** As in `delivery`; left out for a channel that delivers its messages as they come. */
  blocked_count?: number;
}

/** What /stats says of the partitions of a topic with several. */
export function readPartitions(topic: Topic, show: Shown): Pick<TopicStats, "partition_num" | "partitions_here" | "partitions"> {
  const { partitions: count, held } = topic.settings;
  return {
    ...(count > 1 ? { partition_num: count } : {}),
    ...(held !== undefined && held.length < count ? { partitions_here: rangesOf(heldIndexes(topic.settings)) } : {}),
    ...listed(topic, show),
  };
}

function listed({ partitions, settings }: Topic, { partition: only, channelName }: Shown): Pick<TopicStats, "partitions"> {
  if (only === "none" || (settings.partitions === 1 && only === undefined)) return {};
  const shown = only === undefined ? partitions : partitions.filter(({ index }) => index === only);
  return { partitions: shown.map((partition) => readPartition(partition, channelName)) };
}

function readPartition(partition: TopicPartition, channelName: string): PartitionStats {
  const channels = byName(partition.channels).filter(({ name }) => channelName === "" || name === channelName);
  return {
    partition: partition.index,
    depth: partition.depth,
    backend_depth: partition.backendDepth,
    message_count: partition.messageCount,
    message_bytes: partition.messageBytes,
    log_bytes: partition.log.files?.extent.bytes ?? 0,
    channels: channels.map((channel) => ({
      ...readCounts(channel),
      ...(channel.inFlight.selection === undefined ? {} : { blocked_count: channel.inFlight.selection.blocked }),
    })),
  };
}
