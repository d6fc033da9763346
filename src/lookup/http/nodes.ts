import { encodeJson } from "../../http/server/reply.ts";
import type { Producer } from "../producer.ts";
import { TopicRegistration } from "../registration.ts";
import type { Registry } from "../registry.ts";
import type { LookupCall } from "./call.ts";
import { longJson } from "./long-json.ts";
import { infoFields } from "./producer-json.ts";

/** GET /nodes: the active producers, tombstoned or not, with their topics. */
export function nodes({ registry }: LookupCall): Response {
  return longJson(documentOf(registry));
}

function* documentOf(registry: Registry): Generator<string> {
  let separator = '{"producers":[';
  for (const producer of registry.activeProducers()) {
    yield separator + nodeJson(registry, producer);
    separator = ",";
  }
  yield separator === "," ? "]}" : `${separator}]}`;
}

function nodeJson(registry: Registry, producer: Producer): string {
  const topics: string[] = [];
  const tombstones: boolean[] = [];
  const nowMs = registry.nowMs;
  for (const registration of producer.registrations.items) {
    if (!(registration instanceof TopicRegistration)) continue;
    topics.push(registration.name);
    tombstones.push(registry.isTombstoned(registration, producer, nowMs));
  }
  return `{${infoFields(producer.info)},"tombstones":${encodeJson(tombstones)},"topics":${encodeJson(topics)}}`;
}
