import type { AdminCall } from "../call.ts";

const HEADERS = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store",
  // nginx would collect events otherwise.
  "X-Accel-Buffering": "no",
};

/** GET /api/v1/stream?view=…: views as server-sent events (console-api.ts). */
export function openStream(call: AdminCall): Response {
  const views = new URL(call.request.url).searchParams.getAll("view");
  return new Response(call.admin.streams.open(views, call.identity).body, { headers: HEADERS });
}
