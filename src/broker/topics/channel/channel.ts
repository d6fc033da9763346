import { topicNumberOf } from "../../../frame/id.ts";
import { isEphemeral } from "../../../frame/names.ts";
import type { LatencySketch } from "../../latency/latency-window.ts";
import type { Topic } from "../topic.ts";
import type { TopicPartition } from "../topic-partition.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { ChannelPartition } from "./channel-partition.ts";
import { ChannelSettings, isStricter, type SettingsJson } from "./channel-settings.ts";
import type { Consumer } from "./consumer.ts";
import { RateLimit } from "./rate-limit.ts";
import { skipAll } from "./skipping.ts";

/**
 * A group of consumers that share a topic's messages. What it has of each partition of the topic is apart (channel-partition.ts);
 * the consumers are served by all of them, each as far as it takes more.
 */
export class Channel {
  readonly ephemeral: boolean;
  /** It has rows in the metadata store, and its messages outlive the process. */
  readonly persistent: boolean;
  deleted = false;
  /** In the order in which they subscribed. */
  readonly consumers: Consumer[] = [];
  /** In the order of the topic's partitions. */
  readonly partitions: ChannelPartition[] = [];
  /** It is new, and other brokers that have the topic as well do not have it yet. Undefined: they have it, or the topic is here alone. */
  sharing: Promise<void> | undefined;
  /** Index of the consumer that is served first next time, by whichever partition. */
  turn = 0;
  /** How fast it delivers at most; undefined: there is no limit. */
  rate: RateLimit | undefined;
  /** Where in `partitions` the last message was that a consumer named. */
  private named = 0;
  /** Partitions with messages that no consumer has taken, those first that have waited longest. */
  private starved: ChannelPartition[] = [];
  /** Those of which consumers have taken some since the others wait. */
  private served: ChannelPartition[] = [];
  private ownSettings = ChannelSettings.DEFAULT;

  constructor(
    private readonly parts: TopicParts,
    readonly topic: Topic,
    readonly name: string,
  ) {
    this.ephemeral = isEphemeral(name);
    this.persistent = !this.ephemeral && !topic.ephemeral;
  }

  // ---- its partitions

  addPartition(part: ChannelPartition): void {
    this.partitions.push(part);
    if (this.settings !== ChannelSettings.DEFAULT) part.delivery.apply(this.settings);
    this.partitions.sort((a, b) => a.partition.index - b.partition.index);
  }

  /** Takes addPartition() back, for a partition that was not restored to its end. */
  forgetPartition(partition: TopicPartition): void {
    const index = this.partitions.findIndex((part) => part.partition === partition);
    if (index >= 0) this.partitions.splice(index, 1);
    this.named = 0;
  }

  /** Takes up a partition that its topic got. The channel gets all its messages. @param id of its row */
  extendTo(partition: TopicPartition, id: number): ChannelPartition {
    const { paused } = this;
    const part = partition.addChannel(this, id, partition.startOfChannel(partition.log.startSequence));
    part.paused = paused;
    for (const consumer of this.consumers) part.addConsumer(consumer);
    this.addPartition(part);
    return part;
  }

  /**
   * The partition with the message whose id begins with a prefix: mostly that of the one before. The caller finds out whether the
   * message is there. Earlier releases wrote a log under several nodes, so the topic number alone may tell.
   */
  partitionOf(prefix: number): ChannelPartition {
    const { partitions } = this;
    if (partitions[this.named].partition.log.prefix === prefix) return partitions[this.named];
    for (let i = 0; i < partitions.length; i++) {
      if (partitions[i].partition.log.prefix !== prefix) continue;
      this.named = i;
      return partitions[i];
    }
    const number = topicNumberOf(prefix);
    return partitions.find(({ partition }) => topicNumberOf(partition.log.prefix) === number) ?? partitions[0];
  }

  /** What it has of the partition with an index. @returns undefined: this broker has no such partition */
  partAt(index: number): ChannelPartition | undefined {
    const { partitions } = this;
    // Where the broker has all of them, each is at its index.
    if (partitions[index]?.partition.index === index) return partitions[index];
    for (const part of partitions) if (part.partition.index === index) return part;
    return undefined;
  }

  /** What it has of a partition of its topic. */
  partIn({ index }: TopicPartition): ChannelPartition {
    const part = this.partAt(index);
    if (part === undefined) throw new Error(`channel ${this.name} has no partition ${index}`);
    return part;
  }

  // ---- its state

  get paused(): boolean {
    return this.partitions.some(({ paused }) => paused);
  }

