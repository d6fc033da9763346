import { Refusal } from "../../http/server/reply.ts";
import type { Endpoint, Route } from "../../http/server/router.ts";
import type { AdminCall } from "../call.ts";
import type { Identity } from "./identity.ts";
import type { AdminEndpoint, AdminRoute, Level } from "./permission.ts";

// Who may call what is decided here, in front of each handler, and nowhere else. Where the body names the topic, it is read first, by
// something that has no way to a server, and what then acts is called after the decision.

/** The console's own API, behind --base-path. nsqadmin's calls take JSON without its content type, as scripts send it. */
const OWN_API = "/api/v1/";
const JSON_TYPE = /^\s*application\/json\s*(;|$)/i;

/** The endpoints of a route, each behind a check of who calls it. @param path without --base-path */
export function guardedRoute(path: string, route: AdminRoute): Route<AdminCall> {
  return new Map([...route].map(([method, endpoint]) => [method, guarded(endpoint, method, path.startsWith(OWN_API))]));
}

function guarded(endpoint: AdminEndpoint, method: string, isOwn: boolean): Endpoint<AdminCall> {
  const permitted = (call: AdminCall) => {
    if (endpoint.permission.level === "public" && "handle" in endpoint) return endpoint.handle(call);
    const identity = call.admin.access.identify(call);
    return identity instanceof Promise ? identity.then((known) => answer(endpoint, call, known)) : answer(endpoint, call, identity);
  };
  if (method === "GET" || method === "HEAD") return { handle: permitted, logged: endpoint.logged };
  const handle = async (call: AdminCall) => {
    if (isOwn) checkType(call);
    try {
      return await permitted(call);
    } finally {
      // Also what has failed in the end may have changed something.
      call.admin.watcher.refresh();
    }
  };
  return { handle, logged: endpoint.logged };
}

function answer(endpoint: AdminEndpoint, call: AdminCall, identity: Identity | undefined): Response | Promise<Response> {
  if (identity === undefined) throw new Refusal(401, "UNAUTHORIZED");
  call.identity = identity;
  check(endpoint, call);
  if ("handle" in endpoint) return endpoint.handle(call);
  return endpoint.read(call).then(({ needs, carryOut }) => {
    for (const { level, topic } of needs) demand(call, level, topic);
    return carryOut(call);
  });
}

/** @throws Refusal 403 FORBIDDEN */
function check({ permission }: AdminEndpoint, call: AdminCall): void {
  const { level, topic, isOpenWithoutFile } = permission;
  if (level === "public" || (isOpenWithoutFile && !call.admin.access.hasFile)) return;
  if (topic === "path") return demand(call, level, call.parameter);
  if (topic === "all") return demand(call, level, undefined);
  // An argument that is not there asks for all topics, of which the answer shows some. What changes something needs one.
  const named = topic === "query" ? call.query.get("topic") : undefined;
  if (named !== undefined && named !== "") return demand(call, level, named);
  if (topic === "body" || level === "view") {
    if (!call.identity.grants.maySomewhere(level)) throw new Refusal(403, "FORBIDDEN");
  } else demand(call, level, undefined);
}

/** @param topic undefined: all topics @throws Refusal 403 FORBIDDEN */
function demand({ identity }: AdminCall, level: Level, topic: string | undefined): void {
  if (!identity.grants.may(level, topic)) throw new Refusal(403, "FORBIDDEN");
}

/** A page of another origin can send a form, but not this type, without the browser asking this server first. @throws Refusal 415 */
function checkType({ request }: AdminCall): void {
  if (request.method === "DELETE" && request.body === null) return;
  if (!JSON_TYPE.test(request.headers.get("content-type") ?? "")) throw new Refusal(415, "INVALID_CONTENT_TYPE");
}
