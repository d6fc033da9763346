import type { ChannelRow } from "../../storage/metadata/rows.ts";
import type { ChannelPartition } from "./channel-partition.ts";
import type { ProgressPacker } from "./packed-progress.ts";
import { encodeProgress, type Range } from "./progress.ts";

/** What the metadata store keeps of a channel. @param skipped messages that are finished here too */
export function channelRow(channel: ChannelPartition, skipped?: Range): ChannelRow {
  const { backlog, floor } = channel;
  if (!backlog.isLarge || skipped !== undefined) return rowWith(channel, floor, encodeProgress(backlog.progressWith(skipped), floor));
  const packer = backlog.packer();
  for (;;) {
    const progress = packer.step();
    if (progress !== undefined) return rowWith(channel, floor, progress);
  }
}

function rowWith({ id, partition, name, paused, deferrals }: ChannelPartition, floor: number, progress: Uint8Array): ChannelRow {
  const { voidBefore, requeuesVoidBefore } = deferrals;
  return { id, topicId: partition.id, name, paused, voidBefore, requeuesVoidBefore, floor, progress, unsynced: deferrals.moves.any };
}

/** Makes the row of a channel with a large progress in steps. In between the channel goes on. */
export class ChannelRowSteps {
  private readonly packer: ProgressPacker;
  private readonly restarts: number;

  constructor(readonly channel: ChannelPartition) {
    this.packer = channel.backlog.packer();
    this.restarts = channel.backlog.restarts;
  }

  /** The channel was moved or deleted since the beginning: the row would say what does not hold any more. */
  get isVoid(): boolean {
    return this.channel.deleted || this.channel.backlog.restarts !== this.restarts;
  }

  /** Goes on by one step. @returns the row if that was the last one */
  step(): ChannelRow | undefined {
    const progress = this.packer.step();
    return progress === undefined ? undefined : rowWith(this.channel, this.packer.floor, progress);
  }
}
