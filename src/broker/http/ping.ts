import { plain } from "../../http/server/reply.ts";
import type { HttpCall } from "./call.ts";

/** GET /ping: `OK`, or 500 and what is wrong. */
export function ping({ broker }: HttpCall): Response {
  const health = broker.health.text;
  return plain(health === "OK" ? 200 : 500, health);
}
