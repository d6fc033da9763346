import { murmur3 } from "../../frame/murmur3.ts";
import { isEphemeral } from "../../frame/names.ts";
import type { Durability } from "../options.ts";
import type { Retention } from "../storage/log/retention.ts";
import { PLAIN_TOPIC, type TopicSettings } from "../storage/metadata/topic-settings.ts";
import { Channel } from "./channel/channel.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { channelRow } from "./channel/channel-row.ts";
import { ChannelSettings } from "./channel/channel-settings.ts";
import { NotLedHere } from "./not-led-here.ts";
import { OperatorError } from "./operator-error.ts";
import type { MadePartition } from "./partition-store.ts";
import type { ChannelStart, TopicPartition } from "./topic-partition.ts";
import type { TopicParts } from "./topic-parts.ts";
import type { TopicRegistry } from "./topic-registry.ts";

/**
 * A name that messages are published to. Its messages are in its partitions, each of which is one log (topic-partition.ts); its
 * channels read all of them. What operators do to a topic is done to all partitions, by one transaction of the metadata store.
 */
export class Topic {
  readonly ephemeral: boolean;
  /** Its name in the bytes that clients send. */
  readonly nameBytes: Buffer;
  deleted = false;
  settings = PLAIN_TOPIC;
  /** At least one, in the order of their indexes. */
  readonly partitions: TopicPartition[] = [];
  /** Those that this broker serves: all, but for those that it only follows. */
  served: readonly TopicPartition[] = this.partitions;
  /** Keys are spread over the first this many partitions; undefined: over all. */
  keyPartitions: number | undefined;
  readonly channels = new Map<string, Channel>();
  /** Where in `served` the last publish went that named none. */
  private turn = -1;

  constructor(
    private readonly parts: TopicParts,
    private readonly registry: TopicRegistry,
    readonly name: string,
  ) {
    this.ephemeral = isEphemeral(name);
    this.nameBytes = Buffer.from(name, "latin1");
  }

  // ---- its partitions

  /** Adds a partition that was opened. */
  addPartition(partition: TopicPartition): void {
    this.partitions.push(partition);
    this.partitions.sort((a, b) => a.index - b.index);
  }

  /** Takes addPartition() back. */
  forgetPartition(partition: TopicPartition): void {
    remove(this.partitions, partition);
    for (const [name, channel] of this.channels) {
      channel.forgetPartition(partition);
      if (channel.partitions.length > 0) continue;
      channel.deleted = true;
      this.channels.delete(name);
    }
  }

  /**
   * Writes to the rows of partitions that are made what those of the topic say, and rows of its channels for them.
   *
   * @param channelIds gets the ids of the latter, in the order of the partitions
   */
  settlePartitions(made: readonly MadePartition[], channelIds: Map<Channel, readonly number[]>): void {
    const { metadata } = this.parts;
    const { paused } = this;
    const ids = made.map(({ id }) => id);
    for (const { id, number, name, prefix, nextSequence } of made)
      metadata.updateTopic({ id, number, name, paused, released: nextSequence, prefix });
    const { own, timeMs, bytes } = this.retention;
    if (own) metadata.setRetention(ids, { timeMs, bytes });
    metadata.setDurability(ids, this.durability);
    for (const channel of this.channels.values()) {
      if (!channel.persistent) continue;
      const starts = made.map(({ id, nextSequence }) => ({ topicId: id, floor: nextSequence, voidBefore: 0, paused: channel.paused }));
      channelIds.set(channel, metadata.addChannels(channel.name, starts));
    }
  }

