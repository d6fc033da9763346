import type { ClusterRefusal } from "../../../cluster/placement/cluster-refusal.ts";
import type { TopicSettings } from "../../../cluster/placement/topic-changes.ts";
import type { TopicRecord } from "../../../cluster/state/records.ts";
import { empty, Refusal } from "../../../http/server/reply.ts";
import { TOPIC_FLAGS } from "../../../http/topic-flags.ts";
import type { ClusterTopics } from "../../cluster-topics.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { LookupCall } from "../call.ts";
import { channelOrder, isSet, noNode, partitionCount, replicaCount, storageOf } from "../youzan/topic-arguments.ts";
import { accept } from "./member.ts";

// Changes of the cluster's topics, as Youzan's clients and operators ask for them. They are transactions in etcd, by whichever lookup server
// is asked. A call is answered once brokers lead all partitions, so that the topic can be used.

const LEADERS_MS = 10_000;
const KNOWN_MS = 2_000;
const POLL_MS = 10;

/** Makes a topic of the cluster, unless there is one that is the same. */
export async function createInCluster(call: LookupCall, cluster: ClusterTopics, name: string): Promise<Response> {
  const { member } = cluster;
  const partitions = call.query.get("partition_num") === undefined ? 1 : partitionCount(call);
  const asked = replicaCount(call);
  const replicas = asked ?? Math.max(1, Math.min(member.options.clusterReplicas, member.candidates));
  const { durability = "write", retentionMs = 0 } = storageOf(call);
  const wanted: TopicSettings = {
    partitions,
    replicas,
    minInSync: member.minInSyncOf(replicas),
    ordered: false,
    durability,
    retentionMs,
    retentionBytes: 0,
    channels: [],
    paused: false,
    ...flagsOf(call),
    ...channelOrder(call),
  };
  checkAlone(call, cluster, name);
  const refusal = await member.topics.create(name, wanted);
  if (refusal?.reason === "topic-exists") {
    await untilKnown(cluster, name);
    checkSame(member.view.topics.get(name)?.value, wanted, call);
  } else {
    const { logger } = call.lookup;
    acceptTopic(refusal);
    logger.info(`TOPIC(${name}): ${partitions} partitions with ${replicas} replicas in the cluster`, call.about({ topic: name }));
    member.warnOfFew(name, replicas);
  }
  await untilLed(cluster, name, refusal === undefined ? partitions : 0);
  return empty();
}

/** Gives a topic of the cluster more partitions. */
export async function expandInCluster(call: LookupCall, cluster: ClusterTopics, name: string): Promise<Response> {
  const partitions = partitionCount(call);
  acceptTopic(await cluster.member.operators.expand(name, partitions));
  await untilLed(cluster, name, partitions);
  return empty();
}

/** Changes settings of a topic of the cluster. Another number of replicas is reached in the background. */
export async function updateInCluster(call: LookupCall, cluster: ClusterTopics, name: string): Promise<Response> {
  const { topics, operators } = cluster.member;
  const flag = call.query.get("disable_channel_auto_create");
  const changes: Partial<TopicSettings> = {
    ...storageOf(call),
    // One way: headers of messages that are there cannot be taken away.
    ...(isSet(call, "upgradeext") && { extended: true }),
    ...channelOrder(call),
    ...(flag !== undefined && { fixedChannels: isSet(call, "disable_channel_auto_create") }),
  };
  const replicas = replicaCount(call);
  if (replicas !== undefined) acceptTopic(await operators.replicas(name, replicas));
  if (Object.keys(changes).length > 0) acceptTopic(await topics.change(name, changes));
  return empty();
}

/** Removes a topic of the cluster, with its messages. */
export async function deleteInCluster(call: LookupCall, cluster: ClusterTopics, name: string): Promise<Response> {
  const refusal = await cluster.member.topics.remove(name);
  // Operators' tools ask each lookup server.
  if (refusal?.reason !== "no-such-topic") acceptTopic(refusal);
  call.lookup.logger.info(`DB: removing topic(${name}) from the cluster`, call.about({ topic: name }));
  call.registry.deleteTopic(name);
  return empty();
}

