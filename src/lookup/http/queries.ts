import { encodeJson } from "../../base/go/json.ts";
import { encodedJson, json, plain, Refusal } from "../../http/server/reply.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../../version.ts";
import type { RegisteredNode } from "../registered-node.ts";
import { TopicRegistration } from "../registration.ts";
import type { Registry } from "../registry.ts";
import type { LookupCall } from "./call.ts";
import { topicNames, whereIs, withChannelsOf } from "./cluster/whereabouts.ts";
import { longJson } from "./long-json.ts";
import { nodeFields } from "./node-lists.ts";
import { channelsOfPartition, nodesWithPartitions, topicsWithMeta } from "./youzan/lists.ts";
import { asksForPartitions, lookupPartitions } from "./youzan/whereabouts.ts";

// The calls with which clients and operators query the registry. /debug is in debug.ts.

const LOOKUP_END = Buffer.from("]}");

/** GET /ping: `OK`. */
export function ping(): Response {
  return plain(200, "OK");
}

/** GET /ready, and HEAD: `OK`, or 503 in the first seconds, in which brokers register, and until etcd has told what the cluster has. */
export function ready({ lookup }: Pick<LookupCall, "lookup">): Response {
  if (lookup.isJoining) return plain(503, "NOK - starting: etcd has not answered yet");
  return lookup.isStarting ? plain(503, "NOK - starting: brokers are registering") : plain(200, "OK");
}

/** GET /info: the release of NSQ whose API this is, and bunsq's own. */
export function info(): Response {
  return json({ version: NSQ_VERSION, bunsq_version: BUNSQ_VERSION });
}

/** GET /topics: the names of all topics. */
export function topics(call: LookupCall): Response {
  if (call.query.get("metaInfo") === "true") return topicsWithMeta(call);
  return json({ topics: topicNames(call) });
}

/** GET /channels?topic=: the names of a topic's channels; none for an unknown topic. */
export function channels(call: LookupCall): Response {
  if (call.query.get("partition") !== undefined) return channelsOfPartition(call);
  const topic = call.topicName();
  const channels = call.registry.channelNames(topic);
  return json({ channels: withChannelsOf(channels, call.lookup.cluster?.find(topic)) });
}

/** GET /lookup?topic=: a topic's nodes and channels (https://nsq.io/components/nsqlookupd.html#get-lookup). */
export function lookup(call: LookupCall): Response {
  if (asksForPartitions(call)) return lookupPartitions(call);
  const found = whereIs(call, call.topicName());
  if (found === undefined) throw new Refusal(404, "TOPIC_NOT_FOUND");
  const start = Buffer.from(`{"channels":${encodeJson(found.channels)},"producers":[`);
  return encodedJson(Buffer.concat([start, call.lists.jsonOf(found.nodes), LOOKUP_END]));
}

/** GET /nodes: the active nodes, tombstoned or not, with their topics. */
export function nodes(call: LookupCall): Response {
  if (call.query.get("metainfo") === "true") return nodesWithPartitions(call);
  return longJson(nodesDocument(call));
}

function* nodesDocument({ registry, lookup }: LookupCall): Generator<string> {
  let separator = '{"producers":[';
  for (const node of registry.activeNodes()) {
    yield separator + nodeJson(registry, node);
    separator = ",";
  }
  for (const [node, topics] of lookup.cluster?.strangersWithTopics() ?? []) {
    const names = [...topics.keys()];
    yield `${separator}{${nodeFields(node.info)},"tombstones":${encodeJson(names.map(() => false))},"topics":${encodeJson(names)}}`;
    separator = ",";
  }
  yield separator === "," ? "]}" : `${separator}]}`;
}

function nodeJson(registry: Registry, node: RegisteredNode): string {
  const topics: string[] = [];
  const tombstones: boolean[] = [];
  const nowMs = registry.nowMs;
  for (const registration of node.registrations.items) {
    if (!(registration instanceof TopicRegistration)) continue;
    topics.push(registration.name);
    tombstones.push(registry.isTombstoned(registration, node, nowMs));
  }
  return `{${nodeFields(node.info)},"tombstones":${encodeJson(tombstones)},"topics":${encodeJson(topics)}}`;
}
