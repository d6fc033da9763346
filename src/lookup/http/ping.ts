import { plain } from "../../http/server/reply.ts";

/** GET /ping: `OK`. */
export function ping(): Response {
  return plain(200, "OK");
}
