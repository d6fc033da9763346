import { Refusal } from "../../../http/server/reply.ts";
import { leadersOf } from "../../leaders.ts";
import type { LookupCall } from "../call.ts";
import { settingsOf } from "./whereabouts.ts";

/** Brokers register what they made at once, so this is a few milliseconds nearly always. */
const TIMEOUT_MS = 5_000;
const POLL_MS = 5;

/** Waits until brokers have registered all partitions of a topic here. @throws Refusal 503 after TIMEOUT_MS */
export async function untilRegistered({ registry }: LookupCall, name: string, count: number): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const topic = registry.topic(name);
    if (topic !== undefined && settingsOf(topic).partitions >= count) {
      if (leadersOf(topic, registry.activeNodesOf(topic, true)).size >= count) return;
    }
    if (performance.now() > endMs)
      throw new Refusal(503, `NOT_REGISTERED: brokers made it, but have not registered all of it here within ${TIMEOUT_MS} ms`);
    await Bun.sleep(POLL_MS);
  }
}
