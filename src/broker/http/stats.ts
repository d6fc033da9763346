import { encodedJson, Refusal, text } from "../../http/server/reply.ts";
import { inSlices, TextSlices } from "../../http/server/slices.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../../version.ts";
import { Figures } from "../metrics/figures.ts";
import { readMemory, type Shown } from "../metrics/stats.ts";
import type { BrokerApi, HttpCall } from "./call.ts";
import { JsonStats } from "./stats-json.ts";
import { writeStats } from "./stats-steps.ts";
import { TextStats } from "./stats-text.ts";
import { isYouzanStats, youzanStats } from "./youzan/stats.ts";

/** The values that turn a part off. Any other value leaves it on. */
const FALSE = new Set(["false", "0"]);

/**
 * GET /stats?[format=json][&topic=][&channel=][&partition=][&include_partitions=][&include_clients=][&include_mem=][&bunsq=true]: the
 * statistics of the broker, as JSON or as text (https://nsq.io/components/nsqd.html#get-stats). A long answer is written in slices.
 * With needClients or leaderOnly they have Youzan's form (youzan/stats.ts).
 */
export function stats(call: HttpCall): Response {
  const { broker, query } = call;
  const isExtended = query.get("bunsq") === "true";
  const partition = query.get("partition");
  if (partition !== undefined && !/^\d{1,4}$/.test(partition)) throw new Refusal(400, "INVALID_ARG_PARTITION");
  if (query.get("format") === "json" && isYouzanStats(call))
    return youzanStats(call, partition === undefined ? undefined : Number(partition));
  const shown: Shown = {
    topicName: query.get("topic") ?? "",
    channelName: query.get("channel") ?? "",
    includeClients: !FALSE.has(query.get("include_clients") ?? ""),
    withErrors: isExtended,
    partition: partition !== undefined ? Number(partition) : FALSE.has(query.get("include_partitions") ?? "") ? "none" : undefined,
  };
  const memory = FALSE.has(query.get("include_mem") ?? "") ? undefined : readMemory();
  const health = broker.health.text;
  const nowMs = Date.now();
  const out = new TextSlices();
  if (query.get("format") !== "json") {
    const writer = new TextStats(out, memory, health, broker.startTimeMs, nowMs);
    return text(inSlices(out, writeStats(broker, shown, undefined, writer)));
  }
  const head = { version: NSQ_VERSION, health, start_time: Math.floor(broker.startTimeMs / 1000) };
  const writer = new JsonStats(out, { head, memory, tail: brokerTail(broker, isExtended) });
  const figures = isExtended ? new Figures(broker, shown.topicName !== "", nowMs) : undefined;
  return encodedJson(inSlices(out, writeStats(broker, shown, figures, writer)));
}

/** What nsqd does not have. Tools that compare with it see most of it only where there is something to be seen. */
function brokerTail({ options, listener, httpConnections, damage, readFailures, drain }: BrokerApi, isExtended: boolean): object {
  const failures = readFailures.list;
  return {
    ...(options.maxConnections > 0 || listener.refused > 0
      ? { connections: { open: listener.connections.size, refused: listener.refused } }
      : {}),
    ...(httpConnections.refused > 0 || httpConnections.closedIdle > 0
      ? { http_connections: { open: httpConnections.open, refused: httpConnections.refused, closed_idle: httpConnections.closedIdle } }
      : {}),
    // What no single topic owns; the corrupt_regions of topics are with them.
    ...(damage.counts.size > 0 ? { corrupt_files: Object.fromEntries(damage.counts) } : {}),
    bunsq_version: BUNSQ_VERSION,
    ...(failures.length > 0 ? { read_failures: failures } : {}),
    ...(isExtended && drain.isDraining ? { draining: true } : {}),
  };
}
