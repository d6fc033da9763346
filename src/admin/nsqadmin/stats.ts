import { byHostname } from "../upstream/discovery.ts";
import { type Fields, fieldsOf, flagOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { type Found, gather } from "../upstream/gather.ts";
import { httpAddress, type Producer } from "../upstream/producer.ts";
import { queryOf, type Upstream } from "../upstream/upstream.ts";
import { type Latency, latencyOf, mergeLatencies } from "./latency.ts";

// Statistics in nsqadmin's JSON: the members are in its order, and an empty list is null where it is there.

export interface TopicStats {
  /** The broker's address; `*`: all together. */
  node: string;
  hostname: string;
  topic_name: string;
  depth: number;
  memory_depth: number;
  backend_depth: number;
  message_count: number;
  nodes: TopicStats[] | null;
  channels: ChannelStats[] | null;
  paused: boolean;
  e2e_processing_latency: Latency;
}

export interface ChannelStats {
  node: string;
  hostname: string;
  topic_name: string;
  channel_name: string;
  depth: number;
  memory_depth: number;
  backend_depth: number;
  in_flight_count: number;
  deferred_count: number;
  requeue_count: number;
  timeout_count: number;
  message_count: number;
  client_count: number;
  nodes: ChannelStats[] | null;
  clients: ClientStats[] | null;
  paused: boolean;
  e2e_processing_latency: Latency;
}

type ClientStats = ReturnType<typeof clientOf>;

const DEPTHS = ["depth", "memory_depth", "backend_depth"] as const;
const TOPIC_SUMS = [...DEPTHS, "message_count"] as const;
const CHANNEL_SUMS = [
  ...DEPTHS,
  "in_flight_count",
  "deferred_count",
  "requeue_count",
  "timeout_count",
  "message_count",
  "client_count",
] as const;

/** Which statistics to ask brokers for. */
export interface Selection {
  topic?: string;
  channel?: string;
  clients: boolean;
}

/** Asks brokers for the statistics of their topics. They are sorted by the brokers' host names. Rejects with AllFailed. */
export async function topicStats(upstream: Upstream, producers: readonly Producer[], selection: Selection): Promise<Found<TopicStats[]>> {
  const { topic, channel, clients } = selection;
  const path = `/stats${queryOf({
    format: "json",
    ...(topic === undefined ? {} : { topic }),
    ...(channel === undefined ? {} : { channel }),
    ...(clients ? {} : { include_clients: "false" }),
  })}`;
  const nowS = Math.floor(Date.now() / 1000);
  const { value, failures } = await gather("nsqd", producers, async (producer) => {
    const topics = listOf(fieldsOf(await upstream.getJson(httpAddress(producer), path)), "topics");
    const all = topics.map((fields) => topicOf(fieldsOf(fields), producer, nowS));
    // Brokers before 1.0 ignore the selection.
    return topic === undefined ? all : all.filter(({ topic_name }) => topic_name === topic);
  });
  return { value: value.flat().sort(byHostname), failures };
}

/** A topic at all its brokers together. @param topics of one name */
export function mergeTopics(name: string, topics: readonly TopicStats[]): TopicStats {
  const channels = channelsByName(topics);
  return {
    node: "*",
    hostname: "",
    topic_name: name,
    ...sums(TOPIC_SUMS, topics),
    nodes: orNull(topics),
    // A channel that one broker has is shown as it is there.
    channels: orNull([...channels.values()].map((same) => (same.length === 1 ? (same[0] as ChannelStats) : mergeChannels(same)))),
    paused: topics.some(({ paused }) => paused),
    e2e_processing_latency: mergeLatencies(topics.map(latencyIn), name, ""),
  };
}

/** A channel at all its brokers together. @param channels of one name and one topic; at least one */
export function mergeChannels(channels: readonly ChannelStats[]): ChannelStats {
  const { topic_name, channel_name } = channels[0] as ChannelStats;
  return {
    node: "*",
    hostname: "",
    topic_name,
    channel_name,
    ...sums(CHANNEL_SUMS, channels),
    nodes: orNull(channels),
    clients: orNull(channels.flatMap(({ clients }) => clients ?? []).sort(byHostname)),
    paused: channels.some(({ paused }) => paused),
    e2e_processing_latency: mergeLatencies(channels.map(latencyIn), topic_name, channel_name),
  };
}

/** The channels of topics of one name, by their names, in the order in which they come. */
function channelsByName(topics: readonly TopicStats[]): Map<string, ChannelStats[]> {
  const byName = new Map<string, ChannelStats[]>();
  for (const channel of topics.flatMap(({ channels }) => channels ?? [])) {
    const same = byName.get(channel.channel_name);
    if (same === undefined) byName.set(channel.channel_name, [channel]);
    else same.push(channel);
  }
  return byName;
}

function topicOf(fields: Fields, producer: Producer, nowS: number): TopicStats {
  const name = textOf(fields, "topic_name");
  const depths = depthsOf(fields);
  return {
    node: httpAddress(producer),
    hostname: producer.hostname,
    topic_name: name,
    ...depths,
    message_count: numberOf(fields, "message_count"),
    nodes: null,
    channels: listOrNull(fields, "channels", (channel) => channelOf(channel, producer, name, nowS)),
    paused: flagOf(fields, "paused"),
    e2e_processing_latency: latencyOf(fieldsOf(fields.e2e_processing_latency)),
  };
}

function channelOf(fields: Fields, producer: Producer, topic: string, nowS: number): ChannelStats {
  const node = httpAddress(producer);
  const depths = depthsOf(fields);
  return {
    node,
    hostname: producer.hostname,
    topic_name: topic,
    channel_name: textOf(fields, "channel_name"),
    ...depths,
    in_flight_count: numberOf(fields, "in_flight_count"),
    deferred_count: numberOf(fields, "deferred_count"),
    requeue_count: numberOf(fields, "requeue_count"),
    timeout_count: numberOf(fields, "timeout_count"),
    message_count: numberOf(fields, "message_count"),
    client_count: numberOf(fields, "client_count"),
    nodes: null,
    clients: listOrNull(fields, "clients", (client) => clientOf(client, node, nowS)),
    paused: flagOf(fields, "paused"),
    e2e_processing_latency: latencyOf(fieldsOf(fields.e2e_processing_latency)),
  };
}

function clientOf(fields: Fields, node: string, nowS: number) {
  const text = (name: string) => textOf(fields, name);
  const number = (name: string) => numberOf(fields, name);
  const flag = (name: string) => flagOf(fields, name);
  return {
    node,
    remote_address: text("remote_address"),
    version: text("version"),
    client_id: text("client_id"),
    hostname: text("hostname"),
    user_agent: text("user_agent"),
    connect_ts: number("connect_ts"),
    /** ns */
    connected: (nowS - number("connect_ts")) * 1e9,
    in_flight_count: number("in_flight_count"),
    ready_count: number("ready_count"),
    finish_count: number("finish_count"),
    requeue_count: number("requeue_count"),
    message_count: number("message_count"),
    sample_rate: number("sample_rate"),
    deflate: flag("deflate"),
    snappy: flag("snappy"),
    authed: flag("authed"),
    auth_identity: text("auth_identity"),
    auth_identity_url: text("auth_identity_url"),
    tls: flag("tls"),
    tls_cipher_suite: text("tls_cipher_suite"),
    tls_version: text("tls_version"),
    tls_negotiated_protocol: text("tls_negotiated_protocol"),
    tls_negotiated_protocol_is_mutual: flag("tls_negotiated_protocol_is_mutual"),
  };
}

function depthsOf(fields: Fields): Pick<TopicStats, "depth" | "memory_depth" | "backend_depth"> {
  const depth = numberOf(fields, "depth");
  const backend_depth = numberOf(fields, "backend_depth");
  return { depth, memory_depth: depth - backend_depth, backend_depth };
}

function sums<Name extends string>(names: readonly Name[], of: readonly Record<Name, number>[]): Record<Name, number> {
  const total = Object.fromEntries(names.map((name) => [name, of.reduce((sum, each) => sum + each[name], 0)]));
  // Each of the names has its sum.
  return total as Record<Name, number>;
}

function listOrNull<Item>(fields: Fields, name: string, read: (fields: Fields) => Item): Item[] | null {
  return Array.isArray(fields[name]) ? listOf(fields, name).map((each) => read(fieldsOf(each))) : null;
}

/** Go writes a list to which nothing was added as null. */
export function orNull<Item>(items: readonly Item[]): Item[] | null {
  return items.length === 0 ? null : [...items];
}

function latencyIn({ e2e_processing_latency }: { e2e_processing_latency: Latency }): Latency {
  return e2e_processing_latency;
}
