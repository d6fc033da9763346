import type { Timestamp } from "../../frame/layout.ts";
import { isEphemeral } from "../../frame/names.ts";
import { type Committed, HeldPublish } from "../acks/pending-publish.ts";
import type { Durability } from "../options.ts";
import type { Retention } from "../storage/log/retention.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import { MEMORY_TOPIC_RESERVE } from "../storage/metadata/metadata-store.ts";
import { Channel } from "./channel/channel.ts";
import { DeferredPublishes } from "./deferred-publishes.ts";
import type { TopicParts } from "./topic-parts.ts";
import type { TopicRegistry } from "./topic-registry.ts";

/** A topic without traffic for this long gives its memory and files back. */
const IDLE_MS = 10_000;
/** Retained segments are looked at this often. */
const RETENTION_REVIEW_MS = 1000;

/** What a repeated publish waits for: it was committed before, and the next sync covers it. */
class RepeatCommit implements Committed {
  readonly failure = undefined;

  constructor(private readonly topic: Topic) {}

  get fsync(): boolean {
    return this.topic.fsync;
  }
}

/** A name that messages are published to: one log, and a cursor into it per channel. */
export class Topic implements Committed {
  readonly ephemeral: boolean;
  readonly nameCrc: number;
  /** The name as clients send it. */
  readonly nameBytes: Buffer;
  paused = false;
  deleted = false;
  /** Messages stay in the log, as if the topic were paused: channels that get all of them are about to be made. */
  withheld = false;
  readonly channels = new Map<string, Channel>();
  messageCount = 0;
  messageBytes = 0;
  /** Messages below were passed to the channels; the rest waits for the first channel, or for the unpausing. */
  released: number;
  /** Position of the record at `released`. */
  releasedPosition: number;
  /** Why the last commit failed: the publishes that waited for it are refused. */
  failure: Error | undefined;
  dirty = false;

  /** What a connection holds until the next commit: one constant per command, so that a publish allocates nothing. */
  readonly pendingPub = new HeldPublish(this, "PUB");
  /** Answers a publish that was taken before: the topic's later failures are not its own. */
  readonly pendingRepeat = new HeldPublish(new RepeatCommit(this), "PUB");
  readonly pendingMpub = new HeldPublish(this, "MPUB");
  readonly pendingDpub = new HeldPublish(this, "DPUB");
  readonly deferredPublishes: DeferredPublishes;
  /** Its answers wait for the disk. */
  fsync = false;
  /** Set for this topic alone; undefined: --durability counts. */
  durability: Durability | undefined;

  /** Set for this topic; undefined: as the options say. */
  private ownRetention: Retention | undefined;
  private reviewAtMs = Number.POSITIVE_INFINITY;
  private trimQueued = false;
  private uncommittedBytes = 0;
  private lastActiveMs = 0;
  private shrunk = true;
  private reservedSequence: number;

  /**
   * @param id of its row in the store; for a memory-only topic a number no row has
   * @param number part of its messages' ids
   */
  constructor(
    private readonly parts: TopicParts,
    private readonly registry: TopicRegistry,
    readonly id: number,
    readonly number: number,
    readonly name: string,
    readonly log: TopicLog,
  ) {
    this.ephemeral = isEphemeral(name);
    this.deferredPublishes = new DeferredPublishes(this, parts);
    this.nameCrc = Bun.hash.crc32(name);
    this.nameBytes = Buffer.from(name, "latin1");
    this.released = log.committedNext;
    this.releasedPosition = log.committedEnd;
    this.reservedSequence = log.next + MEMORY_TOPIC_RESERVE;
    if (log.files !== undefined) log.files.finishedBelow = () => this.floor;
    this.applyRetention();
    this.restoreDurability(undefined);
  }

  /** Whether its name stands in [from, to). */
  isNamed(bytes: Uint8Array, from: number, to: number): boolean {
    const { nameBytes } = this;
    if (to - from !== nameBytes.length) return false;
    for (let i = 0; i < nameBytes.length; i++) if (nameBytes[i] !== bytes[from + i]) return false;
    return true;
  }

  /** Sets what its publishes wait for. @param level undefined: what --durability says @throws what the metadata store throws */
  setDurability(level: Durability | undefined): void {
    if (!this.ephemeral) this.parts.metadata.setDurability(this.id, level);
    this.restoreDurability(level);
  }

  /** Sets what the metadata store says already. */
  restoreDurability(level: Durability | undefined): void {
    this.durability = level;
    this.fsync = (level ?? this.parts.options.durability) === "fsync" && !this.ephemeral;
    if (this.log.files === undefined) return;
    this.log.files.syncsByItself = !this.fsync;
    if (!this.fsync) return;
    this.parts.turn.queueSync(this);
    this.registry.makeStoresDurable();
  }

  /** How long finished messages are kept, and whether that was set for this topic. */
  get retention(): Retention & { own: boolean } {
    return { ...(this.ownRetention ?? this.registry.defaultRetention), own: this.ownRetention !== undefined };
  }

