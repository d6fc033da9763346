import type { ClusterTopic } from "../../cluster-topics.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { Whereabouts } from "../../registry.ts";
import type { LookupCall } from "../call.ts";

// What clients are told of topics: what etcd says of the cluster's, and what brokers have registered, each once. Brokers register the
// cluster's topics while they lead one of their partitions, and topics of their own.

/** The names of all topics. */
export function topicNames({ registry, lookup }: LookupCall): string[] {
  const names = registry.topicNames();
  const others = lookup.cluster?.names() ?? [];
  return others.length === 0 ? names : [...new Set([...names, ...others])];
}

/** Where a topic is. @returns undefined if there is no such topic */
export function whereIs(call: LookupCall, name: string): Whereabouts | undefined {
  const found = call.registry.lookup(name);
  const topic = call.lookup.cluster?.find(name);
  if (topic === undefined) return found;
  const nodes = withLeaders(call, topic, found?.nodes ?? [], false);
  return { channels: withChannelsOf(found?.channels ?? [], topic), nodes };
}

/**
 * The nodes that have a topic of the cluster, in their order: those that lead a partition, and others that have registered it. They may have
 * a topic of this name for themselves, or the lead since a moment ago. Brokers that etcd says have gone are left out.
 *
 * @param isHiddenToo whether brokers are among them at which the topic is tombstoned
 */
export function withLeaders(
  call: LookupCall,
  topic: ClusterTopic,
  registered: readonly RegisteredNode[],
  isHiddenToo: boolean,
): RegisteredNode[] {
  const { registry, lookup } = call;
  const nodes = new Set(registered.filter((node) => lookup.cluster?.isGone(node) !== true));
  const registration = registry.topic(topic.name);
  for (const node of topic.leaders.values())
    if (isHiddenToo || registration === undefined || !registry.isTombstoned(registration, node)) nodes.add(node);
  return [...nodes].sort((a, b) => a.ordinal - b.ordinal);
}

/** The names of channels, those among them that operators made in the cluster. */
export function withChannelsOf(names: readonly string[], topic: ClusterTopic | undefined): string[] {
  return topic === undefined || topic.record.channels.length === 0 ? [...names] : [...new Set([...names, ...topic.record.channels])];
}
