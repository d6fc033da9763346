import { type Histogram, newDurations } from "../../base/histogram.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { CHANNEL_RATES } from "../topics/channel/channel-meter.ts";
import { oldestInChannel, oldestInTopic } from "../topics/inspect/oldest.ts";
import type { RetiredTotals } from "../topics/retired-totals.ts";
import type { Topic } from "../topics/topic.ts";
import type { Stats, StatsSource } from "./stats.ts";

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

/**
 * Adds the figures of topics and channels to statistics.
 *
 * @param isDetailed with the histograms of each topic and channel
 * @returns those of the broker as a whole
 */
export function addFigures(source: FigureSource, stats: Stats, isDetailed: boolean, nowMs: number): BrokerFigures {
  const { topics } = source.registry;
  for (const shown of stats.topics ?? []) {
    const topic = topics.get(shown.topic_name);
    if (topic === undefined) continue;
    Object.assign(shown, topicFigures(topic, isDetailed, nowMs));
    for (const channelShown of shown.channels) {
      const channel = topic.channels.get(channelShown.channel_name);
      if (channel !== undefined) Object.assign(channelShown, channelFigures(channel, isDetailed, nowMs));
    }
  }
  return brokerFigures(source, nowMs);
}

function channelFigures(channel: Channel, isDetailed: boolean, nowMs: number): ChannelFigures {
  const rates = noRates();
  addChannelRates(rates, channel);
  return {
    rates: rounded(rates),
    oldest_age_ms: ageOf(oldestInChannel(channel), nowMs),
    backlog_bytes: backlogBytes(channel),
    ...(isDetailed ? { latency: channelLatency([channel]) } : {}),
  };
}

function topicFigures(topic: Topic, isDetailed: boolean, nowMs: number): TopicFigures {
  const channels = [...topic.channels.values()];
  return {
    rates: rounded(topicRates(topic)),
    oldest_age_ms: oldestAgeMs(topic, nowMs),
    log_bytes: logBytes(topic),
    ...(isDetailed ? { latency: [latencyOf("message_size", topic.meter.sizes), ...channelLatency(channels)] } : {}),
  };
}

function brokerFigures(source: FigureSource, nowMs: number): BrokerFigures {
  const { registry, publishing, acks, groupSync, freeSpace, listener } = source;
  const { retired } = registry;
  const rates = noRates();
  const sizes = retired.sizes.copy();
  const toDelivery = retired.toDelivery.copy();
  const toFinish = retired.toFinish.copy();
  let oldestMs: number | null = null;
  let bytes = 0;
  for (const topic of registry.topics.values()) {
    addTopicRates(rates, topic);
    sizes.add(topic.meter.sizes);
    for (const { meter } of topic.channels.values()) {
      toDelivery.add(meter.toDelivery);
      toFinish.add(meter.toFinish);
    }
    oldestMs = older(oldestMs, oldestAgeMs(topic, nowMs));
    bytes += logBytes(topic);
  }
  return {
    rates: rounded(rates),
    oldest_age_ms: oldestMs,
    log_bytes: bytes,
    disk_free_bytes: freeSpace.freeNow?.freeBytes ?? null,
    producer_count: listener.producerCount,
    publish_errors: publishing.errorCount,
    latency: [
      latencyOf("publish_to_ok", acks.toAnswer),
      latencyOf("publish_to_delivery", toDelivery),
      latencyOf("delivery_to_finish", toFinish),
      latencyOf("fsync", groupSync.durations),
      latencyOf("message_size", sizes),
    ],
  };
}

/** The bytes of the log from a channel's next message to its end. Messages in between may be finished. */
export function backlogBytes({ topic, position }: Channel): number {
  return Math.max(0, topic.log.committedEnd - position);
}

/** The bytes of a topic's log on the disk. */
export function logBytes({ log }: Topic): number {
  return log.files?.extent.bytes ?? 0;
}

/** The age of the oldest message that waits in a topic or in one of its channels, ms; null: none does. */
function oldestAgeMs(topic: Topic, nowMs: number): number | null {
  let oldest = ageOf(oldestInTopic(topic), nowMs);
  for (const channel of topic.channels.values()) oldest = older(oldest, ageOf(oldestInChannel(channel), nowMs));
  return oldest;
}

function ageOf(timeMs: number | undefined, nowMs: number): number | null {
  return timeMs === undefined ? null : Math.max(0, Math.round(nowMs - timeMs));
}

function older(one: number | null, other: number | null): number | null {
  return one === null || other === null ? (one ?? other) : Math.max(one, other);
}

function noRates(): RateFigures {
  return { in: [0, 0, 0], out: [0, 0, 0], finish: [0, 0, 0], requeue: [0, 0, 0], timeout: [0, 0, 0] };
}

/** A topic's own rate, and those of its channels. */
function topicRates(topic: Topic): RateFigures {
  const rates = noRates();
  addTopicRates(rates, topic);
  return rates;
}

function addTopicRates(rates: RateFigures, topic: Topic): void {
  topic.meter.rates.addTo(rates.in, 0);
  for (const { meter } of topic.channels.values())
    for (let i = 1; i < CHANNEL_RATES.length; i++) meter.rates.addTo(rates[CHANNEL_RATES[i]], i);
}

function addChannelRates(rates: RateFigures, { meter }: Channel): void {
  CHANNEL_RATES.forEach((name, i) => {
    meter.rates.addTo(rates[name], i);
  });
}

/** With three decimals: an answer for thousands of channels should be short. */
function rounded(rates: RateFigures): RateFigures {
  for (const list of Object.values(rates)) for (let i = 0; i < list.length; i++) list[i] = Math.round(list[i] * 1000) / 1000;
  return rates;
}

function channelLatency(channels: readonly Channel[]): LatencyFigures[] {
  const [toDelivery, toFinish] = [newDurations(), newDurations()];
  for (const { meter } of channels) {
    toDelivery.add(meter.toDelivery);
    toFinish.add(meter.toFinish);
  }
  return [latencyOf("publish_to_delivery", toDelivery), latencyOf("delivery_to_finish", toFinish)];
}

function latencyOf(name: LatencyFigures["name"], { count, sum, bounds, counts }: Histogram): LatencyFigures {
  return {
    name,
    unit: name === "message_size" ? "bytes" : "ms",
    count,
    sum: Math.round(sum * 1000) / 1000,
    bounds: [...bounds],
    counts: [...counts],
  };
}
