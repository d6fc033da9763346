import { unescapeUrl } from "../../http/server/query.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { ClusterDetail } from "../cluster-api.ts";
import type { Overview, TopicDetail } from "../console-api.ts";
import { type ClientKind, ClientLook, type ClientScope } from "../watch/client-look.ts";
import type { ChannelEntry, TopicEntry } from "../watch/entries.ts";
import { LookCache } from "../watch/look-cache.ts";
import { PartitionLook } from "../watch/partition-look.ts";
import { ReplicaLook } from "../watch/replica-look.ts";
import type { Sight } from "../watch/sight.ts";
import { TopicLook } from "../watch/topic-look.ts";
import type { Totals } from "../watch/totals.ts";
import type { WatchedBroker } from "../watch/watched-broker.ts";
import type { Watcher } from "../watch/watcher.ts";
import { brokerListing, lookupListing } from "./broker-rows.ts";
import { channelListing } from "./channel-rows.ts";
import { clientListing, producerListing } from "./client-rows.ts";
import { channelDetail, inactiveTopic, topicDetail } from "./details.ts";
import { historyView } from "./history-view.ts";
import { type Listing, page } from "./listing.ts";
import { overview } from "./overview.ts";
import { partitionListing } from "./partition-rows.ts";
import { clusterDetail, replicaListing } from "./replica-rows.ts";
import { topicListing } from "./topic-rows.ts";
import { ViewQuery } from "./view-query.ts";

/** Clients of one channel or topic are asked for as often as brokers are polled, those of whole brokers this often. */
const WIDE_FRESH_MS = 10_000;
/** Latencies and settings of a topic. */
const TOPIC_FRESH_MS = 5_000;
/** All partitions of a cluster: each of its brokers tells of a thousand or more. */
const ALL_REPLICAS_FRESH_MS = 4_000;
const MOST_CLIENT_LOOKS = 32;
const MOST_CLIENTS = 100_000;
const MOST_TOPIC_LOOKS = 64;
const MOST_CHANNELS = 100_000;
const MOST_PARTITIONS = 100_000;
const TOPIC = ({ topic }: { topic: string }): string => topic;
const RANGES = ["1h", "24h"] as const;

/** Everything that `GET /api/v1/…` shows of brokers and lookups, by the path and query behind `/api/v1`. */
export class Views {
  private readonly clientLooks: LookCache<ClientLook>;
  private readonly topicLooks: LookCache<TopicLook>;
  private readonly partitionLooks: LookCache<PartitionLook>;
  private readonly replicaLooks: LookCache<ReplicaLook>;

  constructor(readonly watcher: Watcher) {
    this.clientLooks = new LookCache(watcher.clock, MOST_CLIENT_LOOKS, MOST_CLIENTS);
    this.topicLooks = new LookCache(watcher.clock, MOST_TOPIC_LOOKS, MOST_CHANNELS);
    this.replicaLooks = new LookCache(watcher.clock, MOST_TOPIC_LOOKS, MOST_PARTITIONS);
    this.partitionLooks = new LookCache(watcher.clock, MOST_TOPIC_LOOKS, MOST_PARTITIONS);
  }

  close(): void {
    this.clientLooks.close();
    this.topicLooks.close();
    this.partitionLooks.close();
    this.replicaLooks.close();
  }

