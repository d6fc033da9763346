import type { Topic } from "../topic.ts";
import type { TopicPartition } from "../topic-partition.ts";

const PARTITION_BIT = 50n;
const SEQUENCE_MASK = (1n << PARTITION_BIT) - 1n;

/** The partition and the sequence of the message with one of Youzan's internal ids (src/frame/youzan.ts). @returns undefined for an id that no message here has or will have */
export function messageOfInternalId(topic: Topic, id: bigint): { partition: TopicPartition; sequence: number } | undefined {
  if (id <= 0n) return undefined;
  const partition = topic.partition(Number(id >> PARTITION_BIT));
  const sequence = Number(id & SEQUENCE_MASK) - 1;
  return partition === undefined || sequence < 0 ? undefined : { partition, sequence };
}
