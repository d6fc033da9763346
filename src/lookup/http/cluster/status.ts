import { json, Refusal } from "../../../http/server/reply.ts";
import type { LookupCall } from "../call.ts";
import { memberOf } from "./member.ts";

/** GET /cluster/status: brokers, moves, and what is at risk. */
export function clusterStatus(call: LookupCall): Response {
  return json(memberOf(call).status());
}

/** GET /cluster/topics[?topic=]: the cluster's topics, where their replicas are, and which are in sync. */
export function clusterTopics(call: LookupCall): Response {
  const only = call.query.get("topic");
  const topics = memberOf(call).topicList(only);
  if (only !== undefined && topics.length === 0) throw new Refusal(404, `NO_SUCH_TOPIC: there is no topic ${only} in the cluster`);
  return json({ topics });
}
