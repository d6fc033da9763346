import { KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import { SequenceSet } from "./sequence-set.ts";

/** The messages of one channel that are in the deferred store. */
export interface StoredSequences {
  all: SequenceSet;
  /** Sequences with several entries, and the highest number among the entries of each that were read so far. */
  repeated: Map<number, number>;
}

/** Counts entries of the deferred store for their topics and channels. It is dropped if the bucket that they are in cannot be read to its end. */
export class EntryTally {
  /** Numbers of the deferred publishes of each topic. They are counted even if nobody wants them any more: until they are dropped. */
  readonly publishes = new Map<TopicPartition, number[]>();
  /** How many entries belong to no topic and no channel. */
  unclaimed = 0;
  readonly stored = new Map<ChannelPartition, StoredSequences>();
  /** By topic, one more than the highest sequence that the entries mention. */
  readonly mentioned = new Map<TopicPartition, number>();

  constructor(private readonly registry: TopicRegistry) {}

  add(entry: StoredEntry): void {
    if (!isClaimed(this.registry, entry)) this.unclaimed++;
    if (entry.kind === KIND_PUBLISH) {
      const topic = this.registry.partitionById(entry.topicId);
      if (topic === undefined) return;
      const numbers = this.publishes.get(topic);
      if (numbers === undefined) this.publishes.set(topic, [entry.number]);
      else numbers.push(entry.number);
      return;
    }
    if (!this.registry.deferredTarget.wanted(entry)) return;
    const channel = this.registry.channelPartitions.get(entry.channelId);
    if (channel !== undefined) this.addSequence(channel, entry.sequence);
  }

  mention(topic: TopicPartition, next: number): void {
    this.mentioned.set(topic, Math.max(this.mentioned.get(topic) ?? 0, next));
  }

  /** Adds what another tally has counted, but for publishes. */
  addAll(other: EntryTally): void {
    this.unclaimed += other.unclaimed;
    for (const [topic, next] of other.mentioned) this.mention(topic, next);
    for (const [channel, { all, repeated }] of other.stored) {
      for (const { from, to } of all.rangesFrom(0))
        for (let sequence = from; sequence < to; sequence++) this.addSequence(channel, sequence);
      for (const sequence of repeated.keys()) this.stored.get(channel)?.repeated.set(sequence, -1);
    }
  }

  private addSequence(channel: ChannelPartition, sequence: number): void {
    let found = this.stored.get(channel);
    if (found === undefined) {
      found = { all: new SequenceSet(), repeated: new Map() };
      this.stored.set(channel, found);
    }
    if (!found.all.add(sequence)) found.repeated.set(sequence, -1);
  }
}

/** Whether an entry's topic or channel exists, or may exist: it is not open yet. */
export function isClaimed(registry: TopicRegistry, entry: StoredEntry): boolean {
  if (registry.waitingTopics.hasOwnerOf(entry)) return true;
  return entry.kind === KIND_PUBLISH
    ? registry.partitionById(entry.topicId) !== undefined
    : registry.channelPartitions.has(entry.channelId);
}
