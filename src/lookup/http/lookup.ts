import { encodedJson, encodeJson, Refusal } from "../../http/server/reply.ts";
import type { LookupCall } from "./call.ts";

const END = Buffer.from("]}");

/** GET /lookup?topic=: where a topic is, and its channels (https://nsq.io/components/nsqlookupd.html#get-lookup). */
export function lookup(call: LookupCall): Response {
  const found = call.registry.lookup(call.topicName());
  if (found === undefined) throw new Refusal(404, "TOPIC_NOT_FOUND");
  const start = Buffer.from(`{"channels":${encodeJson(found.channels)},"producers":[`);
  return encodedJson(Buffer.concat([start, call.lists.bytesOf(found.producers), END]));
}
