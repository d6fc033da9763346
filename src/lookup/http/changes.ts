import { empty, Refusal } from "../../http/server/reply.ts";
import type { LookupCall } from "./call.ts";

// What operators change. Brokers are not told of it.

/** POST /topic/create?topic= — known from now on, though no broker has it. */
export function createTopic(call: LookupCall): Response {
  const name = call.validTopicName();
  call.lookup.logger.info(`DB: adding topic(${name})`);
  call.registry.createTopic(name);
  return empty();
}

/** POST /topic/delete?topic= — with its channels; brokers are not told. */
export function deleteTopic(call: LookupCall): Response {
  const { logger } = call.lookup;
  for (const { topic, registered, channels } of call.registry.deleteTopic(call.topicName())) {
    for (const channel of channels) logger.info(`DB: removing channel(${channel}) from topic(${topic})`);
    if (registered) logger.info(`DB: removing topic(${topic})`);
  }
  return empty();
}

/** POST /topic/tombstone?topic=&node= — for a while clients do not find the topic at this node (`host:http port`). */
export function tombstoneTopic(call: LookupCall): Response {
  const topic = call.topicName();
  const node = call.argument("node", "MISSING_ARG_NODE");
  call.lookup.logger.info(`DB: setting tombstone for producer@${node} of topic(${topic})`);
  call.registry.tombstone(topic, node);
  return empty();
}

/** POST /channel/create?topic=&channel= — the topic too. */
export function createChannel(call: LookupCall): Response {
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  call.lookup.logger.info(`DB: adding channel(${channel}) in topic(${topic})`);
  call.lookup.logger.info(`DB: adding topic(${topic})`);
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel= — brokers are not told. */
export function deleteChannel(call: LookupCall): Response {
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  if (!call.registry.deleteChannel(topic, channel)) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  call.lookup.logger.info(`DB: removing channel(${channel}) from topic(${topic})`);
  return empty();
}
