import { processMetrics } from "../http/metrics/process-metrics.ts";
import { descriptionRoutes } from "../http/openapi/routes.ts";
import { plain } from "../http/server/reply.ts";
import { type Endpoint, get, getOrHead, type Handler, post, put, type Route, Router, remove } from "../http/server/router.ts";
import { guardedRoute } from "./access/guard.ts";
import { type AdminRouteEntry, needs, needsByBody, open, withPermission } from "./access/permission.ts";
import { logIn, logOut, readSession } from "./access/session-call.ts";
import { act } from "./actions/action-call.ts";
import { activity } from "./audit/activity-call.ts";
import type { AdminCall } from "./call.ts";
import { actOnMessages } from "./messages/bulk-call.ts";
import { listMessages, oneMessage } from "./messages/messages-call.ts";
import { openTail } from "./messages/tail-call.ts";
import { changeChannel, changeTopic, createTopicOrChannel, deleteChannel, deleteTopic, tombstoneNode } from "./nsqadmin/changes.ts";
import { getConfig, putConfig } from "./nsqadmin/config.ts";
import { graphiteChart, graphiteRate } from "./nsqadmin/graphite.ts";
import { channel, counter, node, nodes, topic, topics } from "./nsqadmin/queries.ts";
import type { AdminOptions } from "./options.ts";
import { openStream } from "./stream/stream-call.ts";
import { readView } from "./views/view-call.ts";

/** What is watched. These are not logged: a page that is open asks every few seconds. */
const LISTS = [
  "overview",
  "brokers",
  "lookups",
  "topics",
  "channels",
  "partitions",
  "clients",
  "producers",
  "history",
  "cluster",
  "replicas",
];
const DETAILS = ["topics/:topic", "topics/:topic/:channel"];

/** The HTTP API, without --base-path: nsqadmin's calls, and the console's own below /api/v1. */
export const ROUTES: readonly AdminRouteEntry[] = [
  ["/ping", open(get(() => plain(200, "OK")))],
  // Not nsqadmin's: it is ready once it listens, whatever brokers do.
  ["/ready", open(getOrHead(() => plain(200, "OK")))],
  // What is in it is about the console's process, and names no topic. Prometheus does not log in.
  ["/metrics", open(get(({ admin, request }) => admin.scrapes.answer(request, processMetrics)))],
  ["/api/topics", new Map([...needs("view", "none", get(topics)), ...needsByBody("operate", "body", "POST", createTopicOrChannel)])],
  [
    "/api/topics/:topic",
    new Map([
      ...needs("view", "path", get(topic)),
      ...needsByBody("operate", "path", "POST", changeTopic),
      ...needs("administer", "path", remove(deleteTopic)),
    ]),
  ],
  [
    "/api/topics/:topic/:channel",
    new Map([
      ...needs("view", "path", get(channel)),
      ...needsByBody("operate", "path", "POST", changeChannel),
      ...needs("administer", "path", remove(deleteChannel)),
    ]),
  ],
  ["/api/nodes", needs("view", "none", get(nodes))],
  ["/api/nodes/:node", new Map([...needs("view", "none", get(node)), ...needsByBody("administer", "body", "DELETE", tombstoneNode)])],
  ["/api/counter", needs("view", "none", get(counter))],
  ["/api/v1/session", open(new Map([...get(readSession), ...post(logIn), ...remove(logOut)]))],
  ["/api/v1/messages", new Map([...needs("view", "query", get(listMessages)), ...needsByBody("view", "body", "POST", actOnMessages)])],
  ["/api/v1/tail", needs("view", "query", get(openTail))],
  ["/api/v1/message", needs("view", "query", get(oneMessage))],
  // A preview asks for no more than to look.
  ["/api/v1/actions", needsByBody("view", "body", "POST", act)],
  ["/api/v1/activity", needs("view", "none", get(activity))],
  // Names of statistics may be those of any topic.
  ["/api/graphite", needs("view", "all", get(graphiteRate))],
  // --allow-config-from-cidr says who may, too.
  [
    "/config/:opt",
    withPermission({ level: "administer", topic: "all", isOpenWithoutFile: true }, new Map([...get(getConfig), ...put(putConfig)])),
  ],
  ...LISTS.map((view): AdminRouteEntry => [`/api/v1/${view}`, needs("view", "query", unlogged(readView))]),
  ...DETAILS.map((view): AdminRouteEntry => [`/api/v1/${view}`, needs("view", "path", unlogged(readView))]),
  ["/api/v1/stream", needs("view", "none", unlogged(openStream))],
];
const CHART: AdminRouteEntry = ["/render", needs("view", "all", get(graphiteChart))];

function unlogged(handle: Handler<AdminCall>): Route<AdminCall> {
  return new Map([["GET", { handle, logged: false }]]);
}

/** All calls, without --base-path in their paths. */
export function adminRoutes({ basePath, proxyGraphite }: Pick<AdminOptions, "basePath" | "proxyGraphite">): AdminRouteEntry[] {
  const routes = [...ROUTES, ...(proxyGraphite ? [CHART] : [])];
  const describe = async () => (await import("./describe/admin-api.ts")).ADMIN_API;
  // What calls there are is no secret: it is in the documentation.
  const descriptions = descriptionRoutes<AdminCall>(routes, describe, prefixOf(basePath));
  return [...routes, ...descriptions.map(([path, route]): AdminRouteEntry => [path, open(route)])];
}

/**
 * @param options the base path begins with a slash and does not end with one, except for the root
 * @param assets answers a GET of any other path that cannot be a call's: with the page and its files. AdminCall.assetPath is the path
 */
export function adminRouter(options: Pick<AdminOptions, "basePath" | "proxyGraphite">, assets?: Handler<AdminCall>): Router<AdminCall> {
  const prefix = prefixOf(options.basePath);
  const entries = adminRoutes(options).map(([path, route]) => [prefix + path, guardedRoute(path, route)] as const);
  return new Router(entries, assets === undefined ? undefined : restUnder(prefix, { handle: assets, logged: true }));
}

/** What is below these is a call or nothing, and never the page. */
const CALLS = ["/api", "/config", "/render"];

/** In front of all paths. */
function prefixOf(basePath: string): string {
  return basePath === "/" ? "" : basePath;
}

function restUnder(prefix: string, assets: Endpoint<AdminCall>) {
  return (path: string): Endpoint<AdminCall> | undefined => {
    if (path !== prefix && !path.startsWith(`${prefix}/`)) return undefined;
    const below = path.slice(prefix.length);
    return CALLS.some((call) => below === call || below.startsWith(`${call}/`)) ? undefined : assets;
  };
}
