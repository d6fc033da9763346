import { fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { type Entries, ROW_STEP_MS } from "./entries.ts";
import { Figures } from "./figures.ts";
import { maybeNumber } from "./maybe-number.ts";
import { SparkLine } from "./spark-line.ts";
import { TopicOnBroker } from "./topic-on-broker.ts";
import { WatchedServer } from "./watched-server.ts";

const OK = "OK";
/** The last figures of a broker that does not answer are shown for this time. A day is what history has, too. */
const FORGET_FIGURES_MS = 24 * 3_600_000;

/** A broker, as of its last answer. */
export class WatchedBroker extends WatchedServer {
  hostname = "";
  broadcastAddress = "";
  tcpPort = 0;
  httpPort = 0;
  region = "";
  zone = "";
  /** Unix time, s; 0 if it is not known. */
  startTime = 0;
  /** The start of the process that /info was asked of. */
  infoOf = -1;
  channels = 0;
  isDraining = false;
  /** What only bunsq's brokers tell; NaN otherwise. */
  logBytes = Number.NaN;
  diskFreeBytes = Number.NaN;
  producers = Number.NaN;
  /** All its topics. */
  readonly figures = new Figures();
  readonly spark = new SparkLine(ROW_STEP_MS);
  readonly topics = new Map<string, TopicOnBroker>();
  private answers = 0;
  private figuresMs = Number.NaN;

  /** When the flags or a lookup named it last, on a clock that nobody sets, ms. */
  listedMs = 0;

  /** @param info what /info says */
  foldInfo(info: unknown): void {
    const fields = fieldsOf(info);
    this.hostname = textOf(fields, "hostname");
    this.broadcastAddress = textOf(fields, "broadcast_address");
    this.tcpPort = numberOf(fields, "tcp_port");
    this.httpPort = numberOf(fields, "http_port");
    this.region = textOf(fields, "topology_region");
    this.zone = textOf(fields, "topology_zone");
    this.infoOf = this.startTime;
  }

  /**
   * @param stats what /stats says
   * @param nowMs when it came, on a clock that nobody sets
   */
  foldStats(stats: unknown, nowMs: number, entries: Entries): void {
    const fields = fieldsOf(stats);
    const startTime = numberOf(fields, "start_time");
    const seconds = startTime === this.startTime && nowMs > this.figuresMs ? (nowMs - this.figuresMs) / 1000 : Number.NaN;
    this.startTime = startTime;
    this.figuresMs = nowMs;
    const ours = textOf(fields, "bunsq_version");
    this.product = ours === "" ? "nsq" : "bunsq";
    this.version = ours === "" ? textOf(fields, "version") : ours;
    const health = textOf(fields, "health");
    this.unhealthy = health === OK ? "" : health;
    this.logBytes = maybeNumber(fields, "log_bytes") ?? Number.NaN;
    this.diskFreeBytes = maybeNumber(fields, "disk_free_bytes") ?? Number.NaN;
    this.producers = maybeNumber(fields, "producer_count") ?? Number.NaN;
    this.isDraining = fields.draining === true;
    this.answers++;
    this.foldTopics(listOf(fields, "topics"), seconds, entries);
    this.succeed();
  }

  override fail(reason: string, nowMs: number, intervalMs: number, timeMs: number): void {
    // A drain ends with the end of the process.
    super.fail(this.isDraining ? `it was drained (${reason})` : reason, nowMs, intervalMs, timeMs);
    // Its counts are shown as they were; what happens now is not known.
    this.figures.clearRates();
    for (const topic of this.topics.values()) {
      topic.figures.clearRates();
      for (const { figures } of topic.channels.values()) figures.clearRates();
    }
    if (timeMs - (this.downSince ?? timeMs) >= FORGET_FIGURES_MS) this.forget();
  }

  /** What it had is too long ago. */
  private forget(): void {
    this.topics.clear();
    this.figures.reset();
    this.channels = 0;
  }

  private foldTopics(topics: readonly unknown[], seconds: number, entries: Entries): void {
    this.figures.reset();
    this.channels = 0;
    for (const item of topics) {
      const topicStats = fieldsOf(item);
      const topic = this.topicNamed(textOf(topicStats, "topic_name"), entries);
      if (topic === undefined) continue;
      topic.fold(topicStats, seconds, this.answers, entries);
      this.figures.add(topic.figures);
      this.channels += topic.channels.size;
    }
    for (const [name, { answer }] of this.topics) if (answer !== this.answers) this.topics.delete(name);
  }

  private topicNamed(name: string, entries: Entries): TopicOnBroker | undefined {
    const known = this.topics.get(name);
    if (known !== undefined || name === "") return known;
    const entry = entries.topic(name);
    if (entry === undefined) return undefined;
    const topic = new TopicOnBroker(entry);
    this.topics.set(name, topic);
    return topic;
  }
}
