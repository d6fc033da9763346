import { encodeJson } from "../../../base/go/json.ts";
import { negotiated } from "../../../http/server/negotiated.ts";
import { Refusal } from "../../../http/server/reply.ts";
import { leadersOf } from "../../leaders.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { TopicRegistration } from "../../registration.ts";
import { DEFAULT_SETTINGS, type TopicSettings } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";
import { nodeFields } from "../node-lists.ts";
import { partitionArgument } from "./partition-argument.ts";

/** Arguments of /lookup that only Youzan's clients give. */
const ARGUMENTS = ["access", "metainfo", "partition"];
/** What Youzan's server says of a topic that there is not. */
const NO_META =
  '{"disable_channel_auto_create":false,"extend_support":false,"multi_part":false,"ordered":false,"partition_num":0,"replica":0}';

/** Whether a client asks /lookup for partitions. */
export function asksForPartitions({ query }: LookupCall): boolean {
  return ARGUMENTS.some((name) => query.get(name) !== undefined);
}

/**
 * GET /lookup?topic=&access=r|w[&metainfo=true][&partition=]: which broker has which partition. With access=r an unknown topic is empty,
 * and tombstoned brokers are among the others, so that they are drained.
 */
export function lookupPartitions(call: LookupCall): Response {
  const name = call.topicName();
  const access = call.query.get("access") ?? "r";
  if (access !== "r" && access !== "w") throw new Refusal(400, "INVALID_ACCESS_MODE");
  const partition = partitionArgument(call);
  const topic = call.registry.topic(name);
  if (access === "w" && topic?.registered !== true) throw new Refusal(404, "Key not found");
  const isAsked = call.query.get("metainfo") === "true";
  const meta = isAsked ? `"meta":${topic === undefined ? NO_META : metaOf(topic)},` : "";
  const places = topic === undefined ? NOWHERE : placesOf(call, topic, access === "w", partition);
  const channels = topic === undefined ? [] : topic.channels.items.map((channel) => channel.name);
  return negotiated(call.request, `{"channels":${encodeJson(channels)},${meta}${places}}`);
}

const NOWHERE = '"partitions":{},"producers":[]';

function placesOf({ registry }: LookupCall, topic: TopicRegistration, toWrite: boolean, partition: number | undefined): string {
  const nodes = registry.activeNodesOf(topic, !toWrite);
  const leaders = [...leadersOf(topic, nodes)].filter(([index]) => partition === undefined || index === partition);
  // Brokers without partitions are told to consumers alone: Youzan's producers write to partitions.
  const all = toWrite ? nodes.filter((node) => node.namesPartitions) : nodes;
  const producers = partition === undefined ? all : leaders.map(([, node]) => node);
  const json = new Map(nodes.map((node) => [node, peerJson(node)]));
  const partitions = leaders.map(([index, node]) => `"${index}":${json.get(node)}`);
  // In the order of Go's maps: a quote comes before the digits, as the end of a name does.
  return `"partitions":{${partitions.sort().join(",")}},"producers":[${producers.map((node) => json.get(node)).join(",")}]`;
}

/** A broker, as Youzan's server tells it. */
function peerJson({ info }: RegisteredNode): string {
  return `{"id":${encodeJson(info.remoteAddress)},${nodeFields(info)},"distributed_id":${encodeJson(info.distributedId)}}`;
}

/** What its brokers say of a topic. */
export function settingsOf(topic: TopicRegistration): TopicSettings {
  const highest = Math.max(0, ...topic.nodes.items.map((node) => topic.partitionsAt(node).at(-1) ?? 0));
  const { settings = DEFAULT_SETTINGS } = topic;
  return { ...settings, partitions: Math.max(settings.partitions, highest + 1) };
}

function metaOf(topic: TopicRegistration): string {
  const { partitions, ordered, multiPart, extended, fixedChannels } = settingsOf(topic);
  return (
    `{"disable_channel_auto_create":${fixedChannels},"extend_support":${extended},"multi_part":${multiPart},` +
    `"ordered":${ordered},"partition_num":${partitions},"replica":1}`
  );
}
