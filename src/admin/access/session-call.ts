import { readFields } from "../../base/go/json.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import { BUNSQ_VERSION } from "../../version.ts";
import type { AdminCall } from "../call.ts";
import type { Session } from "../console-api.ts";
import { addressOf, sessionCookie, sessionIdOf } from "./credentials.ts";
import type { Identity } from "./identity.ts";
import type { Principal } from "./principal.ts";

const MOST_BODY_BYTES = 4 * 1024;

/** GET /api/v1/session: who the user is, and what the page may know of the console before it asks anything else. */
export async function readSession(call: AdminCall): Promise<Response> {
  return json(sessionOf(call, await call.admin.access.identify(call)));
}

/** POST /api/v1/session `{"user", "password"}` or `{"token"}`: logs in. */
export async function logIn(call: AdminCall): Promise<Response> {
  const { access } = call.admin;
  const body = await call.body(MOST_BODY_BYTES, "BODY_TOO_LARGE");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const fields = readFields(text, { user: "", password: "", token: "" });
  if (fields === undefined) throw new Refusal(400, "INVALID_BODY");
  if (!access.canLogIn) throw new Refusal(404, "NO_LOGIN");
  const principal = await principalOf(call, fields);
  if (principal === undefined) throw new Refusal(401, "LOGIN_FAILED");
  // Whoever has planted an id in this browser does not get the session: there is always a new one.
  access.sessions.end(sessionIdOf(call.request.headers));
  const id = access.sessions.begin(principal);
  call.admin.logger.info(`ACCESS: ${JSON.stringify(principal.name)} has logged in from ${call.clientAddress ?? "gone"}`);
  const { name, grants } = principal;
  return withCookie(call, json(sessionOf(call, { user: name, grants, isCurrent: () => true })), id);
}

/** DELETE /api/v1/session: logs out. */
export function logOut(call: AdminCall): Response {
  call.admin.access.sessions.end(sessionIdOf(call.request.headers));
  return withCookie(call, json({}), "");
}

async function principalOf(call: AdminCall, given: { user: string; password: string; token: string }): Promise<Principal | undefined> {
  const { access } = call.admin;
  const address = addressOf(call.clientAddress);
  if (given.token === "") return access.checkPassword(given.user, given.password, address);
  access.beginAttempt(address);
  const principal = access.principalOfToken(given.token);
  if (principal !== undefined) access.attemptSucceeded(address);
  return principal;
}

function withCookie(call: AdminCall, response: Response, id: string): Response {
  // A proxy may speak TLS in front of this server. The page's origin is the browser's own word for it.
  const isSecure = call.isHttps || (call.request.headers.get("origin") ?? "").startsWith("https:");
  response.headers.append("Set-Cookie", sessionCookie(id, call.admin.options.basePath, isSecure));
  return response;
}

function sessionOf({ admin }: AdminCall, identity: Identity | undefined): Session {
  const { options, access, watcher } = admin;
  const isKnown = identity !== undefined;
  return {
    user: identity?.user ?? "",
    needs_login: access.hasFile,
    can_login: access.canLogIn,
    roles: identity?.grants.roles ?? {},
    // Whoever has not logged in is told nothing else.
    version: isKnown ? BUNSQ_VERSION : "",
    graphite_url: isKnown ? options.graphiteUrl : "",
    statsd: {
      prefix: options.statsdPrefix,
      counter_format: options.statsdCounterFormat,
      gauge_format: options.statsdGaugeFormat,
      interval_s: Math.floor(options.statsdIntervalMs / 1000),
    },
    cluster: isKnown && watcher.replication.detail !== undefined,
    poll_ms: options.pollIntervalMs,
  };
}
