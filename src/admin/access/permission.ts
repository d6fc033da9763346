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
   * what the user may see; `body`: the body says it (BodyEndpoint); `none`: nowhere, and to look, the answer has only what the user may
   * see, but anything more needs the level for all topics; `all`: it is about all topics, also to look.
   */
  readonly topic: "path" | "query" | "body" | "none" | "all";
  /** Without an access file everybody may, whatever --admin-user says: the handler has a check of its own. */
  readonly isOpenWithoutFile?: true;
}

/** What a call asks of its user for one topic. */
export interface Need {
  readonly level: Level;
  /** undefined: it is about all topics */
  readonly topic: string | undefined;
}

/** What a request's body asks for. */
export interface Asked {
  /** The user must have all of them, and there is at least one: nothing can be done that nobody has asked about. */
  readonly needs: readonly [Need, ...Need[]];
  /** Does it. The guard calls it once the user may. */
  carryOut(call: AdminCall): Response | Promise<Response>;
}

/** What can be read of a request before it is known who may do what it asks: nothing of it leads to a broker or lookup server. */
export type UnpermittedCall = Pick<AdminCall, "request" | "parameter" | "parameters" | "checkLength" | "body">;

/** An endpoint that acts on the topic, or at the level, that its body names. */
export interface BodyEndpoint {
  readonly permission: Permission;
  readonly logged: boolean;
  /** Reads the body. Rejects with Refusal 400, 413 or 415 */
  read(call: UnpermittedCall): Promise<Asked>;
}

/** An endpoint whose route says all that it asks of its user. */
export interface PlainEndpoint extends Endpoint<AdminCall> {
  readonly permission: Permission & { readonly topic: Exclude<Permission["topic"], "body"> };
}

/** An endpoint of the console. The type is why no route can do without a permission, and why none can act before it has asked for it. */
export type AdminEndpoint = PlainEndpoint | BodyEndpoint;

/** A path and its endpoints by method. */
export type AdminRoute = ReadonlyMap<string, AdminEndpoint>;
export type AdminRouteEntry = readonly [path: string, route: AdminRoute];

/** The endpoints of a route, with what they ask of their users. */
export function needs(level: Level, topic: PlainEndpoint["permission"]["topic"], route: Route<AdminCall>): AdminRoute {
  return withPermission({ level, topic }, route);
}

/** The endpoint of a call whose body says what it asks of its user. @param level the least that it may be */
export function needsByBody(level: Level, topic: "body" | "path", method: "POST" | "DELETE", read: BodyEndpoint["read"]): AdminRoute {
  return new Map([[method, { permission: { level, topic }, logged: true, read }]]);
}

/** The endpoints of a route, which anybody may call. */
export function open(route: Route<AdminCall>): AdminRoute {
  return withPermission({ level: "public", topic: "none" }, route);
}

export function withPermission(permission: PlainEndpoint["permission"], route: Route<AdminCall>): AdminRoute {
  return new Map([...route].map(([method, endpoint]) => [method, { ...endpoint, permission }]));
}
