import type { ChannelPartition } from "./channel-partition.ts";
import { isOf } from "./dispatcher.ts";

/**
 * An ephemeral channel, or one of an ephemeral topic, keeps its newest messages that wait, and drops older ones. Messages do not wait
 * if consumers that are ready get them in the next turns.
 *
 * @param most messages that it keeps: --mem-queue-size
 */
export function boundLag({ backlog, consumers, delivery, depth, partition, paused }: ChannelPartition, most: number): void {
  let excess = depth - most;
  if (excess <= 0) return;
  if (!paused) for (const consumer of consumers) if (isOf(consumer, partition.log)) excess -= consumer.capacity;
  if (excess > 0 && delivery.dispatcher.tryFresh(() => backlog.dropOldest(excess))) partition.markTrimmable();
}
