import type { Family } from "../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../http/metrics/metric-text.ts";
import { one, processMetrics } from "../../http/metrics/process-metrics.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Lookup } from "../lookup.ts";
import type { TopicRegistration } from "../registration.ts";
import type { LookupCall } from "./call.ts";

const gauge = (name: string, help: string, more: Partial<Family> = {}): Family => ({ name, kind: "gauge", help, ...more });

const TOPICS = gauge("nsq_lookup_topics", "Topics that are registered, at brokers or by operators");
const CHANNELS = gauge("nsq_lookup_channels", "Channels of all topics");
const BROKERS = gauge("nsq_lookup_brokers", "Brokers that are connected and have identified themselves");
const ACTIVE = gauge(
  "nsq_lookup_active_brokers",
  "Brokers that have pinged within -inactive-producer-timeout: clients are told of these alone",
);
const TOMBSTONES = gauge("nsq_lookup_tombstones", "Topics that are hidden at a broker now, each broker counted");
const ORPHANED = gauge("nsq_lookup_topics_without_brokers", "Topics that no active broker has");
const CONNECTIONS = gauge("nsq_lookup_connections", "Open connections: protocol is nsq (brokers) or http", { labels: ["protocol"] });
const REFUSED: Family = {
  name: "nsq_lookup_refused_connections",
  kind: "counter",
  help: "Connections that were refused because no file descriptor was left",
  labels: ["protocol"],
};

/** The metrics of a lookup server as a whole. */
export const LOOKUP_FAMILIES: readonly Family[] = [...[TOPICS, CHANNELS, BROKERS, ACTIVE, TOMBSTONES, ORPHANED, CONNECTIONS, REFUSED]];

/** A metric that each topic has. */
interface TopicFamily extends Family {
  read(topic: TopicRegistration): number;
}

/** The metrics of topics at a lookup server, with detail=topic. */
export const LOOKUP_TOPIC_FAMILIES: readonly TopicFamily[] = [
  { ...gauge("nsq_lookup_topic_brokers", "Brokers that have a topic", { labels: ["topic"] }), read: ({ nodes }) => nodes.size },
  { ...gauge("nsq_lookup_topic_channels", "Channels of a topic", { labels: ["topic"] }), read: ({ channels }) => channels.size },
];

/** GET /metrics[?detail=topic][&topic=]: the metrics of the lookup server, in Prometheus' text format or as OpenMetrics. */
export function metrics({ lookup, query, request }: LookupCall): Response {
  const detail = query.get("detail") ?? "none";
  if (detail !== "none" && detail !== "topic") throw new Refusal(400, "INVALID_ARG_DETAIL");
  const only = query.get("topic");
  return lookup.scrapes.answer(request, (text) => expose(lookup, detail === "topic", only, text));
}

/** Yields after each topic that is looked at, and after some lines. */
function* expose(lookup: Lookup, byTopic: boolean, only: string | undefined, text: MetricText): Generator<void> {
  yield* processMetrics(text);
  const { registry } = lookup;
  const { nowMs } = registry;
  const active = registry.activeNodes();
  const isActive = new Set(active);
  const topics: TopicRegistration[] = [];
  let [channels, tombstones, orphaned] = [0, 0, 0];
  for (const topic of registry.allTopics()) {
    if (!topic.registered || (only !== undefined && topic.name !== only)) continue;
    topics.push(topic);
    channels += topic.channels.size;
    for (const node of topic.tombstones?.keys() ?? []) if (registry.isTombstoned(topic, node, nowMs)) tombstones++;
    if (!topic.nodes.items.some((node) => isActive.has(node))) orphaned++;
    yield;
  }
  one(text, TOPICS, topics.length);
  one(text, CHANNELS, channels);
  one(text, BROKERS, registry.allNodes().length);
  one(text, ACTIVE, active.length);
  one(text, TOMBSTONES, tombstones);
  one(text, ORPHANED, orphaned);
  text.family(CONNECTIONS);
  text.sample(labels({ protocol: "nsq" }), lookup.connections.brokers);
  text.sample(labels({ protocol: "http" }), lookup.connections.http?.open ?? 0);
  text.family(REFUSED);
  text.sample(labels({ protocol: "nsq" }), lookup.connections.refused);
  text.sample(labels({ protocol: "http" }), lookup.connections.http?.refused ?? 0);
  yield;
  if (lookup.cluster !== undefined) yield* lookup.cluster.member.metrics(text);
  if (!byTopic) return;
  const rows: string[] = [];
  for (const { name } of topics) {
    rows.push(labels({ topic: name }));
    yield;
  }
  for (const family of LOOKUP_TOPIC_FAMILIES) {
    text.family(family);
    for (let row = 0; row < rows.length; row++) {
      text.sample(rows[row], family.read(topics[row]));
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}
