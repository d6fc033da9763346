import { json } from "../../../http/server/reply.ts";
import { NSQ_VERSION } from "../../../version.ts";
import type { HttpCall } from "../call.ts";

/** GET /serverstats: the broker's health, and how many publishes were refused or failed since it started. */
export function serverStats({ broker }: HttpCall): Response {
  const { health, startTimeMs, publishing } = broker;
  return json({
    version: NSQ_VERSION,
    health: health.text,
    start_time: Math.floor(startTimeMs / 1000),
    server_pub_failed: publishing.errorCount,
  });
}
