import { KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { DeliveryTarget } from "../storage/deferred/loader.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import type { TopicParts } from "./topic-parts.ts";
import type { TopicRegistry } from "./topic-registry.ts";

/** A message that falls due for a topic that is not open yet is looked at again after this long. */
const WAITING_RETRY_MS = 1000;

/** Where messages of the deferred store go when they are due: to the logs and channels of a broker. */
export class DeferredTarget implements DeliveryTarget {
  /** Numbers of entries that a later entry of the same message replaces. */
  private readonly superseded = new Set<number>();

  constructor(
    private readonly registry: TopicRegistry,
    private readonly parts: Pick<TopicParts, "deferred" | "turn">,
  ) {}

  /** Makes an entry void: a later one replaces it. */
  supersede(entryNumber: number): void {
    this.superseded.add(entryNumber);
  }

  /** Whether the topic or channel of an entry in the deferred store still exists, and did not drop it. */
  wanted(entry: StoredEntry): boolean {
    if (this.registry.waitingTopics.hasOwnerOf(entry)) return true;
    if (entry.kind === KIND_PUBLISH) return this.registry.partitionById(entry.topicId)?.deferredPublishes.isWanted(entry.number) === true;
    const channel = this.registry.channelPartitions.get(entry.channelId);
    return channel?.deferrals.wantsRequeue(entry.number) === true && !this.superseded.has(entry.number);
  }

  /** Counts a deferred publish no more that no channel gets. A channel does not count its void requeues. */
  dropped({ kind, topicId, number }: Pick<StoredEntry, "kind" | "topicId" | "number">): void {
    if (kind === KIND_PUBLISH) this.registry.partitionById(topicId)?.deferredPublishes.dropped(number);
  }

  /** Whether a channel has the message of an entry in memory, in flight or ready. */
  underWay(entry: StoredEntry): boolean {
    return (
      entry.kind !== KIND_PUBLISH &&
      this.registry.channelPartitions.get(entry.channelId)?.deferrals.hasInMemory(entry.sequence, entry.number) === true
    );
  }

  /** How many more messages of the deferred store a channel takes into memory; or, where `key` is below 0, a topic. */
  room(key: number): number {
    if (key < 0 ? this.registry.waitingTopics.hasTopic(-key) : this.registry.waitingTopics.hasChannel(key)) return 0;
    return key < 0 ? Number.POSITIVE_INFINITY : (this.registry.channelPartitions.get(key)?.deferrals.room ?? Number.POSITIVE_INFINITY);
  }

  /** Takes a message of the deferred store that has fallen due. */
  due(message: StoredMessage): void {
    if (!this.wanted(message)) {
      this.dropped(message);
      this.parts.deferred.finish(message);
    } else if (this.registry.waitingTopics.hasOwnerOf(message))
      this.parts.deferred.postpone(message, this.parts.turn.nowMs + WAITING_RETRY_MS);
    else if (message.kind === KIND_PUBLISH) this.registry.partitionById(message.topicId)?.deferredPublishes.join(message);
    else this.registry.channelPartitions.get(message.channelId)?.deferrals.due(message);
    this.parts.turn.schedule();
  }
}
