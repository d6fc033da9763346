import { type Histogram, newDurations } from "../../base/histogram.ts";
import { RATE_WINDOWS, type Rates } from "../../base/rates.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { CHANNEL_RATES } from "../topics/channel/channel-meter.ts";
import { oldestInChannel, oldestInTopic } from "../topics/inspect/oldest.ts";
import type { RetiredTotals } from "../topics/retired-totals.ts";
import type { Topic } from "../topics/topic.ts";
import { newSizes } from "../topics/topic-meter.ts";
import type { StatsSource } from "./stats.ts";

// What bunsq's console shows and nsqd does not have: the keys that /stats has in addition with bunsq=true (docs/metrics.md).

/** What the figures need of the broker, beside its statistics. */
export interface FigureSource extends StatsSource {
  readonly registry: StatsSource["registry"] & { readonly retired: RetiredTotals };
  readonly publishing: { readonly errorCount: number };
  readonly acks: { readonly toAnswer: Histogram };
  readonly groupSync: { readonly durations: Histogram };
  readonly freeSpace: { readonly freeNow: { readonly freeBytes: number; readonly totalBytes: number } | undefined };
}

/** Per second: in the last second, and averaged over about 1 and 5 minutes. */
export type RateFigures = Record<(typeof CHANNEL_RATES)[number], number[]>;

export interface LatencyFigures {
  name: "publish_to_ok" | "publish_to_delivery" | "delivery_to_finish" | "fsync" | "message_size";
  unit: "ms" | "bytes";
  count: number;
  sum: number;
  /** Upper bounds; `counts` has one more for what is above all of them. */
  bounds: number[];
  counts: number[];
}

export interface ChannelFigures {
  rates: RateFigures;
  oldest_age_ms: number | null;
  backlog_bytes: number;
  latency?: LatencyFigures[];
}

export interface TopicFigures {
  rates: RateFigures;
  oldest_age_ms: number | null;
  log_bytes: number;
  /** Whether what happens to its messages is recorded. */
  traced: boolean;
  latency?: LatencyFigures[];
}

export interface BrokerFigures {
  rates: RateFigures;
  oldest_age_ms: number | null;
  log_bytes: number;
  disk_free_bytes: number | null;
  producer_count: number;
  publish_errors: number;
  latency: LatencyFigures[];
}

/** Rates and the oldest message of some channels and topics, added up one by one. */
class Sums {
  /** Three rates of each counter. */
  private readonly rates = new Float64Array(CHANNEL_RATES.length * RATE_WINDOWS);
  oldestAgeMs: number | null = null;

  addRates(rates: Rates, counter: number, from: number): void {
    for (let k = 0; k < RATE_WINDOWS; k++) this.rates[counter * RATE_WINDOWS + k] += rates.rate(from, k);
  }

  addAge(ageMs: number | null): void {
    if (ageMs !== null && (this.oldestAgeMs === null || ageMs > this.oldestAgeMs)) this.oldestAgeMs = ageMs;
  }

  add(other: Sums): void {
    for (let i = 0; i < this.rates.length; i++) this.rates[i] += other.rates[i];
    this.addAge(other.oldestAgeMs);
  }

  clear(): void {
    this.rates.fill(0);
    this.oldestAgeMs = null;
  }

  figures(): RateFigures {
    return { in: this.list(0), out: this.list(1), finish: this.list(2), requeue: this.list(3), timeout: this.list(4) };
  }

  /** With three decimals: an answer for thousands of channels should be short. */
  private list(counter: number): number[] {
    const at = counter * RATE_WINDOWS;
    return [rounded(this.rates[at]), rounded(this.rates[at + 1]), rounded(this.rates[at + 2])];
  }
}

/** Reads the figures of topics and channels one by one, and adds up those of the broker. */
export class Figures {
  private readonly all = new Sums();
  private readonly one = new Sums();
  private bytes = 0;
  private readonly sizes: Histogram;
  private readonly toDelivery: Histogram;
  private readonly toFinish: Histogram;

  /** @param isDetailed with the histograms of each topic and channel */
  constructor(
    private readonly source: FigureSource,
    private readonly isDetailed: boolean,
    private readonly nowMs: number,
  ) {
    const { retired } = source.registry;
    this.sizes = retired.sizes.copy();
    this.toDelivery = retired.toDelivery.copy();
    this.toFinish = retired.toFinish.copy();
  }

