import { Refusal } from "../../http/server/reply.ts";
import { expose } from "../metrics/exposition/exposition.ts";
import type { Scope } from "../metrics/exposition/groups.ts";
import type { HttpCall } from "./call.ts";

const DETAILS = ["none", "topic", "channel", "partition", "client"] as const;

/**
 * GET /metrics[?detail=topic|channel|partition|client][&topic=][&channel=]: the metrics of the broker, in Prometheus' text format or as
 * OpenMetrics (docs/metrics.md).
 */
export function metrics({ broker, query, request }: HttpCall): Response {
  const wanted = query.get("detail") ?? "none";
  const detail = DETAILS.find((known) => known === wanted);
  if (detail === undefined) throw new Refusal(400, "INVALID_ARG_DETAIL");
  const scope: Scope = { detail, topic: query.get("topic"), channel: query.get("channel") };
  return broker.scrapes.answer(request, (text) => expose(broker, scope, broker.options.metricsNames, text));
}
