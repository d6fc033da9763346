import { isEphemeral } from "../../frame/names.ts";
import { empty, Refusal } from "../../http/server/reply.ts";
import type { ClusterTopics } from "../cluster-topics.ts";
import type { LookupCall } from "./call.ts";
import { clusterTopicsOf } from "./cluster/member.ts";
import { createInCluster, deleteInCluster, noteChannel } from "./cluster/topic-changes.ts";
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

/** The cluster, if a topic is one of it. @throws Refusal 503 ETCD_AWAY */
function ofCluster(call: LookupCall, name: string): ClusterTopics | undefined {
  const cluster = clusterTopicsOf(call);
  return cluster?.member.view.topics.has(name) === true ? cluster : undefined;
}

/** Whether brokers have a topic for themselves, which is none of the cluster's. */
function isOfBrokers({ registry }: LookupCall, cluster: ClusterTopics, name: string): boolean {
  return !cluster.member.view.topics.has(name) && (registry.topic(name)?.nodes.size ?? 0) > 0;
}

/** POST /topic/delete?topic= — deletes a topic and its channels. One of the cluster goes at all brokers. */
export function deleteTopic(call: LookupCall): Response | Promise<Response> {
  if (call.query.get("partition") !== undefined) return deletePartitions(call);
  const { logger } = call.lookup;
  const name = call.topicName();
  const cluster = ofCluster(call, name);
  if (cluster !== undefined) return deleteInCluster(call, cluster, name);
  for (const { topic, registered, channels } of call.registry.deleteTopic(name)) {
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
  if (ofCluster(call, topic)?.member.isBrokerAt(node) === true)
    throw new Refusal(
      400,
      `TOPIC_OF_CLUSTER: the cluster has others of its brokers lead topic ${topic}: \`bunsq cluster lead\`, \`move\` or \`remove-node\` instead`,
    );
  call.lookup.logger.info(`DB: setting tombstone for producer@${node} of topic(${topic})`, call.about({ topic }));
  call.registry.tombstone(topic, node);
  return empty();
}

/** POST /channel/create?topic=&channel= — adds a channel, and its topic. */
export async function createChannel(call: LookupCall): Promise<Response> {
  if (call.query.get("partition") !== undefined) return createChannelEverywhere(call);
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  const cluster = ofCluster(call, topic);
  if (cluster !== undefined && !isEphemeral(channel)) await noteChannel(cluster, topic, channel, true);
  call.lookup.logger.info(`DB: adding channel(${channel}) in topic(${topic})`, call.about({ topic, channel }));
  call.lookup.logger.info(`DB: adding topic(${topic})`, call.about({ topic }));
  call.registry.createChannel(topic, channel);
  return empty();
}

/** POST /channel/delete?topic=&channel= — deletes a channel. */
export async function deleteChannel(call: LookupCall): Promise<Response> {
  if (call.query.get("partition") !== undefined) return deleteChannelEverywhere(call);
  const topic = call.validTopicName();
  const channel = call.validChannelName();
  const cluster = ofCluster(call, topic);
  const isNoted = cluster?.member.view.topics.get(topic)?.value.channels.includes(channel) === true;
  if (cluster !== undefined) await noteChannel(cluster, topic, channel, false);
  if (!call.registry.deleteChannel(topic, channel) && !isNoted) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  call.lookup.logger.info(`DB: removing channel(${channel}) from topic(${topic})`, call.about({ topic, channel }));
  return empty();
}
