import { empty, json } from "../../../http/server/reply.ts";
import { MAX_PARTITIONS } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";
import { adoptLone } from "./adoption.ts";
import { needed, partitionOf, wholeNumber } from "./arguments.ts";
import { accept, memberOf, refusalOf } from "./member.ts";

// What operators ask of the cluster. The answer comes when it is in etcd; /cluster/status says how far it is.

const MAX_REPLICAS = 16;

/** POST /cluster/move?topic=&partition=&from=&to=: has a replica moved from one broker to another. */
export async function move(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  const [from, to] = [needed(call, "from"), needed(call, "to")];
  accept(await operators.move(call.topicName(), partitionOf(call), from, to));
  return empty();
}

/** POST /cluster/lead?topic=&partition=[&to=]: has another replica in sync lead; by default the preferred one. */
export async function lead(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  accept(await operators.lead(call.topicName(), partitionOf(call), call.query.get("to") ?? ""));
  return empty();
}

/** POST /cluster/balance: has leaders and replicas spread as evenly as can be, at any hour. */
export async function balance(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  accept(await operators.balance());
  return empty();
}

/**
 * POST /cluster/remove-node?node=[&cancel=true]: has a broker drained, so that it can be taken away; or keeps it after all. The answer says
 * which one that is.
 */
export async function removeNode(call: LookupCall): Promise<Response> {
  const { operators, names } = memberOf(call);
  const uid = names.find(needed(call, "node"));
  if (typeof uid !== "string") throw refusalOf(uid);
  const isCancelled = (call.query.get("cancel") ?? "false") !== "false";
  accept(await (isCancelled ? operators.keepNode(uid) : operators.removeNode(uid)));
  return json({ uid });
}

/** POST /cluster/expand?topic=&partitions=: gives a topic more partitions. */
export async function expand(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  accept(await operators.expand(call.topicName(), wholeNumber(call, "partitions", 1, MAX_PARTITIONS)));
  return empty();
}

/** POST /cluster/replicas?topic=&replicas=: gives a topic another number of replicas. One that a broker has alone becomes the cluster's. */
export async function replicas(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  const [topic, count] = [call.topicName(), wholeNumber(call, "replicas", 1, MAX_REPLICAS)];
  await adoptLone(call, topic);
  accept(await operators.replicas(topic, count));
  return empty();
}

/** POST /cluster/min-in-sync?topic=&min_in_sync=: how many replicas must have a publish before it is acknowledged; 0: a majority. */
export async function minInSync(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  accept(await operators.minInSync(call.topicName(), wholeNumber(call, "min_in_sync", 0, MAX_REPLICAS)));
  return empty();
}
