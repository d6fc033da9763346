import { json, Refusal } from "../../../http/server/reply.ts";
import type { HttpCall } from "../call.ts";

/**
 * GET /coordinator/stats[?topic=&partition=]: which replicas of a topic's partitions here are in sync, and which are not, in the form of Youzan's
 * nsqd. Its counts of calls between brokers are left out: /metrics has those of bunsq.
 */
export function coordinatorStats(call: HttpCall): Response {
  const { clusterReport } = call.broker;
  if (clusterReport === undefined) throw new Refusal(400, "Coordinator is disabled.");
  const topic = call.query.get("topic");
  const text = call.query.get("partition");
  if (text !== undefined && !/^\d{1,4}$/.test(text)) throw new Refusal(400, "INVALID_ARG_PARTITION");
  const named = (uid: string) => ({ hostname: "", node_id: clusterReport.youzanId(uid) });
  const stats = [];
  // As Youzan's, it says nothing of topics that were not asked for.
  for (const { topic: name, partition, replicas, in_sync: inSync } of topic === undefined ? [] : clusterReport.list(topic)) {
    if (text !== undefined && partition !== Number(text)) continue;
    const behind = replicas.filter((uid) => !inSync.includes(uid)).map(named);
    stats.push({ node: "", name, partition, isr_stats: inSync.map(named), catchup_stats: behind.length === 0 ? null : behind });
  }
  return json({ topic_coord_stats: stats.sort((a, b) => a.partition - b.partition) });
}
