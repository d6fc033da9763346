import { Refusal } from "../../../http/server/reply.ts";
import { leadersOf } from "../../leaders.ts";
import type { Registry } from "../../registry.ts";
import type { LookupCall } from "../call.ts";
import { settingsOf } from "./whereabouts.ts";

/** Brokers register what they made at once, so this is a few milliseconds nearly always. */
const TIMEOUT_MS = 5_000;
const POLL_MS = 5;

/**
 * Waits for as long as brokers may not have registered what they have, because this server was started lately; but not for a topic whose
 * partitions are all here. A topic that is not known yet would be made a second time, at other brokers.
 */
export async function untilKnown({ registry, lookup }: LookupCall, name: string, count: number): Promise<void> {
  while (lookup.isStarting && !hasPartitions(registry, name, count)) await Bun.sleep(POLL_MS);
}

/** Waits for as long as brokers may not have registered what they have, before all brokers of a topic are called. */
export async function untilStarted({ lookup }: LookupCall): Promise<void> {
  while (lookup.isStarting) await Bun.sleep(POLL_MS);
}

/** Waits until brokers have registered all partitions of a topic here. @throws Refusal 503 after TIMEOUT_MS */
export async function untilRegistered({ registry }: LookupCall, name: string, count: number): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS;
  while (!hasPartitions(registry, name, count)) {
    if (performance.now() > endMs)
      throw new Refusal(503, `NOT_REGISTERED: brokers made it, but have not registered all of it here within ${TIMEOUT_MS} ms`);
    await Bun.sleep(POLL_MS);
  }
}

/** Whether brokers have registered as many partitions of a topic, and say that it has as many. */
function hasPartitions(registry: Registry, name: string, count: number): boolean {
  const topic = registry.topic(name);
  if (topic === undefined || settingsOf(topic).partitions < count) return false;
  return leadersOf(topic, registry.activeNodesOf(topic, true)).size >= count;
}