  /**
   * Gives partitions that were added what the others have.
   *
   * @param channelIds the ids of settlePartitions(); a channel that is not there has no rows
   * @returns what the channels have of them
   */
  endExpansion(added: readonly TopicPartition[], channelIds: ReadonlyMap<Channel, readonly number[]>): ChannelPartition[] {
    const parts: ChannelPartition[] = [];
    const { paused, withheld, durability, channels } = this;
    const { own, timeMs, bytes } = this.retention;
    for (const [i, partition] of added.entries()) {
      if (own) partition.restoreRetention({ timeMs, bytes });
      partition.restoreDurability(durability);
      for (const channel of channels.values()) {
        const id = channelIds.get(channel)?.[i] ?? this.registry.newMemoryId();
        parts.push(channel.extendTo(partition, id));
      }
      if (withheld) partition.withhold();
      partition.paused = paused;
    }
    return parts;
  }

  /** Applies other settings, which the metadata store has. Clients leave that cannot have messages with headers, if it gets some now. */
  applySettings(settings: TopicSettings): void {
    const isUpgraded = settings.extended === true && this.settings.extended !== true;
    this.settings = settings;
    if (!isUpgraded) return;
    const consumers = [...this.channels.values()].flatMap((channel) => channel.consumers);
    for (const consumer of consumers) if (consumer.lacksHeaders === true) consumer.closeGracefully();
  }

  /** A partition by its index. @returns undefined: there is none */
  partition(index: number): TopicPartition | undefined {
    const { partitions } = this;
    // Where the broker has all of them, each is at its index.
    if (partitions[index]?.index === index) return partitions[index];
    for (const partition of partitions) if (partition.index === index) return partition;
    return undefined;
  }

  /** Whether it has a partition, at this broker or another one. */
  hasPartition(index: number): boolean {
    return index >= 0 && index < this.settings.partitions;
  }

  /**
   * The partition of the messages with a key: by murmur3 (32 bits, seed 0) modulo the number of partitions, which is what Youzan's
   * clients do.
   *
   * @returns undefined: another broker has it
   */
  partitionOfKey(key: Uint8Array): TopicPartition | undefined {
    return this.partitionOfHash(murmur3(key, 0, key.length, 0));
  }

  /** As partitionOfKey(), by the hash of the key. */
  partitionOfHash(hash: number): TopicPartition | undefined {
    const { partitions: count, held } = this.settings;
    if (count === 1) return this.partitions[0];
    const index = hash % (this.keyPartitions ?? count);
    return held === undefined ? this.partitions[index] : this.partition(index);
  }

  /** The partition that a publish goes to which names none: each in turn. */
  nextPartition(): TopicPartition {
    const { served } = this;
    if (served.length === 1) return served[0];
    // What is published to one that is not served is refused.
    if (served.length === 0) return this.partitions[0];
    this.turn = this.turn + 1 < served.length ? this.turn + 1 : 0;
    return served[this.turn];
  }

  /** This broker leads other partitions than before. */
  servingChanged(): void {
    const served = this.partitions.filter(({ replicated }) => replicated === undefined || replicated[0].leads);
    this.served = served.length === this.partitions.length ? this.partitions : served;
    this.turn = -1;
  }

  /** The partition that the broker itself publishes a message to: that of its key, if it has one and that is here. */
  partitionFor(key: Uint8Array): TopicPartition {
    return (key.length === 0 ? undefined : this.partitionOfKey(key)) ?? this.nextPartition();
  }

  /** Whether [from, to) holds its name. */
  isNamed(bytes: Uint8Array, from: number, to: number): boolean {
    const { nameBytes } = this;
    if (to - from !== nameBytes.length) return false;
    for (let i = 0; i < nameBytes.length; i++) if (nameBytes[i] !== bytes[from + i]) return false;
    return true;
  }

  // ---- its state

  get paused(): boolean {
    return this.partitions.some(({ paused }) => paused);
  }

  /** Its channels are not complete yet: messages stay in the logs, as if it were paused, until endWithholding(). */
  get withheld(): boolean {
    return this.partitions.some(({ withheld }) => withheld);
  }

  /** Whether what happens to its messages is recorded. */
  get isTraced(): boolean {
    return this.partitions[0].trace !== undefined;
  }

