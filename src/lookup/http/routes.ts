import { descriptionRoutes } from "../../http/openapi/routes.ts";
import { debugRoutes } from "../../http/server/debug.ts";
import { get, getOrHead, post, type RouteEntry, Router } from "../../http/server/router.ts";
import type { LookupCall } from "./call.ts";
import { createChannel, createTopic, deleteChannel, deleteTopic, tombstoneTopic } from "./changes.ts";
import { balance, expand, lead, minInSync, move, removeNode, replicas } from "./cluster/changes.ts";
import { recover, recoverable } from "./cluster/recovery.ts";
import { clusterStatus, clusterTopics } from "./cluster/status.ts";
import { debug } from "./debug.ts";
import { metrics } from "./metrics.ts";
import { channels, info, lookup, nodes, ping, ready, topics } from "./queries.ts";
import { clusterStats, listLookup } from "./youzan/lists.ts";
import { movePartition, removeYouzanNode } from "./youzan/placement.ts";
import { expandPartitions, updateTopic } from "./youzan/topic-changes.ts";

/** The HTTP API (https://nsq.io/components/nsqlookupd.html#http-interface). */
const ROUTES: RouteEntry<LookupCall>[] = [
  ["/ping", get(ping)],
  ["/ready", getOrHead(ready)],
  ["/info", get(info)],
  // Not nsqlookupd's (docs/metrics.md).
  ["/metrics", get(metrics)],
  ["/debug", get(debug)],
  ["/lookup", get(lookup)],
  ["/topics", get(topics)],
  ["/channels", get(channels)],
  ["/nodes", get(nodes)],
  // Youzan's.
  ["/listlookup", get(listLookup)],
  ["/cluster/stats", get(clusterStats)],
  ["/topic/partition/move", post(movePartition)],
  ["/cluster/node/remove", post(removeYouzanNode)],
  // With etcd.
  ["/cluster/status", get(clusterStatus)],
  ["/cluster/topics", get(clusterTopics)],
  ["/cluster/move", post(move)],
  ["/cluster/lead", post(lead)],
  ["/cluster/balance", post(balance)],
  ["/cluster/remove-node", post(removeNode)],
  ["/cluster/expand", post(expand)],
  ["/cluster/replicas", post(replicas)],
  ["/cluster/min-in-sync", post(minInSync)],
  ["/cluster/recover", new Map([...get(recoverable), ...post(recover)])],
  ["/topic/create", post(createTopic)],
  ["/topic/partition/expand", post(expandPartitions)],
  ["/topic/meta/update", post(updateTopic)],
  ["/topic/delete", post(deleteTopic)],
  ["/topic/tombstone", post(tombstoneTopic)],
  ["/channel/create", post(createChannel)],
  ["/channel/delete", post(deleteChannel)],
];

/** All calls. @param hasDebug whether /debug/pprof is served */
export function apiRoutes(hasDebug: boolean): RouteEntry<LookupCall>[] {
  const routes = [...ROUTES, ...(hasDebug ? debugRoutes<LookupCall>("/debug/pprof") : [])];
  return [...routes, ...descriptionRoutes<LookupCall>(routes, async () => (await import("./lookup-api.ts")).LOOKUP_API)];
}

/** @param hasDebug whether /debug/pprof is served */
export function apiRouter(hasDebug: boolean): Router<LookupCall> {
  return new Router(apiRoutes(hasDebug));
}
