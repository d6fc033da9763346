import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { type DeliveryOnBroker, readDelivery } from "./delivery-on-broker.ts";
import type { ChannelEntry, Entries, TopicEntry } from "./entries.ts";
import { Figures } from "./figures.ts";
import { indexesIn, MOST_PARTITIONS } from "./index-ranges.ts";
import { maybeNumber } from "./maybe-number.ts";
import { type Percentiles, readPercentiles } from "./percentiles.ts";

/** The rates of a broker's own are those of its last second. */
const OWN_RATES_UP_TO_S = 3;

/** A channel at one broker, as of its last answer. */
class ChannelOnBroker {
  readonly figures = new Figures();
  paused = false;
  readFailure = "";
  latency: Percentiles | undefined;
  /** Undefined: it delivers its messages as they come, or the broker does not tell. */
  delivery: DeliveryOnBroker | undefined;
  /** The answer that told of it last. */
  answer = 0;

  constructor(readonly entry: ChannelEntry) {}

  /** @param seconds since the counters of before; NaN if there are none to compare with */
  fold(stats: Fields, seconds: number): void {
    const { figures } = this;
    const messageCount = numberOf(stats, "message_count");
    const depth = numberOf(stats, "depth");
    const inFlight = numberOf(stats, "in_flight_count");
    const deferred = numberOf(stats, "deferred_count");
    const requeueCount = numberOf(stats, "requeue_count");
    const timeoutCount = numberOf(stats, "timeout_count");
    const published = messageCount - figures.messageCount;
    const requeued = requeueCount - figures.requeueCount;
    const timedOut = timeoutCount - figures.timeoutCount;
    if (this.answer === 0 || Number.isNaN(seconds) || published < 0 || requeued < 0 || timedOut < 0) {
      // There is nothing to compare with, or the counters began anew.
      figures.clearRates();
    } else {
      // A message that came did not go, unless it waits; what was requeued or timed out went, and came back.
      const gone = published - (depth - figures.depth) - (deferred - figures.deferred);
      figures.inRate = published / seconds;
      figures.requeueRate = requeued / seconds;
      figures.timeoutRate = timedOut / seconds;
      figures.outRate = Math.max(0, gone + requeued + timedOut) / seconds;
      figures.finishRate = Math.max(0, gone - (inFlight - figures.inFlight)) / seconds;
    }
    this.foldOwnRates(fieldsOf(stats.rates), seconds);
    figures.oldestAgeMs = maybeNumber(stats, "oldest_age_ms") ?? Number.NaN;
    figures.depth = depth;
    figures.backendDepth = numberOf(stats, "backend_depth");
    figures.inFlight = inFlight;
    figures.deferred = deferred;
    figures.messageCount = messageCount;
    figures.requeueCount = requeueCount;
    figures.timeoutCount = timeoutCount;
    figures.clients = numberOf(stats, "client_count");
    this.paused = stats.paused === true;
    this.readFailure = textOf(stats, "read_failure");
    this.delivery = readDelivery(stats);
    this.latency = readPercentiles(stats);
  }

  /**
   * A bunsq broker counts what it delivers. That is better than what follows from the counters, which a seek or an emptied channel
   * disturbs; but only if its second is most of the time since the poll before.
   */
  private foldOwnRates(rates: Fields, seconds: number): void {
    if (!(seconds <= OWN_RATES_UP_TO_S)) return;
    this.figures.outRate = maybeNumber(listOf(rates, "out"), 0) ?? this.figures.outRate;
    this.figures.finishRate = maybeNumber(listOf(rates, "finish"), 0) ?? this.figures.finishRate;
  }
}

/** A topic at one broker, as of its last answer. */
export class TopicOnBroker {
  /** With what its channels have. */
  readonly figures = new Figures();
  readonly channels = new Map<string, ChannelOnBroker>();
  paused = false;
  /** NaN if the broker does not tell. */
  messageBytes = Number.NaN;
  latency: Percentiles | undefined;
  /** How many partitions the topic has, at all brokers together. */
  partitions = 1;
  /** The indexes of those that this broker has, as it tells them; empty: all. */
  private here = "";
  private indexes: ReadonlySet<number> | undefined;
  answer = 0;

  constructor(readonly entry: TopicEntry) {}

  /** Whether the broker has a partition. */
  hasPartition(index: number): boolean {
    if (index >= this.partitions) return false;
    if (this.here === "") return true;
    this.indexes ??= indexesIn(this.here);
    return this.indexes.has(index);
  }

  /**
   * @param seconds since the counters of before; NaN if there are none to compare with
   * @param answer the number of the broker's answer
   */
  fold(stats: Fields, seconds: number, answer: number, entries: Entries): void {
    const { figures } = this;
    const messageCount = numberOf(stats, "message_count");
    const published = messageCount - figures.messageCount;
    const isComparable = this.answer !== 0 && !Number.isNaN(seconds) && published >= 0;
    figures.reset();
    figures.depth = numberOf(stats, "depth");
    figures.backendDepth = numberOf(stats, "backend_depth");
    figures.messageCount = messageCount;
    figures.inRate = isComparable ? published / seconds : Number.NaN;
    this.messageBytes = typeof stats.message_bytes === "number" ? stats.message_bytes : Number.NaN;
    this.paused = stats.paused === true;
    this.latency = readPercentiles(stats);
    this.foldPartitions(stats);
    for (const item of listOf(stats, "channels")) {
      const channelStats = fieldsOf(item);
      const channel = this.channelNamed(textOf(channelStats, "channel_name"), entries);
      if (channel === undefined) continue;
      channel.fold(channelStats, seconds);
      channel.answer = answer;
      figures.addConsumption(channel.figures);
    }
    // Where the broker tells, the age is also of what waits in the topic itself.
    figures.oldestAgeMs = maybeNumber(stats, "oldest_age_ms") ?? figures.oldestAgeMs;
    for (const [name, channel] of this.channels) if (channel.answer !== answer) this.channels.delete(name);
    this.answer = answer;
  }

  private foldPartitions(stats: Fields): void {
    this.partitions = Math.min(MOST_PARTITIONS, Math.max(1, Math.floor(numberOf(stats, "partition_num"))));
    const here = textOf(stats, "partitions_here");
    if (here === this.here) return;
    this.here = here;
    this.indexes = undefined;
  }

  private channelNamed(name: string, entries: Entries): ChannelOnBroker | undefined {
    const known = this.channels.get(name);
    if (known !== undefined || name === "") return known;
    const entry = entries.channel(this.entry, name);
    if (entry === undefined) return undefined;
    const channel = new ChannelOnBroker(entry);
    this.channels.set(name, channel);
    return channel;
  }
}