  /** As it was set for this topic; undefined: --durability applies. */
  get durability(): Durability | undefined {
    return this.partitions[0].durability;
  }

  /** How long each partition keeps finished messages, and whether that was set for this topic. */
  get retention(): Retention & { own: boolean } {
    return this.partitions[0].retention;
  }

  /** Messages that were released to no channel. */
  get depth(): number {
    return this.sum(({ depth }) => depth);
  }

  /** Those of the depth that are on disk only. */
  get backendDepth(): number {
    return this.sum(({ backendDepth }) => backendDepth);
  }

  /** Messages that were published since the broker started. */
  get messageCount(): number {
    return this.sum(({ messageCount }) => messageCount);
  }

  /** Bytes of their bodies. */
  get messageBytes(): number {
    return this.sum(({ messageBytes }) => messageBytes);
  }

  /** Damaged regions of its logs that were skipped since the broker started. */
  get corruptRegions(): number {
    return this.sum(({ corruptRegions }) => corruptRegions);
  }

  private sum(read: (partition: TopicPartition) => number): number {
    let sum = 0;
    for (const partition of this.partitions) sum += read(partition);
    return sum;
  }

  // ---- its channels

  /**
   * Returns the channel of a name, and creates it if it does not exist. The first channel gets the topic's backlog, a later one
   * starts at the ends of the logs.
   *
   * @param startIn where a new channel starts instead in a partition: the sequence of a message in its log; undefined: there as well
   * @throws NotLedHere if this broker serves no partition; what the metadata store throws
   */
  channel(name: string, startIn?: (partition: TopicPartition) => number | undefined): Channel {
    const existing = this.channels.get(name);
    if (existing !== undefined) return existing;
    if (this.served.length === 0) throw new NotLedHere(this.name);
    const channel = new Channel(this.parts, this, name);
    const { channelOrder } = this.settings;
    if (channelOrder !== undefined) channel.restoreSettings(ChannelSettings.DEFAULT.with({ order: channelOrder }));
    const { served } = this;
    const starts = served.map((partition) => partition.startOfChannel(startIn?.(partition)));
    const ids = channel.persistent ? this.addRows(channel, starts) : starts.map(() => this.registry.newMemoryId());
    for (const [i, partition] of served.entries()) channel.addPartition(partition.addChannel(channel, ids[i], starts[i]));
    this.shareChannel(channel);
    this.channels.set(name, channel);
    this.parts.logger.info(`TOPIC(${this.name}): new channel(${name})`, { topic: this.name, channel: name });
    this.registry.channelCreated(channel);
    for (const added of channel.partitions) added.partition.endCreation(added);
    return channel;
  }

  /** Waits until the brokers that have its partitions as well have what was changed so far. It rejects with a PublishError if another one leads before. */
  async untilShared(): Promise<void> {
    await Promise.all(this.partitions.map(({ replicated }) => replicated?.[0].state?.untilShared()));
  }

  /** Other brokers get what a channel that is new has of partitions which they have as well. */
  shareChannel(channel: Channel, parts: readonly ChannelPartition[] = channel.partitions): void {
    if (!channel.persistent || parts.every(({ partition }) => partition.replicated === undefined)) return;
    channel.shareSettings(parts);
    for (const part of parts) part.partition.replicated?.[0].state?.saveChannel(channelRow(part));
    const end = () => {
      channel.sharing = undefined;
    };
    channel.sharing = this.untilShared().then(end, end);
  }

  private addRows(channel: Channel, starts: readonly ChannelStart[]): number[] {
    const rows = this.served.map(({ id: topicId }, i) => {
      const { floor, heldFrom: voidBefore } = starts[i];
      return { topicId, paused: false, floor, voidBefore };
    });
    return this.parts.metadata.changeAll(() => {
      channel.saveSettings(channel.settings);
      return this.parts.metadata.addChannels(channel.name, rows);
    });
  }

