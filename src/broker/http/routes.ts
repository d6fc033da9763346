import { descriptionRoutes } from "../../http/openapi/routes.ts";
import { brokerDebugRoutes } from "../../http/server/debug.ts";
import { get, getOrHead, post, put, type RouteEntry, Router } from "../../http/server/router.ts";
import { copyMessages, finishMessages, moveMessages, requeueMessages } from "./bulk.ts";
import type { HttpCall } from "./call.ts";
import { createChannel, deleteChannel, emptyChannel, pauseChannel, unpauseChannel } from "./channel.ts";
import { limitClients, limitRate, skipChannel, skipZanTest, unskipChannel, unskipZanTest } from "./channel-limits.ts";
import { changeChannelSettings, getChannelSettings, setChannelOrder } from "./channel-settings.ts";
import { adoptTopic, clusterReplicas } from "./cluster-replicas.ts";
import { getConfig, putConfig } from "./config.ts";
import { emptyDeferred, requeueDeferred } from "./deferred.ts";
import { drain, drainProgress } from "./drain.ts";
import { info, ping, ready } from "./info.ts";
import { finishMessage, requeueMessage } from "./message.ts";
import { channelMessages, oneMessage, topicMessages } from "./messages.ts";
import { metrics } from "./metrics.ts";
import { mpub } from "./mpub.ts";
import { pub } from "./pub.ts";
import { getRetention, setRetention } from "./retention.ts";
import { previewSeek, seekChannel, setOffset } from "./seek.ts";
import { shared } from "./shared.ts";
import { stats } from "./stats.ts";
import {
  createTopic,
  deleteTopic,
  emptyTopic,
  expandTopic,
  pauseTopic,
  setTopicDurability,
  topicDurability,
  unpauseTopic,
  updateTopic,
} from "./topic.ts";
import {
  disableMessageTrace,
  enableMessageTrace,
  getChannelTrace,
  getTopicTrace,
  messageTrace,
  setChannelTrace,
  setTopicTrace,
} from "./trace.ts";
import { coordinatorStats } from "./youzan/coordinator-stats.ts";
import { historyStats } from "./youzan/history.ts";
import { getMessage } from "./youzan/messages.ts";
import { messageStats } from "./youzan/report.ts";
import { serverStats } from "./youzan/server-stats.ts";
import { pubExt, pubTrace } from "./youzan-publishing.ts";

/** The HTTP API (https://nsq.io/components/nsqd.html#http-api). */
const ROUTES: RouteEntry<HttpCall>[] = [
  // Publishes are not logged, as in nsqd: there are too many.
  ["/pub", post(pub, false)],
  ["/mpub", post(mpub, false)],
  // Youzan's (docs/youzan.md).
  ["/pub_ext", post(pubExt, false)],
  ["/pubtrace", post(pubTrace, false)],
  ["/ping", get(ping)],
  ["/ready", getOrHead(ready)],
  ["/info", get(info)],
  ["/stats", get(stats)],
  ["/topic/create", post(createTopic)],
  ["/topic/partition/expand", post(expandTopic)],
  ["/topic/meta/update", post(updateTopic)],
  ["/topic/delete", post(deleteTopic)],
  ["/topic/empty", post(shared(emptyTopic))],
  ["/topic/pause", post(shared(pauseTopic))],
  ["/topic/unpause", post(shared(unpauseTopic))],
  ["/topic/durability", new Map([...get(topicDurability), ...post(setTopicDurability)])],
  ["/channel/create", post(shared(createChannel))],
  ["/channel/delete", post(shared(deleteChannel))],
  ["/channel/empty", post(shared(emptyChannel))],
  ["/channel/pause", post(shared(pauseChannel))],
  ["/channel/unpause", post(shared(unpauseChannel))],
  // Not nsqd's: metrics (docs/metrics.md).
  ["/metrics", get(metrics)],
  // Not nsqd's: replay and inspection (docs/replay.md).
  ["/topic/retention", new Map([...get(getRetention), ...post(setRetention)])],
  ["/topic/messages", get(topicMessages)],
  ["/message", get(oneMessage)],
  ["/channel/messages", get(channelMessages)],
  ["/message/trace", get(messageTrace)],
  ["/topic/trace", new Map([...get(getTopicTrace), ...post(setTopicTrace)])],
  ["/channel/trace", new Map([...get(getChannelTrace), ...post(setChannelTrace)])],
  ["/message/trace/enable", post(enableMessageTrace)],
  ["/message/trace/disable", post(disableMessageTrace)],
  ["/message/get", get(getMessage)],
  ["/message/stats", get(messageStats)],
  ["/message/historystats", get(historyStats)],
  ["/serverstats", get(serverStats)],
  ["/coordinator/stats", get(coordinatorStats)],
  ["/message/finish", post(shared(finishMessage))],
  ["/message/requeue", post(shared(requeueMessage))],
  ["/messages/finish", post(finishMessages)],
  ["/messages/requeue", post(requeueMessages)],
  ["/messages/move", post(moveMessages)],
  ["/messages/copy", post(copyMessages)],
  ["/channel/seek", new Map([...get(previewSeek), ...post(shared(seekChannel))])],
  ["/channel/setoffset", post(shared(setOffset))],
  ["/channel/setorder", post(shared(setChannelOrder))],
  ["/channel/settings", new Map([...get(getChannelSettings), ...post(shared(changeChannelSettings))])],
  ["/channel/skip", post(shared(skipChannel))],
  ["/channel/unskip", post(shared(unskipChannel))],
  ["/channel/skipZanTest", post(shared(skipZanTest))],
  ["/channel/unskipZanTest", post(shared(unskipZanTest))],
  ["/channel/setclientlimit", post(shared(limitClients))],
  ["/channel/ratelimit", post(shared(limitRate))],
  ["/channel/emptydelayed", post(shared(emptyDeferred))],
  ["/channel/requeuedelayed", post(shared(requeueDeferred))],
  // Not nsqd's either: the end of a broker's service (docs/operations.md).
  ["/drain", new Map([...get(drainProgress), ...post(drain)])],
  // Nor this: what a broker of a cluster has (docs/cluster.md).
  ["/cluster/replicas", get(clusterReplicas)],
  ["/cluster/adopt", post(adoptTopic)],
  ["/config/:opt", new Map([...get(getConfig), ...put(putConfig)])],
];

/** All calls. @param hasDebug whether /debug is served */
export function apiRoutes(hasDebug: boolean): RouteEntry<HttpCall>[] {
  const routes = [...ROUTES, ...(hasDebug ? brokerDebugRoutes<HttpCall>() : [])];
  return [...routes, ...descriptionRoutes<HttpCall>(routes, async () => (await import("./describe/broker-api.ts")).BROKER_API)];
}

/** @param hasDebug whether /debug is served */
export function apiRouter(hasDebug: boolean): Router<HttpCall> {
  return new Router(apiRoutes(hasDebug));
}
