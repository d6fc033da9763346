import { join } from "node:path";
import { idPrefix } from "../../frame/id.ts";
import { isEphemeral } from "../../frame/names.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { DeliveryTarget } from "../storage/deferred/loader.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import type { KeyedTopic } from "../storage/idempotency/key-store.ts";
import { LogFiles, type LogFilesOptions } from "../storage/log/log-files.ts";
import type { Retention } from "../storage/log/retention.ts";
import { TopicLog } from "../storage/log/topic-log.ts";
import { topicFolder } from "../storage/metadata/metadata-backup.ts";
import { MEMORY_TOPIC_RESERVE } from "../storage/metadata/metadata-store.ts";
import type { Channel } from "./channel/channel.ts";
import { NameTable } from "./name-table.ts";
import { Topic } from "./topic.ts";
import type { RegistryParts } from "./topic-parts.ts";

/** A file of this name in a topic's folder: the topic was deleted, and only its files are left. */
export const DELETED_MARK = "deleted";
/** An adopted topic withholds its messages this long, so that consumers can create its channels again. */
export const WITHHOLD_ADOPTED_MS = 60_000;
/** First id of topics and channels that have no row in the metadata store, and so are gone with the process. */
const FIRST_MEMORY_ID = 2 ** 31;

/** Learns of topics and channels that are created or deleted after recovery. */
export interface TopicObserver {
  topicCreated(topic: Topic): void;
  /** channelDeleted() was called for each of its channels before. */
  topicDeleted(topic: Topic): void;
  channelCreated(channel: Channel): void;
  channelDeleted(channel: Channel): void;
}

