import { json, Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";

const DEFAULT_LIMIT = 100;

/** GET /api/v1/activity?limit=: what operators have done, the newest first. */
export function activity(call: AdminCall): Response {
  const limit = call.query.get("limit") ?? String(DEFAULT_LIMIT);
  if (!/^\d{1,9}$/.test(limit) || Number(limit) === 0) throw new Refusal(400, "INVALID_ARG_LIMIT");
  return json({ activity: call.admin.audit.recent(Number(limit), ({ topic }) => topic === "" || call.maySee(topic)) });
}
