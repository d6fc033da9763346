import { plain } from "../http/server/reply.ts";
import { type Endpoint, get, type Handler, post, put, type Route, type RouteEntry, Router, remove } from "../http/server/router.ts";
import type { AdminCall } from "./call.ts";
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

/** The HTTP API, without --base-path: nsqadmin's calls, and the console's own below /api/v1. */
const ROUTES: RouteEntry<AdminCall>[] = [
  ["/ping", get(() => plain(200, "OK"))],
  ["/api/topics", new Map([...get(topics), ...post(createTopicOrChannel)])],
  ["/api/topics/:topic", new Map([...get(topic), ...post(changeTopic), ...remove(deleteTopic)])],
  ["/api/topics/:topic/:channel", new Map([...get(channel), ...post(changeChannel), ...remove(deleteChannel)])],
  ["/api/nodes", get(nodes)],
  ["/api/nodes/:node", new Map([...get(node), ...remove(tombstoneNode)])],
  ["/api/counter", get(counter)],
  ["/api/graphite", get(graphiteRate)],
  ["/config/:opt", new Map([...get(getConfig), ...put(putConfig)])],
  ...VIEWS.map((view): RouteEntry<AdminCall> => [`/api/v1/${view}`, unlogged(readView)]),
  ["/api/v1/stream", unlogged(openStream)],
];
const CHART: RouteEntry<AdminCall> = ["/render", get(graphiteChart)];

function unlogged(handle: Handler<AdminCall>): Route<AdminCall> {
  return new Map([["GET", { handle, logged: false }]]);
}

/**
 * @param options the base path begins with a slash and does not end with one, except for the root
 * @param assets answers a GET of any other path that cannot be a call's: with the page and its files. AdminCall.assetPath is the path
 */
export function adminRouter(
  { basePath, proxyGraphite }: Pick<AdminOptions, "basePath" | "proxyGraphite">,
  assets?: Handler<AdminCall>,
): Router<AdminCall> {
  const prefix = basePath === "/" ? "" : basePath;
  const entries = [...ROUTES, ...(proxyGraphite ? [CHART] : [])].map(([path, route]) => [prefix + path, route] as const);
  return new Router(entries, assets === undefined ? undefined : restUnder(prefix, { handle: assets, logged: true }));
}

/** What is below these is a call or nothing, and never the page. */
const CALLS = ["/api", "/config", "/render"];

function restUnder(prefix: string, assets: Endpoint<AdminCall>) {
  return (path: string): Endpoint<AdminCall> | undefined => {
    if (path !== prefix && !path.startsWith(`${prefix}/`)) return undefined;
    const below = path.slice(prefix.length);
    return CALLS.some((call) => below === call || below.startsWith(`${call}/`)) ? undefined : assets;
  };
}
