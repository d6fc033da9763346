import { isEphemeral } from "../../frame/names.ts";
import { empty, json, Refusal } from "../../http/server/reply.ts";
import { TOPIC_FLAGS } from "../../http/topic-flags.ts";
import type { ClusterRouting } from "../cluster-routing.ts";
import { MAX_PARTITIONS } from "../storage/metadata/partition-name.ts";
import type { TopicSettings } from "../storage/metadata/topic-settings.ts";
import { isOrder } from "../topics/channel/channel-settings.ts";
import { existingTopic, validExistingTopic, validTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** How long a topic that was deleted elsewhere may take until this broker knows. */
const DELETED_MS = 1_000;
const POLL_MS = 10;
/** What lookup servers take when a topic of the cluster is made, beside `partition_num`. */
const PLACED_ARGUMENTS = [...Object.keys(TOPIC_FLAGS), "channel_order", "partitions", "replicator", "retention", "syncdisk"];

/**
 * POST /topic/create?topic=[&partition_num=][&partitions=][&orderedmulti=]…[&channel_order=]: makes a topic. One that exists gets as many
 * partitions, if it has fewer, and the settings that are given. `partitions` are those that this broker gets; a lookup server gives it
 * where the others are at other brokers. Settings of a topic of the cluster are given to a lookup server.
 */
export async function createTopic(call: HttpCall): Promise<Response> {
  const { query, broker } = call;
  const isPlain = [...Object.keys(TOPIC_FLAGS), "partition_num", "channel_order"].every((argument) => query.get(argument) === undefined);
  const name = validTopic(query.get("topic"));
  const known = broker.registry.topics.get(name);
  if (broker.cluster !== undefined && !isEphemeral(name) && (known === undefined || broker.cluster.topic(name) !== undefined)) {
    refusePlaced(query, name);
    return inCluster(broker.cluster.create(name, query.get("partition_num") === undefined ? undefined : partitionCount(call)));
  }
  if (isPlain) {
    broker.registry.topic(validTopic(query.get("topic")));
    return empty();
  }
  const count = query.get("partition_num") === undefined ? (known?.settings.partitions ?? 1) : partitionCount(call);
  broker.registry.topicWith(name, count, { ...heldArgument(call, count), ...settingsArguments(call) });
  return empty();
}

/** @throws Refusal 400 for settings that would be ignored */
function refusePlaced(query: HttpCall["query"], name: string): void {
  const given = PLACED_ARGUMENTS.find((argument) => query.get(argument) !== undefined);
  if (given === undefined) return;
  throw new Refusal(
    400,
    `SETTINGS_OF_CLUSTER: a lookup server of the cluster sets ${given} of topic ${name}: its /topic/create with partition_num, or /topic/meta/update`,
  );
}

/** The cluster, if a topic is one of it. */
export function clusterOf({ broker, query }: HttpCall): ClusterRouting | undefined {
  return broker.cluster?.topic(query.get("topic") ?? "") === undefined ? undefined : broker.cluster;
}

/** @throws Refusal 503 */
export async function inCluster(change: Promise<Error | undefined>): Promise<Response> {
  const failure = await change;
  if (failure !== undefined) throw new Refusal(503, failure.message);
  return empty();
}

function heldArgument({ query }: HttpCall, count: number): { held?: readonly number[] } {
  const text = query.get("partitions");
  if (text === undefined) return {};
  const held = text.split(",").map((index) => (/^\d{1,4}$/.test(index) ? Number(index) : MAX_PARTITIONS));
  if (held.some((index) => index >= count)) throw new Refusal(400, "INVALID_ARG_PARTITIONS");
  return { held };
}

/** The settings that a call's arguments name, beside partitions. @throws Refusal 400 */
function settingsArguments({ query }: HttpCall): Partial<TopicSettings> {
  const flags = Object.entries(TOPIC_FLAGS).map(([argument, setting]) => {
    const text = query.get(argument);
    if (text !== undefined && text !== "true" && text !== "false") throw new Refusal(400, `INVALID_ARG_${argument.toUpperCase()}`);
    return text === undefined ? {} : { [setting]: text === "true" };
  });
  return Object.assign({}, ...flags, orderArgument(query));
}

function orderArgument(query: HttpCall["query"]): Pick<TopicSettings, "channelOrder"> {
  const channelOrder = query.get("channel_order");
  if (channelOrder === undefined) return {};
  if (isOrder(channelOrder)) return { channelOrder };
  throw new Refusal(400, "INVALID_ARG_CHANNEL_ORDER");
}

/**
 * POST /topic/meta/update?topic=[&upgradeext=true][&channel_order=]: changes settings of a topic. From `upgradeext=true` on its messages
 * have headers: Youzan's clients that do not understand them are disconnected, and refused.
 */
export function updateTopic(call: HttpCall): Response {
  const { name, settings } = validExistingTopic(call);
  if (clusterOf(call) !== undefined)
    throw new Refusal(400, `SETTINGS_OF_CLUSTER: a lookup server of the cluster changes topic ${name}: its /topic/meta/update`);
  const upgrade = call.query.get("upgradeext");
  if (upgrade !== undefined && upgrade !== "true" && upgrade !== "false") throw new Refusal(400, "INVALID_ARG_UPGRADEEXT");
  call.broker.registry.topicWith(name, settings.partitions, {
    ...(upgrade === "true" && { extended: true }),
    ...orderArgument(call.query),
  });
  return empty();
}

/** POST /topic/partition/expand?topic=&partition_num=: gives a topic more partitions. */
export async function expandTopic(call: HttpCall): Promise<Response> {
  const cluster = clusterOf(call);
  if (cluster !== undefined) return inCluster(cluster.create(validTopic(call.query.get("topic")), partitionCount(call)));
  const { name } = validExistingTopic(call);
  call.broker.registry.topicWith(name, partitionCount(call));
  return empty();
}

/** @throws Refusal 400 MISSING_ARG_PARTITION_NUM, INVALID_ARG_PARTITION_NUM */
function partitionCount({ query }: HttpCall): number {
  const text = query.get("partition_num");
  if (text === undefined) throw new Refusal(400, "MISSING_ARG_PARTITION_NUM");
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MAX_PARTITIONS) throw new Refusal(400, "INVALID_ARG_PARTITION_NUM");
  return count;
}

