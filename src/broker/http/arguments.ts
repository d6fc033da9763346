import { isValidName } from "../../frame/names.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import { type LogPosition, messageOfId, parseLogPosition, resolveLogPosition } from "../topics/inspect/log-position.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { BrokerApi, HttpCall } from "./call.ts";

// Calls check the same arguments with different codes and in different orders, as in nsqd (nsqd/http.go, internal/http_api/topic_channel_args.go).

/** An existing topic, with a check of its name. @throws Refusal 400, 404 */
export function validExistingTopic({ broker, query }: HttpCall): Topic {
  return topicNamed(broker, validTopic(query.get("topic")));
}

/** An existing topic. Its name is not checked, because no topic has an invalid one. @throws Refusal 400, 404 */
export function existingTopic({ broker, query }: HttpCall): Topic {
  const name = query.get("topic");
  if (name === undefined) throw new Refusal(400, "MISSING_ARG_TOPIC");
  return topicNamed(broker, name);
}

/** An existing topic and the name of a channel that it may have. @throws Refusal 400, 404 */
export function topicAndChannel({ broker, query }: HttpCall): { topic: Topic; channelName: string } {
  const topicName = query.get("topic");
  if (topicName === undefined) throw new Refusal(400, "MISSING_ARG_TOPIC");
  if (!isValidName(topicName)) throw new Refusal(400, "INVALID_ARG_TOPIC");
  const channelName = query.get("channel");
  if (channelName === undefined) throw new Refusal(400, "MISSING_ARG_CHANNEL");
  if (!isValidName(channelName)) throw new Refusal(400, "INVALID_ARG_CHANNEL");
  return { topic: topicNamed(broker, topicName), channelName };
}

/** @throws Refusal 400, 404 */
export function existingChannel(call: HttpCall): Channel {
  const { topic, channelName } = topicAndChannel(call);
  const channel = topic.channels.get(channelName);
  if (channel === undefined) throw channelNotFound();
  return channel;
}

/**
 * The partition that the argument `partition` names; undefined without one.
 *
 * @param tellsWhere whether one that another broker has is told from one that there is not
 * @throws Refusal 400 INVALID_ARG_PARTITION, 404 PARTITION_NOT_FOUND; 409 PARTITION_NOT_HERE
 */
export function partitionArgument({ query }: HttpCall, topic: Topic, tellsWhere = false): TopicPartition | undefined {
  const text = query.get("partition");
  if (text === undefined) return undefined;
  if (!/^\d{1,4}$/.test(text)) throw new Refusal(400, "INVALID_ARG_PARTITION");
  const partition = topic.partition(Number(text));
  if (partition === undefined && tellsWhere && topic.hasPartition(Number(text))) throw new Refusal(409, "PARTITION_NOT_HERE");
  if (partition === undefined) throw new Refusal(404, "PARTITION_NOT_FOUND");
  return partition;
}

/**
 * The partition that messages are published to: the one that the argument `partition` names, else that of their key, else each in turn.
 *
 * @param key of the messages; empty: none
 * @throws Refusal 400 INVALID_ARG_PARTITION, 404 PARTITION_NOT_FOUND; 409 PARTITION_NOT_HERE if another broker has it
 */
export function partitionToPublish(call: HttpCall, topic: Topic, key: Uint8Array): TopicPartition {
  const named = partitionArgument(call, topic, true);
  const partition = named ?? (key.length === 0 ? topic.nextPartition() : topic.partitionOfKey(key));
  if (partition === undefined) throw new Refusal(409, "PARTITION_NOT_HERE");
  return partition;
}

/** The partition that a call for one of them is about: the first, unless the argument `partition` names one. @throws as partitionArgument() */
export function onePartition(call: HttpCall, topic: Topic): TopicPartition {
  return partitionArgument(call, topic) ?? topic.served[0] ?? topic.partitions[0];
}

