import { join } from "node:path";
import { idPrefix } from "../../frame/id.ts";
import { isEphemeral } from "../../frame/names.ts";
import { EXITING, PublishError } from "../acks/pending-publish.ts";
import { type EntryOwnerIds, KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { DeliveryTarget } from "../storage/deferred/loader.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import { FolderNames } from "../storage/disk/folder-names.ts";
import type { KeyedTopic } from "../storage/idempotency/key-file.ts";
import { deletedFolder } from "../storage/log/deleted-folder.ts";
import { LogFiles, type LogFilesOptions } from "../storage/log/log-files.ts";
import type { Retention } from "../storage/log/retention.ts";
import { TopicFiles, type TopicIdentity } from "../storage/log/topic-file.ts";
import { TopicLog } from "../storage/log/topic-log.ts";
import { topicFolder } from "../storage/metadata/metadata-backup.ts";
import { MEMORY_TOPIC_RESERVE } from "../storage/metadata/metadata-store.ts";
import type { Channel } from "./channel/channel.ts";
import { NameTable } from "./name-table.ts";
import { OperatorError } from "./operator-error.ts";
import { RetiredTotals } from "./retired-totals.ts";
import { Topic } from "./topic.ts";
import type { RegistryParts } from "./topic-parts.ts";
import { TopicWaits, type WaitingTopic } from "./waiting-topic.ts";

/** An adopted topic withholds its messages this long, so that consumers can create its channels again. */
export const WITHHOLD_ADOPTED_MS = 60_000;
/** A message that falls due for a topic that is not open yet is looked at again after this long. */
const WAITING_RETRY_MS = 1000;
/** First id of topics and channels that have no row in the metadata store, and so are gone with the process. */
const FIRST_MEMORY_ID = 2 ** 31;

/** Learns of topics and channels that are created or deleted after recovery. */
export interface TopicObserver {
  topicCreated(topic: Topic): void;
  /** A topic of an earlier run was opened that could not be opened at the start. channelCreated() was called for each of its channels. */
  topicOpened(topic: Topic): void;
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
  readonly retired = new RetiredTotals();
  /** Topics of an earlier run that could not be opened yet, by name. */
  readonly waiting = new Map<string, WaitingTopic>();
  /** Why no topic may be created: the folders of earlier topics are not known yet. */
  creationRefusal: Error | undefined;
  /** Damaged regions of logs, and damaged rows of the metadata store, that were skipped since the broker started. */
  corruptRegions = 0;
  private readonly corruptRegionsOf = new Map<string, number>();
  private readonly topicsById = new Map<number, Topic>();
  private readonly topicsByName = new NameTable();
  /** Numbers of entries in the deferred store that a later entry of the same message replaces. */
  private readonly superseded = new Set<number>();
  /** Ids of the topics that wait, and of their channels. */
  private readonly waitingTopicIds = new Set<number>();
  private readonly waitingChannelIds = new Set<number>();
  /** Topics whose messages wait until their channels are created again: see adopt(). */
  private readonly adopted: Topic[] = [];
  private readonly topicFiles: TopicFiles;
  /** The names of the logs' folders. */
  private readonly folders: FolderNames;
  private nextMemoryId = FIRST_MEMORY_ID;
  private closed = false;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RegistryParts,
    private readonly directory: string,
  ) {
    this.folders = new FolderNames(parts.disk, join(directory, "topics"));
    parts.disk.makeDirectory(this.folders.directory);
    this.topicFiles = new TopicFiles({ ...parts, folders: this.folders });
    if (parts.options.durability === "fsync") this.makeStoresDurable();
  }

  /** Creates no more topics from here on: the broker shuts down. */
  close(): void {
    this.closed = true;
    this.topicFiles.close();
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
    this.checkWaiting(name);
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

  /**
   * Deletes a topic with its channels and messages, and closes its consumers' connections.
   *
   * @returns false if there is no such topic
   * @throws OperatorError NOT_STORED if disk or metadata store did not take it; the topic is as before then
   */
  deleteTopic(name: string): boolean {
    const topic = this.topics.get(name);
    if (topic === undefined) return false;
    this.parts.logger.info(`TOPIC(${name}): deleting`, { topic: name });
    this.deleteStored(topic);
    this.topics.delete(name);
    this.topicsById.delete(topic.id);
    this.topicsByName.delete(topic);
    topic.deleted = true;
    for (const channel of topic.channels.values()) {
      this.channelDeleted(channel);
      channel.delete();
    }
    topic.channels.clear();
    this.retired.addTopic(topic);
    this.corruptRegionsOf.delete(name);
    this.observer?.topicDeleted(topic);
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
    this.parts.tracing.beginChannel(channel);
    this.observer?.channelCreated(channel);
  }

  channelDeleted(channel: Channel): void {
    this.channelsById.delete(channel.id);
    this.retired.addChannel(channel);
    this.observer?.channelDeleted(channel);
  }

  /**
   * Whether the log of a topic that still exists has a message of an earlier run, or had it and was trimmed. A message that a power
   * cut tore is not there. For a negative sequence, whether the topic exists. Undefined: the topic is not open yet. @throws
   * UnreadableFile
   */
  had({ id, nameCrc }: KeyedTopic, sequence: number): boolean | undefined {
    const topic = this.topicsById.get(id);
    if (topic === undefined && this.isWaiting(id)) return undefined;
    if (topic === undefined || (nameCrc !== undefined && topic.nameCrc !== nameCrc) || sequence >= topic.log.firstOfRun) return false;
    return sequence < topic.log.startSequence || topic.log.files?.survivedRestart(sequence) === true;
  }

  /** An id for a topic or channel without a row in the metadata store. */
  newMemoryId(): number {
    return this.nextMemoryId++;
  }

  private createTopic(name: string): Topic {
    if (this.closed) throw new PublishError(EXITING);
    if (this.creationRefusal !== undefined) throw new PublishError(this.creationRefusal.message);
    const topic = isEphemeral(name) ? this.createMemoryTopic(name) : this.createStoredTopic(name);
    this.parts.logger.info(`TOPIC(${name}): created`, { topic: name });
    this.observer?.topicCreated(topic);
    return topic;
  }

  private createMemoryTopic(name: string): Topic {
    const allocated = this.parts.metadata.allocateNumber(MEMORY_TOPIC_RESERVE);
    if (allocated === undefined) throw new PublishError("too many topics");
    const { number, nextSequence } = allocated;
    return this.addTopic({ id: this.newMemoryId(), number, name, prefix: this.newPrefix(number) }, nextSequence);
  }

  private createStoredTopic(name: string): Topic {
    const { metadata } = this.parts;
    const made = metadata.makeTopic(name, (number) => this.newPrefix(number));
    if (made === undefined) throw new PublishError("too many topics");
    const { id, number, prefix, nextSequence } = made;
    try {
      return this.addTopic({ id, number, name, prefix }, nextSequence);
    } catch (error) {
      // If this fails too, the next topic of that name replaces the row.
      metadata.removeTopic(id, number, nextSequence);
      throw error;
    }
  }

  /** The beginning of the ids of a topic that is new, or of which nothing tells what it was. */
  private newPrefix(number: number): number {
    return idPrefix(this.parts.options.nodeId, number);
  }

  /**
   * Renames the topic's folder to a name that no topic has, and removes its row. From then on nothing of the topic comes back,
   * however much of the folder can be removed. Recovery adopts a folder that has no row, so the folder is first.
   */
  private deleteStored(topic: Topic): void {
    const { metadata, ballast, logger } = this.parts;
    const { id, number, name, log } = topic;
    const { files } = log;
    if (files === undefined) return this.freeNumber(topic);
    const folder = this.folder(number, name);
    try {
      // A full disk must not keep a topic from being deleted, and may have no room for a longer name.
      ballast.use(() => files.moveTo(deletedFolder(this.directory, id)));
      try {
        // Should the power fail with the row gone and the folder's old name there, the topic would be restored from it.
        this.folders.syncRemovalNow();
        metadata.removeTopic(id, number, log.next);
      } catch (error) {
        files.moveBack(folder);
        // Should the power fail with the row and the deleted folder's name there, the topic would be deleted after all.
        this.folders.sync(() => {});
        throw error;
      }
    } catch (error) {
      logger.error(`TOPIC(${name}): cannot delete it: ${(error as Error).message}`, { topic: name });
      throw new OperatorError("NOT_STORED");
    }
  }

  private freeNumber({ number, name, log }: Topic): void {
    try {
      this.parts.metadata.freeNumber(number, log.next);
    } catch (error) {
      // The next start frees it.
      this.parts.logger.error(`TOPIC(${name}): its number stays in use: ${(error as Error).message}`, { topic: name });
    }
  }

  private removeFiles(topic: Topic): void {
    topic.log.files?.remove((error) =>
      this.parts.logger.error(`TOPIC(${topic.name}): cannot remove all of its files: ${error.message}`, { topic: topic.name }),
    );
  }

  private folder(number: number, name: string): string {
    return topicFolder(this.directory, number, name);
  }

  /**
   * Opens a topic and its log. It has a row in the metadata store already, unless it is ephemeral.
   *
   * @param topic its prefix is undefined where only the log tells it, because an earlier release made the topic
   * @param known what an earlier run noted of its files
   * @param opened called with the files before anything else reads them
   * @param inFolder what the topic's file says, if the caller has read it
   */
  addTopic(
    topic: Omit<TopicIdentity, "prefix"> & { prefix: number | undefined },
    firstSequence: number,
    known: Partial<LogFilesOptions> = {},
    opened: (files: LogFiles) => void = () => {},
    inFolder?: TopicIdentity,
  ): Topic {
    const { id, number, name } = topic;
    const files = isEphemeral(name) ? undefined : this.openFiles(topic, firstSequence, known);
    if (files !== undefined) opened(files);
    const prefix = topic.prefix ?? files?.recordedPrefix ?? this.newPrefix(number);
    if (files !== undefined) {
      files.prefix = prefix;
      this.topicFiles.write(files.names, { id, number, name, prefix }, inFolder);
    }
    const log = new TopicLog(this.parts.chunks, this.parts.clock, prefix, files, firstSequence);
    const added = new Topic(this.parts, this, id, number, name, log);
    this.parts.tracing.beginTopic(added);
    this.topics.set(name, added);
    this.topicsById.set(id, added);
    this.topicsByName.add(added);
    return added;
  }

  private openFiles(
    { id, number, name, prefix }: Omit<TopicIdentity, "prefix"> & { prefix: number | undefined },
    firstSequence: number,
    known: Partial<LogFilesOptions>,
  ): LogFiles {
    const { options, disk, clock, ballast, recycler, logger } = this.parts;
    const { maxBytesPerFile, syncEvery } = options;
    return new LogFiles(
      {
        disk,
        clock,
        directory: this.folder(number, name),
        folders: this.folders,
        topicId: id,
        topicNumber: number,
        topicName: name,
        prefix,
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

  // ---- topics that are not open yet

  /** Notes a topic that an earlier run left and that cannot be opened yet. Its deferred messages wait with it. */
  addWaiting(topic: WaitingTopic): void {
    this.waiting.set(topic.name, topic);
    this.waitingTopicIds.add(topic.id);
    for (const id of topic.channelIds) this.waitingChannelIds.add(id);
  }

  /** A topic does not wait any more: it was opened, or it turned out to be deleted. */
  removeWaiting(topic: WaitingTopic): void {
    this.waiting.delete(topic.name);
    this.waitingTopicIds.delete(topic.id);
    for (const id of topic.channelIds) this.waitingChannelIds.delete(id);
  }

  /** Whether the topic of an id is not open yet. Where the id of one that waits is not known, that may be any topic that is not there. */
  isWaiting(topicId: number): boolean {
    if (this.waitingTopicIds.size === 0) return false;
    return this.waitingTopicIds.has(topicId) || (this.waitingTopicIds.has(0) && !this.topicsById.has(topicId));
  }

  /** Whether the topic or channel of an entry in the deferred store is not open yet. */
  waits({ topicId, channelId }: EntryOwnerIds): boolean {
    if (this.waitingTopicIds.size === 0) return false;
    return channelId === 0 ? this.isWaiting(topicId) : this.waitingChannelIds.has(channelId);
  }

  /** @throws TopicWaits if the topic of a name cannot be opened yet */
  checkWaiting(name: string): void {
    const waiting = this.waiting.size === 0 ? undefined : this.waiting.get(name);
    if (waiting !== undefined) throw new TopicWaits(waiting);
  }

  /** Takes back addTopic(): the topic could not be restored to its end. Its files stay as they are. */
  forgetTopic(name: string): void {
    const topic = this.topics.get(name);
    if (topic === undefined) return;
    this.topics.delete(name);
    this.topicsById.delete(topic.id);
    this.topicsByName.delete(topic);
    topic.deleted = true;
    for (const { id } of topic.channels.values()) this.channelsById.delete(id);
    for (const channel of topic.channels.values()) channel.deleted = true;
    topic.log.dispose();
    topic.log.files?.closeSegments();
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
    try {
      this.parts.metadata.endAdoption();
    } catch (error) {
      this.parts.rateLimitedLog.error(`cannot save to ${this.directory}: ${(error as Error).message}`);
    }
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
    if (this.waits(entry)) return true;
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

  /** How many more messages of the deferred store a channel takes into memory; or, where `key` is below 0, a topic. */
  room(key: number): number {
    if (this.waitingTopicIds.size > 0 && (key < 0 ? this.isWaiting(-key) : this.waitingChannelIds.has(key))) return 0;
    return key < 0 ? Number.POSITIVE_INFINITY : (this.channelsById.get(key)?.deferrals.room ?? Number.POSITIVE_INFINITY);
  }

  /** Takes a message of the deferred store that has fallen due. */
  due(message: StoredMessage): void {
    if (!this.wanted(message)) {
      this.dropped(message);
      this.parts.deferred.finish(message);
    } else if (this.waits(message)) this.parts.deferred.postpone(message, this.parts.turn.nowMs + WAITING_RETRY_MS);
    else if (message.kind === KIND_PUBLISH) this.topicsById.get(message.topicId)?.deferredPublishes.join(message);
    else this.channelsById.get(message.channelId)?.deferrals.due(message);
    this.parts.turn.schedule();
  }
}
