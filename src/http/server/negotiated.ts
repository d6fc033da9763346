import { encodedJson } from "./reply.ts";
import { inSlices, type TextSlices } from "./slices.ts";

const NSQ_TYPE = "application/vnd.nsq; version=1.0";
const JSON_TYPE = { headers: { "Content-Type": "application/json; charset=utf-8" } };
/** What is around a document in the envelope. */
const BEGINNING = '{"status_code":200,"status_txt":"OK","data":';
const END = "}";

/** Whether a client gets bare JSON: it accepts NSQ's content type. */
function wantsBare(request: Request): boolean {
  return request.headers.get("accept") === NSQ_TYPE;
}

/**
 * Answers as Youzan's servers do: with bare JSON to clients that accept NSQ's content type, and to others with JSON in an
 * envelope. Their errors are in an envelope with status 500 then; here they are as in all other calls.
 *
 * @param encoded as JSON
 */
export function negotiated(request: Request, encoded: string): Response {
  return wantsBare(request) ? encodedJson(encoded) : new Response(BEGINNING + encoded + END, JSON_TYPE);
}

/** As negotiated(), for a document that is written in slices. */
export function negotiatedSlices(request: Request, out: TextSlices, steps: Generator<void>): Response {
  if (wantsBare(request)) return encodedJson(inSlices(out, steps));
  return new Response(inSlices(out, enveloped(out, steps)), JSON_TYPE);
}

function* enveloped(out: TextSlices, steps: Generator<void>): Generator<void> {
  out.write(BEGINNING);
  yield* steps;
  out.write(END);
}