  /** The channel of a name that an earlier run left. It is in no partition yet if this is the first call for it. */
  restoredChannel(name: string): Channel {
    const known = this.channels.get(name) ?? new Channel(this.parts, this, name);
    this.channels.set(name, known);
    return known;
  }

  /**
   * Deletes a channel with its messages, and closes its consumers' connections.
   *
   * @returns false if there is no such channel
   * @throws OperatorError NOT_STORED; the channel is as before then
   */
  deleteChannel(name: string): boolean {
    const channel = this.channels.get(name);
    if (channel === undefined) return false;
    this.parts.logger.info(`TOPIC(${this.name}): deleting channel ${name}`, { topic: this.name, channel: name });
    if (channel.persistent) this.removeRows(channel);
    this.channels.delete(name);
    for (const part of channel.partitions) part.partition.removeChannel(part);
    channel.closeConsumers();
    this.registry.channelDeleted(channel);
    for (const partition of this.partitions) {
      if (channel.persistent) partition.replicated?.[0].state?.removeChannel(name);
      this.parts.checkpointer.savePartition(partition);
      partition.markTrimmable();
    }
    if (this.channels.size === 0 && this.ephemeral) this.registry.deleteTopic(this.name);
    return true;
  }

  private removeRows(channel: Channel): void {
    try {
      this.parts.metadata.changeAll(() => {
        this.parts.metadata.removeChannels(channel.partitions.map(({ id }) => id));
        this.parts.metadata.channelSettings.remove(this.name, channel.name);
      });
    } catch (error) {
      this.parts.logger.error(`CHANNEL(${channel.name}) of ${this.name}: cannot delete it: ${(error as Error).message}`, {
        topic: this.name,
        channel: channel.name,
      });
      throw new OperatorError("NOT_STORED");
    }
  }

  // ---- calls of operators

  /** @throws OperatorError NOT_STORED; the topic is as before then */
  pause(): void {
    this.setPaused(true);
  }

  /** @throws OperatorError NOT_STORED; the topic is as before then */
  unpause(): void {
    this.setPaused(false);
  }

  private setPaused(paused: boolean): void {
    this.parts.checkpointer.storePartitions(this.partitions.map((partition) => ({ partition, changes: { paused } })));
    for (const partition of this.partitions) partition.setPaused(paused);
  }

  /** Drops the messages that were released to no channel. @throws OperatorError NOT_STORED; the topic is as before then */
  empty(): void {
    this.parts.checkpointer.storePartitions(this.partitions.map((partition) => partition.emptied()));
    for (const partition of this.partitions) partition.drop();
  }

  /** Sets when publishes to it are acknowledged. @param level undefined: as --durability says @throws what the metadata store throws */
  setDurability(level: Durability | undefined): void {
    if (!this.ephemeral) {
      // Before anything is acknowledged that rests on them.
      if ((level ?? this.parts.options.durability) === "fsync") this.registry.makeStoresDurable();
      this.parts.metadata.setDurability(this.partitionIds, level);
    }
    for (const partition of this.partitions) partition.restoreDurability(level);
  }

  /** Sets how long finished messages are kept. @param retention undefined: as the options say @throws what the metadata store throws */
  setRetention(retention: Retention | undefined): void {
    this.parts.metadata.setRetention(this.partitionIds, retention);
    for (const partition of this.partitions) partition.restoreRetention(retention);
  }

  private get partitionIds(): number[] {
    return this.partitions.map(({ id }) => id);
  }

  /** Releases nothing until endWithholding(), so that all channels that are created meanwhile start at the same message. */
  withhold(): void {
    for (const partition of this.partitions) partition.withhold();
  }

  endWithholding(): void {
    for (const partition of this.partitions) partition.endWithholding();
  }
}

function remove<Item>(list: Item[], item: Item): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
