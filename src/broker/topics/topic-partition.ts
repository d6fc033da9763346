import type { Timestamp } from "../../frame/layout.ts";
import type { MessageBatch } from "../../frame/message-batch.ts";
import { type Committed, PendingPublish, WAITS_FOR_REPLICAS, WAITS_FOR_SYNC } from "../acks/pending-publish.ts";
import type { Durability } from "../options.ts";
import { locateFrom } from "../storage/log/records.ts";
import type { Retention } from "../storage/log/retention.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import { partitionName } from "../storage/metadata/partition-name.ts";
import { DETAIL_TOO_MANY, DETAIL_TOPIC_EMPTIED } from "../trace/record.ts";
import type { TopicTrace } from "../trace/topic-trace.ts";
import type { Channel } from "./channel/channel.ts";
import { ChannelPartition } from "./channel/channel-partition.ts";
import { channelRow } from "./channel/channel-row.ts";
import type { PartitionChange } from "./checkpointer.ts";
import { DeferredPublishes } from "./deferred-publishes.ts";
import { MemoryBound } from "./memory-bound.ts";
import { RepeatCommit } from "./repeat-commit.ts";
import type { ReplicatedPartition } from "./replicated-partition.ts";
import type { Topic } from "./topic.ts";
import { TopicMeter } from "./topic-meter.ts";
import type { TopicParts } from "./topic-parts.ts";
import type { TopicRegistry } from "./topic-registry.ts";

/** A topic that got no message for this long frees its memory and closes its files. */
const IDLE_MS = 10_000;
/** How often a topic that keeps finished messages for a time checks whether some are too old. */
const RETENTION_REVIEW_MS = 1000;

/** Where a channel that is made begins in a partition. */
export interface ChannelStart {
  /** The sequence of its first message, and the position of that in the log. */
  readonly floor: number;
  readonly position: number;
  /** The first entry of the deferred store that it gets. */
  readonly heldFrom: number;
  /** Messages from `floor` to here are finished, if it was to begin at a message that is not released yet. */
  readonly skippedTo: number;
}

/**
 * One of the logs of a topic, with what is published to it. Each channel of the topic reads it at its own pace
 * (channel/channel-partition.ts). What users do to a topic as a whole comes from topic.ts.
 */
export class TopicPartition implements Committed {
  readonly ephemeral: boolean;
  /** Its name in the metadata store and of its folder. */
  readonly name: string;
  /** Checksum of that. Keys of earlier releases name their topic by it too. */
  readonly nameCrc: number;
  paused = false;
  deleted = false;
  /** Its channels are not complete yet: messages stay in the log, as if it were paused, until endWithholding(). */
  withheld = false;
  readonly channels = new Map<string, ChannelPartition>();
  messageCount = 0;
  messageBytes = 0;
  readonly meter = new TopicMeter();
  /** Messages with a lower sequence were released to the channels; the rest waits for a first channel, or until the topic is unpaused. */
  released: number;
  /** Position of the record at `released`. */
  releasedPosition: number;
  /** Why the last commit failed, and the publishes that waited for it are refused. */
  failure: Error | undefined;
  /** Why the last sync of its log failed, and the publishes that waited for it are refused. */
  syncFailure: Error | undefined;
  /** It is in the list of topics that the next tick commits. */
  dirty = false;

  /** What publishers wait for until the next commit. There is one per command, so that a publish allocates nothing. */
  readonly pendingPub = new PendingPublish(this, "PUB");
  /** What the repetition of an accepted publish waits for: later commits that fail do not concern it. */
  readonly pendingRepeat = new PendingPublish(new RepeatCommit(this), "PUB");
  readonly pendingMpub = new PendingPublish(this, "MPUB");
  readonly pendingDpub = new PendingPublish(this, "DPUB");
  readonly deferredPublishes: DeferredPublishes;
  /** Publishes to it are acknowledged once they are on the disk, not only in the file. */
  fsync = false;
  /** As it was set for its topic; undefined: --durability applies. */
  durability: Durability | undefined;
  waitsFor = 0;
  /** No more is released to the channels than what is below this sequence, which the replicas have. */
  releasable = Number.POSITIVE_INFINITY;
  /** What it does as a replica; undefined: no other broker has the partition. */
  replicated: readonly [ReplicatedPartition] | undefined;
  /** Undefined: it is not traced. */
  trace: TopicTrace | undefined;

  /** As it was set for its topic; undefined: the options apply. */
  private ownRetention: Retention | undefined;
  private reviewAtMs = Number.POSITIVE_INFINITY;
  private trimQueued = false;
  private uncommittedBytes = 0;
  private lastActiveMs = 0;
  private shrunk = true;
  /** Undefined: its messages are on the disk. */
  private readonly memory: MemoryBound | undefined;

