import type { AdminCall } from "../call.ts";
import { explained } from "./messages-call.ts";
import { searchWords } from "./search-request.ts";

const HEADERS = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store",
  // nginx would collect events otherwise.
  "X-Accel-Buffering": "no",
};

/** GET /api/v1/tail?topic=[&broker=][&match=&q=]: what is published from now on, as server-sent events (console-api.ts: TailEvent). */
export async function openTail(call: AdminCall): Promise<Response> {
  try {
    return new Response(await call.admin.tails.open(searchWords(call.query), call.identity), { headers: HEADERS });
  } catch (error) {
    return explained(error);
  }
}
