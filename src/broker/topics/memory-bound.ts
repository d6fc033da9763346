import { MEMORY_TOPIC_RESERVE } from "../storage/metadata/metadata-store.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { TopicParts } from "./topic-parts.ts";

/** How many messages an ephemeral topic keeps at least while it is withheld: its consumers may be ready for them. */
const WITHHELD_MESSAGES = 10_000;

/** Bounds what an ephemeral topic keeps for its first channel, and while it is paused. What was released, its channels bound themselves. */
export class MemoryBound {
  private reservedSequence: number;

  constructor(
    private readonly partition: TopicPartition,
    private readonly parts: TopicParts,
  ) {
    this.reservedSequence = partition.log.next + MEMORY_TOPIC_RESERVE;
  }

  /** Drops all but the newest --mem-queue-size messages. */
  enforce(): void {
    const { partition, parts } = this;
    const { memQueueSize } = parts.options;
    const excess = partition.waiting - (partition.withheld ? Math.max(memQueueSize, WITHHELD_MESSAGES) : memQueueSize);
    if (excess > 0) partition.dropOldest(excess);
    const { next } = partition.log;
    if (next + MEMORY_TOPIC_RESERVE / 2 <= this.reservedSequence) return;
    this.reservedSequence = next + MEMORY_TOPIC_RESERVE;
    parts.metadata.numbers.reserve(partition.number, this.reservedSequence);
  }
}
