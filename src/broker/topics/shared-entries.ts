import type { EntryHeader, EntryOwnerIds } from "../storage/deferred/entry.ts";
import type { EntryWatch } from "../storage/deferred/writer.ts";
import type { PartitionState } from "./partition-state.ts";
import type { TopicRegistry } from "./topic-registry.ts";

/** Tells the states of partitions what the deferred store gets for them, so that other brokers have it too. */
export class SharedEntries implements EntryWatch {
  constructor(private readonly registry: Pick<TopicRegistry, "partitionById" | "channelPartitions">) {}

  staged(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): void {
    const channel = this.registry.channelPartitions.get(header.channelId)?.name ?? "";
    this.stateOf(header)?.stage(header, number, channel, frame, from, to);
  }

  told(entry: EntryOwnerIds, number: number, isRefused: boolean): void {
    this.stateOf(entry)?.told(number, isRefused);
  }

  finished(entry: EntryOwnerIds & { readonly number: number }): void {
    this.stateOf(entry)?.finished(entry.number);
  }

  private stateOf({ topicId, channelId }: EntryOwnerIds): PartitionState | undefined {
    const { registry } = this;
    const partition = channelId === 0 ? registry.partitionById(topicId) : registry.channelPartitions.get(channelId)?.partition;
    return partition?.replicated?.[0].state;
  }
}
