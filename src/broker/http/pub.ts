import type { Query } from "../../http/server/query.ts";
import { Refusal, text } from "../../http/server/reply.ts";
import { oneMessage } from "../forwarding/forwarded-messages.ts";
import { Elsewhere } from "../forwarding/place.ts";
import { MAX_KEY_BYTES } from "../storage/idempotency/key-store.ts";
import type { HttpCall } from "./call.ts";
import { messageHeader } from "./message-header.ts";
import { publishOrigin } from "./origin.ts";
import { placeToPublish, publishFrom, topicToPublish } from "./publish-place.ts";

/** What Go's strconv.ParseInt() accepts with base 10. */
const INTEGER = /^[+-]?\d+$/;
/** An idempotency key: 1 to MAX_KEY_BYTES characters of printable ASCII. */
const KEY = new RegExp(`^[\\x20-\\x7e]{1,${MAX_KEY_BYTES}}$`);

/**
 * POST /pub?topic=[&partition=][&key=][&ext=][&defer=ms]: publishes the body as one message, and answers once the message is as durable as its topic asks. A
 * request whose Idempotency-Key header was sent before is answered OK, and not published again.
 */
export async function pub(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const body = await call.body(broker.options.maxMsgSizeBytes, "MSG_TOO_BIG");
  if (body.length === 0) throw new Refusal(400, "MSG_EMPTY");
  const topic = topicToPublish(call);
  const deferMs = deferral(call.query, broker.options.maxReqTimeoutMs);
  const { header, key } = messageHeader(call, topic.topic);
  const place = placeToPublish(call, topic, key, idempotencyKey);
  const repeatKey = idempotencyKey(call);
  if (place instanceof Elsewhere) {
    await publishFrom(call, place, oneMessage(header, body, 0, body.length), deferMs > 0 ? "DPUB" : "PUB", repeatKey, deferMs);
  } else await broker.publishing.publish(place, repeatKey, body, deferMs, publishOrigin(call, place), header);
  return text("OK");
}

/** The argument `defer`, in ms. @throws Refusal 400 INVALID_DEFER */
export function deferral(query: Query, limitMs: number): number {
  const defer = query.get("defer");
  if (defer === undefined) return 0;
  const deferMs = INTEGER.test(defer) ? Number(defer) : Number.NaN;
  // Some numbers that are so large that they overflow pass Go's check. Here they are too large.
  if (!(deferMs >= 0 && deferMs <= limitMs)) throw new Refusal(400, "INVALID_DEFER");
  return deferMs;
}

/** The header Idempotency-Key; empty for none. @throws Refusal 400 INVALID_IDEMPOTENCY_KEY */
export function idempotencyKey({ request }: HttpCall): string {
  const key = request.headers.get("idempotency-key");
  if (key === null) return "";
  if (!KEY.test(key)) throw new Refusal(400, "INVALID_IDEMPOTENCY_KEY");
  return key;
}
