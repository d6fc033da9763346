import { isEphemeral } from "../../frame/names.ts";
import type { Durability } from "../options.ts";
import type { Retention } from "../storage/log/retention.ts";
import { Channel } from "./channel/channel.ts";
import { OperatorError } from "./operator-error.ts";
import type { TopicPartition } from "./topic-partition.ts";
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
  /** At least one, in the order of their indexes. */
  readonly partitions: TopicPartition[] = [];
  readonly channels = new Map<string, Channel>();

  constructor(
    private readonly parts: TopicParts,
    private readonly registry: TopicRegistry,
    readonly name: string,
  ) {
    this.ephemeral = isEphemeral(name);
    this.nameBytes = Buffer.from(name, "latin1");
  }

  /** Adds a partition that was opened. */
  addPartition(partition: TopicPartition): void {
    this.partitions.push(partition);
    this.partitions.sort((a, b) => a.index - b.index);
  }

  /** Whether [from, to) holds its name. */
  isNamed(bytes: Uint8Array, from: number, to: number): boolean {
    const { nameBytes } = this;
    if (to - from !== nameBytes.length) return false;
    for (let i = 0; i < nameBytes.length; i++) if (nameBytes[i] !== bytes[from + i]) return false;
    return true;
  }

  /** The partition that a publish goes to which names none. */
  nextPartition(): TopicPartition {
    return this.partitions[0];
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
   * @param startIn where a new channel starts instead in a partition: the sequence of a message in its log
   * @throws what the metadata store throws
   */
  channel(name: string, startIn?: (partition: TopicPartition) => number): Channel {
    const existing = this.channels.get(name);
    if (existing !== undefined) return existing;
    const channel = new Channel(this.parts, this, name);
    const starts = this.partitions.map((partition) => partition.startOfChannel(startIn?.(partition)));
    const ids = channel.persistent ? this.addRows(name, starts) : starts.map(() => this.registry.newMemoryId());
    for (const [i, partition] of this.partitions.entries()) channel.partitions.push(partition.addChannel(channel, ids[i], starts[i]));
    this.channels.set(name, channel);
    this.parts.logger.info(`TOPIC(${this.name}): new channel(${name})`, { topic: this.name, channel: name });
    this.registry.channelCreated(channel);
    for (const added of channel.partitions) added.partition.endCreation(added);
    return channel;
  }

  private addRows(name: string, starts: readonly { floor: number; heldFrom: number }[]): number[] {
    return this.parts.metadata.addChannels(
      name,
      this.partitions.map(({ id }, i) => ({ topicId: id, floor: starts[i].floor, voidBefore: starts[i].heldFrom })),
    );
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
      this.parts.checkpointer.savePartition(partition);
      partition.markTrimmable();
    }
    if (this.channels.size === 0 && this.ephemeral) this.registry.deleteTopic(this.name);
    return true;
  }

  private removeRows(channel: Channel): void {
    try {
      this.parts.metadata.removeChannels(channel.partitions.map(({ id }) => id));
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
