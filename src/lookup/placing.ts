import type { RegisteredNode } from "./registered-node.ts";

/**
 * Which brokers make which new partitions of a topic: one after the other in turn, beginning at a place that the topic's name gives,
 * so that the first partitions of all topics are not at the same broker. All lookup servers that know the same brokers plan the same.
 *
 * @param indexes of the new partitions
 * @param nodes at least one
 */
export function placePartitions(
  topic: string,
  indexes: readonly number[],
  nodes: readonly RegisteredNode[],
): Map<RegisteredNode, number[]> {
  const inOrder = nodes.toSorted((a, b) => (a.info.distributedId < b.info.distributedId ? -1 : 1));
  const first = Bun.hash.murmur32v3(topic, 0);
  const places = new Map<RegisteredNode, number[]>();
  for (const index of indexes) {
    const node = inOrder[(first + index) % inOrder.length];
    const others = places.get(node);
    if (others === undefined) places.set(node, [index]);
    else others.push(index);
  }
  return places;
}
