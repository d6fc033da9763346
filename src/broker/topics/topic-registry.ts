import { isEphemeral } from "../../frame/names.ts";
import { EXITING, PublishError } from "../acks/pending-publish.ts";
import type { ClusterRouting } from "../cluster-routing.ts";
import type { KeyedTopic } from "../storage/idempotency/key-file.ts";
import type { LogFiles, LogFilesOptions } from "../storage/log/log-files.ts";
import type { Retention } from "../storage/log/retention.ts";
import type { TopicIdentity } from "../storage/log/topic-file.ts";
import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import { PLAIN_TOPIC, type TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { Channel } from "./channel/channel.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { DeferredTarget } from "./deferred-target.ts";
import { NameTable } from "./name-table.ts";
import { NotLedHere } from "./not-led-here.ts";
import { type KnownIdentity, type MadePartition, PartitionStore } from "./partition-store.ts";
import { RetiredTotals } from "./retired-totals.ts";
import { Topic } from "./topic.ts";
import { TopicPartition } from "./topic-partition.ts";
import type { RegistryParts } from "./topic-parts.ts";
import { type PartitionOrigins, planTopic, type TopicPlan } from "./topic-plan.ts";
import { type WaitingTopic, WaitingTopics } from "./waiting-topic.ts";

/** An adopted topic withholds its messages this long, so that consumers can create its channels again. */
export const WITHHOLD_ADOPTED_MS = 60_000;
/** First id of topics and channels that have no row in the metadata store, and so are gone with the process. */
const FIRST_MEMORY_ID = 2 ** 31;

/** Learns of topics and channels that are created or deleted after recovery. */
export interface TopicObserver {
  topicCreated(topic: Topic): void;
  /** A topic has other settings than before, and may have more partitions. */
  topicChanged(topic: Topic): void;
  /** A topic of an earlier run was opened that could not be opened at the start. channelCreated() was called for each of its channels. */
  topicOpened(topic: Topic): void;
  /** channelDeleted() was called for each of its channels before. */
  topicDeleted(topic: Topic): void;
  channelCreated(channel: Channel): void;
  channelDeleted(channel: Channel): void;
  /** A partition that other brokers have as well is led here now, or no more: `ReplicatedPartition.leads`. */
  leaderChanged(partition: TopicPartition): void;
}

/** Holds all topics and channels of a broker, creates and deletes them. Those that an earlier run left are added by recovery/. */
export class TopicRegistry {
  readonly topics = new Map<string, Topic>();
  /** By the ids of their rows. */
  readonly channelPartitions = new Map<number, ChannelPartition>();
  observer: TopicObserver | undefined;
  readonly retired = new RetiredTotals();
  /** What of earlier runs cannot be used yet, and what another broker leads. */
  readonly waitingTopics = new WaitingTopics((id) => this.partitionsById.has(id));
  /** Where topics are made that this broker does not have; undefined: here, as the broker is alone. */
  cluster: ClusterRouting | undefined;
  /** Why no topic may be created: the folders of earlier topics are not known yet. */
  creationRefusal: Error | undefined;
  /** Damaged regions of logs, and damaged rows of the metadata store, that were skipped since the broker started. */
  corruptRegions = 0;
  private readonly corruptRegionsOf = new Map<string, number>();
  /** By the ids of their rows. */
  private readonly partitionsById = new Map<number, TopicPartition>();
  private readonly topicsByName = new NameTable();
  /** Where the deferred store delivers to. */
  readonly deferredTarget: DeferredTarget;
  /** Partitions whose messages wait until their channels are created again: see adopt(). */
  private readonly adopted: TopicPartition[] = [];
  private readonly store: PartitionStore;
  private nextMemoryId = FIRST_MEMORY_ID;
  private closed = false;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RegistryParts,
    private readonly directory: string,
  ) {
    this.store = new PartitionStore(parts, directory);
    this.deferredTarget = new DeferredTarget(this, parts);
    if (parts.options.durability === "fsync") this.makeStoresDurable();
  }

  /** Creates no more topics from here on: the broker shuts down. */
  close(): void {
    this.closed = true;
    this.store.close();
  }

  /** Topics of an earlier run that could not be opened yet, by name. */
  get waiting(): ReadonlyMap<string, WaitingTopic> {
    return this.waitingTopics.byName;
  }

  /** All partitions of all topics. */
  get partitions(): Iterable<TopicPartition> {
    return this.partitionsById.values();
  }

  /** The channels of all topics. */
  get channelCount(): number {
    return this.topics.values().reduce((count, { channels }) => count + channels.size, 0);
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
    return this.topics.get(name) ?? this.topicWith(name, 1);
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
    this.store.delete(name, topic.partitions);
    this.forgetTopic(topic);
    for (const partition of topic.partitions) {
      this.partitionsById.delete(partition.id);
      partition.deleted = true;
    }
    for (const channel of topic.channels.values()) {
      this.channelDeleted(channel);
      for (const part of channel.partitions) part.delete();
      channel.closeConsumers();
    }
    topic.channels.clear();
    for (const partition of topic.partitions) {
      partition.channels.clear();
      this.retired.addTopic(partition);
      this.corruptRegionsOf.delete(partition.name);
    }
    this.observer?.topicDeleted(topic);
    for (const partition of topic.partitions) {
      partition.log.dispose();
      this.store.removeFiles(partition);
    }
    return true;
  }

  /**
   * Removes some of the partitions that this broker has of a topic, with their files: other brokers have them. They have no channels here.
   *
   * @throws OperatorError NOT_STORED if the metadata store did not take it; what the disk throws: the next start removes the files
   */
  dropPartitions(topic: Topic, dropped: readonly TopicPartition[]): void {
    const kept = topic.partitions.filter((partition) => !dropped.includes(partition));
    if (kept.length === 0) {
      this.deleteTopic(topic.name);
      return;
    }
    const settings = { ...topic.settings, held: kept.map(({ index }) => index) };
    this.store.drop(topic.name, dropped, settings);
    topic.settings = settings;
    for (const partition of dropped) {
      this.forgetPartition(partition, false);
      this.store.removeFiles(partition);
    }
  }

  /** Damaged regions of a partition's log that were skipped since the broker started. @param name of its row */
  corruptRegionsIn(name: string): number {
    return this.corruptRegionsOf.get(name) ?? 0;
  }

  channelCreated(channel: Channel): void {
    for (const part of channel.partitions) this.channelPartitionCreated(part);
    this.observer?.channelCreated(channel);
  }

  private channelPartitionCreated(part: ChannelPartition): void {
    this.channelPartitions.set(part.id, part);
    this.parts.tracing.beginChannelPartition(part);
  }

  channelDeleted(channel: Channel): void {
    for (const part of channel.partitions) {
      this.channelPartitions.delete(part.id);
      this.retired.addChannel(part);
    }
    this.observer?.channelDeleted(channel);
  }

  /** Another broker leads a partition: what a channel has of it is used no more. A channel that has nothing else is not here any more. */
  putAway(part: ChannelPartition): void {
    const { channel, partition } = part;
    for (const consumer of channel.consumers) part.removeConsumer(consumer);
    this.parts.checkpointer.saveChannel(part);
    this.channelPartitions.delete(part.id);
    partition.channels.delete(channel.name);
    channel.forgetPartition(partition);
    part.delete(true);
    if (channel.partitions.length > 0) return;
    partition.topic.channels.delete(channel.name);
    channel.closeConsumers();
    this.observer?.channelDeleted(channel);
  }

  /** Opens what a channel that an earlier run left has of a partition. */
  restoreChannel(partition: TopicPartition, id: number, name: string, floor: number): ChannelPartition {
    const channel = partition.topic.restoredChannel(name);
    const part = partition.restoreChannel(channel, id, floor);
    channel.addPartition(part);
    this.channelPartitionCreated(part);
    if (channel.partitions.length === 1) this.observer?.channelCreated(channel);
    return part;
  }

  /**
   * Whether the log of a topic that still exists has a message of an earlier run, or had it and was trimmed. A message that a power
   * cut tore is not there. For a negative sequence, whether the topic exists. Undefined: the topic is not open yet. @throws
   * UnreadableFile
   */
  had({ id, nameCrc }: KeyedTopic, sequence: number): boolean | undefined {
    const partition = this.partitionsById.get(id);
    if (partition === undefined && this.waitingTopics.hasTopic(id)) return undefined;
    if (partition === undefined || (nameCrc !== undefined && partition.nameCrc !== nameCrc)) return false;
    const { log } = partition;
    return sequence < log.firstOfRun && (sequence < log.startSequence || log.files?.survivedRestart(sequence) === true);
  }

  /** An id for a topic or channel without a row in the metadata store. */
  readonly newMemoryId = (): number => this.nextMemoryId++;

  private createTopic(name: string, plan: TopicPlan): Topic {
    if (this.closed) throw new PublishError(EXITING);
    if (this.creationRefusal !== undefined) throw new PublishError(this.creationRefusal.message);
    if (plan.origins === undefined && this.cluster !== undefined && !isEphemeral(name)) throw new NotLedHere(name);
    const made = this.store.make(name, plan, this.newMemoryId, () => {});
    const [{ topic }] = this.openNew(name, made, PLAIN_TOPIC);
    topic.settings = plan.settings;
    this.parts.logger.info(`TOPIC(${name}): created${made.length > 1 ? ` with ${made.length} partitions` : ""}`, { topic: name });
    // A lookup hears of a replica when this broker leads it.
    if (plan.origins === undefined) this.observer?.topicCreated(topic);
    return topic;
  }

  /**
   * Makes a topic with a number of partitions, or gives one that exists as many. Those that it has stay as they are, and its channels
   * get all messages of the new ones.
   *
   * @param name was checked
   * @param more other settings, and `held`: which partitions this broker has @param origins of those that other brokers have already
   * @throws PublishError if it cannot be done; OperatorError as planTopic()
   */
  topicWith(name: string, count: number, more: Partial<TopicSettings> = {}, origins?: PartitionOrigins): Topic {
    const topic = this.topics.get(name);
    const plan = { ...planTopic(topic, count, more), origins };
    this.checkWaiting(name);
    try {
      if (topic === undefined) return this.createTopic(name, plan);
      if (Bun.deepEquals(plan.settings, topic.settings)) return topic;
      this.addPartitions(topic, plan);
      const has = plan.missing.length > 0 ? `${count} partitions` : `the settings ${JSON.stringify(plan.settings)}`;
      this.parts.logger.info(`TOPIC(${name}): has ${has} now`, { topic: name });
      if (origins === undefined) this.observer?.topicChanged(topic);
      return topic;
    } catch (error) {
      // Publishers get the same answer as for a message that cannot be written.
      throw error instanceof PublishError ? error : new PublishError((error as Error).message);
    }
  }

  /**
   * Adds partitions to a topic. Its channels get all of their messages.
   *
   * @throws PublishError; what disk and metadata store throw: the topic is as before then
   */
  addPartitions(topic: Topic, plan: TopicPlan): void {
    if (this.closed) throw new PublishError(EXITING);
    const { name } = topic;
    const channelIds = new Map<Channel, readonly number[]>();
    const made = this.store.make(name, plan, this.newMemoryId, (rows) => topic.settlePartitions(rows, channelIds));
    const added = this.openNew(name, made, topic.settings);
    topic.applySettings(plan.settings);
    for (const part of topic.endExpansion(added, channelIds)) this.channelPartitionCreated(part);
    for (const partition of added) this.parts.tracing.followTopic(partition);
  }

  /** Gives a channel a partition of its topic that it does not have: the row was lost. It gets all of the messages there. */
  extendChannel(channel: Channel, partition: TopicPartition): void {
    const { startSequence: floor } = partition.log;
    const row = { topicId: partition.id, paused: channel.paused, floor, voidBefore: 0 };
    const [id] = channel.persistent ? this.parts.metadata.addChannels(channel.name, [row]) : [this.newMemoryId()];
    const part = channel.extendTo(partition, id);
    this.channelPartitionCreated(part);
    partition.topic.shareChannel(channel, [part]);
  }

  /** Opens partitions that were made, all or none. @param settings of the topic without them */
  private openNew(name: string, made: readonly MadePartition[], settings: TopicSettings): TopicPartition[] {
    const added: TopicPartition[] = [];
    try {
      for (const one of made) added.push(this.addPartition(one, one.nextSequence, { firstPosition: one.firstPosition }));
    } catch (error) {
      for (const partition of added) {
        this.forgetPartition(partition);
        this.store.removeFiles(partition);
      }
      this.store.unmake(name, made, settings);
      throw error;
    }
    return added;
  }

  /**
   * Opens a partition and its log, and makes the topic if this is the first one. It has a row in the metadata store already, unless
   * its topic is ephemeral.
   *
   * @param identity its name is that of the row
   * @param known what an earlier run noted of its files
   * @param opened called with the files before anything else reads them
   * @param inFolder what the topic's file says, if the caller has read it
   */
  addPartition(
    identity: KnownIdentity,
    firstSequence: number,
    known: Partial<LogFilesOptions> = {},
    opened: (files: LogFiles) => void = () => {},
    inFolder?: TopicIdentity,
  ): TopicPartition {
    const { id, number, name } = identity;
    const { topic: topicName, index } = parsePartitionName(name);
    const noted = { onCorrupt: () => this.countCorrupt(name), ...known };
    const log = this.store.openLog(identity, isEphemeral(topicName), firstSequence, noted, opened, inFolder);
    const topic = this.topics.get(topicName) ?? new Topic(this.parts, this, topicName);
    const partition = new TopicPartition(this.parts, this, topic, index, id, number, log);
    this.parts.tracing.beginPartition(partition);
    topic.addPartition(partition);
    this.partitionsById.set(id, partition);
    if (this.topics.has(topicName)) return partition;
    this.topics.set(topicName, topic);
    this.topicsByName.add(topic);
    return partition;
  }

  /** @throws TopicWaits if the topic of a name cannot be opened yet */
  checkWaiting(name: string): void {
    this.waitingTopics.check(name);
  }

  /** Takes back addPartition(): the partition could not be restored to its end. Its files stay as they are. */
  forgetPartition(partition: TopicPartition, keepsFiles = true): void {
    const { topic, log } = partition;
    this.partitionsById.delete(partition.id);
    partition.deleted = true;
    for (const part of partition.channels.values()) {
      this.channelPartitions.delete(part.id);
      part.deleted = true;
    }
    topic.forgetPartition(partition);
    log.dispose();
    if (keepsFiles) log.files?.closeSegments();
    if (topic.partitions.length === 0) this.forgetTopic(topic);
  }

  private forgetTopic(topic: Topic): void {
    topic.deleted = true;
    this.topics.delete(topic.name);
    this.topicsByName.delete(topic);
  }

  get hasAdopted(): boolean {
    return this.adopted.length > 0;
  }

  /**
   * Withholds the messages of a partition that recovery made of a folder without a row. Its channels are not known, so its messages
   * go to all channels that are created until releaseAdopted().
   */
  adopt(partition: TopicPartition): void {
    partition.withhold();
    this.adopted.push(partition);
  }

  /** Releases the messages of adopted partitions. */
  releaseAdopted(): void {
    try {
      this.parts.metadata.endAdoption();
    } catch (error) {
      this.parts.rateLimitedLog.error(`cannot save to ${this.directory}: ${(error as Error).message}`);
    }
    for (const partition of this.adopted.splice(0)) if (!partition.deleted) partition.endWithholding();
  }

  /** Whether a partition is open whose row has a name and a number. */
  isOpen(name: string, number: number): boolean {
    const { topic, index } = parsePartitionName(name);
    return this.topics.get(topic)?.partition(index)?.number === number;
  }

  /** The partition with the id of a row. */
  partitionById(id: number): TopicPartition | undefined {
    return this.partitionsById.get(id);
  }

  /** Counts a damaged region of a partition's log, or a damaged row of it. @param name of the row */
  countCorrupt(name: string): void {
    this.corruptRegions++;
    this.corruptRegionsOf.set(name, this.corruptRegionsIn(name) + 1);
  }
}
