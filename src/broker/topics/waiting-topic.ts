import { PublishError } from "../acks/pending-publish.ts";
import type { EntryOwnerIds } from "../storage/deferred/entry.ts";

/** A topic that an earlier run left and that is not open yet, because a file of it could not be read. It is opened later. */
export interface WaitingTopic {
  readonly name: string;
  /** Ids of its rows in the metadata store; 0 in place of one that it has not got yet. */
  readonly ids: readonly number[];
  readonly nameCrc: number;
  /** Ids of its channels' rows. */
  readonly channelIds: readonly number[];
  /** Why it is not open. */
  readonly failure: Error | undefined;
}

/** The refusal of a publish to a topic that is not open yet, and of everything else that needs the topic. */
export class TopicWaits extends PublishError {
  override name = "TopicWaits";

  constructor({ name, failure }: WaitingTopic) {
    super(`topic ${name} is not open: ${failure?.message ?? "its files were not read yet"}`);
  }
}

/** Topics that are not open yet, and partitions that another broker leads: what is deferred for them or their channels waits. */
export class WaitingTopics {
  /** Those that are not open yet. */
  readonly byName = new Map<string, WaitingTopic>();
  private readonly topicIds = new Set<number>();
  private readonly channelIds = new Set<number>();

  /** @param isOpen whether the partition with the id of a row is open */
  constructor(private readonly isOpen: (id: number) => boolean) {}

  /** Notes a topic that an earlier run left and that cannot be opened yet. Its deferred messages wait with it. */
  add(topic: WaitingTopic): void {
    if (!this.byName.has(topic.name)) this.byName.set(topic.name, topic);
    this.hold(topic.ids, topic.channelIds);
  }

  /** A topic does not wait any more: it was opened, or it turned out to be deleted. */
  remove(topic: WaitingTopic): void {
    if (this.byName.get(topic.name) === topic) this.byName.delete(topic.name);
    this.release(topic.ids, topic.channelIds);
  }

  /** @throws TopicWaits if the topic of a name cannot be opened yet */
  check(name: string): void {
    const waiting = this.byName.size === 0 ? undefined : this.byName.get(name);
    if (waiting !== undefined) throw new TopicWaits(waiting);
  }

  /** What is deferred for partitions and channels with these ids waits. */
  hold(topicIds: Iterable<number>, channelIds: Iterable<number>): void {
    for (const id of topicIds) this.topicIds.add(id);
    for (const id of channelIds) this.channelIds.add(id);
  }

  release(topicIds: Iterable<number>, channelIds: Iterable<number>): void {
    for (const id of topicIds) this.topicIds.delete(id);
    for (const id of channelIds) this.channelIds.delete(id);
  }

  /** Where the id of one that waits is not known, that may be any topic that is not there. */
  hasTopic(topicId: number): boolean {
    if (this.topicIds.size === 0) return false;
    return this.topicIds.has(topicId) || (this.topicIds.has(0) && !this.isOpen(topicId));
  }

  hasChannel(channelId: number): boolean {
    return this.topicIds.size > 0 && this.channelIds.has(channelId);
  }

  /** Whether the topic or channel of an entry in the deferred store waits. */
  hasOwnerOf({ topicId, channelId }: EntryOwnerIds): boolean {
    return channelId === 0 ? this.hasTopic(topicId) : this.hasChannel(channelId);
  }
}