  /** @param retention undefined: as the options say */
  setRetention(retention: Retention | undefined): void {
    this.parts.metadata.setRetention(this.id, retention);
    this.restoreRetention(retention);
  }

  /** What an earlier run was told. */
  restoreRetention(retention: Retention | undefined): void {
    this.ownRetention = retention;
    this.applyRetention();
    // It may have become shorter.
    this.markTrimmable();
  }

  private applyRetention(): void {
    this.log.files?.setRetention(this.retention);
    this.reviewAtMs = this.retention.timeMs > 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  /** Damaged regions of its log that were skipped since the start. */
  get corruptRegions(): number {
    return this.registry.corruptRegionsIn(this.name);
  }

  /** Messages that no channel has got yet. */
  get depth(): number {
    // Deferred ones count in the channels' deferred_count; without a channel they would be seen nowhere.
    return this.waiting + (this.channels.size === 0 ? this.deferredPublishes.count : 0);
  }

  get backendDepth(): number {
    return this.ephemeral ? 0 : Math.max(0, Math.min(this.waiting, this.log.cachedSequence - this.released));
  }

  /** In the log, and not passed to channels. */
  private get waiting(): number {
    return this.log.committedNext - this.released;
  }

  /** Appends a message; it is in the log, and may be acknowledged, once the tick has committed. */
  publish(source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    this.log.append(source, from, bodyBytes, time);
    this.uncommittedBytes += bodyBytes;
    this.markDirty();
  }

  /** Appends the messages of a checked MPUB body: size words and bodies in [from, to). */
  publishMany(source: Buffer, from: number, to: number, count: number, time: Timestamp): void {
    this.log.appendBatch(source, from, to, count, time);
    this.uncommittedBytes += to - from - 4 * count;
    this.markDirty();
  }

  /** Its next commit may go to the journal first. */
  get mayJournal(): boolean {
    return !this.fsync && !this.deleted && this.deferredPublishes.joiningCount === 0;
  }

  /** Writes what was published since the last commit, and passes it to the channels. */
  commit(nowMs: number, wallMs: number): void {
    this.dirty = false;
    this.failure = undefined;
    this.lastActiveMs = nowMs;
    this.shrunk = false;
    const published = this.log.next - this.log.committedNext - this.deferredPublishes.joiningCount;
    try {
      const refusal = this.deferredPublishes.commitRefusal;
      if (refusal !== undefined) this.log.refuseAppended(refusal);
      this.log.commit(wallMs);
    } catch (error) {
      this.failure = error as Error;
      this.uncommittedBytes = 0;
      this.parts.rateLimitedLog.error(
        `TOPIC(${this.name}): cannot write to its log: ${this.failure.message}; the publishes of this moment are refused`,
      );
      this.deferredPublishes.retryJoining(nowMs);
      return;
    }
    this.messageCount += published;
    this.messageBytes += this.uncommittedBytes;
    this.uncommittedBytes = 0;
    // The words that deferred messages have joined wait for the next sync where any topic is synced: so it must be one of this log.
    if (this.fsync || (this.deferredPublishes.joiningCount > 0 && this.parts.deferred.strict)) this.parts.turn.queueSync(this);
    if (this.deferredPublishes.joiningCount > 0) this.deferredPublishes.confirmJoined();
    this.releaseToChannels();
    if (this.ephemeral) this.boundMemory();
  }

  /**
   * An existing channel, or a new one: the first gets the topic's backlog, a later one starts at the tail.
   *
   * @param start sequence of a new one's first message instead, within what the log has
   */
  channel(name: string, start?: number): Channel {
    const existing = this.channels.get(name);
    if (existing !== undefined) return existing;
    const persistent = !this.ephemeral && !isEphemeral(name);
    const floor = Math.min(start ?? this.released, this.released);
    const position = floor < this.released ? this.log.locate(floor) : this.releasedPosition;
    const id = persistent ? this.parts.metadata.addChannel(this.id, name, floor) : this.registry.newMemoryId();
    const channel = this.newChannel(id, name, floor, position);
    if (start !== undefined && start > floor) {
      channel.skipUncounted(floor, start);
      this.parts.checkpointer.saveChannel(channel);
    }
    this.channels.set(name, channel);
    this.parts.logger.info(`TOPIC(${this.name}): new channel(${name})`);
    this.registry.channelCreated(channel);
    if (channel.floor < this.released) channel.markDirty();
    this.releaseToChannels();
    return channel;
  }

  /** Takes up where an earlier run stood. With channels and not paused, all is released. */
  restoreReleased(released: number, hasChannels: boolean): void {
    const { log } = this;
    const to = hasChannels && !this.paused ? log.next : Math.max(log.startSequence, Math.min(released, log.next));
    this.released = to;
    this.releasedPosition = log.locate(to);
  }

  /** The log lost its end in a crash, and some of the messages that stood there are known elsewhere: their ids are not given again. */
  passOver(sequence: number): void {
    const from = this.log.next;
    if (sequence <= from) return;
    this.log.skipTo(sequence);
    for (const channel of this.channels.values()) channel.skipUncounted(from, sequence);
    if (this.released === from) {
      this.released = this.log.committedNext;
      this.releasedPosition = this.log.committedEnd;
    }
  }

  /** A channel of an earlier run. */
  restoreChannel(id: number, name: string, floor: number): Channel {
    const channel = this.newChannel(id, name, floor, this.log.locate(floor));
    this.channels.set(name, channel);
    this.registry.channelCreated(channel);
    return channel;
  }

  /** @returns false: no such channel */
  deleteChannel(name: string): boolean {
    const channel = this.channels.get(name);
    if (channel === undefined) return false;
    this.parts.logger.info(`TOPIC(${this.name}): deleting channel ${name}`);
    this.channels.delete(name);
    if (channel.persistent) this.parts.metadata.removeChannel(channel.id);
    channel.delete();
    this.registry.channelDeleted(channel);
    this.parts.checkpointer.saveTopic(this);
    this.markTrimmable();
    if (this.channels.size === 0 && this.ephemeral) this.registry.deleteTopic(this.name);
    return true;
  }

  pause(): void {
    this.paused = true;
    this.parts.checkpointer.saveTopic(this);
  }

  unpause(): void {
    this.paused = false;
    this.parts.checkpointer.saveTopic(this);
    this.releaseToChannels();
  }

  /** Channels made until endWithholding() get the topic's messages from the same one on, whenever they are made. */
  withhold(): void {
    this.withheld = true;
  }

  endWithholding(): void {
    this.withheld = false;
    this.releaseToChannels();
  }

  /** Drops what no channel has got yet. */
  empty(): void {
    const from = this.released;
    const to = this.log.committedNext;
    if (to > from) for (const channel of this.channels.values()) channel.skipUncounted(from, to);
    this.released = to;
    this.releasedPosition = this.log.committedEnd;
    this.parts.checkpointer.saveTopic(this);
    for (const channel of this.channels.values()) this.parts.checkpointer.saveChannel(channel);
    this.markTrimmable();
  }

  /** A channel's floor or cursor moved: chunks and segments may be free. */
  markTrimmable(): void {
    if (this.trimQueued) return;
    this.trimQueued = true;
    this.parts.turn.queueTrim(this);
  }

  /** Below it every channel has finished everything. */
  private get floor(): number {
    let floor = this.released;
    for (const channel of this.channels.values()) if (channel.floor < floor) floor = channel.floor;
    return floor;
  }

  /** Lets go of the chunks and segments that no channel needs. */
  trimLog(): void {
    this.trimQueued = false;
    if (this.deleted) return;
    let position = this.releasedPosition;
    for (const channel of this.channels.values()) if (channel.position < position) position = channel.position;
    this.log.trim(position, this.floor, this.parts.turn.wallMs);
  }

  /** Called now and then: what was retained may have grown too old. */
  reviewRetention(nowMs: number): void {
    if (nowMs < this.reviewAtMs) return;
    this.reviewAtMs = nowMs + RETENTION_REVIEW_MS;
    this.markTrimmable();
  }

  /** Called now and then: an idle topic gives memory and open files back. */
  shrinkIfIdle(nowMs: number): void {
    if (this.shrunk || nowMs - this.lastActiveMs < IDLE_MS) return;
    this.shrunk = true;
    this.log.shrink();
    for (const channel of this.channels.values()) channel.shrink();
  }

  private newChannel(id: number, name: string, floor: number, position: number): Channel {
    return new Channel(this.parts, this, id, name, floor, position);
  }

  /** Its log has messages to commit. */
  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.parts.turn.queueCommit(this);
  }

  /** Passes what is committed to the channels, if there are any and nothing holds them back. */
  private releaseToChannels(): void {
    if (this.channels.size === 0 || this.paused || this.withheld) return;
    if (this.released === this.log.committedNext) return;
    this.released = this.log.committedNext;
    this.releasedPosition = this.log.committedEnd;
    for (const channel of this.channels.values()) channel.markDirty();
  }

  /** A memory-only topic keeps its newest --mem-queue-size messages for its first channel; its channels bound themselves. */
  private boundMemory(): void {
    const excess = this.waiting - this.parts.options.memQueueSize;
    if (excess > 0) {
      // There are channels only while the topic is paused or withheld.
      for (const channel of this.channels.values()) channel.skipUncounted(this.released, this.released + excess);
      this.released += excess;
      this.releasedPosition = this.log.locate(this.released);
      this.markTrimmable();
    }
    if (this.log.next + MEMORY_TOPIC_RESERVE / 2 > this.reservedSequence) {
      this.reservedSequence = this.log.next + MEMORY_TOPIC_RESERVE;
      this.parts.metadata.reserveNumber(this.number, this.reservedSequence);
    }
  }
}
