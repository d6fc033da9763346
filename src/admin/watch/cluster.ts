import { Entries } from "./entries.ts";
import { Figures } from "./figures.ts";
import { History } from "./history.ts";
import type { Sight } from "./sight.ts";
import { SparkLine } from "./spark-line.ts";
import { SeenTotals, type Totals } from "./totals.ts";
import { WatchedBroker } from "./watched-broker.ts";
import { WatchedLookup } from "./watched-lookup.ts";

/** Topics and channels together, over all brokers. */
const MOST_ENTRIES = 100_000;
const MOST_BROKERS = 1_000;
/** A broker that no lookup lists any more is shown for this time: one that died is gone from their lists at once. */
const FORGET_BROKER_MS = 15 * 60_000;
/** Sets of roles that have sparklines and a history of their own. Of others the sums are those of now. */
const MOST_SIGHTS = 16;

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
  /** What those see who do not see all topics, by the keys of their sights. */
  private readonly seen = new Map<string, SeenTotals>();
  private readonly all: Totals;

  /**
   * @param pollMs the time between two polls while somebody looks
   * @param historyBytes what the history's values may take
   */
  constructor(
    private readonly pollMs: number,
    historyBytes: number,
  ) {
    this.history = new History(historyBytes);
    this.entries = new Entries(this.history, MOST_ENTRIES);
    this.totalHistory = this.history.add();
    this.spark = new SparkLine(pollMs);
    this.all = allTotals(this);
  }

  /** What the topics do together that a user may see. Without sparklines and history unless sights() has listed it. */
  totals(sight: Sight): Totals {
    if (sight.seesAll) return this.all;
    let totals = this.seen.get(sight.key);
    if (totals === undefined) {
      totals = new SeenTotals(sight, this.pollMs, undefined);
      totals.sum(this);
      // Until the brokers are added up again.
      this.seen.set(sight.key, totals);
    }
    return totals;
  }

  /** Takes note of what users may see: of the first ones sparklines and a history are kept. */
  listSights(sights: readonly Sight[]): void {
    const kept = new Map(sights.filter(({ seesAll }) => !seesAll).map((sight) => [sight.key, sight]));
    for (const key of [...kept.keys()].slice(MOST_SIGHTS)) kept.delete(key);
    for (const [key, { history }] of this.seen) {
      if (history !== undefined && kept.has(key)) continue;
      this.seen.delete(key);
      if (history !== undefined) this.history.remove(history);
    }
    for (const [key, sight] of kept) {
      if (!this.seen.has(key)) this.seen.set(key, new SeenTotals(sight, this.pollMs, this.history.add()));
    }
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
    for (const totals of this.seen.values()) totals.sum(this);
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
      for (const totals of this.seen.values()) {
        if (totals.history === undefined) continue;
        totals.record(timeMs, coveredMs);
        this.history.record(totals.history, totals.figures, timeMs, "all");
      }
    }
  }
}

/** For those who see everything: what was added up anyway. */
function allTotals(cluster: Cluster): Totals {
  return {
    figures: cluster.figures,
    spark: cluster.spark,
    history: cluster.totalHistory,
    seesAll: true,
    get topics() {
      return cluster.entries.topics.size;
    },
    get channels() {
      return cluster.entries.channels;
    },
    maySee: () => true,
    ofBroker: ({ figures, spark, topics, channels }) => ({ figures, spark, topics: topics.size, channels }),
    count: ({ size }) => size,
  };
}
