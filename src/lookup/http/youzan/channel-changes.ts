import { empty, Refusal } from "../../../http/server/reply.ts";
import type { LookupCall } from "../call.ts";
import { clusterTopicsOf } from "../cluster/member.ts";
import { leadersAndOthers, noteChannel } from "../cluster/topic-changes.ts";
import { callBrokers } from "./brokers.ts";
import { untilStarted } from "./registered.ts";

// Changes of channels at all brokers of a topic, so that nobody has to ask one after the other.

/** Arguments of the broker's /channel/create that are passed on. */
const PASSED_ON = ["ordered", "filter", "max_attempts", "dead_letter_topic", "start"];

/** POST /channel/create?topic=&channel=&partition=**: makes a channel at all brokers of a topic. */
export async function createChannelEverywhere(call: LookupCall): Promise<Response> {
  const channel = call.validChannelName();
  const topic = await tellAll(call, "/channel/create", channel);
  const { cluster } = call.lookup;
  if (cluster?.find(topic) !== undefined) await noteChannel(cluster, topic, channel, true);
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel=&partition=**: deletes a channel at all brokers of a topic, with its messages. */
export async function deleteChannelEverywhere(call: LookupCall): Promise<Response> {
  const channel = call.validChannelName();
  const topic = await tellAll(call, "/channel/delete", channel);
  const { cluster } = call.lookup;
  if (cluster?.find(topic) !== undefined) await noteChannel(cluster, topic, channel, false);
  call.registry.deleteChannel(topic, channel);
  return empty();
}

/** @returns the name of the topic */
async function tellAll(call: LookupCall, path: string, channel: string): Promise<string> {
  const name = call.validTopicName();
  if (call.query.get("partition") !== "**") throw new Refusal(400, "INVALID_ARG_TOPIC_PARTITION");
  const cluster = clusterTopicsOf(call);
  const inCluster = cluster?.find(name);
  const isDeleting = path === "/channel/delete";
  const isKnown = () =>
    call.registry.topic(name)?.channels.get(channel) !== undefined || inCluster?.record.channels.includes(channel) === true;
  // Etcd says who leads, but not all of a topic's channels.
  if (inCluster === undefined || (isDeleting && !isKnown())) await untilStarted(call);
  const topic = call.registry.topic(name);
  if (isDeleting && !isKnown()) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  const nodes =
    cluster === undefined || inCluster === undefined
      ? (topic?.nodes.items.filter(({ info }) => info.makesPartitions) ?? [])
      : leadersAndOthers(call, cluster, name);
  if (nodes.length === 0) throw new Refusal(404, "TOPIC_NOT_FOUND");
  const more = Object.fromEntries(PASSED_ON.map((key) => [key, call.query.get(key)]).filter(([, value]) => value !== undefined));
  await callBrokers(
    call,
    nodes.map((node) => ({ node, path, query: { topic: name, channel, ...more } })),
    isDeleting ? 404 : undefined,
  );
  return name;
}
