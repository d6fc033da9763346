import { MESSAGE_ID_BYTES } from "../../frame/frame.ts";
import { writeId } from "../../frame/id.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Order, SettingsJson } from "../topics/channel/channel-settings.ts";
import type { ConsumerWishes } from "../topics/channel/consumer.ts";
import type { FilterJson } from "../topics/channel/selective/header-filter.ts";

/** What /stats shows of a channel that chooses its messages or has limits, beside what it shows of every channel. */
export interface DeliveryStats extends SettingsJson {
  /** Messages that wait for others of their key or partition, as far as the channel has looked ahead. They are part of the depth. */
  blocked_count: number;
  /** Messages that were finished because a filter did not take them, since the broker started. */
  filtered_count: number;
  /** Messages that were moved to the dead letters since the broker started. */
  dead_letter_count: number;
  /** The unfinished message that was delivered most often of those that were delivered again. */
  most_tried?: { id: string; attempts: number };
}

/** @returns undefined for a channel that delivers its messages as they come, as fast as consumers take them */
export function readDelivery(channel: Channel): DeliveryStats | undefined {
  const { isSelective, limits } = channel.settings;
  if (!isSelective && !limits.any && !channel.partitions.some(({ delivery }) => delivery.selective !== undefined)) return undefined;
  const { blockedCount, filteredCount, deadLetterCount } = channel;
  const stats: DeliveryStats = {
    ...channel.settings.toJson(),
    ...{ blocked_count: blockedCount, filtered_count: filteredCount, dead_letter_count: deadLetterCount },
  };
  const tried = mostTried(channel);
  if (tried !== undefined) stats.most_tried = { id: idOf(tried.prefix, tried.sequence), attempts: tried.attempts };
  return stats;
}

/** The unfinished message of a channel that was delivered most often of those that were delivered again, where the channel knows it. */
export function mostTried(channel: Channel): { prefix: number; sequence: number; attempts: number } | undefined {
  let most: { prefix: number; sequence: number; attempts: number } | undefined;
  for (const { delivery, partition } of channel.partitions) {
    const tried = delivery.selective?.mostTried;
    if (tried !== undefined && tried.attempts > (most?.attempts ?? 0)) most = { prefix: partition.log.prefix, ...tried };
  }
  return most;
}

/** What a consumer wants of its channel. What it does not say is left out; nsqd has no such keys. */
export interface WishStats {
  desired_tag?: string;
  ext_filter?: FilterJson;
  channel_order?: Order;
  /** The only partition that it consumes. */
  partition?: number;
}

interface WishingClient {
  readonly wishes: ConsumerWishes;
  readonly onlyLog: object | undefined;
  readonly channel: Channel | undefined;
}

export function readWishes({ wishes: { tag, filter, order }, onlyLog, channel }: WishingClient): WishStats {
  const only = onlyLog === undefined ? undefined : channel?.partitions.find(({ partition }) => partition.log === onlyLog);
  return {
    ...(tag === undefined ? {} : { desired_tag: tag.toString() }),
    ...(filter === undefined ? {} : { ext_filter: filter.toJson() }),
    ...(order === undefined ? {} : { channel_order: order }),
    ...(only === undefined ? {} : { partition: only.partition.index }),
  };
}

function idOf(prefix: number, sequence: number): string {
  const id = Buffer.alloc(MESSAGE_ID_BYTES);
  writeId(new DataView(id.buffer, id.byteOffset, id.length), 0, prefix, sequence);
  return id.toString("latin1");
}
