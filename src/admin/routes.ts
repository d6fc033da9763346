import { plain } from "../http/server/reply.ts";
import { type Endpoint, get, type Handler, type RouteEntry, Router } from "../http/server/router.ts";
import type { AdminCall } from "./call.ts";

/** The HTTP API, without --base-path. */
const ROUTES: RouteEntry<AdminCall>[] = [["/ping", get(() => plain(200, "OK"))]];

/**
 * @param basePath begins with a slash and does not end with one, except for the root
 * @param assets answers a GET of any other path that is not below /api: with the page and its files. AdminCall.assetPath is the path
 */
export function adminRouter(basePath: string, assets?: Handler<AdminCall>): Router<AdminCall> {
  const prefix = basePath === "/" ? "" : basePath;
  const entries = ROUTES.map(([path, route]) => [prefix + path, route] as const);
  return new Router(entries, assets === undefined ? undefined : restUnder(prefix, { handle: assets, logged: true }));
}

function restUnder(prefix: string, assets: Endpoint<AdminCall>) {
  return (path: string): Endpoint<AdminCall> | undefined => {
    if (path !== prefix && !path.startsWith(`${prefix}/`)) return undefined;
    const below = path.slice(prefix.length);
    return below === "/api" || below.startsWith("/api/") ? undefined : assets;
  };
}
