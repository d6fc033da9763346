import { json } from "../../http/server/reply.ts";
import type { LookupCall } from "./call.ts";

/** GET /channels?topic=: the names of a topic's; of a topic that nobody knows too. */
export function channels(call: LookupCall): Response {
  return json({ channels: call.registry.channelNames(call.topicName()) });
}
