import { processMetrics } from "../http/metrics/process-metrics.ts";
import { descriptionRoutes } from "../http/openapi/routes.ts";
import { plain } from "../http/server/reply.ts";
import {
  type Endpoint,
  get,
  getOrHead,
  type Handler,
  post,
  put,
  type Route,
  type RouteEntry,
  Router,
  remove,
} from "../http/server/router.ts";
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
const VIEWS = [
  ...["overview", "brokers", "lookups", "topics", "topics/:topic", "topics/:topic/:channel"],
  ...["channels", "clients", "producers", "history"],
];

/** What a call asks of its user, and which topic it is about. */
export interface Permission {
  /** To look; to work with what is there: messages, pauses; or to make, remove and set up. A call whose body says what it does has the least. */
  readonly level: "view" | "operate" | "administer";
  /** Where the topic is named: the first parameter of the path, the query, or the body. If there is none, the call is about all topics. */
  readonly topic: "path" | "query" | "body" | "none";
}

/** An endpoint as the table below has it. */
export interface AdminEndpoint extends Endpoint<AdminCall> {
  readonly permission: Permission;
}

/** The endpoints of a route, with what they ask of their users. */
function needs(level: Permission["level"], topic: Permission["topic"], route: Route<AdminCall>): Map<string, AdminEndpoint> {
  const permission = { level, topic };
  return new Map([...route].map(([method, endpoint]) => [method, { ...endpoint, permission }]));
}

/** The HTTP API, without --base-path: nsqadmin's calls, and the console's own below /api/v1. */
const ROUTES: RouteEntry<AdminCall>[] = [
  ["/ping", get(() => plain(200, "OK"))],
  // Not nsqadmin's: it is ready once it listens, whatever brokers do.
  ["/ready", getOrHead(() => plain(200, "OK"))],
  ["/metrics", get(({ admin, request }) => admin.scrapes.answer(request, processMetrics))],
  ["/api/topics", new Map([...needs("view", "none", get(topics)), ...needs("administer", "body", post(createTopicOrChannel))])],
  [
    "/api/topics/:topic",
    new Map([
      ...needs("view", "path", get(topic)),
      ...needs("operate", "path", post(changeTopic)),
      ...needs("administer", "path", remove(deleteTopic)),
    ]),
  ],
  [
    "/api/topics/:topic/:channel",
    new Map([
      ...needs("view", "path", get(channel)),
      ...needs("operate", "path", post(changeChannel)),
      ...needs("administer", "path", remove(deleteChannel)),
    ]),
  ],
  ["/api/nodes", needs("view", "none", get(nodes))],
  ["/api/nodes/:node", new Map([...needs("view", "none", get(node)), ...needs("administer", "body", remove(tombstoneNode))])],
  ["/api/counter", needs("view", "none", get(counter))],
  ["/api/graphite", needs("view", "none", get(graphiteRate))],
  ["/api/v1/messages", new Map([...needs("view", "query", get(listMessages)), ...needs("view", "body", post(actOnMessages))])],
  ["/api/v1/tail", needs("view", "query", get(openTail))],
  ["/api/v1/message", needs("view", "query", get(oneMessage))],
  ["/api/v1/actions", needs("view", "body", post(act))],
  ["/api/v1/activity", needs("view", "none", get(activity))],
  // --allow-config-from-cidr says who may.
  ["/config/:opt", new Map([...get(getConfig), ...put(putConfig)])],
  ...VIEWS.map((view): RouteEntry<AdminCall> => [`/api/v1/${view}`, needs("view", viewTopic(view), unlogged(readView))]),
  ["/api/v1/stream", needs("view", "none", unlogged(openStream))],
];
const CHART: RouteEntry<AdminCall> = ["/render", needs("view", "none", get(graphiteChart))];

/** Where the topic is named that a view is about. */
function viewTopic(view: string): Permission["topic"] {
  if (view.startsWith("topics/")) return "path";
  return view === "channels" || view === "clients" || view === "producers" || view === "history" ? "query" : "none";
}

function unlogged(handle: Handler<AdminCall>): Route<AdminCall> {
  return new Map([["GET", { handle, logged: false }]]);
}

/** All calls, without --base-path in their paths. */
export function adminRoutes({ basePath, proxyGraphite }: Pick<AdminOptions, "basePath" | "proxyGraphite">): RouteEntry<AdminCall>[] {
  const routes = [...ROUTES, ...(proxyGraphite ? [CHART] : [])];
  return [
    ...routes,
    ...descriptionRoutes<AdminCall>(routes, async () => (await import("./describe/admin-api.ts")).ADMIN_API, prefixOf(basePath)),
  ];
}

/**
 * @param options the base path begins with a slash and does not end with one, except for the root
 * @param assets answers a GET of any other path that cannot be a call's: with the page and its files. AdminCall.assetPath is the path
 */
export function adminRouter(options: Pick<AdminOptions, "basePath" | "proxyGraphite">, assets?: Handler<AdminCall>): Router<AdminCall> {
  const prefix = prefixOf(options.basePath);
  const entries = adminRoutes(options).map(([path, route]) => [prefix + path, route] as const);
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
