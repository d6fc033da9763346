import { debugRoutes } from "../../http/server/debug.ts";
import { get, post, Router } from "../../http/server/router.ts";
import type { LookupCall } from "./call.ts";
import { createChannel, createTopic, deleteChannel, deleteTopic, tombstoneTopic } from "./changes.ts";
import { debug } from "./debug.ts";
import { channels, info, lookup, nodes, ping, topics } from "./queries.ts";

/** The HTTP API (https://nsq.io/components/nsqlookupd.html#http-interface). */
export const router = new Router<LookupCall>([
  ["/ping", get(ping)],
  ["/info", get(info)],
  ["/debug", get(debug)],
  ...debugRoutes<LookupCall>("/debug/pprof"),
  ["/lookup", get(lookup)],
  ["/topics", get(topics)],
  ["/channels", get(channels)],
  ["/nodes", get(nodes)],
  ["/topic/create", post(createTopic)],
  ["/topic/delete", post(deleteTopic)],
  ["/topic/tombstone", post(tombstoneTopic)],
  ["/channel/create", post(createChannel)],
  ["/channel/delete", post(deleteChannel)],
]);
