import { empty, Refusal } from "../../../http/server/reply.ts";
import { TOPIC_FLAGS } from "../../../http/topic-flags.ts";
import type { ClusterTopics } from "../../cluster-topics.ts";
import { leadersOf } from "../../leaders.ts";
import { placePartitions } from "../../placing.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { TopicRegistration } from "../../registration.ts";
import type { LookupCall } from "../call.ts";
import { clusterTopicsOf } from "../cluster/member.ts";
import { createInCluster, deleteInCluster, expandInCluster, updateInCluster } from "../cluster/topic-changes.ts";
import { type BrokerCall, callBrokers } from "./brokers.ts";
import { untilKnown, untilRegistered, untilStarted } from "./registered.ts";
import { channelOrder, checkReplicas, isSet, noNode, partitionCount, storageCalls } from "./topic-arguments.ts";
import { settingsOf } from "./whereabouts.ts";

// Changes of topics as Youzan's clients ask for them. The lookup server calls the brokers, which keep everything: it has no data of its
// own. The answer comes when clients find here what was made.

/**
 * POST /topic/create?topic=&partition_num=[&replicator=1]…: makes a topic, its partitions in turn at the registered brokers. A topic that
 * exists stays as it is. Partitions that no registered broker has are only made with fill=true, since a broker that is away may have them.
 */
export async function createPartitions(call: LookupCall): Promise<Response> {
  const name = call.validTopicName();
  const cluster = clusterTopicsOf(call);
  if (cluster !== undefined) return createInCluster(call, cluster, name);
  const count = partitionCount(call);
  checkReplicas(call);
  const given = Object.entries(TOPIC_FLAGS).filter(([flag]) => call.query.get(flag) !== undefined);
  const flags = Object.fromEntries(given.map(([flag]) => [flag, `${isSet(call, flag)}`]));
  const order = orderArgument(call);
  const storage = storageCalls(call, name);
  await untilKnown(call, name, count);
  const topic = existing(call, name);
  if (topic !== undefined) {
    const settings = settingsOf(topic);
    const isOther = given.some(([flag, setting]) => settings[setting] !== isSet(call, flag));
    if (settings.partitions !== count || isOther) throw new Refusal(400, "already exist");
  }
  const missing = missingOf(call, topic, count);
  if (topic !== undefined) checkWhole(call, missing);
  if (missing.length > 0) await make(call, name, missing, count, { ...flags, ...order });
  const nodes = call.registry.topic(name)?.nodes.items.filter(({ info }) => info.makesPartitions) ?? [];
  await callBrokers(call, callsOf(nodes, storage));
  return empty();
}

/** POST /topic/partition/expand?topic=&partition_num=: gives a topic more partitions. Those that it has stay where they are. */
export async function expandPartitions(call: LookupCall): Promise<Response> {
  const name = call.validTopicName();
  const cluster = clusterOf(call, name);
  if (cluster !== undefined) return expandInCluster(call, cluster, name);
  const count = partitionCount(call);
  await untilKnown(call, name, count);
  const topic = existing(call, name);
  if (topic === undefined) throw new Refusal(404, "topic is not created");
  const { partitions } = settingsOf(topic);
  if (count < partitions) throw new Refusal(400, "the partition number can not be reduced");
  const missing = missingOf(call, topic, count);
  checkWhole(
    call,
    missing.filter((index) => index < partitions),
  );
  await make(call, name, missing, count, {});
  return empty();
}

/**
 * POST /topic/meta/update?topic=[&retention=][&syncdisk=][&replicator=1][&upgradeext=true][&disable_channel_auto_create=]
 * [&channel_order=]: changes settings of a topic at all its brokers.
 */
export async function updateTopic(call: LookupCall): Promise<Response> {
  const name = call.validTopicName();
  const cluster = clusterOf(call, name);
  if (cluster !== undefined) return updateInCluster(call, cluster, name);
  checkReplicas(call);
  const flag = call.query.get("disable_channel_auto_create");
  const flags = {
    // One way: headers of messages that are there cannot be taken away.
    ...(isSet(call, "upgradeext") && { extend: "true" }),
    ...orderArgument(call),
    ...(flag !== undefined && { disable_channel_auto_create: `${isSet(call, "disable_channel_auto_create")}` }),
  };
  const calls = storageCalls(call, name);
  if (Object.keys(flags).length > 0) calls.push({ path: "/topic/create", query: { topic: name, ...flags } });
  await untilStarted(call);
  const topic = existing(call, name);
  if (topic === undefined) throw new Refusal(404, "topic is not created");
  await callBrokers(call, callsOf(makersOf(topic), calls));
  return empty();
}