/**
 * POST /topic/delete?topic=[&partition=**]: deletes a topic with its channels and messages, and closes its consumers' connections. One of the
 * cluster goes at all brokers, so that has to be said, or a lookup server deletes it: NSQ's tools hide one broker (tombstone) by this call.
 */
export async function deleteTopic(call: HttpCall): Promise<Response> {
  const { registry, cluster } = call.broker;
  const name = call.query.get("topic") ?? "";
  if (cluster?.known(name) === "there") {
    if (call.query.get("partition") === "**") return inCluster(cluster.remove(name));
    return untilDeleted(cluster, name);
  }
  const isOwn = registry.topics.get(name)?.partitions.every(({ replicated }) => replicated === undefined) === true;
  if (cluster?.known(name) === "deleted" && !isOwn) return empty();
  registry.deleteTopic(existingTopic(call).name);
  return empty();
}

/** A lookup server that was asked before may have deleted it a moment ago. @throws Refusal 400 */
async function untilDeleted(cluster: ClusterRouting, name: string): Promise<Response> {
  const endMs = performance.now() + DELETED_MS;
  while (cluster.known(name) === "there") {
    if (performance.now() > endMs)
      throw new Refusal(
        400,
        `TOPIC_OF_CLUSTER: ${name} is at several brokers; \`bunsq topic delete\`, a lookup server's /topic/delete, or partition=** here delete it at all of them`,
      );
    await Bun.sleep(POLL_MS);
  }
  return empty();
}

/** POST /topic/empty?topic=: drops the messages that no channel has got yet. */
export function emptyTopic(call: HttpCall): Response {
  validExistingTopic(call).empty();
  return empty();
}

/** POST /topic/pause?topic=: channels of a topic get no messages from it until it is unpaused. */
export async function pauseTopic(call: HttpCall): Promise<Response> {
  const cluster = clusterOf(call);
  if (cluster !== undefined) return inCluster(cluster.change(validTopic(call.query.get("topic")), { paused: true }));
  existingTopic(call).pause();
  return empty();
}

/** POST /topic/unpause?topic= */
export async function unpauseTopic(call: HttpCall): Promise<Response> {
  const cluster = clusterOf(call);
  if (cluster !== undefined) return inCluster(cluster.change(validTopic(call.query.get("topic")), { paused: false }));
  existingTopic(call).unpause();
  return empty();
}

/** POST /topic/durability?topic=&level=write|fsync|default: sets what publishes to a topic wait for; `default` is --durability. */
export async function setTopicDurability(call: HttpCall): Promise<Response> {
  const topic = validExistingTopic(call);
  const level = call.query.get("level");
  if (level === undefined) throw new Refusal(400, "MISSING_ARG_LEVEL");
  if (level !== "write" && level !== "fsync" && level !== "default") throw new Refusal(400, "INVALID_ARG_LEVEL");
  const durability = level === "default" ? call.broker.options.durability : level;
  const cluster = clusterOf(call);
  if (cluster !== undefined) await inCluster(cluster.change(topic.name, { durability }));
  topic.setDurability(cluster === undefined && level === "default" ? undefined : durability);
  return topicDurability(call);
}

/** GET /topic/durability?topic=: the level that was set, and the durability that is in force. */
export function topicDurability(call: HttpCall): Response {
  const topic = validExistingTopic(call);
  return json({
    topic_name: topic.name,
    level: topic.durability ?? "default",
    durability: topic.durability ?? call.broker.options.durability,
  });
}
