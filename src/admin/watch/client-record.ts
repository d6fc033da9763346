import type { ClientWishes } from "../partition-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { maybeNumber } from "./maybe-number.ts";

const MOST_PUBLISHED_TOPICS = 100;

/** A connection to a broker: a consumer of a channel, or a producer. There may be 50,000, so it has what is shown and no more. */
export class ClientRecord {
  clientId = "";
  hostname = "";
  userAgent = "";
  region = "";
  zone = "";
  authIdentity = "";
  ready = 0;
  inFlight = 0;
  messageCount = 0;
  finishCount = 0;
  requeueCount = 0;
  sampleRate = 0;
  /** Unix time, s. */
  connectedAt = 0;
  tls = false;
  deflate = false;
  snappy = false;
  /** Publishes that were refused; NaN if the broker does not count them. */
  errors = Number.NaN;
  /** Published messages. */
  published = 0;
  publishedTopics: { topic: string; count: number }[] | undefined;
  outRate = Number.NaN;
  finishRate = Number.NaN;
  publishRate = Number.NaN;
  /** What it wants of its channel; undefined for most: nothing in particular. */
  wishes: ClientWishes | undefined;
  /** The answer that told of it last. */
  answer = 0;

  constructor(
    readonly broker: string,
    /** Empty for a producer. */
    readonly topic: string,
    readonly channel: string,
    readonly remoteAddress: string,
  ) {}

  /** Unique among the clients of its broker, unless they are on a unix socket. */
  get key(): string {
    return `${this.broker}|${this.remoteAddress}|${this.topic}|${this.channel}`;
  }

  /**
   * @param seconds since the answer before; NaN if there is none
   * @param texts of other clients: most have the same
   */
  fold(stats: Fields, seconds: number, texts: Texts): void {
    const connectedAt = numberOf(stats, "connect_ts");
    // Another client may have got the port of one that is gone.
    const elapsed = this.answer > 0 && connectedAt === this.connectedAt ? seconds : Number.NaN;
    const messageCount = numberOf(stats, "message_count");
    const finishCount = numberOf(stats, "finish_count");
    this.outRate = rateOf(this.messageCount, messageCount, elapsed);
    this.finishRate = rateOf(this.finishCount, finishCount, elapsed);
    this.clientId = texts.share(textOf(stats, "client_id"));
    this.hostname = texts.share(textOf(stats, "hostname"));
    this.userAgent = texts.share(textOf(stats, "user_agent"));
    this.region = texts.share(textOf(stats, "topology_region"));
    this.zone = texts.share(textOf(stats, "topology_zone"));
    this.authIdentity = texts.share(textOf(stats, "auth_identity"));
    this.ready = numberOf(stats, "ready_count");
    this.inFlight = numberOf(stats, "in_flight_count");
    this.messageCount = messageCount;
    this.finishCount = finishCount;
    this.requeueCount = numberOf(stats, "requeue_count");
    this.sampleRate = numberOf(stats, "sample_rate");
    this.connectedAt = connectedAt;
    this.tls = stats.tls === true;
    this.deflate = stats.deflate === true;
    this.snappy = stats.snappy === true;
    this.errors = maybeNumber(stats, "publish_errors") ?? Number.NaN;
    this.wishes = readWishes(stats);
    if (this.channel === "") this.foldPublished(stats, elapsed, texts);
  }

  private foldPublished(stats: Fields, elapsed: number, texts: Texts): void {
    let published = 0;
    this.publishedTopics = [];
    for (const item of listOf(stats, "pub_counts")) {
      const counted = fieldsOf(item);
      const count = numberOf(counted, "count");
      published += count;
      if (this.publishedTopics.length >= MOST_PUBLISHED_TOPICS) continue;
      this.publishedTopics.push({ topic: texts.share(textOf(counted, "topic")), count });
    }
    this.publishRate = rateOf(this.published, published, elapsed);
    this.published = published;
  }
}

function readWishes(stats: Fields): ClientWishes | undefined {
  const { desired_tag: tag, ext_filter: filter, channel_order: order, partition } = stats;
  if (tag === undefined && filter === undefined && order === undefined && partition === undefined) return undefined;
  return {
    ...(typeof tag === "string" ? { tag } : {}),
    ...(filter === undefined ? {} : { filter: fieldsOf(filter) }),
    ...(typeof order === "string" ? { order } : {}),
    ...(typeof partition === "number" ? { partition } : {}),
  };
}

/** Keeps one of equal texts, as thousands of clients have the same user agent. */
export class Texts {
  private readonly known = new Map<string, string>();

  share(text: string): string {
    if (text === "") return "";
    const known = this.known.get(text);
    if (known !== undefined) return known;
    this.known.set(text, text);
    return text;
  }
}

function rateOf(before: number, now: number, seconds: number): number {
  return now < before ? Number.NaN : (now - before) / seconds;
}
