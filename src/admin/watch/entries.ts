import { Figures } from "./figures.ts";
import type { History } from "./history.ts";
import { SparkLine } from "./spark-line.ts";

/** The time between two values of a topic's or channel's sparkline: fewer values than polls, because a page shows a hundred of them. */
export const ROW_STEP_MS = 4_000;

/** A channel, added up over all brokers that answer. */
export class ChannelEntry {
  readonly figures = new Figures();
  readonly spark = new SparkLine(ROW_STEP_MS);
  /** `topic channel` */
  readonly name: string;
  /** Brokers that answer and have it. */
  brokers = 0;
  /** How many of them have paused it. */
  paused = 0;
  /** Brokers that have it, with those that do not answer now. */
  references = 0;

  constructor(
    readonly topic: string,
    readonly channel: string,
    readonly history: number,
  ) {
    this.name = `${topic} ${channel}`;
  }

  reset(): void {
    this.figures.reset();
    this.brokers = 0;
    this.paused = 0;
    this.references = 0;
  }
}

/** A topic, added up over all brokers that answer. */
export class TopicEntry {
  /** Its depth is what waits in the topic itself and in its channels. */
  readonly figures = new Figures();
  readonly spark = new SparkLine(ROW_STEP_MS);
  readonly channels = new Map<string, ChannelEntry>();
  brokers = 0;
  paused = 0;
  references = 0;
  /** NaN if no broker tells. */
  messageBytes = Number.NaN;

  constructor(
    readonly topic: string,
    readonly history: number,
  ) {}

  reset(): void {
    this.figures.reset();
    this.brokers = 0;
    this.paused = 0;
    this.references = 0;
    this.messageBytes = Number.NaN;
  }
}

/** All topics and channels that any broker has, by name. */
export class Entries {
  readonly topics = new Map<string, TopicEntry>();
  /** Topics and channels that were left out, because there are too many. */
  leftOut = 0;
  private size = 0;

  /** @param most topics and channels together */
  constructor(
    private readonly history: History,
    private readonly most: number,
  ) {}

  /** How many channels there are. */
  get channels(): number {
    return this.size - this.topics.size;
  }

  /** @returns undefined if there are too many */
  topic(name: string): TopicEntry | undefined {
    let entry = this.topics.get(name);
    if (entry === undefined && this.hasRoom()) {
      entry = new TopicEntry(name, this.history.add());
      this.topics.set(name, entry);
    }
    return entry;
  }

  /** @returns undefined if there are too many */
  channel(topic: TopicEntry, name: string): ChannelEntry | undefined {
    let entry = topic.channels.get(name);
    if (entry === undefined && this.hasRoom()) {
      entry = new ChannelEntry(topic.topic, name, this.history.add());
      topic.channels.set(name, entry);
    }
    return entry;
  }

  /** Before the brokers are added up. */
  reset(): void {
    for (const topic of this.topics.values()) {
      topic.reset();
      for (const channel of topic.channels.values()) channel.reset();
    }
  }

  /** Forgets what no broker has any more, after the brokers were added up. */
  sweep(): void {
    for (const topic of this.topics.values()) {
      for (const channel of topic.channels.values()) {
        if (channel.references > 0) continue;
        topic.channels.delete(channel.channel);
        this.remove(channel.history);
      }
      if (topic.references > 0) continue;
      this.topics.delete(topic.topic);
      this.remove(topic.history);
    }
  }

  private hasRoom(): boolean {
    if (this.size >= this.most) {
      this.leftOut++;
      return false;
    }
    this.size++;
    return true;
  }

  private remove(history: number): void {
    this.history.remove(history);
    this.size--;
  }
}
