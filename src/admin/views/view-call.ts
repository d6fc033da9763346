import { json } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";

/** In front of a view, behind --base-path. */
const API = "/api/v1";

/** GET /api/v1/…: a view of what is watched (console-api.ts). */
export async function readView(call: AdminCall): Promise<Response> {
  const { pathname, search } = new URL(call.request.url);
  return json(await call.admin.views.read(pathname.slice(pathname.indexOf(API) + API.length) + search, call.sight));
}