  /**
   * @param index among the topic's partitions
   * @param id of its row in the metadata store; an ephemeral topic has a number that no row has
   * @param number is part of its messages' ids
   */
  constructor(
    private readonly parts: TopicParts,
    private readonly registry: TopicRegistry,
    readonly topic: Topic,
    readonly index: number,
    readonly id: number,
    readonly number: number,
    readonly log: TopicLog,
  ) {
    this.ephemeral = topic.ephemeral;
    this.name = partitionName(topic.name, index);
    this.deferredPublishes = new DeferredPublishes(this, parts);
    this.nameCrc = Bun.hash.crc32(this.name);
    this.released = log.committedNext;
    this.releasedPosition = log.committedEnd;
    this.memory = this.ephemeral ? new MemoryBound(this, parts) : undefined;
    if (log.files !== undefined) log.files.finishedBelow = () => this.floor;
    this.applyRetention();
    this.restoreDurability(undefined);
  }

  /** Applies what the metadata store says. */
  restoreDurability(level: Durability | undefined): void {
    this.durability = level;
    this.fsync = (level ?? this.parts.options.durability) === "fsync" && !this.ephemeral;
    if (this.replicated === undefined) this.waitsFor = this.fsync ? WAITS_FOR_SYNC : 0;
    if (this.log.files === undefined) return;
    this.log.files.syncsByItself = !this.fsync;
    if (!this.fsync) return;
    this.parts.turn.queueSync(this);
    this.registry.makeStoresDurable();
  }

  /** Other brokers have the partition, too. @param releasable they have what is below this sequence */
  replicate(replica: ReplicatedPartition, releasable: number): void {
    [this.replicated, this.releasable, this.waitsFor] = [[replica], releasable, WAITS_FOR_REPLICAS];
    this.log.catchUp();
  }

  /** Its messages are delivered, and it takes publishes: it is this broker's alone, or this one leads it. */
  get serving(): boolean {
    return this.replicated?.[0].isServing ?? true;
  }

  /** How long finished messages are kept, and whether that was set for its topic. */
  get retention(): Retention & { own: boolean } {
    return { ...(this.ownRetention ?? this.registry.defaultRetention), own: this.ownRetention !== undefined };
  }

  /** Applies what the metadata store says. */
  restoreRetention(retention: Retention | undefined): void {
    this.ownRetention = retention;
    this.applyRetention();
    // If it became shorter, segments may be free now.
    this.markTrimmable();
  }

