import type { RegisteredNode } from "./registered-node.ts";
import type { TopicRegistration } from "./registration.ts";

/**
 * Which node has which partition of a topic. A topic that was not spread by /topic/create may be at several brokers as a whole, as
 * NSQ's are. Then one of them stands for the partition: the same at all lookup servers that know the same brokers.
 *
 * @param nodes of the topic
 */
export function leadersOf(topic: TopicRegistration, nodes: readonly RegisteredNode[]): Map<number, RegisteredNode> {
  const leaders = new Map<number, RegisteredNode>();
  for (const node of nodes) {
    for (const index of topic.partitionsAt(node)) {
      const other = leaders.get(index);
      if (other === undefined || node.info.distributedId < other.info.distributedId) leaders.set(index, node);
    }
  }
  return leaders;
}