/** Notes which channels a topic of the cluster has, so that partitions that are made later have them, too. */
export async function noteChannel(cluster: ClusterTopics, name: string, channel: string, isThere: boolean): Promise<void> {
  const { topics } = cluster.member;
  acceptTopic(
    await topics.change(name, ({ channels: known }) => {
      if (known.includes(channel) === isThere) return {};
      return { channels: isThere ? [...known, channel] : known.filter((one) => one !== channel) };
    }),
  );
}

/** The brokers that lead partitions of a topic, and others that have registered it: whom a change of its channels is told. */
export function leadersAndOthers(call: LookupCall, cluster: ClusterTopics, name: string): RegisteredNode[] {
  const registered = call.registry.topic(name)?.nodes.items.filter(({ info }) => info.makesPartitions) ?? [];
  return [...new Set([...(cluster.find(name)?.leaders.values() ?? []), ...registered.filter((node) => !cluster.isGone(node))])];
}

function flagsOf(call: LookupCall): Partial<TopicRecord> {
  const given = Object.entries(TOPIC_FLAGS).filter(([flag]) => call.query.get(flag) !== undefined);
  return Object.fromEntries(given.map(([flag, setting]) => [setting, isSet(call, flag)]));
}

/** A topic that a broker has for itself is none of the cluster's, and cannot become one by being made. @throws Refusal 400 */
function checkAlone(call: LookupCall, cluster: ClusterTopics, name: string): void {
  if (cluster.member.view.topics.has(name)) return;
  const nodes = call.registry.topic(name)?.nodes.items.filter(({ gone }) => !gone) ?? [];
  if (nodes.length === 0) return;
  const where = nodes.map(({ httpAddress }) => httpAddress).join(", ");
  throw new Refusal(
    400,
    `already exist: ${where} has a topic ${name} of its own; \`bunsq cluster replicas ${name} N\` makes it a topic of the cluster`,
  );
}

/** @throws Refusal 400 if a topic is other than it was asked for */
function checkSame(there: TopicRecord | undefined, wanted: TopicSettings, call: LookupCall): void {
  // Without the arguments of Youzan's clients, any topic will do.
  if (call.query.get("partition_num") === undefined) return;
  const flags = Object.keys(flagsOf(call)) as (keyof TopicSettings)[];
  const compared: readonly (keyof TopicSettings)[] = [
    ...(replicaCount(call) === undefined ? [] : ["replicas" as const]),
    "partitions",
    ...flags,
  ];
  if (there !== undefined && compared.some((field) => there[field] !== wanted[field])) throw new Refusal(400, "already exist");
}

/** @throws Refusal, in Youzan's words where there are such */
function acceptTopic(refusal: ClusterRefusal | undefined): void {
  switch (refusal?.reason) {
    case "too-few-brokers":
      throw noNode(refusal.message);
    case "fewer-partitions":
      throw new Refusal(400, "the partition number can not be reduced");
    case "no-such-topic":
      throw new Refusal(404, "topic is not created");
    default:
      return accept(refusal);
  }
}

/** Waits until this server knows of a topic that etcd has, or had a moment ago. */
async function untilKnown({ member }: ClusterTopics, name: string): Promise<void> {
  const endMs = performance.now() + KNOWN_MS;
  while (!member.view.topics.has(name) && performance.now() < endMs) await Bun.sleep(POLL_MS);
}

/** Waits until brokers lead all partitions. @param least how many the topic has at least @throws Refusal 503 if some do not in time */
async function untilLed(cluster: ClusterTopics, name: string, least: number): Promise<void> {
  const endMs = performance.now() + LEADERS_MS;
  const led = () => cluster.find(name)?.leaders.size ?? 0;
  const count = () => Math.max(least, cluster.find(name)?.record.partitions ?? Number.POSITIVE_INFINITY);
  while (led() < count()) {
    if (performance.now() > endMs)
      throw new Refusal(503, `NOT_LED: it was made, but brokers lead only ${led()} of its partitions after ${LEADERS_MS} ms`);
    await Bun.sleep(POLL_MS);
  }
}