/** Holds all topics and channels of a broker, creates and deletes them. Those that an earlier run left are added by recovery/. */
export class TopicRegistry implements DeliveryTarget {
  readonly topics = new Map<string, Topic>();
  readonly channelsById = new Map<number, Channel>();
  observer: TopicObserver | undefined;
  /** Damaged regions of logs, and damaged rows of the metadata store, that were skipped since the broker started. */
  corruptRegions = 0;
  private readonly corruptRegionsOf = new Map<string, number>();
  private readonly topicsById = new Map<number, Topic>();
  private readonly topicsByName = new NameTable();
  /** Numbers of entries in the deferred store that a later entry of the same message replaces. */
  private readonly superseded = new Set<number>();
  /** Topics whose messages wait until their channels are created again: see adopt(). */
  private readonly adopted: Topic[] = [];
  private nextMemoryId = FIRST_MEMORY_ID;
  private closed = false;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RegistryParts,
    private readonly directory: string,
  ) {
    parts.disk.makeDirectory(join(directory, "topics"));
    if (parts.options.durability === "fsync") this.makeStoresDurable();
  }

  /** Creates no more topics from here on: the broker shuts down. */
  close(): void {
    this.closed = true;
  }

  /** How long topics without a retention of their own keep finished messages. */
  get defaultRetention(): Retention {
    const { retentionTimeMs, retentionBytes } = this.parts.options;
    return { timeMs: retentionTimeMs, bytes: retentionBytes };
  }

  /**
   * To be called when a topic acknowledges publishes only once they are on the disk. The metadata store and the deferred store
   * are synced before such an acknowledgement too, since it rests on them as well as on the log.
   */
  makeStoresDurable(): void {
    this.parts.metadata.makeDurable();
    this.parts.deferred.strict = true;
  }

  /** Returns the topic of a name that was checked, and creates it if it does not exist. @throws PublishError if it cannot be created */
  topic(name: string): Topic {
    const existing = this.topics.get(name);
    if (existing !== undefined) return existing;
    try {
      return this.createTopic(name);
    } catch (error) {
      // Publishers get the same answer as for a message that cannot be written.
      throw error instanceof PublishError ? error : new PublishError((error as Error).message);
    }
  }

  /** Finds the topic whose name is in [from, to), without making a string. */
  knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined {
    return this.topicsByName.find(bytes, from, to);
  }

  /** Deletes a topic with its channels and messages, and closes its consumers' connections. @returns false if there is no such topic */
  deleteTopic(name: string): boolean {
    const topic = this.topics.get(name);
    if (topic === undefined) return false;
    this.parts.logger.info(`TOPIC(${name}): deleting`);
    this.topics.delete(name);
    this.topicsById.delete(topic.id);
    this.topicsByName.delete(topic);
    topic.deleted = true;
    for (const channel of topic.channels.values()) {
      this.channelDeleted(channel);
      channel.delete();
    }
    topic.channels.clear();
    this.corruptRegionsOf.delete(name);
    this.observer?.topicDeleted(topic);
    // Before its row is removed: recovery adopts a folder that has no row.
    this.markDeleted(topic);
    if (topic.ephemeral) this.parts.metadata.freeNumber(topic.number, topic.log.next);
    else this.parts.metadata.removeTopic(topic.id, topic.number, topic.log.next);
    topic.log.dispose();
    this.removeFiles(topic);
    return true;
  }

  /** Damaged regions of a topic's log that were skipped since the broker started. */
  corruptRegionsIn(topicName: string): number {
    return this.corruptRegionsOf.get(topicName) ?? 0;
  }

  channelCreated(channel: Channel): void {
    this.channelsById.set(channel.id, channel);
    this.observer?.channelCreated(channel);
  }

  channelDeleted(channel: Channel): void {
    this.channelsById.delete(channel.id);
    this.observer?.channelDeleted(channel);
  }

  /** Whether the log of a topic that still exists has a message, or had it and was trimmed. */
  has({ id, nameCrc }: KeyedTopic, sequence: number): boolean {
    const topic = this.topicsById.get(id);
    if (topic === undefined || topic.nameCrc !== nameCrc) return false;
    return sequence < topic.log.startSequence || topic.log.files?.hasRecord(sequence) === true;
  }

  /** An id for a topic or channel without a row in the metadata store. */
  newMemoryId(): number {
    return this.nextMemoryId++;
  }

  private createTopic(name: string): Topic {
    if (this.closed) throw new PublishError("exiting");
    const ephemeral = isEphemeral(name);
    const allocated = this.parts.metadata.allocateNumber(ephemeral ? MEMORY_TOPIC_RESERVE : 0);
    if (allocated === undefined) throw new PublishError("too many topics");
    const { number, nextSequence } = allocated;
    const id = ephemeral ? this.newMemoryId() : this.parts.metadata.addTopic(number, name, nextSequence);
    if (!ephemeral) this.parts.metadata.saveSynced(id, nextSequence);
    try {
      const topic = this.addTopic(id, number, name, nextSequence);
      this.parts.logger.info(`TOPIC(${name}): created`);
      this.observer?.topicCreated(topic);
      return topic;
    } catch (error) {
      if (ephemeral) this.parts.metadata.freeNumber(number, nextSequence);
      else this.parts.metadata.removeTopic(id, number, nextSequence);
      throw error;
    }
  }

  private markDeleted(topic: Topic): void {
    if (topic.ephemeral) return;
    const { disk, logger } = this.parts;
    try {
      disk.close(disk.open(join(this.folder(topic.number, topic.name), DELETED_MARK), "w+"));
    } catch (error) {
      // A full disk must not keep a topic from being deleted; a crash now may bring it back.
      logger.warn(`TOPIC(${topic.name}): cannot mark its folder as deleted: ${(error as Error).message}`);
    }
  }

  private removeFiles(topic: Topic): void {
    try {
      topic.log.files?.remove();
    } catch (error) {
      this.parts.logger.error(`TOPIC(${topic.name}): cannot remove all of its files: ${(error as Error).message}`);
    }
  }

  private folder(number: number, name: string): string {
    return topicFolder(this.directory, number, name);
  }

  /**
   * Opens a topic and its log. It has a row in the metadata store already, unless it is ephemeral.
   *
   * @param known what an earlier run noted of its files
   * @param opened called with the files before anything else reads them
   */
  addTopic(
    id: number,
    number: number,
    name: string,
    firstSequence: number,
    known: Partial<LogFilesOptions> = {},
    opened: (files: LogFiles) => void = () => {},
  ): Topic {
    const files = isEphemeral(name) ? undefined : this.openFiles(number, name, firstSequence, known);
    if (files !== undefined) opened(files);
    const log = new TopicLog(this.parts.chunks, this.parts.clock, idPrefix(this.parts.options.nodeId, number), files, firstSequence);
    const topic = new Topic(this.parts, this, id, number, name, log);
    this.topics.set(name, topic);
    this.topicsById.set(id, topic);
    this.topicsByName.add(topic);
    return topic;
  }

  private openFiles(number: number, name: string, firstSequence: number, known: Partial<LogFilesOptions>): LogFiles {
    const { options, disk, ballast, recycler, logger } = this.parts;
    const { maxBytesPerFile, syncEvery } = options;
    return new LogFiles(
      {
        disk,
        directory: this.folder(number, name),
        topicNumber: number,
        topicName: name,
        maxBytesPerFile,
        syncEvery,
        ballast,
        recycler,
        logger,
        onCorrupt: () => this.countCorrupt(name),
        ...known,
      },
      firstSequence,
    );
  }

  get hasAdopted(): boolean {
    return this.adopted.length > 0;
  }

  /**
   * Withholds the messages of a topic that recovery made of a folder without a row. Its channels are not known, so its messages
   * go to all channels that are created until releaseAdopted().
   */
  adopt(topic: Topic): void {
    topic.withhold();
    this.adopted.push(topic);
  }

  /** Releases the messages of adopted topics. */
  releaseAdopted(): void {
    for (const topic of this.adopted.splice(0)) if (!topic.deleted) topic.endWithholding();
  }

  topicById(id: number): Topic | undefined {
    return this.topicsById.get(id);
  }

  /** Makes an entry of the deferred store void: a later one replaces it. */
  supersede(entryNumber: number): void {
    this.superseded.add(entryNumber);
  }

  /** Counts a damaged region of a topic's log, or a damaged row of the topic. */
  countCorrupt(topicName: string): void {
    this.corruptRegions++;
    this.corruptRegionsOf.set(topicName, this.corruptRegionsIn(topicName) + 1);
  }

  /** Whether the topic or channel of an entry in the deferred store still exists, and did not drop it. */
  wanted(entry: StoredEntry): boolean {
    if (entry.kind === KIND_PUBLISH) return this.topicsById.get(entry.topicId)?.deferredPublishes.isWanted(entry.number) === true;
    const channel = this.channelsById.get(entry.channelId);
    return channel?.deferrals.wantsRequeue(entry.number) === true && !this.superseded.has(entry.number);
  }

  /** Counts a deferred publish no more that no channel gets. A channel does not count its void requeues. */
  dropped({ kind, topicId, number }: Pick<StoredEntry, "kind" | "topicId" | "number">): void {
    if (kind === KIND_PUBLISH) this.topicsById.get(topicId)?.deferredPublishes.dropped(number);
  }

  /** Whether a channel has the message of an entry in memory, in flight or ready. */
  underWay(entry: StoredEntry): boolean {
    return (
      entry.kind !== KIND_PUBLISH && this.channelsById.get(entry.channelId)?.deferrals.hasInMemory(entry.sequence, entry.number) === true
    );
  }

  /** How many more messages of the deferred store a channel takes into memory. */
  room(channelId: number): number {
    return this.channelsById.get(channelId)?.deferrals.room ?? Number.POSITIVE_INFINITY;
  }

  /** Takes a message of the deferred store that has fallen due. */
  due(message: StoredMessage): void {
    if (!this.wanted(message)) {
      this.dropped(message);
      this.parts.deferred.finish(message);
    } else if (message.kind === KIND_PUBLISH) this.topicsById.get(message.topicId)?.deferredPublishes.join(message);
    else this.channelsById.get(message.channelId)?.deferrals.due(message);
    this.parts.turn.schedule();
  }
}
