import { debugRoutes } from "../../http/server/debug.ts";
import { get, post, Router } from "../../http/server/router.ts";
import type { LookupCall } from "./call.ts";
import { createChannel, deleteChannel } from "./channel.ts";
import { channels } from "./channels.ts";
import { debug } from "./debug.ts";
import { info } from "./info.ts";
import { lookup } from "./lookup.ts";
import { nodes } from "./nodes.ts";
import { ping } from "./ping.ts";
import { createTopic, deleteTopic, tombstoneTopic } from "./topic.ts";
import { topics } from "./topics.ts";

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