  /** Messages that wait to be delivered, for the first time or again. */
  get depth(): number {
    return this.sum(({ depth }) => depth);
  }

  /** Those of the depth that are on disk only. */
  get backendDepth(): number {
    return this.sum(({ backendDepth }) => backendDepth);
  }

  get inFlightCount(): number {
    return this.sum(({ inFlightCount }) => inFlightCount);
  }

  /** Messages that are deferred, those included that will come from the topic's deferred publishes. */
  get deferredCount(): number {
    return this.sum(({ deferredCount }) => deferredCount);
  }

  /** Messages that entered the channel since the broker started. */
  get messageCount(): number {
    return this.sum(({ messageCount }) => messageCount);
  }

  get requeueCount(): number {
    return this.sum(({ requeueCount }) => requeueCount);
  }

  get timeoutCount(): number {
    return this.sum(({ timeoutCount }) => timeoutCount);
  }

  /** How many messages went to consumers, each as often as it went. */
  get deliveredCount(): number {
    return this.sum(({ meter }) => meter.deliveredCount);
  }

  get finishedCount(): number {
    return this.sum(({ meter }) => meter.finishedCount);
  }

  /** How many messages went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  get deliveredBy(): [zone: number, region: number, elsewhere: number] {
    const sums: [number, number, number] = [0, 0, 0];
    for (const { deliveredBy } of this.partitions) for (let i = 0; i < sums.length; i++) sums[i] += deliveredBy[i];
    return sums;
  }

  /** Messages that were finished because a filter did not take them. */
  get filteredCount(): number {
    return this.sum(({ meter }) => meter.filteredCount);
  }

  /** Messages that were moved to the dead letters. */
  get deadLetterCount(): number {
    return this.sum(({ delivery }) => delivery.deadLetters.count);
  }

  /** Messages that wait for others of their key or partition. */
  get blockedCount(): number {
    return this.sum(({ inFlight }) => inFlight.selection?.blocked ?? 0);
  }

  /** Why messages wait: a file that they are in cannot be read. Undefined: none does. */
  get readFailure(): Error | undefined {
    return this.partitions.find(({ readFailure }) => readFailure !== undefined)?.readFailure;
  }

  /** Whether what happens to its messages is recorded. */
  get isTraced(): boolean {
    return this.partitions[0].inFlight.trace !== undefined;
  }

  /** Adds its latencies to a sketch, if the broker measures any. */
  addLatencies(sketch: LatencySketch): void {
    for (const { meter } of this.partitions) meter.recorder?.addTo(sketch);
  }

  private sum(read: (partition: ChannelPartition) => number): number {
    let sum = 0;
    for (const partition of this.partitions) sum += read(partition);
    return sum;
  }

  // ---- consumers come and go

  /**
   * Adds a consumer. The channel gets the order that it wants, if it has no other consumers, or if that is stricter than its own: so
   * each of several consumers has at least the order that it wants.
   *
   * @returns an error, in nsqd's words, if there are too many
   * @throws what changeSettings() throws; the consumer is not added then
   */
  addConsumer(consumer: Consumer): Error | undefined {
    const limit = this.parts.options.maxChannelConsumers;
    if (limit !== 0 && this.consumers.length >= limit) {
      return new Error(`consumers for ${this.topic.name}:${this.name} exceeds limit of ${limit}`);
    }
    const order = consumer.wishes?.order;
    if (order !== undefined && (this.consumers.length === 0 || isStricter(order, this.settings.order))) this.changeSettings({ order });
    consumer.limitReady?.(this.settings.limits.ready);
    this.consumers.push(consumer);
    for (const partition of this.partitions) partition.addConsumer(consumer);
    return undefined;
  }

  /** Removes a consumer. The messages that it had in flight go to the others at once. */
  removeConsumer(consumer: Consumer): void {
    const index = this.consumers.indexOf(consumer);
    if (index < 0) return;
    this.consumers.splice(index, 1);
    for (const partition of this.partitions) partition.removeConsumer(consumer);
    if (this.consumers.length === 0 && this.ephemeral && !this.deleted) this.topic.deleteChannel(this.name);
  }

  /** Closes the connections of all consumers: the channel is deleted. */
  closeConsumers(): void {
    this.deleted = true;
    for (const consumer of this.consumers.splice(0)) consumer.closeGracefully();
  }

  /** A consumer may take more than before. */
  markDirty(): void {
    if (this.partitions.length === 1) return this.partitions[0].markDirty();
    // First those that wait, so that each has its turn.
    this.wakeStarved();
    for (const partition of this.partitions) partition.markDirty();
  }