  /** Adds a topic with its channels to the figures of the broker. */
  add(topic: Topic): void {
    this.sum(topic);
    this.all.add(this.one);
    this.bytes += logBytes(topic);
    for (const { meter } of topic.partitions) this.sizes.add(meter.sizes);
    for (const { partitions } of topic.channels.values()) {
      for (const { meter } of partitions) {
        this.toDelivery.add(meter.toDelivery);
        this.toFinish.add(meter.toFinish);
      }
    }
  }

  topic(topic: Topic): TopicFigures {
    this.sum(topic);
    return {
      rates: this.one.figures(),
      oldest_age_ms: this.one.oldestAgeMs,
      log_bytes: logBytes(topic),
      traced: topic.isTraced,
      ...(this.isDetailed ? { latency: [latencyOf("message_size", sizesIn(topic)), ...channelLatency([...topic.channels.values()])] } : {}),
    };
  }

  channel(channel: Channel): ChannelFigures {
    const { one } = this;
    one.clear();
    for (const { meter } of channel.partitions) for (let i = 0; i < CHANNEL_RATES.length; i++) one.addRates(meter.rates, i, i);
    return {
      rates: one.figures(),
      oldest_age_ms: ageOf(oldestInChannel(channel), this.nowMs),
      backlog_bytes: backlogBytes(channel),
      ...(this.isDetailed ? { latency: channelLatency([channel]) } : {}),
    };
  }

  /** Those of the topics that were added, and of what does not belong to a topic. */
  broker(): BrokerFigures {
    const { publishing, acks, groupSync, freeSpace, listener } = this.source;
    return {
      rates: this.all.figures(),
      oldest_age_ms: this.all.oldestAgeMs,
      log_bytes: this.bytes,
      disk_free_bytes: freeSpace.freeNow?.freeBytes ?? null,
      producer_count: listener.producerCount,
      publish_errors: publishing.errorCount,
      latency: [
        latencyOf("publish_to_ok", acks.toAnswer),
        latencyOf("publish_to_delivery", this.toDelivery),
        latencyOf("delivery_to_finish", this.toFinish),
        latencyOf("fsync", groupSync.durations),
        latencyOf("message_size", this.sizes),
      ],
    };
  }

  private sum(topic: Topic): void {
    const { one, nowMs } = this;
    one.clear();
    for (const { meter } of topic.partitions) one.addRates(meter.rates, 0, 0);
    one.addAge(ageOf(oldestInTopic(topic), nowMs));
    for (const channel of topic.channels.values()) {
      for (const { meter } of channel.partitions) for (let i = 1; i < CHANNEL_RATES.length; i++) one.addRates(meter.rates, i, i);
      one.addAge(ageOf(oldestInChannel(channel), nowMs));
    }
  }
}

/** The bytes of the logs from a channel's next messages to their ends. Messages in between may be finished. */
export function backlogBytes({ partitions }: Channel): number {
  return partitions.reduce((bytes, { partition, position }) => bytes + Math.max(0, partition.log.committedEnd - position), 0);
}

/** The bytes of a topic's logs on the disk. */
export function logBytes({ partitions }: Topic): number {
  return partitions.reduce((bytes, { log }) => bytes + (log.files?.extent.bytes ?? 0), 0);
}

function sizesIn({ partitions }: Topic): Histogram {
  const sizes = newSizes();
  for (const { meter } of partitions) sizes.add(meter.sizes);
  return sizes;
}

function ageOf(timeMs: number | undefined, nowMs: number): number | null {
  return timeMs === undefined ? null : Math.max(0, Math.round(nowMs - timeMs));
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function channelLatency(channels: readonly Channel[]): LatencyFigures[] {
  const [toDelivery, toFinish] = [newDurations(), newDurations()];
  for (const { partitions } of channels) {
    for (const { meter } of partitions) {
      toDelivery.add(meter.toDelivery);
      toFinish.add(meter.toFinish);
    }
  }
  return [latencyOf("publish_to_delivery", toDelivery), latencyOf("delivery_to_finish", toFinish)];
}

function latencyOf(name: LatencyFigures["name"], { count, sum, bounds, counts }: Histogram): LatencyFigures {
  return {
    name,
    unit: name === "message_size" ? "bytes" : "ms",
    count,
    sum: rounded(sum),
    bounds: [...bounds],
    counts: [...counts],
  };
}
