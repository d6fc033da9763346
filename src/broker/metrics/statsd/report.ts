import { isEphemeral } from "../../../frame/names.ts";
import type { LatencyStats } from "../../latency/percentiles.ts";
import type { ChannelStats, MemoryStats, TopicStats } from "../stats.ts";
import type { Packets } from "./packets.ts";

/** The counters of one topic or channel. */
type Counters = Readonly<Partial<Record<string, number>>>;

/** Writes statistics with nsqd's keys, in nsqd's order (nsqd/statsd.go). Counters are reported by their increase since the last report. */
export class Report {
  /**
   * The counters of the last report, by `topic` and `topic channel`. Keys of statsd would not do, because names may have dots, so
   * that two of them may be equal.
   */
  private before = new Map<string, Counters>();
  private counted = new Map<string, Counters>();
  private gcRuns = 0;

  constructor(private readonly excludeEphemeral: boolean) {}

  /** Begins a report. */
  start(): void {
    this.before = this.counted;
    this.counted = new Map();
  }

  /** To be called once for each topic. */
  writeTopic(packets: Packets, topic: TopicStats): void {
    if (this.excludeEphemeral && isEphemeral(topic.topic_name)) return;
    this.writeTopicItself(packets, topic);
    for (const channel of topic.channels) {
      if (this.excludeEphemeral && isEphemeral(channel.channel_name)) continue;
      const id = `${topic.topic_name} ${channel.channel_name}`;
      this.counted.set(id, writeChannel(packets, topic.topic_name, channel, this.before.get(id)));
    }
  }

  writeMemory(packets: Packets, { gc_total_runs, ...gauges }: MemoryStats): void {
    for (const [name, value] of Object.entries(gauges)) packets.gauge(`mem.${name}`, value);
    packets.increment("mem.gc_runs", gc_total_runs - this.gcRuns);
    this.gcRuns = gc_total_runs;
  }

  private writeTopicItself(packets: Packets, topic: TopicStats): void {
    const key = `topic.${topic.topic_name}`;
    const before = this.before.get(topic.topic_name);
    const { message_count, message_bytes } = topic;
    packets.increment(`${key}.message_count`, message_count - (before?.message_count ?? 0));
    packets.increment(`${key}.message_bytes`, message_bytes - (before?.message_bytes ?? 0));
    packets.gauge(`${key}.depth`, topic.depth);
    packets.gauge(`${key}.backend_depth`, topic.backend_depth);
    writeLatency(packets, key, topic.e2e_processing_latency);
    this.counted.set(topic.topic_name, { message_count, message_bytes });
  }
}

function writeChannel(packets: Packets, topicName: string, channel: ChannelStats, before: Counters | undefined): Counters {
  const key = `topic.${topicName}.channel.${channel.channel_name}`;
  const { message_count, requeue_count, timeout_count } = channel;
  packets.increment(`${key}.message_count`, message_count - (before?.message_count ?? 0));
  packets.gauge(`${key}.depth`, channel.depth);
  packets.gauge(`${key}.backend_depth`, channel.backend_depth);
  packets.gauge(`${key}.in_flight_count`, channel.in_flight_count);
  packets.gauge(`${key}.deferred_count`, channel.deferred_count);
  packets.increment(`${key}.requeue_count`, requeue_count - (before?.requeue_count ?? 0));
  packets.increment(`${key}.timeout_count`, timeout_count - (before?.timeout_count ?? 0));
  packets.gauge(`${key}.clients`, channel.client_count);
  writeLatency(packets, key, channel.e2e_processing_latency);
  return { message_count, requeue_count, timeout_count };
}

function writeLatency(packets: Packets, key: string, { percentiles }: LatencyStats): void {
  for (const { quantile, value } of percentiles ?? []) {
    packets.gauge(`${key}.e2e_processing_latency_${roundHalfToEven(quantile * 100)}`, value);
  }
}

/** As Go's `%.0f`, so that the keys are nsqd's for a percentile of 0.125 too. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}
