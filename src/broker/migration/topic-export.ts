import type { TopicLog } from "../storage/log/topic-log.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { DeferredExport } from "./deferred-export.ts";
import type { Pace } from "./pace.ts";
import { PartitionExport } from "./partition-export.ts";
import { type ExportCounts, TopicQueues } from "./topic-queues.ts";

export interface TopicExportParts {
  /** The folder to write to. */
  readonly target: string;
  readonly maxBytesPerFile: number;
  readonly deferred: DeferredExport;
  readonly counts: ExportCounts;
  readonly pace: Pace;
}

/** A partition of a topic, with its rows of the topic's channels. */
export interface StoredPartition {
  readonly row: TopicRow;
  readonly channels: readonly ChannelRow[];
}

/**
 * Writes the queues of one topic. nsqd has no partitions: their messages go to the same queues, each partition's in its order, and those
 * of several about in the order of their publishes, a run of one after a run of another.
 *
 * @param channels names of the topic's channels
 * @param logs of the partitions
 * @throws the kernel's error
 */
export async function exportTopic(
  { target, maxBytesPerFile, deferred, counts, pace }: TopicExportParts,
  name: string,
  channels: readonly string[],
  partitions: readonly StoredPartition[],
  logs: readonly TopicLog[],
): Promise<void> {
  const queues = new TopicQueues(name, channels, target, maxBytesPerFile, counts);
  const exports = partitions.map(({ row, channels }, i) => new PartitionExport({ queues, deferred, counts }, row, channels, logs[i]));
  try {
    for (let left = exports.filter(({ isDone }) => !isDone); left.length > 0; left = left.filter(({ isDone }) => !isDone)) {
      left.reduce((oldest, one) => (one.reachedMs < oldest.reachedMs ? one : oldest)).writeRun();
      await pace.breathe();
    }
    for (const partition of exports) partition.writeDeferred();
    queues.close();
  } catch (error) {
    queues.abort();
    throw error;
  }
}
