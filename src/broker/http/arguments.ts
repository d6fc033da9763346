import { isValidName } from "../../frame/names.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { parseLogPosition, resolveLogPosition } from "../topics/inspect/log-position.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { BrokerApi, HttpCall } from "./call.ts";

// Calls check the same arguments with different codes and in different orders, as in nsqd (nsqd/http.go, internal/http_api/topic_channel_args.go).

/** The topic to publish to. It is made if it does not exist. @throws Refusal 400 */
export function topicToPublish({ broker, query }: Pick<HttpCall, "broker" | "query">): Topic {
  return broker.registry.topic(validTopic(query.get("topic")));
}

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

/** The sequence of the log position (topics/inspect/log-position.ts) in an argument. @throws Refusal 400 MISSING_ARG_…, INVALID_ARG_… */
export function positionArgument({ query }: HttpCall, partition: TopicPartition, argument: string): number {
  const text = query.get(argument);
  if (text === undefined) throw new Refusal(400, `MISSING_ARG_${argument.toUpperCase()}`);
  const position = parseLogPosition(text, Date.now());
  const sequence = position === undefined ? undefined : resolveLogPosition(partition, position);
  if (sequence === undefined) throw new Refusal(400, `INVALID_ARG_${argument.toUpperCase()}`);
  return sequence;
}

export function channelNotFound(): Refusal {
  return new Refusal(404, "CHANNEL_NOT_FOUND");
}

function validTopic(name: string | undefined): string {
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
