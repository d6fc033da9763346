import { heapStats } from "bun:jsc";
import { type LatencySketch, newSketch } from "../latency/latency-window.ts";
import { type LatencyStats, NO_LATENCY, percentilesOf } from "../latency/percentiles.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { ConsumerWishes } from "../topics/channel/consumer.ts";
import type { Topic } from "../topics/topic.ts";
import { byName } from "./by-name.ts";
import { type ChannelCounts, readCounts } from "./channel-counts.ts";
import type { ClusterReport, ReplicaStats } from "./cluster-report.ts";
import { type DeliveryStats, readDelivery, readWishes, type WishStats } from "./delivery-stats.ts";
import type { ChannelFigures, TopicFigures } from "./figures.ts";
import { type PartitionStats, readPartitions } from "./partition-stats.ts";

// The keys, their order and their nulls are those of nsqd's JSON (nsqd/stats.go, nsqd/client_v2.go), which monitoring tools read.

/** What the statistics need of the broker. */
export interface StatsSource {
  readonly registry: { readonly topics: ReadonlyMap<string, Topic> };
  /** The clients on TCP, by their ids. */
  readonly listener: { readonly connections: ReadonlyMap<number, ReportedConnection>; readonly producerCount: number };
  /** The percentiles of message latencies to report, largest first; none: channels do not measure. */
  readonly percentiles: readonly number[];
  /** Undefined: it does not matter to the broker where its consumers are. */
  readonly locality: object | undefined;
  /** Undefined: the broker is alone. */
  readonly clusterReport: ClusterReport | undefined;
}

/** A client's connection, as the statistics see it. */
export interface ReportedConnection {
  readonly id: number;
  /** What it has said of itself. */
  readonly identity: {
    readonly clientId: string;
    readonly hostname: string;
    readonly userAgent: string;
    readonly topologyRegion: string;
    readonly topologyZone: string;
  };
  /** `ip:port` */
  readonly remoteAddress: string;
  readonly state: number;
  readonly readyCount: number;
  /** The most that its channel lets it have; Infinity: no limit. */
  readonly readyLimit: number;
  readonly inFlightCount: number;
  readonly messageCount: number;
  readonly finishCount: number;
  readonly requeueCount: number;
  /** Publishes that were refused or failed. */
  readonly publishErrors: number;
  /** Unix time, ms. */
  readonly connectTimeMs: number;
  readonly sampleRate: number;
  readonly publisher: {
    readonly hasPublished: boolean;
    /** Published messages by topic. */
    readonly counts: ReadonlyMap<string, number>;
  };
  /** Undefined where clients need no AUTH. */
  readonly auth: { readonly authed: boolean; readonly identity: string; readonly identityUrl: string } | undefined;
  /** What a consumer wants of its channel, and in which partition. */
  readonly wishes: ConsumerWishes;
  readonly onlyLog: object | undefined;
  readonly channel: Channel | undefined;
  readonly compression: { readonly layer: "deflate" | "snappy" } | undefined;
  readonly tls: { readonly version: string; readonly cipherSuite: string } | undefined;
}

/** The statistics of a broker. As in nsqd, topics are null if the topic asked for does not exist, and producers if there are none or none are asked for. */
export interface Stats {
  topics: TopicStats[] | null;
  producers: ClientStats[] | null;
}

export interface TopicStats extends Partial<TopicFigures> {
  topic_name: string;
  channels: ChannelStats[];
  depth: number;
  backend_depth: number;
  message_count: number;
  message_bytes: number;
  paused: boolean;
  e2e_processing_latency: LatencyStats;
  /** Damaged regions of the log that were skipped since the start. Left out if there are none; nsqd has no such key. */
  corrupt_regions?: number;
  /** How many partitions it has, at all brokers together. Left out for a topic with one, as are the next two; nsqd has no such keys. */
  partition_num?: number;
  /** The indexes of those that this broker has, such as `0-2,5`; left out if it has all. */
  partitions_here?: string;
  /** Shown also for a topic with one if one is asked for. */
  partitions?: PartitionStats[];
  /** Its partitions that other brokers have, too. Left out at a broker that is alone, and where no partitions are asked for. */
  replicas?: ReplicaStats[];
}