  /**
   * Makes a view of what is known now.
   *
   * @param view path and query, for instance `/topics?sort=-depth`
   * @param sight which topics it may show, and add up
   * @throws Refusal 403 for a topic that it may not show, 404 for a view, topic or channel that there is not, 400 for an argument that is not valid
   */
  async read(view: string, sight: Sight): Promise<object> {
    this.watcher.look();
    // What was done from here is seen in what is asked next.
    await this.watcher.refreshed();
    const queryStart = view.indexOf("?");
    const query = new ViewQuery(queryStart < 0 ? "" : view.slice(queryStart + 1));
    const parts = (queryStart < 0 ? view : view.slice(0, queryStart)).split("/").map(unescapeUrl);
    const [empty, name, topic, channel, ...rest] = parts;
    if (empty !== "" || name === undefined || rest.length > 0 || parts.includes(undefined)) throw new Refusal(404, "NOT_FOUND");
    const named = topic ?? query.text("topic");
    if (named !== "" && !sight.maySee(named)) throw new Refusal(403, "FORBIDDEN");
    if (name === "topics" && topic !== undefined) {
      return channel === undefined ? await this.topic(topic) : await this.channel(topic, channel);
    }
    if (topic !== undefined) throw new Refusal(404, "NOT_FOUND");
    return await this.list(name, query, this.watcher.cluster.totals(sight));
  }

  /** A topic's settings have been changed from here: what was asked of its brokers is not shown again. */
  topicChanged(topic: string): void {
    this.topicLooks.drop(topic);
    this.replicaLooks.drop(topic);
    this.replicaLooks.drop("");
  }

  private list(name: string, query: ViewQuery, totals: Totals): object | Promise<object> {
    const { cluster, timeMs } = this.watcher;
    switch (name) {
      case "overview":
        return { ...overview(cluster, timeMs, totals), ...this.atRisk(totals) };
      case "brokers":
        return page(brokerListing(cluster, totals, timeMs), query);
      case "lookups":
        return page(lookupListing(cluster, totals), query);
      case "topics":
        return page(onlySeen(topicListing(cluster, this.brokerIn(query), timeMs), TOPIC, totals), query);
      case "channels":
        return page(
          onlySeen(channelListing(cluster, query.text("topic"), this.brokerIn(query), timeMs), ({ entry }) => entry.topic, totals),
          query,
        );
      case "partitions":
        return this.partitions(query);
      case "cluster":
        return clusterDetail(this.replicated(), cluster, totals);
      case "replicas":
        return this.replicas(query, totals);
      case "clients":
        return this.clients(query, totals);
      case "producers":
        return this.producers(query, totals);
      case "history":
        return this.history(query, totals);
      default:
        throw new Refusal(404, "NOT_FOUND");
    }
  }

  private async topic(name: string): Promise<object> {
    const replicas = this.watcher.replication.detail === undefined ? undefined : await this.replicaLook(name);
    const replication = replicas?.topics.get(name);
    return { ...(await this.plainTopic(name)), ...(replication === undefined ? {} : { replication }) };
  }

  private async plainTopic(name: string): Promise<TopicDetail> {
    const { cluster, timeMs } = this.watcher;
    if (!cluster.entries.topics.has(name) && cluster.inactiveTopics().includes(name)) return inactiveTopic(cluster, name, timeMs);
    const entry = this.entryOf(name);
    const look = await this.topicLook(name);
    return topicDetail(cluster, entry, look, this.watcher.timeMs);
  }

  private async channel(topicName: string, name: string): Promise<object> {
    const topic = this.entryOf(topicName);
    const entry = channelOf(topic, name);
    const [look, clients] = await Promise.all([
      this.topicLook(topicName),
      this.clientLook("consumers", { topic: topicName, channel: name, broker: "" }),
    ]);
    return channelDetail(this.watcher.cluster, topic, entry, look, clients, this.watcher.timeMs);
  }

  private async clients(query: ViewQuery, totals: Totals): Promise<object> {
    const scope = { topic: query.text("topic"), channel: query.text("channel"), broker: query.text("broker") };
    const look = await this.clientLook("consumers", scope);
    const { brokers } = this.watcher.cluster;
    const listing = clientListing(look.clients(), ({ broker, topic, channel }) => {
      return brokers.get(broker)?.topics.get(topic)?.channels.get(channel)?.figures.depth ?? 0;
    });
    return page(onlySeen(listing, TOPIC, totals), query);
  }

  private async producers(query: ViewQuery, totals: Totals): Promise<object> {
    const look = await this.clientLook("producers", { topic: query.text("topic"), channel: "", broker: query.text("broker") });
    return page(producerListing(look.clients(), totals), query);
  }

