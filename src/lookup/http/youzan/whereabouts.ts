import { encodeJson } from "../../../base/go/json.ts";
import { negotiated } from "../../../http/server/negotiated.ts";
import { Refusal } from "../../../http/server/reply.ts";
import type { ClusterTopic } from "../../cluster-topics.ts";
import { leadersOf } from "../../leaders.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { TopicRegistration } from "../../registration.ts";
import { DEFAULT_SETTINGS, type TopicSettings } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";
import { withChannelsOf, withLeaders } from "../cluster/whereabouts.ts";
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
  const toWrite = access === "w";
  const inCluster = call.lookup.cluster?.find(name);
  const topic = call.registry.topic(name);
  if (toWrite && topic?.registered !== true && inCluster === undefined) throw new Refusal(404, "Key not found");
  const isAsked = call.query.get("metainfo") === "true";
  const meta = isAsked ? `"meta":${metaFor(topic, inCluster)},` : "";
  const nodes = topic === undefined ? [] : call.registry.activeNodesOf(topic, !toWrite);
  const places =
    inCluster !== undefined
      ? placesJson(withLeaders(call, inCluster, nodes, !toWrite), inCluster.leaders, toWrite, partition)
      : topic === undefined
        ? NOWHERE
        : placesJson(nodes, leadersOf(topic, nodes), toWrite, partition);
  const channels = topic === undefined ? [] : topic.channels.items.map((channel) => channel.name);
  return negotiated(call.request, `{"channels":${encodeJson(withChannelsOf(channels, inCluster))},${meta}${places}}`);
}

const NOWHERE = '"partitions":{},"producers":[]';

/** @param nodes all that are told, and the leaders among them */
function placesJson(
  nodes: readonly RegisteredNode[],
  leaders: ReadonlyMap<number, RegisteredNode>,
  toWrite: boolean,
  partition: number | undefined,
): string {
  const told = [...leaders].filter(([index, node]) => (partition === undefined || index === partition) && nodes.includes(node));
  // Brokers without partitions are told to consumers alone: Youzan's producers write to partitions.
  const leading = new Set(leaders.values());
  const all = toWrite ? nodes.filter((node) => node.namesPartitions || leading.has(node)) : nodes;
  const producers = partition === undefined ? all : told.map(([, node]) => node);
  const json = new Map(nodes.map((node) => [node, peerJson(node)]));
  const partitions = told.map(([index, node]) => `"${index}":${json.get(node)}`);
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

function metaFor(topic: TopicRegistration | undefined, inCluster: ClusterTopic | undefined): string {
  if (inCluster !== undefined) return metaOf(settingsInCluster(inCluster), inCluster.record.replicas);
  return topic === undefined ? NO_META : metaOf(settingsOf(topic), 1);
}

function metaOf({ partitions, ordered, multiPart, extended, fixedChannels }: TopicSettings, replicas: number): string {
  return (
    `{"disable_channel_auto_create":${fixedChannels},"extend_support":${extended},"multi_part":${multiPart},` +
    `"ordered":${ordered},"partition_num":${partitions},"replica":${replicas}}`
  );
}

/** What etcd says of a topic. */
export function settingsInCluster({ record }: ClusterTopic): TopicSettings {
  const { partitions, ordered, multiPart = false, extended = DEFAULT_SETTINGS.extended, fixedChannels = false } = record;
  return { partitions, ordered, multiPart, extended, fixedChannels };
}
