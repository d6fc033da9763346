import type { RegisteredNode } from "./registered-node.ts";
import type { TopicRegistration } from "./registration.ts";

/**
 * Which node has which partition of a topic. A topic that was not spread by /topic/create may be at several brokers as a whole, as
 * NSQ's are. Then one of them stands for the partition: the same at all lookup servers that know the same brokers. A broker that has
 * nothing of a spread topic makes one with a partition of its own for whoever publishes there, and that one stands for no other.
 *
 * @param nodes of the topic
 */
export function leadersOf(topic: TopicRegistration, nodes: readonly RegisteredNode[]): Map<number, RegisteredNode> {
  const leaders = new Map<number, RegisteredNode>();
  for (const node of nodes) {
    for (const index of topic.partitionsAt(node)) {
      const other = leaders.get(index);
      if (other === undefined || isBefore(topic, node, other)) leaders.set(index, node);
    }
  }
  return leaders;
}

/** Nodes that know of more partitions come first. */
function isBefore(topic: TopicRegistration, node: RegisteredNode, other: RegisteredNode): boolean {
  const more = topic.partitionCountAt(node) - topic.partitionCountAt(other);
  return more > 0 || (more === 0 && node.info.distributedId < other.info.distributedId);
}
