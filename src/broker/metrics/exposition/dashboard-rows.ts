import { LINES_PER_STEP, labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import type { LatencyStats } from "../../latency/percentiles.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { Topic } from "../../topics/topic.ts";
import { readLatency } from "../stats.ts";
import type { MetricsSource } from "./broker-families.ts";
import type { Scope } from "./groups.ts";

/** Reads a value of a topic or a channel. @returns NaN if there is none */
type Reader<Item> = (item: Item, latency: LatencyStats) => number;

const QUANTILES = [0.99, 0.95];
const latencyAt =
  (wanted: number): Reader<unknown> =>
  (_, { percentiles }) =>
    percentiles?.find(({ quantile }) => quantile === wanted)?.value ?? Number.NaN;
const LATENCIES = { latency_99: latencyAt(0.99), latency_95: latencyAt(0.95) };

const TOPIC_READERS = {
  depth: (topic: Topic) => topic.depth,
  backend_depth: (topic: Topic) => topic.backendDepth,
  message_count: (topic: Topic) => topic.messageCount,
  channel_count: (topic: Topic) => topic.channels.size,
  ...LATENCIES,
};
const CHANNEL_READERS = {
  depth: (channel: Channel) => channel.depth,
  backend_depth: (channel: Channel) => channel.backendDepth,
  in_flight_count: (channel: Channel) => channel.inFlightCount,
  deferred_count: (channel: Channel) => channel.deferredCount,
  requeue_count: (channel: Channel) => channel.requeueCount,
  timeout_count: (channel: Channel) => channel.timeoutCount,
  message_count: (channel: Channel) => channel.messageCount,
  client_count: (channel: Channel) => channel.consumers.length,
  ...LATENCIES,
};

/** The names of the values that topics and channels have. */
export type TopicValue = keyof typeof TOPIC_READERS;
export type ChannelValue = keyof typeof CHANNEL_READERS;

/** The sets of names that dashboards have. */
export type Names = "mixin" | "lovoo";

type LabelsOf<Item> = Readonly<Record<Names, (item: Item) => string>>;

const TOPIC_LABELS: LabelsOf<Topic> = {
  mixin: ({ name }) => labels({ topic: name }),
  lovoo: ({ name, paused }) => labels({ type: "topic", topic: name, channel: "", paused: String(paused) }),
};
const CHANNEL_LABELS: LabelsOf<Channel> = {
  mixin: ({ name, topic }) => labels({ topic: topic.name, channel: name }),
  lovoo: ({ name, topic, paused }) => labels({ type: "channel", topic: topic.name, channel: name, paused: String(paused) }),
};

/**
 * Topics or channels, each read once, in columns. Their labels are written once, too: to write them for each sample took longer than
 * everything else.
 */
class Table<Item, Value extends string> {
  private readonly columns: { name: string; read: Reader<Item>; values: number[] }[];
  private readonly labelled: { names: Names; labelsOf: (item: Item) => string; rows: string[] }[];

  constructor(readers: Readonly<Record<Value, Reader<Item>>>, labelsOf: LabelsOf<Item>, names: readonly Names[]) {
    this.columns = Object.entries<Reader<Item>>(readers).map(([name, read]) => ({ name, read, values: [] }));
    this.labelled = names.map((set) => ({ names: set, labelsOf: labelsOf[set], rows: [] }));
  }

  add(item: Item, latency: LatencyStats): void {
    for (const { read, values } of this.columns) values.push(read(item, latency));
    for (const { labelsOf, rows } of this.labelled) rows.push(labelsOf(item));
  }

  /** Writes the samples of the family that was begun. Yields after some of them. */
  *write(value: Value, names: Names, text: MetricText): Generator<void> {
    const values = this.columns.find(({ name }) => name === value)?.values ?? [];
    const rows = this.labelled.find((set) => set.names === names)?.rows ?? [];
    for (let row = 0; row < rows.length; row++) {
      if (!Number.isNaN(values[row])) text.sample(rows[row], values[row]);
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}

/** The topics and channels that are asked for. */
export class DashboardRows {
  readonly topics: Table<Topic, TopicValue>;
  readonly channels: Table<Channel, ChannelValue>;

  /** @param names the sets of names that are going to be written */
  constructor(names: readonly Names[]) {
    this.topics = new Table(TOPIC_READERS, TOPIC_LABELS, names);
    this.channels = new Table(CHANNEL_READERS, CHANNEL_LABELS, names);
  }

  /** Reads them. Yields after each topic and channel. */
  *read({ registry, percentiles }: MetricsSource, { topic: onlyTopic, channel: onlyChannel }: Scope): Generator<void> {
    const measured = percentiles.filter((quantile) => QUANTILES.includes(quantile));
    for (const topic of registry.topics.values()) {
      if (onlyTopic !== undefined && topic.name !== onlyTopic) continue;
      this.topics.add(topic, readLatency(measured, topic.channels.values()));
      yield;
      for (const channel of topic.channels.values()) {
        if (onlyChannel !== undefined && channel.name !== onlyChannel) continue;
        this.channels.add(channel, readLatency(measured, [channel]));
        yield;
      }
    }
  }
}
