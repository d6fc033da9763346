import { Entries } from "./entries.ts";
import { Figures } from "./figures.ts";
import { History } from "./history.ts";
import { SparkLine } from "./spark-line.ts";
import { WatchedBroker } from "./watched-broker.ts";
import { WatchedLookup } from "./watched-lookup.ts";

/** Topics and channels together, over all brokers. */
const MOST_ENTRIES = 100_000;
const MOST_BROKERS = 1_000;
/** A broker that no lookup lists any more is shown for this time: one that died is gone from their lists at once. */
const FORGET_BROKER_MS = 15 * 60_000;

/** All that is known of the brokers and lookups that are watched. */
export class Cluster {
  readonly brokers = new Map<string, WatchedBroker>();
  readonly lookups = new Map<string, WatchedLookup>();
  readonly history: History;
  readonly entries: Entries;
  /** All brokers that answer, added up. */
  readonly figures = new Figures();
  readonly spark: SparkLine;
  /** The history of all together. */
  readonly totalHistory: number;

  /**
   * @param pollMs the time between two polls while somebody looks
   * @param historyBytes what the history's values may take
   */
  constructor(pollMs: number, historyBytes: number) {
    this.history = new History(historyBytes);
    this.entries = new Entries(this.history, MOST_ENTRIES);
    this.totalHistory = this.history.add();
    this.spark = new SparkLine(pollMs);
  }

  /** Takes note of which servers are to be watched. @param brokers those that the flags name */
  list(brokers: readonly string[], lookups: readonly string[], nowMs: number): void {
    for (const address of lookups) if (!this.lookups.has(address)) this.lookups.set(address, new WatchedLookup(address));
    const isNamed = new Set(lookups);
    for (const address of this.lookups.keys()) if (!isNamed.has(address)) this.lookups.delete(address);
    const listed = new Set(brokers);
    for (const { nodes } of this.lookups.values()) for (const address of nodes.keys()) listed.add(address);
    for (const address of listed) {
      if (this.brokers.size >= MOST_BROKERS) break;
      if (!this.brokers.has(address)) this.brokers.set(address, new WatchedBroker(address));
    }
    for (const [address, broker] of this.brokers) {
      if (listed.has(address)) broker.listedMs = nowMs;
      else if (nowMs - broker.listedMs >= FORGET_BROKER_MS) this.brokers.delete(address);
    }
  }

  /** The lookups that list a broker. */
  lookupsOf(broker: string): string[] {
    return [...this.lookups.values()].filter(({ nodes }) => nodes.has(broker)).map(({ address }) => address);
  }

  /** The topics for which a broker is tombstoned at some lookup. */
  tombstonesOf(broker: string): Set<string> {
    return new Set([...this.lookups.values()].flatMap(({ nodes }) => nodes.get(broker) ?? []));
  }

  /** The topics that a lookup knows and no broker has. */
  inactiveTopics(): string[] {
    const inactive = new Set<string>();
    for (const { topics } of this.lookups.values()) for (const topic of topics) if (!this.entries.topics.has(topic)) inactive.add(topic);
    return [...inactive];
  }

  /** Adds all brokers up. Those that do not answer are left out: nobody knows what they do. */
  sum(): void {
    this.figures.reset();
    this.entries.reset();
    for (const broker of this.brokers.values()) {
      if (broker.isUp) this.figures.add(broker.figures);
      for (const topic of broker.topics.values()) {
        const { entry } = topic;
        entry.references++;
        if (broker.isUp) {
          entry.figures.add(topic.figures);
          entry.brokers++;
          if (topic.paused) entry.paused++;
          if (!Number.isNaN(topic.messageBytes)) entry.messageBytes = topic.messageBytes + (entry.messageBytes || 0);
        }
        for (const channel of topic.channels.values()) {
          channel.entry.references++;
          if (!broker.isUp) continue;
          channel.entry.figures.add(channel.figures);
          channel.entry.brokers++;
          if (channel.paused) channel.entry.paused++;
        }
      }
    }
    this.entries.sweep();
  }

  /**
   * Adds the sums to history and sparklines.
   *
   * @param timeMs a clock that does not go back, ms since 1970
   * @param coveredMs the time since the sums before
   */
  record(timeMs: number, coveredMs: number): void {
    this.history.advance();
    for (const broker of this.brokers.values()) if (broker.isUp) broker.spark.record(broker.figures, timeMs, coveredMs);
    for (const topic of this.entries.topics.values()) {
      // Where no broker answers, nothing was measured.
      if (topic.brokers === 0) continue;
      topic.spark.record(topic.figures, timeMs, coveredMs);
      this.history.record(topic.history, topic.figures, timeMs, "topic");
      for (const channel of topic.channels.values()) {
        if (channel.brokers === 0) continue;
        channel.spark.record(channel.figures, timeMs, coveredMs);
        this.history.record(channel.history, channel.figures, timeMs, "channel");
      }
    }
    if ([...this.brokers.values()].some(({ isUp }) => isUp)) {
      this.spark.record(this.figures, timeMs, coveredMs);
      this.history.record(this.totalHistory, this.figures, timeMs, "all");
    }
  }
}