  /**
   * A partition was dispatched, and may have messages left that no consumer takes now. What a consumer finishes of one partition makes room
   * for another, so those that wait are dispatched then: the one that has waited longest first.
   *
   * @param wasServed consumers took some of its messages
   */
  noteIfStarved(part: ChannelPartition, wasServed: boolean): void {
    if (part.isStarved || part.paused || this.consumers.length === 0 || part.depth === 0) return;
    part.isStarved = true;
    (wasServed ? this.served : this.starved).push(part);
  }

  /** Whether a partition has messages that no consumer has taken. */
  get hasStarved(): boolean {
    return this.starved.length + this.served.length > 0;
  }

  /** A consumer may take more than before: dispatches the partitions that wait for that. */
  wakeStarved(): void {
    if (!this.hasStarved) return;
    const { starved, served } = this;
    this.starved = [];
    this.served = [];
    for (const part of starved) wake(part);
    for (const part of served) wake(part);
  }

  // ---- calls of operators

  /** @param parts of which partitions @throws OperatorError NOT_STORED; the channel is as before then */
  pause(parts: readonly ChannelPartition[] = this.partitions): void {
    this.setPaused(parts, true);
  }

  /** @param parts of which partitions @throws OperatorError NOT_STORED; the channel is as before then */
  unpause(parts: readonly ChannelPartition[] = this.partitions): void {
    this.setPaused(parts, false);
  }

  /** How it delivers its messages. */
  get settings(): ChannelSettings {
    return this.ownSettings;
  }

  /**
   * Changes how it delivers its messages. Another order is in force for a partition once none of its messages is in flight.
   *
   * @throws SettingsError; OperatorError NOT_STORED. The channel is as before then
   */
  changeSettings(changes: SettingsJson): void {
    const before = this.ownSettings;
    const settings = before.changedIn(this.topic.name, changes);
    if (settings.encode() === before.encode()) return;
    // They say what may be delivered when, so that a power cut must not undo them.
    if (this.persistent) this.parts.checkpointer.storeSynced(() => this.saveSettings(settings));
    const { rate } = this;
    this.restoreSettings(settings);
    this.shareSettings();
    // What it has saved up stays as it was if the rate did.
    if (isSameRate(settings, before)) this.rate = rate;
    if (settings.limits.skips) for (const part of this.partitions) skipAll(part);
  }

  /** Writes settings to its row, as a part of a transaction. The default has none. @throws what the metadata store throws */
  saveSettings(settings: ChannelSettings): void {
    const { channelSettings } = this.parts.metadata;
    if (settings.isDefault) channelSettings.remove(this.topic.name, this.name);
    else channelSettings.save(this.topic.name, this.name, settings.encode());
  }

  /** Other brokers get the settings, too. */
  shareSettings(parts: readonly ChannelPartition[] = this.partitions): void {
    const { settings } = this;
    for (const { partition } of parts)
      partition.replicated?.[0].state?.saveSettings(this.name, settings.isDefault ? undefined : settings.encode());
  }

  /** Applies what its row says. */
  restoreSettings(settings: ChannelSettings): void {
    this.ownSettings = settings;
    const { limits } = settings;
    const { messagesPerSecond, kilobytesPerSecond } = limits;
    this.rate = limits.hasRate ? new RateLimit(messagesPerSecond, kilobytesPerSecond, this.parts.turn.currentMs) : undefined;
    for (const consumer of this.consumers) consumer.limitReady?.(limits.ready);
    for (const { delivery } of this.partitions) delivery.apply(settings);
  }

  private setPaused(parts: readonly ChannelPartition[], paused: boolean): void {
    this.parts.checkpointer.storeChannels(parts, () => ({ paused }));
    for (const part of parts) part.setPaused(paused);
  }

  /**
   * Drops all messages, those in flight and deferred included.
   *
   * @param parts of which partitions
   * @throws OperatorError NOT_STORED; the channel is as before then
   */
  empty(parts: readonly ChannelPartition[] = this.partitions): void {
    this.parts.checkpointer.storeChannels(parts, (part) => part.emptied());
    for (const part of parts) part.empty();
  }
}

function wake(part: ChannelPartition): void {
  part.isStarved = false;
  part.markDirty();
}

function isSameRate({ limits: a }: ChannelSettings, { limits: b }: ChannelSettings): boolean {
  return a.messagesPerSecond === b.messagesPerSecond && a.kilobytesPerSecond === b.kilobytesPerSecond;
}
