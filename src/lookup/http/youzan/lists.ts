import { encodeJson } from "../../../base/go/json.ts";
import type { ClusterStatus } from "../../../cluster/report/cluster-status.ts";
import { negotiated } from "../../../http/server/negotiated.ts";
import { json } from "../../../http/server/reply.ts";
import { parseRemoteAddress } from "../../../net/address.ts";
import { leadersOf } from "../../leaders.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import { TopicRegistration } from "../../registration.ts";
import type { LookupCall } from "../call.ts";
import { topicNames, withChannelsOf } from "../cluster/whereabouts.ts";
import { nodeFields } from "../node-lists.ts";
import { partitionArgument } from "./partition-argument.ts";
import { settingsInCluster, settingsOf } from "./whereabouts.ts";

// Lists in the form of Youzan's lookup server.

/** GET /topics?metaInfo=true: the names of all topics, and what their brokers say of them. */
export function topicsWithMeta(call: LookupCall): Response {
  const { registry, lookup } = call;
  const topics = topicNames(call);
  const metas = topics.map((name) => {
    const topic = registry.topic(name);
    const inCluster = lookup.cluster?.find(name);
    const settings = inCluster === undefined ? settingsOf(topic ?? new TopicRegistration(0, name)) : settingsInCluster(inCluster);
    const { extended, ordered, multiPart, fixedChannels } = settings;
    const known = topic?.channels.items.map((channel) => channel.name) ?? [];
    const channels = fixedChannels ? withChannelsOf(known, inCluster) : null;
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
  const name = call.topicName();
  const topic = call.registry.topic(name);
  const partition = partitionArgument(call) ?? 0;
  const inCluster = call.lookup.cluster?.find(name);
  if (inCluster !== undefined) {
    // A channel of theirs is of all partitions.
    const known = topic?.channels.items.map((channel) => channel.name) ?? [];
    const channels = partition < inCluster.record.partitions ? withChannelsOf(known, inCluster) : [];
    return negotiated(call.request, encodeJson({ channels }));
  }
  const has = (node: RegisteredNode) => topic?.partitionsAt(node).includes(partition) === true;
  const channels = topic?.channels.items.filter(({ nodes }) => nodes.items.some(has)) ?? [];
  return negotiated(call.request, encodeJson({ channels: channels.map(({ name }) => name) }));
}

/** GET /nodes?metainfo=true: the active brokers, with the partitions that each has of its topics. */
export function nodesWithPartitions(call: LookupCall): Response {
  const nodes = call.registry.activeNodes().map((node) => nodeJson(call, node));
  for (const [node, topics] of call.lookup.cluster?.strangersWithTopics() ?? []) {
    const partitions = [...topics].map(([name, indexes]): [string, string[]] => [name, indexes.map(String)]);
    const tombstones = [...topics.values()].flatMap((indexes) => indexes.map(() => false));
    nodes.push(`{${nodeFields(node.info)},"tombstones":${encodeJson(tombstones)},${listsJson([...topics.keys()], partitions)}}`);
  }
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
  return `{${nodeFields(node.info)},"tombstones":${encodeJson(tombstones)},${listsJson(topics, partitions)}}`;
}

function listsJson(topics: readonly string[], partitions: readonly [string, string[]][]): string {
  return `"topics":${encodeJson(topics)},"partitions":${encodeJson(Object.fromEntries(partitions))}`;
}

function topicsAt(node: RegisteredNode): TopicRegistration[] {
  return node.registrations.items.filter((registration) => registration instanceof TopicRegistration);
}

/** GET /listlookup: the lookup servers that belong together, and the one that moves partitions. Without etcd that is the one that is asked. */
export function listLookup(call: LookupCall): Response {
  const { options, tcpPort, httpPort, cluster } = call.lookup;
  const own = lookupNode(options.broadcastAddress, tcpPort, httpPort);
  if (cluster === undefined) return negotiated(call.request, encodeJson({ lookupdleader: own, lookupdnodes: [own] }));
  const { view } = cluster.member;
  const nodes = [...view.lookups].map(([id, { value }]) => {
    const { hostname, port } = parseRemoteAddress(value.tcp);
    return { id, node: lookupNode(hostname, port, parseRemoteAddress(value.http).port) };
  });
  const leader = nodes.find(({ id }) => id === view.controller?.value.lookup)?.node;
  const all = nodes.length === 0 ? [own] : nodes.map(({ node }) => node);
  return negotiated(call.request, encodeJson({ lookupdleader: leader ?? own, lookupdnodes: all }));
}

function lookupNode(host: string, tcpPort: number, httpPort: number): object {
  return {
    ID: `${host}:0:${tcpPort}:nsqlookup`,
    NodeIP: host,
    TcpPort: String(tcpPort),
    HttpPort: String(httpPort),
    RpcPort: "0",
    Epoch: 0,
  };
}

/**
 * GET /cluster/stats: whether all partitions of all topics are at brokers, and the part of all partitions that each broker has. Nobody
 * measures which topics are the busiest.
 */
export function clusterStats({ registry, lookup }: LookupCall): Response {
  if (lookup.cluster !== undefined) return statsOf(lookup.cluster.member.status());
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

/** In a cluster, replicas have their load apart from leaders, and nothing is stable while something is moved or lacks a replica. */
function statsOf({ brokers, partitions, without_leader, under_replicated, moves }: ClusterStatus): Response {
  const replicas = Math.max(
    1,
    brokers.reduce((sum, broker) => sum + broker.replicas, 0),
  );
  const stats = brokers
    .filter(({ away_ms: awayMs, tcp, http }) => awayMs === null && tcp !== "" && http !== "")
    .map((broker) => {
      const { hostname, port } = parseRemoteAddress(broker.tcp);
      return {
        hostname,
        broadcast_address: hostname,
        tcp_port: port,
        http_port: parseRemoteAddress(broker.http).port,
        leader_load_factor: broker.leaders / Math.max(1, partitions),
        node_load_factor: broker.replicas / replicas,
      };
    });
  const isStable = without_leader === 0 && under_replicated === 0 && moves.length === 0;
  return json({ stable: isStable, node_stat_list: stats, topn_topics: [] });
}