/** Messages by where their consumers are, with -enable-experiment=topology-aware-consumption. */
export interface NearnessStats {
  zone_local_msg_count: number;
  region_local_msg_count: number;
  global_msg_count: number;
}

export interface ChannelStats extends ChannelCounts, Partial<NearnessStats>, Partial<ChannelFigures> {
  client_count: number;
  /** Null if no clients are asked for. */
  clients: ClientStats[] | null;
  paused: boolean;
  e2e_processing_latency: LatencyStats;
  /** Why messages wait: a file cannot be read. Left out if it can; nsqd has no such key. */
  read_failure?: string;
  /** Left out for a channel that delivers its messages as they come. */
  delivery?: DeliveryStats;
}

export interface ClientStats extends WishStats {
  client_id: string;
  hostname: string;
  version: "V2";
  /** `ip:port` */
  remote_address: string;
  state: number;
  ready_count: number;
  /** The most that ready_count can be. Left out for a client without a limit; nsqd has no such key. */
  limited_rdy?: number;
  in_flight_count: number;
  message_count: number;
  finish_count: number;
  requeue_count: number;
  /** Unix time, s. */
  connect_ts: number;
  sample_rate: number;
  deflate: boolean;
  snappy: boolean;
  user_agent: string;
  /** This and the next two are left out for a client without permissions. */
  authed?: true;
  auth_identity?: string;
  auth_identity_url?: string;
  /** Left out without -enable-experiment=topology-aware-consumption, and for a client that does not tell it. */
  topology_region?: string;
  topology_zone?: string;
  /** Left out for a client that has not published. */
  pub_counts?: PublishedCount[];
  /** Publishes that were refused or failed. Only with the figures that nsqd does not have. */
  publish_errors?: number;
  tls: boolean;
  tls_cipher_suite: string;
  tls_version: string;
  tls_negotiated_protocol: string;
  tls_negotiated_protocol_is_mutual: boolean;
}

export interface PublishedCount {
  topic: string;
  count: number;
}

/** nsqd's names for the numbers of Go's heap. JavaScriptCore does not have all of them. */
export interface MemoryStats {
  /** Cells on JavaScriptCore's heap after the last collection, as of some seconds ago. */
  heap_objects: number;
  /** The part of the heap's blocks without cells. */
  heap_idle_bytes: number;
  /** Cells, and the buffers they own outside the heap. */
  heap_in_use_bytes: number;
  /** Always 0: JavaScriptCore does not tell it. */
  heap_released_bytes: number;
  /** Always 0: JavaScriptCore does not tell it. */
  gc_pause_usec_100: number;
  /** Always 0: JavaScriptCore does not tell it. */
  gc_pause_usec_99: number;
  /** Always 0: JavaScriptCore does not tell it. */
  gc_pause_usec_95: number;
  /** Always 0: JavaScriptCore does not tell it. */
  next_gc_bytes: number;
  /** Always 0: JavaScriptCore does not tell it. */
  gc_total_runs: number;
}

/** What is asked for. */
export interface Shown {
  /** The only topic; empty: all. */
  readonly topicName: string;
  /** The only channel, of the topics that have it; empty: all. */
  readonly channelName: string;
  readonly includeClients: boolean;
  /** With the publishes of clients that failed, which nsqd does not tell. */
  readonly withErrors: boolean;
  /** The only partition of each topic, beside the sums of all; undefined: all, where a topic has several; "none": the sums alone. */
  readonly partition: number | "none" | undefined;
}

/**
 * Reads the statistics at once, those of topics as a whole. Topics and channels are in the order of their names. An answer about all topics is read in steps
 * instead (src/broker/http/stats-steps.ts).
 *
 * @param topicName the only topic to show; empty for all
 * @param channelName the only channel to show, of the topics that have it; empty for all
 */
