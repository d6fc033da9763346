import { encodeJson } from "../../http/server/reply.ts";
import type { Producer } from "../producer.ts";
import type { Tombstone } from "../registration.ts";
import type { Registry } from "../registry.ts";
import type { LookupCall } from "./call.ts";
import { longJson } from "./long-json.ts";

/** What Go says of a time that was never set, in ns since 1970. */
const NEVER_NS = "-6795364578871345152";

/** GET /debug: all that is registered, by `category:key:subkey`. */
export function debug({ registry }: LookupCall): Response {
  return longJson(debugDocument(registry));
}

function* debugDocument(registry: Registry): Generator<string> {
  let separator = "{";
  for (const [key, producersNow] of entriesOf(registry)) {
    const producers = producersNow();
    if (producers.length === 0) continue;
    yield `${separator}${encodeJson(key)}:[${producers.join(",")}]`;
    separator = ",";
  }
  yield separator === "," ? "}" : "{}";
}

/** In the order of their keys, as Go writes a map: categories, then names. */
function* entriesOf(registry: Registry): Generator<[key: string, producers: () => string[]]> {
  // Copied, since what is registered may change while a long document goes out.
  const topics = [...registry.allTopics()].sort((a, b) => inOrder(`${a.name}:`, `${b.name}:`));
  for (const topic of topics) {
    for (const channel of [...topic.channels.items].sort((a, b) => inOrder(a.name, b.name))) {
      yield [`channel:${topic.name}:${channel.name}`, () => entries(channel.producers.items, undefined)];
    }
  }
  yield ["client::", () => entries(registry.allProducers(), undefined)];
  for (const topic of topics) {
    yield [`topic:${topic.name}:`, () => entries(topic.producers.items, topic.tombstones)];
  }
}

function entries(producers: readonly Producer[], tombstones: ReadonlyMap<Producer, Tombstone> | undefined): string[] {
  const present = producers.filter(({ gone }) => !gone);
  return present.map((producer) => entryJson(producer, tombstones?.get(producer)));
}

function entryJson({ info, lastSeenAtMs }: Producer, tombstone: Tombstone | undefined): string {
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