  private async partitions(query: ViewQuery): Promise<object> {
    const [topic, channel] = [query.text("topic"), query.text("channel")];
    const entry = this.entryOf(topic);
    if (channel !== "") channelOf(entry, channel);
    const make = () => new PartitionLook(topic, channel, this.watcher);
    const look = await this.partitionLooks.get(`${topic} ${channel}`, this.watcher.pollMs, make);
    return page(partitionListing(this.watcher.cluster, topic, look), query);
  }

  private async replicas(query: ViewQuery, totals: Totals): Promise<object> {
    this.replicated();
    const look = await this.replicaLook(query.text("topic"));
    return page(onlySeen(replicaListing(look, query.text("broker")), TOPIC, totals), query);
  }

  private atRisk(totals: Totals): Pick<Overview, "at_risk"> {
    const { cluster, replication } = this.watcher;
    if (replication.detail === undefined) return {};
    const { risks } = clusterDetail(replication.detail, cluster, totals);
    const of = (wanted: string) => risks.filter(({ severity }) => severity === wanted).length;
    return { at_risk: { critical: of("critical"), warning: of("warning") } };
  }

  /** @throws Refusal 404 NO_CLUSTER */
  private replicated(): ClusterDetail {
    const { detail } = this.watcher.replication;
    if (detail === undefined) throw new Refusal(404, "NO_CLUSTER");
    return detail;
  }

  private replicaLook(topic: string): Promise<ReplicaLook> {
    const freshMs = topic === "" ? Math.max(this.watcher.pollMs, ALL_REPLICAS_FRESH_MS) : this.watcher.pollMs;
    return this.replicaLooks.get(topic, freshMs, () => new ReplicaLook(topic, this.watcher));
  }

  private history(query: ViewQuery, totals: Totals): object {
    const { cluster, timeMs } = this.watcher;
    const [topicName, channelName] = [query.text("topic"), query.text("channel")];
    const range = query.oneOf("range", RANGES, "1h");
    if (topicName === "") return historyView(cluster, totals, range, timeMs);
    const topic = this.entryOf(topicName);
    return historyView(cluster, channelName === "" ? topic : channelOf(topic, channelName), range, timeMs);
  }

  private topicLook(topic: string): Promise<TopicLook> {
    return this.topicLooks.get(topic, TOPIC_FRESH_MS, () => new TopicLook(topic, this.watcher));
  }

  private clientLook(kind: ClientKind, scope: ClientScope): Promise<ClientLook> {
    const { topic, channel, broker } = scope;
    const freshMs = topic === "" ? WIDE_FRESH_MS : this.watcher.pollMs;
    const key = [kind, topic, channel, broker].join("\n");
    return this.clientLooks.get(key, freshMs, () => new ClientLook(kind, scope, this.watcher));
  }

  /** @throws Refusal 404 BROKER_NOT_FOUND */
  private brokerIn(query: ViewQuery): WatchedBroker | undefined {
    const address = query.text("broker");
    if (address === "") return undefined;
    const broker = this.watcher.cluster.brokers.get(address);
    if (broker === undefined) throw new Refusal(404, "BROKER_NOT_FOUND");
    return broker;
  }

  private entryOf(topic: string): TopicEntry {
    const entry = this.watcher.cluster.entries.topics.get(topic);
    if (entry === undefined) throw new Refusal(404, "TOPIC_NOT_FOUND");
    return entry;
  }
}

function channelOf(topic: TopicEntry, name: string): ChannelEntry {
  const entry = topic.channels.get(name);
  if (entry === undefined) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  return entry;
}

/** A list without the items of topics that the user may not see. */
function onlySeen<Item, Row>(listing: Listing<Item, Row>, topicOf: (item: Item) => string, totals: Totals): Listing<Item, Row> {
  return { ...listing, items: Iterator.from(listing.items).filter((item) => totals.maySee(topicOf(item))) };
}
