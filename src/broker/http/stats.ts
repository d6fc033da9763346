import { json, text } from "../../http/server/reply.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../../version.ts";
import { addFigures } from "../metrics/figures.ts";
import { readMemory, readStats } from "../metrics/stats.ts";
import type { HttpCall } from "./call.ts";
import { printStats } from "./stats-text.ts";

/** The values that turn a part off. Any other value leaves it on. */
const FALSE = new Set(["false", "0"]);

/**
 * GET /stats?[format=json][&topic=][&channel=][&include_clients=][&include_mem=][&bunsq=true]: the statistics of the broker, as JSON or as
 * text (https://nsq.io/components/nsqd.html#get-stats).
 */
export function stats({ broker, query }: HttpCall): Response {
  const { listener, httpConnections } = broker;
  const includeClients = !FALSE.has(query.get("include_clients") ?? "");
  const includeMemory = !FALSE.has(query.get("include_mem") ?? "");
  const topicName = query.get("topic") ?? "";
  const isExtended = query.get("bunsq") === "true";
  const shown = readStats(broker, topicName, query.get("channel") ?? "", includeClients, isExtended);
  const { topics, producers } = shown;
  const memory = includeMemory ? readMemory() : undefined;
  const health = broker.health.text;
  if (query.get("format") !== "json") return text(printStats({ topics, producers }, memory, health, broker.startTimeMs, Date.now()));
  const failures = broker.readFailures.list;
  const figures = isExtended ? addFigures(broker, shown, topicName !== "", Date.now()) : undefined;
  return json({
    version: NSQ_VERSION,
    health,
    start_time: Math.floor(broker.startTimeMs / 1000),
    topics,
    memory,
    producers,
    // Tools that compare with nsqd see these only where there is something to be seen.
    ...(broker.options.maxConnections > 0 || listener.refused > 0
      ? { connections: { open: listener.connections.size, refused: listener.refused } }
      : {}),
    ...(httpConnections.refused > 0 || httpConnections.closedIdle > 0
      ? { http_connections: { open: httpConnections.open, refused: httpConnections.refused, closed_idle: httpConnections.closedIdle } }
      : {}),
    // What no single topic owns; the corrupt_regions of topics are with them.
    ...(broker.damage.counts.size > 0 ? { corrupt_files: Object.fromEntries(broker.damage.counts) } : {}),
    bunsq_version: BUNSQ_VERSION,
    ...(failures.length > 0 ? { read_failures: failures } : {}),
    ...figures,
  });
}
