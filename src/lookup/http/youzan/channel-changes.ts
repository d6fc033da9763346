import { empty, Refusal } from "../../../http/server/reply.ts";
import type { LookupCall } from "../call.ts";
import { callBrokers } from "./brokers.ts";
import { untilStarted } from "./registered.ts";

// Changes of channels at all brokers of a topic, so that nobody has to ask one after the other.

/** Arguments of the broker's /channel/create that are passed on. */
const PASSED_ON = ["ordered", "filter", "max_attempts", "dead_letter_topic", "start"];

/** POST /channel/create?topic=&channel=&partition=**: makes a channel at all brokers of a topic. */
export async function createChannelEverywhere(call: LookupCall): Promise<Response> {
  const channel = call.validChannelName();
  const topic = await tellAll(call, "/channel/create", channel);
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel=&partition=**: deletes a channel at all brokers of a topic, with its messages. */
export async function deleteChannelEverywhere(call: LookupCall): Promise<Response> {
  const channel = call.validChannelName();
  const topic = await tellAll(call, "/channel/delete", channel);
  call.registry.deleteChannel(topic, channel);
  return empty();
}

/** @returns the name of the topic */
async function tellAll(call: LookupCall, path: string, channel: string): Promise<string> {
  const name = call.validTopicName();
  if (call.query.get("partition") !== "**") throw new Refusal(400, "INVALID_ARG_TOPIC_PARTITION");
  await untilStarted(call);
  const isDeleting = path === "/channel/delete";
  const topic = call.registry.topic(name);
  if (isDeleting && topic?.channels.get(channel) === undefined) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  const nodes = topic?.nodes.items.filter(({ info }) => info.makesPartitions) ?? [];
  if (nodes.length === 0) throw new Refusal(404, "TOPIC_NOT_FOUND");
  const more = Object.fromEntries(PASSED_ON.map((key) => [key, call.query.get(key)]).filter(([, value]) => value !== undefined));
  await callBrokers(
    call,
    nodes.map((node) => ({ node, path, query: { topic: name, channel, ...more } })),
    isDeleting ? 404 : undefined,
  );
  return name;
}
