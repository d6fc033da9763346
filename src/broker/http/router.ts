import type { Handler } from "./call.ts";
import { createChannel, deleteChannel, emptyChannel, pauseChannel, unpauseChannel } from "./channel.ts";
import { getConfig, putConfig } from "./config.ts";
import { info } from "./info.ts";
import { mpub } from "./mpub.ts";
import { ping } from "./ping.ts";
import { pub } from "./pub.ts";
import { stats } from "./stats.ts";
import { createTopic, deleteTopic, emptyTopic, pauseTopic, unpauseTopic } from "./topic.ts";

/** Who answers a call. */
export interface Endpoint {
  handle: Handler;
  /** Whether each call has a line in the log. */
  logged: boolean;
}

/** By method. */
type Route = Map<string, Endpoint>;

/** The one route with a parameter: what stands behind this, up to the end and without a slash. */
const CONFIG = "/config/";
const config: Route = new Map([...get(getConfig), ...put(putConfig)]);

/** The HTTP API (https://nsq.io/components/nsqd.html#http-api). */
const ROUTES = new Map<string, Route>([
  // nsqd does not log publishes either: there are too many.
  ["/pub", post(pub, false)],
  ["/mpub", post(mpub, false)],
  ["/ping", get(ping)],
  ["/info", get(info)],
  ["/stats", get(stats)],
  ["/topic/create", post(createTopic)],
  ["/topic/delete", post(deleteTopic)],
  ["/topic/empty", post(emptyTopic)],
  ["/topic/pause", post(pauseTopic)],
  ["/topic/unpause", post(unpauseTopic)],
  ["/channel/create", post(createChannel)],
  ["/channel/delete", post(deleteChannel)],
  ["/channel/empty", post(emptyChannel)],
  ["/channel/pause", post(pauseChannel)],
  ["/channel/unpause", post(unpauseChannel)],
]);

/** @param path unescaped */
export function findEndpoint(method: string, path: string): Endpoint | undefined {
  return routeOf(path)?.get(method);
}

/** `:opt` of a path; empty for a route without it. */
export function optionOf(path: string): string {
  return path.startsWith(CONFIG) ? path.slice(CONFIG.length) : "";
}

/**
 * Where nsqd's router sends a request whose path it does not know but can put right: a slash too many, wrong case,
 * `//`, `.` and `..` (https://pkg.go.dev/github.com/julienschmidt/httprouter#Router). It looks only among the routes
 * of the request's own method.
 */
export function correctedPath(method: string, path: string): string | undefined {
  if (path === "/" || path === "" || (method !== "GET" && method !== "POST" && method !== "PUT")) return undefined;
  const shorter = path.endsWith("/") ? path.slice(0, -1) : undefined;
  if (shorter !== undefined && (findEndpoint(method, shorter) !== undefined || shorter === CONFIG)) return shorter;
  const clean = cleanPath(path);
  const trimmed = clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
  const lower = trimmed.toLowerCase();
  // An option keeps its case: it is a parameter.
  const cased = lower.startsWith(CONFIG) ? CONFIG + trimmed.slice(CONFIG.length) : lower;
  return findEndpoint(method, cased) === undefined ? undefined : cased;
}

/** The value of an Allow header for a path that other methods have; undefined if none has it. */
export function allowedMethods(path: string): string | undefined {
  const route = routeOf(path);
  if (route === undefined) return undefined;
  return [...route.keys(), "OPTIONS"].sort().join(", ");
}

function routeOf(path: string): Route | undefined {
  const route = ROUTES.get(path);
  if (route !== undefined) return route;
  return path.length > CONFIG.length && path.startsWith(CONFIG) && !path.includes("/", CONFIG.length) ? config : undefined;
}

function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}${path.endsWith("/") && parts.length > 0 ? "/" : ""}`;
}

function get(handle: Handler): Route {
  return new Map([["GET", { handle, logged: true }]]);
}

function post(handle: Handler, logged = true): Route {
  return new Map([["POST", { handle, logged }]]);
}

function put(handle: Handler): Route {
  return new Map([["PUT", { handle, logged: true }]]);
}
