import { encodedJson } from "../../../http/server/reply.ts";
import type { LookupCall } from "../call.ts";

const NSQ_TYPE = "application/vnd.nsq; version=1.0";
const JSON_TYPE = { headers: { "Content-Type": "application/json; charset=utf-8" } };

/**
 * Answers as Youzan's lookup server does: with bare JSON to clients that accept NSQ's content type, and to others with JSON in an
 * envelope. Its errors are in an envelope with status 500 then; here they are as in all other calls.
 *
 * @param encoded as JSON
 */
export function negotiated({ request }: LookupCall, encoded: string): Response {
  if (request.headers.get("accept") === NSQ_TYPE) return encodedJson(encoded);
  return new Response(`{"status_code":200,"status_txt":"OK","data":${encoded}}`, JSON_TYPE);
}
