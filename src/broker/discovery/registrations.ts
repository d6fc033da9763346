import { isPlain } from "../storage/metadata/topic-settings.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";

// The lines with which a broker registers topics and channels: NSQ's, or to a lookup that knows partitions those of Youzan's brokers,
// with the partition behind the topic, and `SETTINGS topic json` for a topic that is more than one partition without settings.

export type Verb = "REGISTER" | "UNREGISTER";

/** The lines for a partition that this broker leads now, or no more. Its channels are told by themselves. */
export function leaderLines(partition: TopicPartition, partitioned: boolean): string[] {
  const { topic, index, replicated } = partition;
  const leads = replicated?.[0].leads !== false;
  if (partitioned && !leads) return [`UNREGISTER ${topic.name} ${index}`];
  // Not the other partitions: hundreds of one topic may change their leader at once.
  if (partitioned) return [`REGISTER ${topic.name} ${index}`, ...(isPlain(topic.settings) ? [] : [settingsLine(topic)])];
  // Other lookups are told when it is the first or the last one that is led here.
  if (leads) return [`REGISTER ${topic.name}`];
  return topic.served.length === 0 ? [`UNREGISTER ${topic.name}`] : [];
}

/** The lines for a topic as a whole. @param partitioned whether the lookup knows partitions */
export function topicLines(verb: Verb, topic: Topic, partitioned: boolean): string[] {
  if (!partitioned) return [`${verb} ${topic.name}`];
  const lines = topic.served.map(({ index }) => `${verb} ${topic.name} ${index}`);
  return verb === "REGISTER" && !isPlain(topic.settings) ? [...lines, settingsLine(topic)] : lines;
}

/** The lines for a topic that has other settings or more partitions than before: a lookup may have noted what it is no more. */
export function changedLines(topic: Topic, partitioned: boolean): string[] {
  const lines = topicLines("REGISTER", topic, partitioned);
  return partitioned && isPlain(topic.settings) ? [...lines, settingsLine(topic)] : lines;
}

/** The line for a channel. It is of all partitions, so that the first one stands for the others. */
export function channelLine(verb: Verb, { topic, name }: Channel, partitioned: boolean): string {
  const { index } = topic.served[0] ?? topic.partitions[0];
  return `${verb} ${topic.name} ${partitioned ? `${index} ` : ""}${name}`;
}

/** All lines for a topic with its channels. Registering a channel registers its topic, and the partition that it names, too. */
export function allLines(topic: Topic, partitioned: boolean): string[] {
  const lines: string[] = [];
  if (topic.served.length === 0) return lines;
  for (const channel of topic.channels.values()) lines.push(channelLine("REGISTER", channel, partitioned));
  const others = topicLines("REGISTER", topic, partitioned);
  return lines.length === 0 ? others : [...lines, ...others.slice(1)];
}

function settingsLine({ name, settings }: Topic): string {
  const said = {
    partition_num: settings.partitions,
    ordered: settings.ordered,
    multi_part: settings.multiPart,
    extend_support: settings.extended,
    disable_channel_auto_create: settings.fixedChannels,
  };
  return `SETTINGS ${name} ${JSON.stringify(said)}`;
}