/** POST /topic/delete?topic=&partition=**: deletes a topic at all its brokers, with its messages. */
export async function deletePartitions(call: LookupCall): Promise<Response> {
  const name = call.validTopicName();
  if (call.query.get("partition") !== "**") throw new Refusal(400, "REMOVE_SINGLE_PARTITION_NOT_ALLOWED");
  const cluster = clusterOf(call, name);
  if (cluster !== undefined) return deleteInCluster(call, cluster, name);
  await untilStarted(call);
  const topic = call.registry.topic(name);
  if (topic === undefined) throw new Refusal(404, "Key not found");
  await callBrokers(call, callsOf(makersOf(topic), [{ path: "/topic/delete", query: { topic: name } }]), 404);
  call.lookup.logger.info(`DB: removing topic(${name})`, call.about({ topic: name }));
  call.registry.deleteTopic(name);
  return empty();
}

/** The order of channels as brokers get it. */
function orderArgument(call: LookupCall): Record<string, string> {
  const { channelOrder: order } = channelOrder(call);
  return order === undefined ? {} : { channel_order: order };
}

/** The cluster, if the topic is one of its. Those that a broker has for itself are changed there. @throws Refusal 503 ETCD_AWAY */
function clusterOf(call: LookupCall, name: string): ClusterTopics | undefined {
  const cluster = clusterTopicsOf(call);
  return cluster?.member.view.topics.has(name) === true ? cluster : undefined;
}

/** A topic that a broker which names partitions has. */
function existing({ registry }: LookupCall, name: string): TopicRegistration | undefined {
  const topic = registry.topic(name);
  return topic?.nodes.items.some((node) => node.namesPartitions) === true ? topic : undefined;
}

function makersOf(topic: TopicRegistration): RegisteredNode[] {
  return topic.nodes.items.filter(({ info }) => info.makesPartitions);
}

/** The partitions of a topic that no active broker has. */
function missingOf({ registry }: LookupCall, topic: TopicRegistration | undefined, count: number): number[] {
  const leaders = topic === undefined ? new Map() : leadersOf(topic, registry.activeNodesOf(topic, true));
  return [...Array(count).keys()].filter((index) => !leaders.has(index));
}

function checkWhole(call: LookupCall, missing: readonly number[]): void {
  if (missing.length === 0 || isSet(call, "fill")) return;
  throw new Refusal(
    400,
    `already exist: no registered broker has its partitions ${missing.join(", ")}; if they are lost, give fill=true to make them again`,
  );
}

/** Has brokers make partitions of a topic, and tells those that have others of it how many there are now. */
async function make(
  call: LookupCall,
  name: string,
  missing: readonly number[],
  count: number,
  flags: Record<string, string>,
): Promise<void> {
  const { registry, lookup } = call;
  const nodes = registry.activeNodes().filter(({ info }) => info.makesPartitions);
  if (nodes.length === 0) throw noNode("no broker that makes partitions is registered here");
  const places = placePartitions(name, missing, nodes);
  const topic = registry.topic(name);
  if (topic !== undefined)
    for (const node of makersOf(topic)) {
      places.set(
        node,
        [...topic.partitionsAt(node), ...(places.get(node) ?? [])].sort((a, b) => a - b),
      );
    }
  const calls = [...places].map(([node, indexes]): BrokerCall => {
    const query = { topic: name, partition_num: String(count), partitions: indexes.join(","), ...flags };
    return { node, path: "/topic/create", query };
  });
  lookup.logger.info(`TOPIC(${name}): having ${calls.length} brokers make partitions ${missing.join(", ")}`, call.about({ topic: name }));
  await callBrokers(call, calls);
  await untilRegistered(call, name, count);
}

function callsOf(nodes: readonly RegisteredNode[], calls: readonly Omit<BrokerCall, "node">[]): BrokerCall[] {
  return nodes.flatMap((node) => calls.map((one) => ({ node, ...one })));
}
