import { MpubCheck } from "../../frame/mpub.ts";
import { Refusal, text } from "../../http/server/reply.ts";
import { alikeMessages } from "../forwarding/forwarded-messages.ts";
import { Elsewhere } from "../forwarding/place.ts";
import type { BrokerOptions } from "../options.ts";
import type { HttpCall } from "./call.ts";
import { batchOfLines } from "./lines.ts";
import { messageHeader } from "./message-header.ts";
import { publishOrigin } from "./origin.ts";
import { idempotencyKey } from "./pub.ts";
import { placeToPublish, publishFrom, topicToPublish } from "./publish-place.ts";

/** The values of `binary`. Any other counts as true, as in nsqd. */
const BOOLEANS = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);

/**
 * POST /mpub?topic=[&partition=][&key=][&ext=][&binary=]: publishes several messages, all or none, with the same header. The body has one message per line, or, in binary form,
 * is that of the command MPUB (https://nsq.io/clients/tcp_protocol_spec.html#mpub).
 */
export async function mpub(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const { options } = broker;
  call.checkLength(options.maxBodySizeBytes, "BODY_TOO_BIG");
  const topic = topicToPublish(call);
  const binary = isBinary(call);
  const body = await call.body(options.maxBodySizeBytes, "BODY_TOO_BIG");
  const batch = binary ? checkedBatch(body, options) : batchOfLines(body, options.maxMsgSizeBytes);
  if (batch === undefined) throw new Refusal(413, "MSG_TOO_BIG");
  const { header, key } = messageHeader(call, topic.topic);
  const place = placeToPublish(call, topic, key, idempotencyKey);
  const repeatKey = idempotencyKey(call);
  if (place instanceof Elsewhere) {
    const messages = alikeMessages(header, batch);
    if (messages.count > 0) await publishFrom(call, place, messages, "MPUB", repeatKey, 0);
  } else await broker.publishing.publishBatch(place, repeatKey, batch, publishOrigin(call, place), header);
  return text("OK");
}

function isBinary(call: HttpCall): boolean {
  const value = call.query.get("binary");
  if (value === undefined) return false;
  const known = BOOLEANS.get(value);
  if (known === undefined) call.broker.logger.warn(`deprecated value '${value}' used for /mpub binary param`, call.about());
  return known ?? true;
}

/** The messages of a binary body, without bytes behind them. @throws Refusal 413 BAD_BODY, BAD_MESSAGE */
function checkedBatch(body: Uint8Array, options: BrokerOptions): Uint8Array {
  const check = new MpubCheck();
  const isWalked = check.resume(body, 0, body.length, options.maxMsgSizeBytes, options.maxBodySizeBytes);
  if (check.error !== undefined) throw new Refusal(413, check.error.code.slice("E_".length));
  // The body ends before its messages do: within the count, or within one of them.
  if (!isWalked) throw new Refusal(413, check.count < 0 ? "BAD_BODY" : "BAD_MESSAGE");
  return body.subarray(0, check.offset);
}