export function readStats(source: StatsSource, topicName: string, channelName: string, includeClients: boolean): Stats {
  const show: Shown = { topicName, channelName, includeClients, withErrors: false, partition: "none" };
  const topics = shownTopics(source, show);
  if (topics === undefined) return { topics: null, producers: null };
  const producers = includeClients ? [...producersOf(source)].map((connection) => readClient(connection, show)) : [];
  return {
    topics: topics.flatMap((topic) => {
      const channels = shownChannels(topic, show);
      if (channels === undefined) return [];
      return [
        {
          ...readTopic(source, topic, show),
          channels: channels.map((channel) => ({
            ...readChannel(source, channel, show),
            clients: includeClients ? [...consumersOf(source, channel)].map((connection) => readClient(connection, show)) : null,
          })),
        },
      ];
    }),
    producers: producers.length === 0 ? null : producers,
  };
}

/** The topics that are asked for, in the order of their names. As in nsqd, with an unknown topic there are no producers, either. @returns undefined for that */
export function shownTopics({ registry }: StatsSource, { topicName }: Shown): Topic[] | undefined {
  if (topicName === "") return byName(registry.topics);
  const topic = registry.topics.get(topicName);
  return topic === undefined ? undefined : [topic];
}

/** The channels that are asked for, in the order of their names. @returns undefined if the topic does not have the one that is */
export function shownChannels({ channels }: Topic, { channelName }: Shown): Channel[] | undefined {
  if (channelName === "") return byName(channels);
  const channel = channels.get(channelName);
  return channel === undefined ? undefined : [channel];
}

/** Reads a topic, and none of its channels. */
export function readTopic(source: StatsSource, topic: Topic, show: Shown): TopicStats {
  const corruptRegions = topic.corruptRegions;
  return {
    topic_name: topic.name,
    channels: [],
    depth: topic.depth,
    backend_depth: topic.backendDepth,
    message_count: topic.messageCount,
    message_bytes: topic.messageBytes,
    paused: topic.paused,
    e2e_processing_latency: readLatency(source.percentiles, topic.channels.values()),
    ...(corruptRegions > 0 ? { corrupt_regions: corruptRegions } : {}),
    ...readPartitions(topic, show),
    ...readReplicas(source, topic, show),
  };
}

function readReplicas({ clusterReport }: StatsSource, { name }: Topic, { partition }: Shown): Pick<TopicStats, "replicas"> {
  if (clusterReport === undefined || partition === "none") return {};
  const replicas = clusterReport.replicas(name, partition);
  return replicas.length === 0 ? {} : { replicas };
}

/** The latencies of a topic are those of all its channels, whether they are shown or not. */
export function readLatency(percentiles: readonly number[], channels: Iterable<Channel>): LatencyStats {
  if (percentiles.length === 0) return NO_LATENCY;
  let sketch: LatencySketch | undefined;
  for (const channel of channels) {
    sketch ??= newSketch();
    channel.addLatencies(sketch);
  }
  return sketch === undefined ? NO_LATENCY : percentilesOf(percentiles, sketch);
}

/** Reads a channel, and none of its clients. */
export function readChannel(source: StatsSource, channel: Channel, { includeClients }: Shown): ChannelStats {
  const delivery = readDelivery(channel);
  return {
    ...readCounts(channel),
    client_count: channel.consumers.length,
    clients: includeClients ? [] : null,
    paused: channel.paused,
    ...readNearness(source, channel),
    e2e_processing_latency: readLatency(source.percentiles, [channel]),
    ...(channel.readFailure === undefined ? {} : { read_failure: channel.readFailure.message }),
    ...(delivery === undefined ? {} : { delivery }),
  };
}

/** As in nsqd, what is 0 is left out. */
function readNearness({ locality }: StatsSource, { deliveredBy: [zone, region, elsewhere] }: Channel): Partial<NearnessStats> {
  if (locality === undefined) return {};
  return {
    ...(zone > 0 ? { zone_local_msg_count: zone } : {}),
    ...(region > 0 ? { region_local_msg_count: region } : {}),
    ...(elsewhere > 0 ? { global_msg_count: elsewhere } : {}),
  };
}

