import { nsToMs, parseDuration } from "../../base/go/duration.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import type { HttpCall } from "./call.ts";

/** A day. */
const MAX_DRAIN_MS = 86_400_000;

/**
 * POST /drain[?timeout=30s]: begins to drain the broker, which then ends, and says as GET /drain does how far it is. Repeated calls
 * change nothing. Without `timeout` the bound is that of --drain-timeout.
 */
export function drain(call: HttpCall): Response {
  const { broker, query } = call;
  const timeout = query.get("timeout");
  broker.drain.begin(timeout === undefined ? broker.options.drainTimeoutMs : parseTimeout(timeout));
  return drainProgress(call);
}

/** GET /drain: how far the drain is. */
export function drainProgress({ broker }: HttpCall): Response {
  const { state, inFlight, consumers, connections, elapsedMs, timeoutMs } = broker.drain.progress;
  return json({ state, in_flight: inFlight, consumers, connections, elapsed_ms: Math.floor(elapsedMs), timeout_ms: timeoutMs });
}

/** @throws Refusal 400 INVALID_ARG_TIMEOUT */
function parseTimeout(text: string): number {
  const ns = parseDuration(text);
  const timeoutMs = ns === undefined ? Number.NaN : nsToMs(ns);
  if (!(timeoutMs >= 0 && timeoutMs <= MAX_DRAIN_MS)) throw new Refusal(400, "INVALID_ARG_TIMEOUT");
  return timeoutMs;
}
