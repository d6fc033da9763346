import { encodeJson } from "../../base/go/json.ts";
import { encodedJson, json, Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import { AllFailed } from "../upstream/gather.ts";
import { httpAddress, type Producer } from "../upstream/producer.ts";
import { orRefuse, Warnings } from "./answer.ts";
import { type ChannelStats, mergeChannels, mergeTopics, orNull, type Selection, type TopicStats, topicStats } from "./stats.ts";

// The calls that change nothing.

/** Lookup servers are asked about this many topics at the same time. */
const TOPICS_AT_ONCE = 32;

/** GET /api/topics[?inactive=true]: the names of all topics, or those that no broker has, with their channels. */
export async function topics(call: AdminCall): Promise<Response> {
  const { query } = call;
  const { discovery } = call.admin;
  const warnings = new Warnings(call);
  const names = warnings.of(await orRefuse(call, "get topics", discovery.topics())).filter((name) => call.maySee(name));
  if (query.get("inactive") !== "true") return json({ topics: orNull(names), message: warnings.message });
  const members: [string, string[] | null][] = [];
  for (let from = 0; discovery.hasLookups && from < names.length; from += TOPICS_AT_ONCE) {
    const some = names.slice(from, from + TOPICS_AT_ONCE).map((name) => channelsIfInactive(call, name));
    members.push(...(await Promise.all(some)).filter((member) => member !== undefined));
  }
  return encodedJson(`{"topics":${objectOf(members)},"message":${encodeJson(warnings.message)}}`);
}

/** GET /api/topics/:topic: a topic at all its brokers, with its channels. */
export async function topic(call: AdminCall): Promise<Response> {
  const name = call.parameter;
  const warnings = new Warnings(call);
  const stats = await statsOf(call, warnings, { topic: name, clients: false });
  return json({ ...mergeTopics(name, stats), message: warnings.message });
}

/** GET /api/topics/:topic/:channel: a channel at all its brokers, with its clients. */
export async function channel(call: AdminCall): Promise<Response> {
  const [topic = "", name = ""] = call.parameters;
  const warnings = new Warnings(call);
  const stats = await statsOf(call, warnings, { topic, channel: name, clients: true });
  const channels = stats.flatMap(({ channels }) => channels ?? []).filter(({ channel_name }) => channel_name === name);
  if (channels.length === 0) throw new Refusal(404, "CHANNEL_NOT_FOUND");
  return json({ ...mergeChannels(channels), message: warnings.message });
}

/** GET /api/nodes: the brokers. */
export async function nodes(call: AdminCall): Promise<Response> {
  const warnings = new Warnings(call);
  const producers = warnings.of(await orRefuse(call, "get nodes", call.admin.discovery.producers()));
  return json({ nodes: orNull(producers.map((producer) => nodeJson(producer, call))), message: warnings.message });
}

/** GET /api/nodes/:node: a broker (`host:port` of its HTTP listener) with its topics, channels and clients. */
export async function node(call: AdminCall): Promise<Response> {
  const { upstream, discovery } = call.admin;
  const address = call.parameter;
  const warnings = new Warnings(call);
  const producers = warnings.of(await orRefuse(call, "get producers", discovery.producers()));
  const producer = producers.find((each) => httpAddress(each) === address);
  if (producer === undefined) throw new Refusal(404, "NODE_NOT_FOUND");
  const { value: all } = await orRefuse(call, "get nsqd stats", topicStats(upstream, [producer], { clients: true }));
  const topics = all.filter(({ topic_name }) => call.maySee(topic_name));
  const clients = topics.flatMap(({ channels }) => channels ?? []).map(({ clients }) => clients?.length ?? 0);
  return json({
    node: address,
    topics: orNull(topics),
    total_messages: topics.reduce((sum, { message_count }) => sum + message_count, 0),
    total_clients: clients.reduce((sum, count) => sum + count, 0),
    message: warnings.message,
  });
}

/** GET /api/counter: how many messages each channel has had, at each broker. */
export async function counter(call: AdminCall): Promise<Response> {
  const { upstream, discovery } = call.admin;
  const warnings = new Warnings(call);
  const producers = warnings.of(await orRefuse(call, "get counter producer list", discovery.producers()));
  const asked = topicStats(upstream, producers, { clients: false });
  const stats = producers.length === 0 ? asked.catch(() => ({ value: [], failures: [] })) : asked;
  const channels = warnings.of(await orRefuse(call, "get nsqd stats", stats)).flatMap(({ channels }) => channels ?? []);
  const counts = new Map<string, Pick<ChannelStats, "node" | "topic_name" | "channel_name" | "message_count">>();
  for (const { node, topic_name, channel_name, message_count } of channels) {
    if (!call.maySee(topic_name)) continue;
    const key = `${topic_name}:${channel_name}:${node}`;
    // A broker that is given twice counts twice, as in nsqadmin.
    counts.set(key, { node, topic_name, channel_name, message_count: message_count + (counts.get(key)?.message_count ?? 0) });
  }
  return encodedJson(`{"stats":${objectOf([...counts])},"message":${encodeJson(warnings.message)}}`);
}

/** A topic's statistics at the brokers that have it. @throws Refusal 404 TOPIC_NOT_FOUND, 502 */
async function statsOf(call: AdminCall, warnings: Warnings, selection: Selection & { topic: string }): Promise<TopicStats[]> {
  const { upstream, discovery } = call.admin;
  const producers = warnings.of(await orRefuse(call, "get topic producers", discovery.producersOf(selection.topic)));
  if (producers.length === 0) throw new Refusal(404, "TOPIC_NOT_FOUND");
  const what = selection.channel === undefined ? "get topic metadata" : "get channel metadata";
  const stats = warnings.of(await orRefuse(call, what, topicStats(upstream, producers, selection)));
  if (stats.length === 0 && selection.channel === undefined) throw new Refusal(404, "TOPIC_NOT_FOUND");
  return stats;
}

/** The name and the channels of a topic that no broker has; undefined if one has it, or no lookup server says. */
async function channelsIfInactive({ admin }: AdminCall, name: string): Promise<[string, string[] | null] | undefined> {
  try {
    const { value: producers } = await admin.discovery.producersOf(name);
    if (producers.length > 0) return undefined;
    return [name, orNull((await admin.discovery.channelsAtLookups(name)).value)];
  } catch (error) {
    if (error instanceof AllFailed) return undefined;
    throw error;
  }
}

function nodeJson(producer: Producer, call: AdminCall) {
  return {
    remote_addresses: orNull(producer.remoteAddresses),
    remote_address: producer.remoteAddress,
    hostname: producer.hostname,
    broadcast_address: producer.broadcastAddress,
    tcp_port: producer.tcpPort,
    http_port: producer.httpPort,
    version: producer.version,
    topics: orNull(producer.topics.filter(({ topic }) => call.maySee(topic))),
    out_of_date: producer.outOfDate,
  };
}

/** JSON of an object whose members are sorted by name. JavaScript would put names that are numbers first. */
function objectOf(members: readonly (readonly [name: string, value: unknown])[]): string {
  const sorted = members.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([name, value]) => `${encodeJson(name)}:${encodeJson(value)}`).join(",")}}`;
}
