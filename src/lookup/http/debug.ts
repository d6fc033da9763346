import { encodeJson } from "../../base/go/json.ts";
import type { RegisteredNode } from "../registered-node.ts";
import type { Tombstone } from "../registration.ts";
import type { Registry } from "../registry.ts";
import type { LookupCall } from "./call.ts";
import { longJson } from "./long-json.ts";

/** Go's zero time in ns since 1970. */
const NEVER_NS = "-6795364578871345152";

/** GET /debug: all registrations, by `category:key:subkey`. */
export function debug({ registry }: LookupCall): Response {
  return longJson(debugDocument(registry));
}

function* debugDocument(registry: Registry): Generator<string> {
  let separator = "{";
  for (const [key, nodesNow] of entriesOf(registry)) {
    const nodes = nodesNow();
    if (nodes.length === 0) continue;
    yield `${separator}${encodeJson(key)}:[${nodes.join(",")}]`;
    separator = ",";
  }
  yield separator === "," ? "}" : "{}";
}

/** The entries in the order of their keys, as Go writes a map: by category, then by name. */
function* entriesOf(registry: Registry): Generator<[key: string, nodes: () => string[]]> {
  // Copied, because the registry may change while a long document is sent.
  const topics = [...registry.allTopics()].sort((a, b) => inOrder(`${a.name}:`, `${b.name}:`));
  for (const topic of topics) {
    for (const channel of [...topic.channels.items].sort((a, b) => inOrder(a.name, b.name))) {
      yield [`channel:${topic.name}:${channel.name}`, () => entries(channel.nodes.items, undefined)];
    }
  }
  yield ["client::", () => entries(registry.allNodes(), undefined)];
  for (const topic of topics) {
    yield [`topic:${topic.name}:`, () => entries(topic.nodes.items, topic.tombstones)];
  }
}

function entries(nodes: readonly RegisteredNode[], tombstones: ReadonlyMap<RegisteredNode, Tombstone> | undefined): string[] {
  const present = nodes.filter(({ gone }) => !gone);
  return present.map((node) => entryJson(node, tombstones?.get(node)));
}

function entryJson({ info, lastSeenAtMs }: RegisteredNode, tombstone: Tombstone | undefined): string {
  return (
    `{"broadcast_address":${encodeJson(info.broadcastAddress)},"hostname":${encodeJson(info.hostname)},"http_port":${info.httpPort},` +
    `"id":${encodeJson(info.remoteAddress)},"last_update":${lastSeenAtMs}000000,"tcp_port":${info.tcpPort},` +
    `"tombstoned":${tombstone !== undefined},"tombstoned_at":${tombstone === undefined ? NEVER_NS : `${tombstone.atMs}000000`},` +
    `"version":${encodeJson(info.version)}}`
  );
}

function inOrder(a: string, b: string): number {
  return a < b ? -1 : 1;
}