/** The connections of a channel's consumers. */
export function* consumersOf({ listener }: StatsSource, channel: Channel): Generator<ReportedConnection> {
  for (const { id } of [...channel.consumers]) {
    const connection = listener.connections.get(id);
    if (connection !== undefined) yield connection;
  }
}

/** The connections that have published. */
export function* producersOf({ listener }: StatsSource): Generator<ReportedConnection> {
  for (const connection of listener.connections.values()) if (connection.publisher.hasPublished) yield connection;
}

/** Has the counts of its publishes to the topic that is shown only. */
export function readClient(connection: ReportedConnection, { topicName, withErrors }: Shown): ClientStats {
  const published: PublishedCount[] = [];
  for (const [topic, count] of connection.publisher.counts) if (topicName === "" || topic === topicName) published.push({ topic, count });
  const { clientId, hostname, userAgent, topologyRegion, topologyZone } = connection.identity;
  return {
    client_id: clientId,
    hostname,
    version: "V2",
    remote_address: connection.remoteAddress,
    state: connection.state,
    ready_count: connection.readyCount,
    ...(Number.isFinite(connection.readyLimit) ? { limited_rdy: connection.readyLimit } : {}),
    in_flight_count: connection.inFlightCount,
    message_count: connection.messageCount,
    finish_count: connection.finishCount,
    requeue_count: connection.requeueCount,
    connect_ts: Math.floor(connection.connectTimeMs / 1000),
    sample_rate: connection.sampleRate,
    deflate: connection.compression?.layer === "deflate",
    snappy: connection.compression?.layer === "snappy",
    user_agent: userAgent,
    ...readAuth(connection),
    ...(topologyRegion === "" ? {} : { topology_region: topologyRegion }),
    ...(topologyZone === "" ? {} : { topology_zone: topologyZone }),
    ...(published.length > 0 ? { pub_counts: published } : {}),
    ...readWishes(connection),
    ...(withErrors ? { publish_errors: connection.publishErrors } : {}),
    tls: connection.tls !== undefined,
    tls_cipher_suite: connection.tls?.cipherSuite ?? "",
    tls_version: connection.tls?.version ?? "",
    // ALPN offers no protocol, which Go calls mutual.
    tls_negotiated_protocol: "",
    tls_negotiated_protocol_is_mutual: connection.tls !== undefined,
  };
}

/** As in nsqd, what is empty is left out. */
function readAuth({ auth }: ReportedConnection): Pick<ClientStats, "authed" | "auth_identity" | "auth_identity_url"> {
  if (auth === undefined) return {};
  return {
    ...(auth.authed ? { authed: true } : {}),
    ...(auth.identity === "" ? {} : { auth_identity: auth.identity }),
    ...(auth.identityUrl === "" ? {} : { auth_identity_url: auth.identityUrl }),
  };
}

/** Counting cells stops the process: 40 ms were measured for 660,000. So it gets at most this share of the time. */
const COUNTING_SHARE = 1 / 1000;
let objectCount = 0;
let countAgainMs = 0;
let usage = { heapTotal: 0, heapUsed: 0, external: 0 };

/** @param mayCount whether objects may be counted now, which can stop the process for tens of ms */
export function readMemory(mayCount = true): MemoryStats {
  const startMs = performance.now();
  if (mayCount && startMs >= countAgainMs) {
    ({ objectCount } = heapStats());
    countAgainMs = startMs + (performance.now() - startMs) / COUNTING_SHARE;
  }
  try {
    usage = process.memoryUsage();
  } catch {
    // It opens a file. A process without a free file descriptor needs its statistics most of all, so the last numbers are kept.
  }
  return {
    heap_objects: objectCount,
    heap_idle_bytes: Math.max(0, usage.heapTotal - usage.heapUsed),
    heap_in_use_bytes: usage.heapUsed + usage.external,
    heap_released_bytes: 0,
    gc_pause_usec_100: 0,
    gc_pause_usec_99: 0,
    gc_pause_usec_95: 0,
    next_gc_bytes: 0,
    gc_total_runs: 0,
  };
}
