import type { Endpoint, Route } from "../../http/server/router.ts";
import type { AdminCall } from "../call.ts";

/** To look; to work with what is there: messages, pauses; or to remove and set up. */
export type Level = "view" | "operate" | "administer";

/** What a call asks of its user, and which topic it is about. */
export interface Permission {
  /** `public`: nothing, also of somebody who has not logged in. If the body says what the call does, it is the least of all that it may do. */
  readonly level: Level | "public";
  /**
   * Where the topic is named: `path`: the first parameter of the path; `query`: the argument `topic`, and without it the answer has only
   * what the user may see; `body`: the handler calls AdminCall.require(); `none`: nowhere, and to look, the answer has only what the user may
   * see, but anything more needs the level for all topics; `all`: it is about all topics, also to look.
   */
  readonly topic: "path" | "query" | "body" | "none" | "all";
  /** Without an access file everybody may, whatever --admin-user says: the handler has a check of its own. */
  readonly isOpenWithoutFile?: true;
}

/** An endpoint of the console. The type is why no route can do without a permission. */
export interface AdminEndpoint extends Endpoint<AdminCall> {
  readonly permission: Permission;
}

/** A path and its endpoints by method. */
export type AdminRoute = ReadonlyMap<string, AdminEndpoint>;
export type AdminRouteEntry = readonly [path: string, route: AdminRoute];

/** The endpoints of a route, with what they ask of their users. */
export function needs(level: Level, topic: Permission["topic"], route: Route<AdminCall>): AdminRoute {
  return withPermission({ level, topic }, route);
}

/** The endpoints of a route, which anybody may call. */
export function open(route: Route<AdminCall>): AdminRoute {
  return withPermission({ level: "public", topic: "none" }, route);
}

export function withPermission(permission: Permission, route: Route<AdminCall>): AdminRoute {
  return new Map([...route].map(([method, endpoint]) => [method, { ...endpoint, permission }]));
}
