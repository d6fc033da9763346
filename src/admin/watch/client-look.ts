import { type Fields, fieldsOf, listOf, textOf } from "../upstream/fields.ts";
import { askBrokers } from "./ask-brokers.ts";
import { ClientRecord, Texts } from "./client-record.ts";
import type { Look } from "./look-cache.ts";
import type { Watcher } from "./watcher.ts";

/** What the clients are of; empty: all. */
export interface ClientScope {
  topic: string;
  channel: string;
  broker: string;
}

export type ClientKind = "consumers" | "producers";

/** The clients of one look. Those beyond are counted only. */
const MOST_CLIENTS = 100_000;
/**
 * After this many clients the garbage that their answers leave is collected. Otherwise 100 MB of it gather on a machine with much
 * memory. Now it is at most 50 MB, and costs a collection of 15 ms for about every fourth broker of 2,500 clients (bench/console.ts).
 */
const COLLECT_AFTER_CLIENTS = 10_000;
/** The name of no channel: asked for it, a broker tells of its producers and of no consumers. */
const NO_CHANNEL = "*";

interface ClientsOfBroker {
  clients: Map<string, ClientRecord>;
  answeredMs: number;
  answer: number;
}

/** The consumers or producers of a channel, a topic, a broker or all, asked of the brokers while somebody looks at them. */
export class ClientLook implements Look {
  size = 0;
  /** Clients that were left out, because there are too many. */
  leftOut = 0;
  private readonly byBroker = new Map<string, ClientsOfBroker>();
  /** Clients in the answers since the last collection. */
  private uncollected = 0;

  constructor(
    private readonly kind: ClientKind,
    private readonly scope: ClientScope,
    private readonly watcher: Watcher,
  ) {}

  *clients(): Generator<ClientRecord> {
    for (const { clients } of this.byBroker.values()) yield* clients.values();
  }

  async refresh(): Promise<void> {
    const brokers = this.brokers();
    for (const broker of this.byBroker.keys()) if (!brokers.has(broker)) this.byBroker.delete(broker);
    this.leftOut = 0;
    await askBrokers(brokers, async (broker) => {
      // Before the next answer, when nothing refers to those before it.
      this.collect();
      const stats = await this.watcher.ask(broker, this.path());
      this.fold(broker, fieldsOf(stats));
    });
    this.count();
  }

  /** Those that answer and have what is looked at. */
  private brokers(): Set<string> {
    const { topic, channel, broker } = this.scope;
    const found = new Set<string>();
    for (const watched of this.watcher.cluster.brokers.values()) {
      const onBroker = watched.topics.get(topic);
      if (!watched.isUp || (broker !== "" && watched.address !== broker) || (topic !== "" && onBroker === undefined)) continue;
      if (channel === "" || onBroker?.channels.has(channel) === true) found.add(watched.address);
    }
    return found;
  }

  private path(): string {
    const topic = encodeURIComponent(this.scope.topic);
    const channel = this.kind === "producers" ? NO_CHANNEL : encodeURIComponent(this.scope.channel);
    return `/stats?format=json&include_mem=false&include_partitions=false&bunsq=true&topic=${topic}&channel=${channel}`;
  }

  private fold(broker: string, stats: Fields): void {
    const nowMs = this.watcher.clock.steadyMs();
    const known = this.byBroker.get(broker);
    const before = known ?? { clients: new Map<string, ClientRecord>(), answeredMs: Number.NaN, answer: 0 };
    this.byBroker.set(broker, before);
    const seconds = (nowMs - before.answeredMs) / 1000;
    before.answeredMs = nowMs;
    before.answer++;
    const texts = new Texts();
    for (const [topic, channel, client] of this.kind === "producers" ? producersIn(stats) : consumersIn(stats)) {
      const record = this.recordOf(before, broker, topic, channel, client);
      if (record === undefined) continue;
      record.fold(client, seconds, texts);
      record.answer = before.answer;
    }
    for (const [key, { answer }] of before.clients) if (answer !== before.answer) before.clients.delete(key);
    this.count();
    this.uncollected += before.clients.size;
  }

  private collect(): void {
    if (this.uncollected < COLLECT_AFTER_CLIENTS) return;
    this.uncollected = 0;
    Bun.gc(true);
  }

  private recordOf(of: ClientsOfBroker, broker: string, topic: string, channel: string, client: Fields): ClientRecord | undefined {
    const address = textOf(client, "remote_address");
    // Clients on a unix socket have no addresses of their own.
    let key = address;
    for (let more = 2; of.clients.get(key)?.answer === of.answer; more++) key = `${address}#${more}`;
    const known = of.clients.get(key);
    if (known !== undefined && known.topic === topic && known.channel === channel) return known;
    if (known === undefined) {
      if (this.size >= MOST_CLIENTS) {
        this.leftOut++;
        return undefined;
      }
      this.size++;
    }
    const record = new ClientRecord(broker, topic, channel, key);
    of.clients.set(key, record);
    return record;
  }

  private count(): void {
    this.size = 0;
    for (const { clients } of this.byBroker.values()) this.size += clients.size;
  }
}

function* consumersIn(stats: Fields): Generator<[topic: string, channel: string, client: Fields]> {
  for (const item of listOf(stats, "topics")) {
    const topicStats = fieldsOf(item);
    const topic = textOf(topicStats, "topic_name");
    for (const channelItem of listOf(topicStats, "channels")) {
      const channelStats = fieldsOf(channelItem);
      const channel = textOf(channelStats, "channel_name");
      for (const client of listOf(channelStats, "clients")) yield [topic, channel, fieldsOf(client)];
    }
  }
}

/** Asked for one topic, a broker names all its producers, and the counts of those that published to it. */
function* producersIn(stats: Fields): Generator<[topic: string, channel: string, client: Fields]> {
  for (const item of listOf(stats, "producers")) {
    const client = fieldsOf(item);
    if (listOf(client, "pub_counts").length > 0) yield ["", "", client];
  }
}
