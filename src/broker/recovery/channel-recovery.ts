import type { Logger } from "../../base/logger.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow } from "../storage/metadata/rows.ts";
import { decodeProgress, type Progress, type Range } from "../topics/channel/progress.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

/** What the recovery of channels works with. */
interface ChannelRecoveryParts {
  readonly metadata: MetadataStore;
  readonly deferred: DeferredStore;
  readonly logger: Logger;
}

/**
 * Opens what a channel of an earlier run has of a partition, with its progress.
 *
 * @param skipLost called with one more than the highest sequence of the progress if the log does not have it
 */
export function restoreChannel(
  { metadata, deferred, logger }: ChannelRecoveryParts,
  registry: Pick<TopicRegistry, "restoreChannel">,
  partition: TopicPartition,
  row: ChannelRow,
  skipLost: (next: number) => void,
): void {
  const { log } = partition;
  let floor = row.floor;
  let progress: Progress = { finished: [], tried: [] };
  try {
    progress = decodeProgress(row.progress, row.floor);
  } catch (error) {
    logger.error(
      `CHANNEL(${row.name}) of ${partition.name}: its progress is damaged (${(error as Error).message}); finished messages may be delivered again`,
    );
  }
  if (floor < log.startSequence) floor = log.startSequence;
  const last = Math.max(floor, progress.finished.at(-1)?.to ?? 0, progress.tried.at(-1)?.to ?? 0);
  if (last > log.next) skipLost(last);
  // A replica skips nothing: it gets the messages again.
  floor = Math.min(floor, log.next);
  deferred.raiseNextNumber(Math.max(row.voidBefore, row.requeuesVoidBefore));
  const channel = registry.restoreChannel(partition, row.id, row.name, floor);
  const syncedFloor = metadata.syncedProgress.floorOf(row.id);
  if (syncedFloor !== undefined) channel.deferrals.moves.note(syncedFloor);
  const finished = progress.finished.map(({ from, to }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next) }));
  const tried = progress.tried.map(({ from, to, attempts }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next), attempts }));
  const held = progress.held?.filter(([sequence]) => sequence >= floor && sequence < log.next) ?? [];
  const isThere = ({ from, to }: Range) => from < to;
  channel.restore({ finished: finished.filter(isThere), tried: tried.filter(isThere), held }, row);
}
