import { json } from "../../http/server/reply.ts";
import type { LookupCall } from "./call.ts";

/** GET /topics: the names of all. */
export function topics({ registry }: LookupCall): Response {
  return json({ topics: registry.topicNames() });
}