  private applyRetention(): void {
    this.log.files?.setRetention(this.retention);
    this.reviewAtMs = this.retention.timeMs > 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  /** Damaged regions of its log that were skipped since the broker started. */
  get corruptRegions(): number {
    return this.registry.corruptRegionsIn(this.name);
  }

  /** Messages that were released to no channel. */
  get depth(): number {
    if (!this.serving) return 0; // It waits at the broker that leads.
    // Deferred publishes count in the deferred_count of each channel. Without a channel they would be counted nowhere.
    return this.waiting + (this.channels.size === 0 ? this.deferredPublishes.heldCount : 0);
  }

  /** Those of the depth that are on disk only. */
  get backendDepth(): number {
    return this.ephemeral || !this.serving ? 0 : Math.max(0, Math.min(this.waiting, this.log.cachedSequence - this.released));
  }

  /** Messages in the log that were not released to the channels. */
  get waiting(): number {
    const { log, released } = this;
    const waiting = log.committedNext - released;
    return waiting === 0 || log.files === undefined ? waiting : waiting - log.files.reader.missingFrom(released);
  }

  /** Appends a message. It may be acknowledged once the tick has committed it. */
  publish(source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    this.log.append(source, from, bodyBytes, time);
    this.meter.recordSize(bodyBytes, 1);
    this.uncommittedBytes += bodyBytes;
    this.markDirty();
  }

  /** Appends a message with a header (frame/header.ts). @param header encoded; empty: none */
  publishWithHeader(header: Uint8Array, source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    this.log.appendWithHeader(header, source, from, bodyBytes, time);
    this.meter.recordSize(bodyBytes, 1);
    this.uncommittedBytes += bodyBytes;
    this.markDirty();
  }

  /** Appends `count` messages of a batch from `first` on, which are in `source`. */
  publishMessages(batch: MessageBatch, first: number, count: number, source: Uint8Array, time: Timestamp): void {
    this.log.appendMessages(batch, first, count, source, time);
    for (let i = first, left = count; left > 0; left--, i = batch.nextOf(i)) {
      const bytes = batch.bodyBytesOf(i);
      this.meter.recordSize(bytes, 1);
      this.uncommittedBytes += bytes;
    }
    this.markDirty();
  }

  /** Appends the messages of an MPUB body that was checked. Their size words and bodies are in [from, to). */
  publishMany(source: Buffer, from: number, to: number, count: number, time: Timestamp): void {
    this.log.appendBatch(source, from, to, count, time);
    this.meter.recordBatch(source, from, to, count);
    this.uncommittedBytes += to - from - 4 * count;
    this.markDirty();
  }

  /** Whether its next commit may go to the journal first. */
  get mayJournal(): boolean {
    return !this.fsync && this.replicated === undefined && !this.deleted && this.deferredPublishes.joiningCount === 0;
  }

  /** Writes what was published since the last commit, and releases it to the channels. */
  commit(nowMs: number, wallMs: number): void {
    this.dirty = false;
    this.failure = undefined;
    this.lastActiveMs = nowMs;
    this.shrunk = false;
    const published = this.log.next - this.log.committedNext - this.deferredPublishes.joiningCount;
    try {
      const refusal = this.replicated?.[0].replicaFailure ?? this.deferredPublishes.commitRefusal;
      if (refusal !== undefined) this.log.refuseAppended(refusal);
      this.log.commit(wallMs);
    } catch (error) {
      this.failure = error as Error;
      this.uncommittedBytes = 0;
      this.parts.rateLimitedLog.error(
        `TOPIC(${this.name}): cannot write to its log: ${this.failure.message}; refusing the publishes that waited for it`,
        { topic: this.topic.name },
      );
      this.deferredPublishes.retryJoining(nowMs);
      this.trace?.refused(this.log.committedNext);
      return;
    }
    this.messageCount += published;
    this.messageBytes += this.uncommittedBytes;
    this.uncommittedBytes = 0;
    // After the next sync the deferred store notes that what joined the log is on the disk: that sync has to cover this log.
    if (this.fsync || this.deferredPublishes.joiningCount > 0) this.parts.turn.queueSync(this);
    this.replicated?.[0].committed();
    if (this.deferredPublishes.joiningCount > 0) this.deferredPublishes.confirmJoined();
    this.releaseToChannels();
    this.memory?.enforce();
  }

  /**
   * Where a channel begins that is made now: at the topic's backlog if it is the first one, else at the end of the log.
   *
   * @param start where it begins instead: the sequence of a message in the log
   */
  startOfChannel(start: number | undefined): ChannelStart {
    const floor = Math.min(start ?? this.released, this.released);
    const position = floor < this.released ? this.log.locate(floor) : this.releasedPosition;
    return { floor, position, heldFrom: this.deferredPublishes.heldFrom, skippedTo: start ?? floor };
  }

  /** Adds what a new channel has of this partition. endCreation() must follow. @param id of its row */
  addChannel(channel: Channel, id: number, { floor, position, heldFrom, skippedTo }: ChannelStart): ChannelPartition {
    const added = new ChannelPartition(this.parts, this, channel, id, floor, position);
    this.deferredPublishes.addChannel(added.deferrals, heldFrom);
    for (const { from, to } of this.deferredPublishes.joinedWhileHolding) {
      if (to > this.released) added.skipUncounted(Math.max(from, this.released), to);
    }
    if (skippedTo > floor) {
      added.skipUncounted(floor, skippedTo);
      // If this fails, it is saved with the next cursors.
      if (this.parts.checkpointer.saveChannel(added) !== undefined) added.markUnsaved();
    }
    this.channels.set(channel.name, added);
    return added;
  }

  /** A new channel is in all lists: it gets what there is for it. */
  endCreation(channel: ChannelPartition): void {
    if (channel.floor < this.released) channel.markDirty();
    this.releaseToChannels();
  }

  /** Releases what an earlier run had released: everything, if there were channels and the topic was not paused. */
  restoreReleased(released: number, hasChannels: boolean): void {
    const { log } = this;
    const to =
      hasChannels && !this.paused ? Math.min(log.next, this.releasable) : Math.max(log.startSequence, Math.min(released, log.next));
    this.released = to;
    this.releasedPosition = log.locate(to);
  }

  /** Skips the sequences of messages that the log lost in a crash, so that no other message gets their ids. */
  skipLost(sequence: number): void {
    const from = this.log.next;
    if (sequence <= from) return;
    this.log.skipTo(sequence);
    for (const channel of this.channels.values()) channel.skipUncounted(from, sequence);
    if (this.released === from) {
      this.released = this.log.committedNext;
      this.releasedPosition = this.log.committedEnd;
    }
  }

  /** Opens what a channel that an earlier run left has of this partition. */
  restoreChannel(channel: Channel, id: number, floor: number): ChannelPartition {
    const restored = new ChannelPartition(this.parts, this, channel, id, floor, this.log.locate(floor));
    this.channels.set(channel.name, restored);
    return restored;
  }

  /** Removes what a channel that is deleted has of this partition. Its row is gone. */
  removeChannel(channel: ChannelPartition): void {
    if (this.channels.size === 1) this.deferredPublishes.beginHolding();
    this.channels.delete(channel.name);
    channel.delete();
  }

  /** Ceases to release messages, which the metadata store says already, or begins again. */
  setPaused(paused: boolean): void {
    if (paused) this.deferredPublishes.beginHolding();
    this.paused = paused;
    if (!paused) this.releaseToChannels();
  }

  /** Releases nothing until endWithholding(), so that all channels that are created meanwhile start at the same message. */
  withhold(): void {
    this.deferredPublishes.beginHolding();
    this.withheld = true;
  }

  endWithholding(): void {
    this.withheld = false;
    this.releaseToChannels();
    this.memory?.enforce();
  }

  /** Whether messages are released to nobody now: the next channel gets them, too. */
  get isHolding(): boolean {
    return this.channels.size === 0 || this.paused || this.withheld;
  }

  /** What the metadata store is to say before drop(): the messages that were released to no channel are dropped. */
  emptied(): PartitionChange {
    const [from, to] = [this.released, this.releasableEnd];
    const persistent = [...this.channels.values()].filter((channel) => channel.persistent);
    const heldFrom = this.channels.size === 0 ? this.parts.deferred.nextNumber : this.deferredPublishes.heldFrom;
    const channels = () => persistent.map((channel) => channelRow(channel, { from, to }));
    return { partition: this, changes: { released: to }, heldFrom, channels };
  }

  /** Drops the messages that were released to no channel. */
  drop(): void {
    const [from, to] = [this.released, this.releasableEnd];
    if (to > from) for (const channel of this.channels.values()) channel.skipUncounted(from, to);
    if (to > from) this.trace?.discarded(from, to - from, DETAIL_TOPIC_EMPTIED);
    this.released = to;
    this.releasedPosition = this.log.locate(to);
    if (this.channels.size === 0) this.deferredPublishes.restartHolding();
    this.markTrimmable();
  }

  /** To be called when a channel's floor or cursor has moved: chunks and segments of the log may be free. */
  markTrimmable(): void {
    if (this.trimQueued) return;
    this.trimQueued = true;
    this.parts.turn.queueTrim(this);
  }

  /** Messages below this sequence may be released. */
  private get releasableEnd(): number {
    return Math.max(this.released, Math.min(this.log.committedNext, this.releasable));
  }

  /** Every channel has finished all messages below this sequence, and needs none of them should the power be cut. */
  private get floor(): number {
    if (this.replicated?.[0].leads === false) return this.replicated[0].keptFrom();
    let floor = this.released;
    for (const { floor: finished, deferrals } of this.channels.values()) floor = Math.min(floor, finished, deferrals.moves.keptFrom);
    return floor;
  }

  /** Frees the chunks and segments that no channel needs. */
  trimLog(): void {
    this.trimQueued = false;
    if (this.deleted) return;
    let position = this.replicated?.[0].leads === false ? this.log.committedEnd : this.releasedPosition;
    for (const channel of this.channels.values()) if (channel.position < position) position = channel.position;
    this.log.trim(position, this.floor, this.parts.turn.agingMs);
  }

  /** Trims the log if messages that were kept for a time may be too old. To be called regularly. */
  reviewRetention(nowMs: number): void {
    if (nowMs < this.reviewAtMs) return;
    this.reviewAtMs = nowMs + RETENTION_REVIEW_MS;
    this.markTrimmable();
  }

  /** Frees memory and open files if the topic has been idle for IDLE_MS. To be called regularly. */
  shrinkIfIdle(nowMs: number): void {
    if (this.shrunk || nowMs - this.lastActiveMs < IDLE_MS) return;
    this.shrunk = true;
    this.log.shrink();
    for (const channel of this.channels.values()) channel.shrink();
  }

  /** To be called when its log has messages to commit. */
  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.parts.turn.queueCommit(this);
  }

  /** Releases what is committed to the channels, unless there are none or the topic is paused or withheld. */
  releaseToChannels(): void {
    if (this.channels.size === 0 || this.paused || this.withheld) return;
    const to = this.releasableEnd;
    if (this.released >= to) return;
    this.releasedPosition = locateFrom(this.log, this.released, this.releasedPosition, to);
    this.released = to;
    for (const channel of this.channels.values()) channel.markDirty();
  }

  /** Its log ends at a sequence, and had released more. */
  goesOnAt(sequence: number): void {
    this.released = this.releasable = sequence;
    this.releasedPosition = this.log.committedEnd;
  }

  /** The first messages that were released to no channel are dropped. */
  dropOldest(count: number): void {
    // Channels can have messages to skip here only while the topic is paused or withheld.
    for (const channel of this.channels.values()) channel.skipUncounted(this.released, this.released + count);
    this.trace?.discarded(this.released, count, DETAIL_TOO_MANY);
    this.released += count;
    this.releasedPosition = this.log.locate(this.released);
    this.markTrimmable();
  }
}
