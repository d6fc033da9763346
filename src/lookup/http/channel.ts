import { empty, Refusal } from "../../http/server/reply.ts";
import type { LookupCall } from "./call.ts";

/** POST /channel/create?topic=&channel= — the topic too. */
export function createChannel(call: LookupCall): Response {
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  call.lookup.log.info(`DB: adding channel(${channel}) in topic(${topic})`);
  call.lookup.log.info(`DB: adding topic(${topic})`);
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel= — brokers are not told. */
export function deleteChannel(call: LookupCall): Response {
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  if (!call.registry.deleteChannel(topic, channel)) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  call.lookup.log.info(`DB: removing channel(${channel}) from topic(${topic})`);
  return empty();
}
