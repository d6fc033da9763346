import { expandSequence, SEQUENCE_SPAN } from "../../../frame/id.ts";
import { PARTITION_BIT } from "../../../frame/youzan.ts";
import type { Topic } from "../topic.ts";
import type { TopicPartition } from "../topic-partition.ts";

const SEQUENCE_BITS = BigInt(PARTITION_BIT);

/**
 * The partition and the sequence of the message with one of Youzan's internal ids.
 *
 * @returns undefined for an id that no message here has or will have
 */
export function messageOfInternalId(topic: Topic, id: bigint): { partition: TopicPartition; sequence: number } | undefined {
  if (id <= 0n) return undefined;
  const partition = topic.partition(Number(id >> SEQUENCE_BITS));
  const sequence = Number(BigInt.asUintN(PARTITION_BIT, id)) - 1;
  if (partition === undefined || sequence < 0 || sequence >= SEQUENCE_SPAN) return undefined;
  return { partition, sequence: expandSequence(sequence, partition.log.next) };
}