/** What a channel has of the partition that the argument `partition` names; of all without one. @throws as partitionArgument() */
export function partsArgument(call: HttpCall, channel: Channel): readonly ChannelPartition[] {
  const partition = partitionArgument(call, channel.topic);
  return partition === undefined ? channel.partitions : [partHere(channel, partition)];
}

/** What a channel has of a partition. @throws Refusal 409 PARTITION_NOT_HERE if another broker leads it */
export function partHere(channel: Channel, { index }: TopicPartition): ChannelPartition {
  const part = channel.partAt(index);
  if (part === undefined) throw new Refusal(409, "PARTITION_NOT_HERE");
  return part;
}

/** An existing channel, for a call that is about all its partitions. @throws as existingChannel(), and if there is no such partition */
export function wholeChannel(call: HttpCall): Channel {
  const channel = existingChannel(call);
  partitionArgument(call, channel.topic);
  return channel;
}

/** A place in the log of one partition. */
export interface PartitionPosition {
  readonly partition: TopicPartition;
  readonly sequence: number;
}

/**
 * Where the log position (topics/inspect/log-position.ts) in an argument is, in each partition that it names: a time, the beginning
 * and the end are in all of them, unless the argument `partition` names one; an id is in one.
 *
 * @throws Refusal 400 MISSING_ARG_…, INVALID_ARG_…; MISSING_ARG_PARTITION for a sequence or bytes where there are several
 */
export function positionsArgument(call: HttpCall, topic: Topic, argument: string): PartitionPosition[] {
  const text = call.query.get(argument);
  if (text === undefined) throw new Refusal(400, `MISSING_ARG_${argument.toUpperCase()}`);
  const positions = positionsOf(call, topic, parseLogPosition(text, Date.now()));
  if (positions === undefined) throw new Refusal(400, `INVALID_ARG_${argument.toUpperCase()}`);
  return positions;
}

/** As positionsArgument(). @returns undefined for a position that there is not */
export function positionsOf(call: HttpCall, topic: Topic, position: LogPosition | undefined): PartitionPosition[] | undefined {
  if (position === undefined) return undefined;
  const positions: PartitionPosition[] = [];
  for (const partition of partitionsOf(call, topic, position)) {
    const sequence = resolveLogPosition(partition, position);
    if (sequence === undefined) return undefined;
    positions.push({ partition, sequence });
  }
  return positions;
}

function partitionsOf(call: HttpCall, topic: Topic, position: LogPosition): readonly TopicPartition[] {
  const named = partitionArgument(call, topic);
  if (named !== undefined) return [named];
  const { kind } = position;
  if (topic.partitions.length === 1 || kind === "beginning" || kind === "end" || kind === "time") return topic.served;
  if (kind === "id") return [messageOfId(topic, position.id)?.partition ?? topic.partitions[0]];
  throw new Refusal(400, "MISSING_ARG_PARTITION");
}

/** The place that an argument names for a call that is about one partition. @throws as positionsArgument(), onePartition() */
export function positionArgument(call: HttpCall, partition: TopicPartition, argument: string): number {
  const { query } = call;
  const position = parseLogPosition(query.get(argument) ?? "", Date.now());
  const sequence = position === undefined ? undefined : resolveLogPosition(partition, position);
  if (sequence === undefined) throw new Refusal(400, `INVALID_ARG_${argument.toUpperCase()}`);
  return sequence;
}

export function channelNotFound(): Refusal {
  return new Refusal(404, "CHANNEL_NOT_FOUND");
}

export function validTopic(name: string | undefined): string {
  if (name === undefined) throw new Refusal(400, "MISSING_ARG_TOPIC");
  if (!isValidName(name)) throw new Refusal(400, "INVALID_TOPIC");
  return name;
}

/** @throws Refusal 404; TopicWaits */
function topicNamed({ registry }: BrokerApi, name: string): Topic {
  const topic = registry.topics.get(name);
  if (topic !== undefined) return topic;
  registry.checkWaiting(name);
  throw new Refusal(404, "TOPIC_NOT_FOUND");
}
