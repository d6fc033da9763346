import { json } from "../../http/server/reply.ts";
import { NSQ_VERSION } from "../../version.ts";

/** GET /info: which release of NSQ's API this is. */
export function info(): Response {
  return json({ version: NSQ_VERSION });
}
