import { encodedJson } from "./reply.ts";

const NSQ_TYPE = "application/vnd.nsq; version=1.0";
const JSON_TYPE = { headers: { "Content-Type": "application/json; charset=utf-8" } };

/**
 * Answers as Youzan's servers do: with bare JSON to clients that accept NSQ's content type, and to others with JSON in an
 * envelope. Their errors are in an envelope with status 500 then; here they are as in all other calls.
 *
 * @param encoded as JSON
 */
export function negotiated(request: Request, encoded: string): Response {
  if (request.headers.get("accept") === NSQ_TYPE) return encodedJson(encoded);
  return new Response(`{"status_code":200,"status_txt":"OK","data":${encoded}}`, JSON_TYPE);
}
