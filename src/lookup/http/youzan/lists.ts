import { encodeJson } from "../../../base/go/json.ts";
import { negotiated } from "../../../http/server/negotiated.ts";
import { json } from "../../../http/server/reply.ts";
import { leadersOf } from "../../leaders.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import { TopicRegistration } from "../../registration.ts";
import type { LookupCall } from "../call.ts";
import { nodeFields } from "../node-lists.ts";
import { partitionArgument } from "./partition-argument.ts";
import { settingsOf } from "./whereabouts.ts";

// Lists in the form of Youzan's lookup server.

/** GET /topics?metaInfo=true: the names of all topics, and what their brokers say of them. */
export function topicsWithMeta(call: LookupCall): Response {
  const { registry } = call;
  const topics = registry.topicNames();
  const metas = topics.map((name) => {
    const topic = registry.topic(name);
    const { extended, ordered, multiPart, fixedChannels } = settingsOf(topic ?? new TopicRegistration(0, name));
    const channels = fixedChannels ? (topic?.channels.items.map((channel) => channel.name) ?? []) : null;
    return {
      topic_name: name,
      extend_support: extended,
      ordered,
      multi_part: multiPart,
      disable_channel_auto_create: fixedChannels,
      registered_channels: channels,
    };
  });
  return negotiated(call.request, encodeJson({ meta_info: metas, topics }));
}

/** GET /channels?topic=&partition=: the names of the channels of the brokers that have a partition. */
export function channelsOfPartition(call: LookupCall): Response {
  const topic = call.registry.topic(call.topicName());
  const partition = partitionArgument(call) ?? 0;
  const has = (node: RegisteredNode) => topic?.partitionsAt(node).includes(partition) === true;
  const channels = topic?.channels.items.filter(({ nodes }) => nodes.items.some(has)) ?? [];
  return negotiated(call.request, encodeJson({ channels: channels.map(({ name }) => name) }));
}

/** GET /nodes?metainfo=true: the active brokers, with the partitions that each has of its topics. */
export function nodesWithPartitions(call: LookupCall): Response {
  const nodes = call.registry.activeNodes().map((node) => nodeJson(call, node));
  return negotiated(call.request, `{"producers":[${nodes.join(",")}]}`);
}

function nodeJson({ registry }: LookupCall, node: RegisteredNode): string {
  const topics: string[] = [];
  const tombstones: boolean[] = [];
  const partitions: [string, string[]][] = [];
  for (const topic of topicsAt(node)) {
    topics.push(topic.name);
    const indexes = topic.partitionsAt(node);
    const isTombstoned = registry.isTombstoned(topic, node);
    for (let i = 0; i < Math.max(1, indexes.length); i++) tombstones.push(isTombstoned);
    if (indexes.length > 0) partitions.push([topic.name, indexes.map(String)]);
  }
  partitions.sort(([a], [b]) => (a < b ? -1 : 1));
  const lists = `"topics":${encodeJson(topics)},"partitions":${encodeJson(Object.fromEntries(partitions))}`;
  return `{${nodeFields(node.info)},"tombstones":${encodeJson(tombstones)},${lists}}`;
}

function topicsAt(node: RegisteredNode): TopicRegistration[] {
  return node.registrations.items.filter((registration) => registration instanceof TopicRegistration);
}

/** GET /listlookup: the lookup servers that belong together. There is no cluster, so this is the one that is asked. */
export function listLookup(call: LookupCall): Response {
  const { options, tcpPort, httpPort } = call.lookup;
  const { broadcastAddress } = options;
  const own = {
    ID: `${broadcastAddress}:0:${tcpPort}:nsqlookup`,
    NodeIP: broadcastAddress,
    TcpPort: String(tcpPort),
    HttpPort: String(httpPort),
    RpcPort: "0",
    Epoch: 0,
  };
  return negotiated(call.request, encodeJson({ lookupdleader: own, lookupdnodes: [own] }));
}

/**
 * GET /cluster/stats: whether all partitions of all topics are at brokers, and the part of all partitions that each broker has. Nobody
 * measures which topics are the busiest.
 */
export function clusterStats({ registry, lookup }: LookupCall): Response {
  const nodes = registry.activeNodes().filter((node) => node.namesPartitions);
  const counts = new Map(nodes.map((node) => [node, topicsAt(node).reduce((sum, topic) => sum + topic.partitionsAt(node).length, 0)]));
  const total = Math.max(
    1,
    [...counts.values()].reduce((sum, count) => sum + count, 0),
  );
  const stats = nodes.map((node) => {
    const { hostname, broadcastAddress, tcpPort, httpPort } = node.info;
    const load = (counts.get(node) ?? 0) / total;
    return {
      hostname,
      broadcast_address: broadcastAddress,
      tcp_port: tcpPort,
      http_port: httpPort,
      leader_load_factor: load,
      node_load_factor: load,
    };
  });
  const isWhole = (topic: TopicRegistration) => leadersOf(topic, registry.activeNodesOf(topic, true)).size >= settingsOf(topic).partitions;
  let isStable = !lookup.isStarting;
  for (const topic of registry.allTopics()) isStable &&= topic.nodes.items.every((node) => !node.namesPartitions) || isWhole(topic);
  return json({ stable: isStable, node_stat_list: stats, topn_topics: [] });
}
