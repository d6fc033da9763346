import { encodedJson, encodeJson, Refusal } from "../../http/reply.ts";
import type { LookupCall } from "./call.ts";
import { producerJson } from "./producer-json.ts";

/** GET /lookup?topic=: where a topic is, and its channels (https://nsq.io/components/nsqlookupd.html#get-lookup). */
export function lookup(call: LookupCall): Response {
  const found = call.registry.lookup(call.topicName());
  if (found === undefined) throw new Refusal(404, "TOPIC_NOT_FOUND");
  return encodedJson(`{"channels":${encodeJson(found.channels)},"producers":[${found.producers.map(producerJson).join(",")}]}`);
}
