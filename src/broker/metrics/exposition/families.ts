import type { Family } from "../../../http/metrics/family.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import { oldestInChannel, oldestInTopic } from "../../topics/inspect/oldest.ts";
import type { RetiredTotals } from "../../topics/retired-totals.ts";
import type { Topic } from "../../topics/topic.ts";
import { mostTried } from "../delivery-stats.ts";
import { backlogBytes, logBytes } from "../figures.ts";

/** A metric that each topic or channel has. Of several ones it has the sum, or the largest. */
export interface ItemFamily<Item> extends Family {
  read(item: Item, nowMs: number): number;
  /** What deleted ones had counted. */
  retired?(totals: RetiredTotals): number;
  isLargest?: true;
}

/** The metrics of topics. */
export const TOPIC_FAMILIES: readonly ItemFamily<Topic>[] = [
  {
    name: "nsq_topic_depth_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages that wait in topics because no channel exists, or the topic is paused",
    read: (topic) => topic.depth,
  },
  {
    name: "nsq_topic_backend_depth_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages of the topics' depth that are on disk only",
    read: (topic) => topic.backendDepth,
  },
  {
    name: "nsq_topic_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages published",
    read: (topic) => topic.messageCount,
    retired: (totals) => totals.messageCount,
  },
  {
    name: "nsq_topic_message_bytes",
    kind: "counter",
    unit: "bytes",
    help: "Bytes of the bodies of published messages",
    read: (topic) => topic.messageBytes,
    retired: (totals) => totals.messageBytes,
  },
  {
    name: "nsq_topic_paused",
    kind: "gauge",
    help: "Whether a topic is paused; of several, how many are",
    read: ({ paused }) => Number(paused),
  },
  {
    name: "nsq_topic_partitions",
    kind: "gauge",
    help: "Partitions of topics that this broker has",
    read: ({ partitions }) => partitions.length,
  },
  { name: "nsq_topic_log_bytes", kind: "gauge", unit: "bytes", help: "Logs on disk", read: logBytes },
  {
    name: "nsq_topic_oldest_message_age_seconds",
    kind: "gauge",
    unit: "seconds",
    help: "Age of the oldest message that waits in a topic and in no channel; 0 if none does",
    read: (topic, nowMs) => ageSeconds(oldestInTopic(topic), nowMs),
    isLargest: true,
  },
  {
    name: "nsq_topic_damaged_regions",
    kind: "counter",
    help: "Damaged regions of logs that were skipped",
    read: (topic) => topic.corruptRegions,
    retired: (totals) => totals.corruptRegions,
  },
];

