import type { Cluster } from "./cluster.ts";
import { ROW_STEP_MS } from "./entries.ts";
import { Figures } from "./figures.ts";
import type { Sight } from "./sight.ts";
import { SparkLine } from "./spark-line.ts";
import type { WatchedBroker } from "./watched-broker.ts";

/** What a broker's topics do together. */
export interface BrokerTotals {
  readonly figures: Figures;
  readonly spark: SparkLine;
  readonly topics: number;
  readonly channels: number;
}

/** What all topics do together, or those that some users may see. */
export interface Totals extends BrokerTotals {
  /** Undefined: none is kept. */
  readonly history: number | undefined;
  readonly seesAll: boolean;
  maySee(topic: string): boolean;
  ofBroker(broker: WatchedBroker): BrokerTotals;
  /** How many of these topics may be seen. */
  count(topics: ReadonlySet<string>): number;
}

/** Names whose visibility is remembered. */
const MOST_NAMES = 200_000;

class SeenAtBroker implements BrokerTotals {
  readonly figures = new Figures();
  readonly spark = new SparkLine(ROW_STEP_MS);
  topics = 0;
  channels = 0;
}

/** What the topics that some users may see do together. It is added up once after each poll, for however many users and pages. */
export class SeenTotals implements Totals {
  readonly figures = new Figures();
  readonly spark: SparkLine;
  readonly seesAll = false;
  topics = 0;
  channels = 0;
  private readonly brokers = new Map<WatchedBroker, SeenAtBroker>();
  private readonly names = new Map<string, boolean>();
  private readonly counts = new WeakMap<ReadonlySet<string>, number>();

  /** @param pollMs the time between two values of the sparkline */
  constructor(
    readonly sight: Sight,
    pollMs: number,
    readonly history: number | undefined,
  ) {
    this.spark = new SparkLine(pollMs);
  }

  maySee(topic: string): boolean {
    const known = this.names.get(topic);
    if (known !== undefined) return known;
    if (this.names.size >= MOST_NAMES) this.names.clear();
    const maySee = this.sight.maySee(topic);
    this.names.set(topic, maySee);
    return maySee;
  }

  ofBroker(broker: WatchedBroker): BrokerTotals {
    return this.brokers.get(broker) ?? this.sumBroker(broker);
  }

  count(topics: ReadonlySet<string>): number {
    let count = this.counts.get(topics);
    if (count === undefined) {
      count = 0;
      for (const topic of topics) if (this.maySee(topic)) count++;
      this.counts.set(topics, count);
    }
    return count;
  }

  /** After all brokers have been added up. */
  sum({ brokers, entries }: Pick<Cluster, "brokers" | "entries">): void {
    this.figures.reset();
    for (const broker of brokers.values()) {
      const { figures } = this.sumBroker(broker);
      if (broker.isUp) this.figures.add(figures);
    }
    for (const broker of this.brokers.keys()) if (brokers.get(broker.address) !== broker) this.brokers.delete(broker);
    this.topics = 0;
    this.channels = 0;
    for (const { topic, channels } of entries.topics.values()) {
      if (!this.maySee(topic)) continue;
      this.topics++;
      this.channels += channels.size;
    }
  }

  /** Adds the sums to the sparklines. @param timeMs, coveredMs as in Cluster.record() */
  record(timeMs: number, coveredMs: number): void {
    for (const [broker, { spark, figures }] of this.brokers) if (broker.isUp) spark.record(figures, timeMs, coveredMs);
    this.spark.record(this.figures, timeMs, coveredMs);
  }

  private sumBroker(broker: WatchedBroker): SeenAtBroker {
    const at = this.brokers.get(broker) ?? new SeenAtBroker();
    this.brokers.set(broker, at);
    at.figures.reset();
    at.topics = 0;
    at.channels = 0;
    for (const { entry, figures, channels } of broker.topics.values()) {
      if (!this.maySee(entry.topic)) continue;
      at.figures.add(figures);
      at.topics++;
      at.channels += channels.size;
    }
    // As with all its topics: its counts are shown as they were.
    if (!broker.isUp) at.figures.clearRates();
    return at;
  }
}
