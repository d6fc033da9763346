import { type Histogram, newDurations } from "../../../base/histogram.ts";
import { labels } from "../../../http/metrics/metric-text.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { RetiredTotals } from "../../topics/retired-totals.ts";
import type { Topic } from "../../topics/topic.ts";
import { newSizes } from "../../topics/topic-meter.ts";
import { CHANNEL_FAMILIES, CHANNEL_RATE_FAMILIES, type ItemFamily, TOPIC_FAMILIES } from "./families.ts";

/** What is asked for. */
export interface Scope {
  /** How finely metrics of topics and channels are given: all as one, by topic, by channel, or by channel and each partition or client, too. */
  readonly detail: "none" | "topic" | "channel" | "partition" | "client";
  /** The only topic; undefined: all. */
  readonly topic: string | undefined;
  /** The only channel, of the topics that have it; undefined: all. */
  readonly channel: string | undefined;
}

/** Rates and histograms of a group, or of all groups together. */
export class Spread {
  /** By family and window. */
  readonly rates: number[][];

  constructor(
    readonly labels: string,
    rates: number,
    /** By family. */
    readonly histograms: readonly Histogram[],
  ) {
    this.rates = Array.from({ length: rates }, () => [0, 0, 0]);
  }
}

/** Topics or channels whose metrics are given as one. */
export class Group {
  /** By family. */
  readonly values: Float64Array;

  constructor(
    readonly labels: string,
    families: number,
    readonly spread: Spread,
  ) {
    this.values = new Float64Array(families);
  }

  add<Item>(item: Item, families: readonly ItemFamily<Item>[], nowMs: number): void {
    const { values } = this;
    for (let i = 0; i < families.length; i++) {
      const family = families[i];
      const value = family.read(item, nowMs);
      values[i] = family.isLargest === true ? Math.max(values[i], value) : values[i] + value;
    }
  }

  addRetired<Item>(families: readonly ItemFamily<Item>[], totals: RetiredTotals): void {
    families.forEach(({ retired }, i) => {
      if (retired !== undefined) this.values[i] += retired(totals);
    });
  }
}

/**
 * The metrics of topics and channels, read once, to be written family by family. Rates and histograms, which take 15 and 40 lines
 * each, are given by topic and channel only where one topic is asked for.
 */
export class Groups {
  readonly topics: Group[] = [];
  readonly channels: Group[] = [];
  readonly topicSpreads: Spread[] = [];
  readonly channelSpreads: Spread[] = [];

  constructor(
    private readonly scope: Scope,
    private readonly nowMs: number,
  ) {
    if (scope.detail === "none") {
      this.beginTopics("");
      this.beginChannels("");
    }
  }

  /** Reads all that is asked for. Yields after each topic and channel. */
  *read(topics: ReadonlyMap<string, Topic>, retired: RetiredTotals): Generator<void> {
    const { detail, topic: onlyTopic, channel: onlyChannel } = this.scope;
    if (detail === "none" && onlyTopic === undefined && onlyChannel === undefined) this.addRetired(retired);
    for (const topic of onlyTopic === undefined ? topics.values() : only(topics, onlyTopic)) {
      if (onlyChannel !== undefined && !topic.channels.has(onlyChannel)) continue;
      this.addTopic(topic);
      yield;
      for (const channel of onlyChannel === undefined ? topic.channels.values() : only(topic.channels, onlyChannel)) {
        this.addChannel(channel);
        yield;
      }
    }
  }

  private addTopic(topic: Topic): void {
    const { detail } = this.scope;
    const text = labels({ topic: topic.name });
    if (detail !== "none") this.beginTopics(text);
    if (detail === "topic") this.beginChannels(text);
    const group = this.topics[this.topics.length - 1];
    group.add(topic, TOPIC_FAMILIES, this.nowMs);
    const { rates, histograms } = group.spread;
    for (const { meter } of topic.partitions) {
      meter.rates.addTo(rates[0], 0);
      histograms[0].add(meter.sizes);
    }
  }

  private addChannel(channel: Channel): void {
    const { detail } = this.scope;
    if (detail !== "none" && detail !== "topic") this.beginChannels(labels({ topic: channel.topic.name, channel: channel.name }));
    const group = this.channels[this.channels.length - 1];
    group.add(channel, CHANNEL_FAMILIES, this.nowMs);
    const { rates, histograms } = group.spread;
    for (const { meter } of channel.partitions) {
      for (let i = 0; i < CHANNEL_RATE_FAMILIES.length; i++) meter.rates.addTo(rates[i], CHANNEL_RATE_FAMILIES[i].counter);
      histograms[0].add(meter.toDelivery);
      histograms[1].add(meter.toFinish);
    }
  }

  private addRetired(retired: RetiredTotals): void {
    const [topics] = this.topics;
    const [channels] = this.channels;
    topics.addRetired(TOPIC_FAMILIES, retired);
    topics.spread.histograms[0].add(retired.sizes);
    channels.addRetired(CHANNEL_FAMILIES, retired);
    channels.spread.histograms[0].add(retired.toDelivery);
    channels.spread.histograms[1].add(retired.toFinish);
  }

  /** Whether each group has rates and histograms of its own; if not, all groups have the same. */
  private get isSpreadByGroup(): boolean {
    return this.scope.detail === "none" || this.scope.topic !== undefined;
  }

  private beginTopics(text: string): void {
    const spreads = this.topicSpreads;
    if (spreads.length === 0 || this.isSpreadByGroup) spreads.push(new Spread(this.isSpreadByGroup ? text : "", 1, [newSizes()]));
    this.topics.push(new Group(text, TOPIC_FAMILIES.length, spreads[spreads.length - 1]));
  }

  private beginChannels(text: string): void {
    const spreads = this.channelSpreads;
    const own = this.isSpreadByGroup;
    if (spreads.length === 0 || own) {
      spreads.push(new Spread(own ? text : "", CHANNEL_RATE_FAMILIES.length, [newDurations(), newDurations()]));
    }
    this.channels.push(new Group(text, CHANNEL_FAMILIES.length, spreads[spreads.length - 1]));
  }
}

function only<Item>(items: ReadonlyMap<string, Item>, name: string): Item[] {
  const item = items.get(name);
  return item === undefined ? [] : [item];
}
