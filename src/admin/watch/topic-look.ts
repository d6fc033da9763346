import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { askBrokers } from "./ask-brokers.ts";
import { type Histogram, readHistograms } from "./histogram.ts";
import type { Look } from "./look-cache.ts";
import type { WatchedBroker } from "./watched-broker.ts";
import type { Watcher } from "./watcher.ts";

/** What a bunsq broker keeps of a topic. */
export interface SettingsOnBroker {
  durability: string;
  retentionTime: string;
  retentionBytes: number;
  isDefaultRetention: boolean;
  logBytes: number;
  oldest: string | null;
  traced: boolean;
}

/** What a bunsq broker traces of a topic. */
export interface TracingOnBroker {
  /** The topic as a whole. */
  topic: boolean;
  /** The channels that are traced by themselves. */
  channels: ReadonlySet<string>;
}

/** What a bunsq broker tells of one topic, and not of all with every poll. */
export interface TopicAtBroker {
  latency: Histogram[];
  channelLatency: Map<string, Histogram[]>;
  settings: SettingsOnBroker | undefined;
  tracing: TracingOnBroker | undefined;
}

/** Latencies and settings of a topic, asked of the brokers that have it while somebody looks at it. */
export class TopicLook implements Look {
  readonly byBroker = new Map<string, TopicAtBroker>();

  constructor(
    private readonly topic: string,
    private readonly watcher: Watcher,
  ) {}

  get size(): number {
    let size = 0;
    for (const { channelLatency } of this.byBroker.values()) size += 1 + channelLatency.size;
    return size;
  }

  async refresh(): Promise<void> {
    const brokers = [...this.watcher.cluster.brokers.values()].filter((broker) => this.canTell(broker)).map(({ address }) => address);
    for (const known of this.byBroker.keys()) if (!brokers.includes(known)) this.byBroker.delete(known);
    await askBrokers(brokers, async (broker) => void this.byBroker.set(broker, await this.ask(broker)));
  }

  private canTell({ isUp, product, topics }: WatchedBroker): boolean {
    return isUp && product === "bunsq" && topics.has(this.topic);
  }

  private async ask(broker: string): Promise<TopicAtBroker> {
    const topic = encodeURIComponent(this.topic);
    const stats = await this.watcher.ask(
      broker,
      `/stats?format=json&include_clients=false&include_mem=false&include_partitions=false&bunsq=true&topic=${topic}`,
    );
    const topicStats = fieldsOf(listOf(fieldsOf(stats), "topics")[0]);
    const channels = listOf(topicStats, "channels").map(fieldsOf);
    const settings = async () => {
      const retention = fieldsOf(await this.watcher.ask(broker, `/topic/retention?topic=${topic}`));
      const durability = fieldsOf(await this.watcher.ask(broker, `/topic/durability?topic=${topic}`));
      return readSettings(retention, durability, topicStats);
    };
    return {
      latency: readHistograms(topicStats),
      channelLatency: new Map(channels.map((channel) => [textOf(channel, "channel_name"), readHistograms(channel)])),
      // An ephemeral topic has no log and no settings, and an older release may lack a call.
      settings: await settings().catch(() => undefined),
      tracing: await this.watcher.ask(broker, `/topic/trace?topic=${topic}`).then(readTracing, () => undefined),
    };
  }
}

function readTracing(answer: unknown): TracingOnBroker {
  const fields = fieldsOf(answer);
  const channels = listOf(fields, "channels").filter((name) => typeof name === "string");
  return { topic: fields.on === true, channels: new Set(channels) };
}

function readSettings(retention: Fields, durability: Fields, stats: Fields): SettingsOnBroker {
  const log = fieldsOf(retention.log);
  return {
    durability: textOf(durability, "durability"),
    retentionTime: textOf(retention, "time"),
    retentionBytes: numberOf(retention, "bytes"),
    isDefaultRetention: retention.default === true,
    logBytes: numberOf(log, "bytes"),
    oldest: typeof log.oldest === "string" ? textOf(log, "oldest") : null,
    traced: stats.traced === true,
  };
}
