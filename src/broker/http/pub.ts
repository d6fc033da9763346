import type { Query } from "../../http/server/query.ts";
import { Refusal, text } from "../../http/server/reply.ts";
import { MAX_KEY_BYTES } from "../storage/idempotency/key-store.ts";
import { topicToPublish } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** What Go's strconv.ParseInt() takes with base 10. */
const INTEGER = /^[+-]?\d+$/;
/** Of an idempotency key: printable ASCII, 1 to MAX_KEY_BYTES characters. */
const KEY = new RegExp(`^[\\x20-\\x7e]{1,${MAX_KEY_BYTES}}$`);

/**
 * POST /pub?topic=[&defer=ms]: publishes the body as one message, and answers once it is as durable as the options ask. With
 * a header Idempotency-Key that came before, the first one's success is the answer.
 */
export async function pub(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const body = await call.body(broker.options.maxMsgSizeBytes, "MSG_TOO_BIG");
  if (body.length === 0) throw new Refusal(400, "MSG_EMPTY");
  const topic = topicToPublish(call);
  const deferMs = deferral(call.query, broker.options.maxReqTimeoutMs);
  await broker.publishing.publish(topic, idempotencyKey(call), body, deferMs);
  return text("OK");
}

/** The argument `defer`, in ms. @throws Refusal 400 INVALID_DEFER */
export function deferral(query: Query, limitMs: number): number {
  const defer = query.get("defer");
  if (defer === undefined) return 0;
  const deferMs = INTEGER.test(defer) ? Number(defer) : Number.NaN;
  // Go's own check is passed by some numbers so large that they overflow; here they are too large.
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