/** The metrics of channels. */
export const CHANNEL_FAMILIES: readonly ItemFamily<Channel>[] = [
  {
    name: "nsq_channel_depth_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages that wait to be delivered, for the first time or again",
    read: (channel) => channel.depth,
  },
  {
    name: "nsq_channel_backend_depth_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages of the channels' depth that are on disk only",
    read: (channel) => channel.backendDepth,
  },
  {
    name: "nsq_channel_in_flight_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages that consumers have and have not finished",
    read: (channel) => channel.inFlightCount,
  },
  {
    name: "nsq_channel_deferred_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages that are deferred by DPUB or REQ and not due yet",
    read: (channel) => channel.deferredCount,
  },
  {
    name: "nsq_channel_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages that entered channels; one of a topic with three channels counts three times",
    read: (channel) => channel.messageCount,
    retired: (totals) => totals.channelMessageCount,
  },
  {
    name: "nsq_channel_delivered_messages",
    kind: "counter",
    unit: "messages",
    help: "Deliveries to consumers, each delivery of a message counted",
    read: (channel) => channel.deliveredCount,
    retired: (totals) => totals.deliveredCount,
  },
  {
    name: "nsq_channel_finished_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages that consumers have finished",
    read: (channel) => channel.finishedCount,
    retired: (totals) => totals.finishedCount,
  },
  {
    name: "nsq_channel_requeued_messages",
    kind: "counter",
    unit: "messages",
    help: "Requeues, by consumers and operators",
    read: (channel) => channel.requeueCount,
    retired: (totals) => totals.requeueCount,
  },
  {
    name: "nsq_channel_timed_out_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages whose consumer did not finish them in time, each time counted",
    read: (channel) => channel.timeoutCount,
    retired: (totals) => totals.timeoutCount,
  },
  {
    name: "nsq_channel_blocked_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages of the depth that wait for others of their key or partition, as far as channels have looked ahead",
    read: (channel) => channel.blockedCount,
  },
  {
    name: "nsq_channel_filtered_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages that were finished without being delivered, because a filter did not take them",
    read: (channel) => channel.filteredCount,
    retired: (totals) => totals.filteredCount,
  },
  {
    name: "nsq_channel_dead_letter_messages",
    kind: "counter",
    unit: "messages",
    help: "Messages that were delivered too often and moved to a dead letter topic",
    read: (channel) => channel.deadLetterCount,
    retired: (totals) => totals.deadLetterCount,
  },
  {
    name: "nsq_channel_most_attempts",
    kind: "gauge",
    help: "Attempts of the unfinished message that was delivered most often, in channels with an order, a filter or dead letters; 0 if none was delivered again",
    read: (channel) => mostTried(channel)?.attempts ?? 0,
    isLargest: true,
  },
  { name: "nsq_channel_consumers", kind: "gauge", help: "Consumers that are subscribed", read: ({ consumers }) => consumers.length },
  {
    name: "nsq_channel_without_consumers",
    kind: "gauge",
    help: "Whether a channel has no consumer; of several, how many have none",
    read: ({ consumers }) => Number(consumers.length === 0),
  },
  {
    name: "nsq_channel_paused",
    kind: "gauge",
    help: "Whether a channel is paused; of several, how many are",
    read: ({ paused }) => Number(paused),
  },
  {
    name: "nsq_channel_read_failed",
    kind: "gauge",
    help: "Whether a channel waits because a file cannot be read; of several, how many do",
    read: ({ readFailure }) => Number(readFailure !== undefined),
  },
  {
    name: "nsq_channel_backlog_bytes",
    kind: "gauge",
    unit: "bytes",
    help: "Log from the next message to be delivered to the end; messages in between may be finished",
    read: backlogBytes,
  },
  {
    name: "nsq_channel_oldest_message_age_seconds",
    kind: "gauge",
    unit: "seconds",
    help: "Age of the oldest message that waits to be delivered; 0 if none does",
    read: (channel, nowMs) => ageSeconds(oldestInChannel(channel), nowMs),
    isLargest: true,
  },
];

/** A rate in a window, 0: the last second, 1: about a minute, 2: about five minutes. */
export interface RateFamily extends Family {
  /** The number of the counter in the rates of a channel, or of a topic. */
  counter: number;
}

const WINDOW = ["window"];

export const TOPIC_RATE: RateFamily = {
  name: "nsq_topic_message_rate",
  kind: "gauge",
  help: "Messages published per second, in the last second and averaged over about 1 and 5 minutes",
  labels: WINDOW,
  counter: 0,
};

export const CHANNEL_RATE_FAMILIES: readonly RateFamily[] = [
  { name: "nsq_channel_delivery_rate", kind: "gauge", help: "Deliveries per second", labels: WINDOW, counter: 1 },
  { name: "nsq_channel_finish_rate", kind: "gauge", help: "Messages finished per second", labels: WINDOW, counter: 2 },
  { name: "nsq_channel_requeue_rate", kind: "gauge", help: "Requeues per second", labels: WINDOW, counter: 3 },
  { name: "nsq_channel_timeout_rate", kind: "gauge", help: "Messages timed out per second", labels: WINDOW, counter: 4 },
];

export const SIZES: Family = {
  name: "nsq_topic_message_size_bytes",
  kind: "histogram",
  unit: "bytes",
  help: "Sizes of the bodies of published messages",
};
export const TO_DELIVERY: Family = {
  name: "nsq_channel_delivery_latency_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "Time from a message's timestamp to its first delivery",
};
export const TO_FINISH: Family = {
  name: "nsq_channel_processing_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "Time from a message's last delivery to its FIN",
};

function ageSeconds(timeMs: number | undefined, nowMs: number): number {
  return timeMs === undefined ? 0 : Math.max(0, Math.round(nowMs - timeMs)) / 1000;
}
