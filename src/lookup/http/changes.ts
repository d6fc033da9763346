import { isEphemeral } from "../../frame/names.ts";
import { empty, Refusal } from "../../http/server/reply.ts";
import type { ClusterTopics } from "../cluster-topics.ts";
import type { LookupCall } from "./call.ts";
import { clusterTopicsOf } from "./cluster/member.ts";
import { createInCluster } from "./cluster/topic-changes.ts";
import { createChannelEverywhere, deleteChannelEverywhere } from "./youzan/channel-changes.ts";
import { createPartitions, deletePartitions } from "./youzan/topic-changes.ts";

// The calls with which operators change the registry. Brokers are not notified, unless the arguments are those of Youzan's clients.

/** POST /topic/create?topic= — adds a topic that no broker has yet. In a cluster it is made there. */
export function createTopic(call: LookupCall): Response | Promise<Response> {
  if (call.query.get("partition_num") !== undefined) return createPartitions(call);
  const name = call.validTopicName();
  const cluster = clusterTopicsOf(call);
  if (cluster !== undefined && !isEphemeral(name) && !isOfBrokers(call, cluster, name)) return createInCluster(call, cluster, name);
  call.lookup.logger.info(`DB: adding topic(${name})`, call.about({ topic: name }));
  call.registry.createTopic(name);
  return empty();
}

/** Whether brokers have a topic for themselves, which is none of the cluster's. */
function isOfBrokers({ registry }: LookupCall, cluster: ClusterTopics, name: string): boolean {
  return !cluster.member.view.topics.has(name) && (registry.topic(name)?.nodes.size ?? 0) > 0;
}

/** POST /topic/delete?topic= — deletes a topic and its channels. */
export function deleteTopic(call: LookupCall): Response | Promise<Response> {
  if (call.query.get("partition") !== undefined) return deletePartitions(call);
  const { logger } = call.lookup;
  for (const { topic, registered, channels } of call.registry.deleteTopic(call.topicName())) {
    for (const channel of channels) logger.info(`DB: removing channel(${channel}) from topic(${topic})`, call.about({ topic, channel }));
    if (registered) logger.info(`DB: removing topic(${topic})`, call.about({ topic }));
  }
  return empty();
}

/** POST /topic/tombstone?topic=&node= — hides a topic at a node (`host:http port`) from clients for a while. */
export function tombstoneTopic(call: LookupCall): Response {
  const topic = call.topicName();
  const node = call.argument("node", "MISSING_ARG_NODE");
  if (call.query.get("restore") === "true") {
    call.lookup.logger.info(`DB: removing tombstone for producer@${node} of topic(${topic})`, call.about({ topic }));
    call.registry.removeTombstone(topic, node);
    return empty();
  }
  call.lookup.logger.info(`DB: setting tombstone for producer@${node} of topic(${topic})`, call.about({ topic }));
  call.registry.tombstone(topic, node);
  return empty();
}

/** POST /channel/create?topic=&channel= — adds a channel, and its topic. */
export function createChannel(call: LookupCall): Response | Promise<Response> {
  if (call.query.get("partition") !== undefined) return createChannelEverywhere(call);
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  call.lookup.logger.info(`DB: adding channel(${channel}) in topic(${topic})`, call.about({ topic, channel }));
  call.lookup.logger.info(`DB: adding topic(${topic})`, call.about({ topic }));
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel= — deletes a channel. */
export function deleteChannel(call: LookupCall): Response | Promise<Response> {
  if (call.query.get("partition") !== undefined) return deleteChannelEverywhere(call);
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  if (!call.registry.deleteChannel(topic, channel)) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  call.lookup.logger.info(`DB: removing channel(${channel}) from topic(${topic})`, call.about({ topic, channel }));
  return empty();
}
