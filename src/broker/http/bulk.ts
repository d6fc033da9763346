import { bodyAt, encodedHeader, HeaderReader } from "../../frame/header.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import { publishAnywhere } from "../forwarding/publish-anywhere.ts";
import { recordAt } from "../storage/log/records.ts";
import { messageOfId } from "../topics/inspect/log-position.ts";
import { OperatorError } from "../topics/operator-error.ts";
import { existingChannel, existingTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { releasedMessage } from "./message.ts";
import { operatorName } from "./origin.ts";
import { deferral } from "./pub.ts";
import { topicToPublish } from "./publish-place.ts";
import { unavailableCode } from "./unavailable.ts";

/**
 * Calls of operators for many messages at once, whoever has them. The body is `{"ids": [id, …]}`. The answer is
 * `{"done": n, "failed": [{"id", "message": CODE}, …]}`; NOT_TRIED: the call ran out of time, and may be sent again with these.
 */

/** The most ids of one call. */
const MAX_IDS = 1000;
/** An id takes 19 bytes in JSON. */
const MAX_BODY_BYTES = 32 * 1024;
/** A call tries no more messages after this time: a deferred message is searched for in files. */
const MAX_CALL_MS = 2000;
/** The time after which others have their turn. */
const SLICE_MS = 2;
/** Publishes that wait for their OK together. */
const PUBLISHED_AT_ONCE = 64;

/** POST /messages/finish?topic=&channel= */
export async function finishMessages(call: HttpCall): Promise<Response> {
  const ids = await idsIn(call);
  const channel = existingChannel(call);
  return forEach(call, ids, 1, "finished", (id) => {
    const { part, sequence } = releasedMessage(channel, id);
    return call.broker.messageControl.finish(part, sequence, operatorName(call, part));
  });
}

/** POST /messages/requeue?topic=&channel=[&defer=ms] */
export async function requeueMessages(call: HttpCall): Promise<Response> {
  const ids = await idsIn(call);
  const channel = existingChannel(call);
  const delayMs = deferral(call.query, call.broker.options.maxReqTimeoutMs);
  const requeue = (id: string) => {
    const { part, sequence } = releasedMessage(channel, id);
    return call.broker.messageControl.requeue(part, sequence, delayMs, operatorName(call, part));
  };
  return forEach(call, ids, 1, `requeued for ${delayMs} ms`, requeue);
}

/** POST /messages/move?topic=&channel=&to=TOPIC: publishes the bodies to another topic, and then finishes the messages. */
export async function moveMessages(call: HttpCall): Promise<Response> {
  const ids = await idsIn(call);
  const channel = existingChannel(call);
  const to = targetTopic(call);
  if (to === channel.topic.name) throw new Refusal(400, "INVALID_ARG_TO");
  const move = (id: string) => {
    const { part, sequence } = releasedMessage(channel, id);
    return call.broker.messageControl.move(part, sequence, to, operatorName(call, part));
  };
  return forEach(call, ids, 1, `moved to ${to}`, move);
}

/** POST /messages/copy?topic=&to=TOPIC[&defer=ms]: publishes the bodies once more. */
export async function copyMessages(call: HttpCall): Promise<Response> {
  const ids = await idsIn(call);
  const topic = existingTopic(call);
  const to = targetTopic(call);
  const delayMs = deferral(call.query, call.broker.options.maxReqTimeoutMs);
  const copy = (id: string) => {
    const message = messageOfId(topic, id);
    if (message === undefined) throw new Refusal(400, "INVALID_ARG_ID");
    const record = recordAt(message.partition.log, message.sequence);
    if (record === undefined) throw new OperatorError("MESSAGE_NOT_FOUND");
    const { buffer, from } = record;
    const body = buffer.subarray(bodyAt(buffer, from), record.to);
    const header = new HeaderReader();
    header.read(buffer, from);
    const key = buffer.subarray(header.keyFrom, header.keyTo);
    const publish = { body, key, header: encodedHeader(buffer, from), idempotencyKey: "", deferMs: delayMs };
    return publishAnywhere(call.broker.publishing, to, publish);
  };
  return forEach(call, ids, PUBLISHED_AT_ONCE, `copied to ${to}`, copy);
}

/** @throws Refusal 400, 413 */
async function idsIn(call: HttpCall): Promise<string[]> {
  const body = await call.body(MAX_BODY_BYTES, "TOO_MANY_IDS");
  const ids = idsOf(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
  if (ids === undefined) throw new Refusal(400, "INVALID_BODY");
  if (ids.length > MAX_IDS) throw new Refusal(413, "TOO_MANY_IDS");
  return [...new Set(ids)];
}

/** @returns undefined for a text that is not `{"ids": […]}` */
function idsOf(text: string): string[] | undefined {
  try {
    const { ids } = JSON.parse(text) as { ids?: unknown };
    return Array.isArray(ids) && ids.every((id) => typeof id === "string") ? ids : undefined;
  } catch {
    return undefined;
  }
}

/** The name of the topic to publish to, which is made if it does not exist. @throws Refusal 400 */
function targetTopic({ broker, query }: HttpCall): string {
  const to = query.get("to");
  if (to === undefined) throw new Refusal(400, "MISSING_ARG_TO");
  return topicToPublish({ broker, query: new Map([["topic", to]]) }).name;
}

/** Does something with each message, `atOnce` of them at the same time, within the bounds of a call. */
async function forEach(
  { broker, query }: HttpCall,
  ids: readonly string[],
  atOnce: number,
  what: string,
  act: (id: string) => Promise<void>,
): Promise<Response> {
  const beganMs = performance.now();
  let sliceMs = beganMs;
  let done = 0;
  const failed: { id: string; message: string }[] = [];
  for (let at = 0; at < ids.length; at += atOnce) {
    const some = ids.slice(at, at + atOnce);
    if (performance.now() - beganMs > MAX_CALL_MS) {
      for (const id of some) failed.push({ id, message: "NOT_TRIED" });
      continue;
    }
    const outcomes = await Promise.allSettled(some.map(async (id) => act(id)));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") done++;
      else failed.push({ id: some[index] ?? "", message: codeOf(outcome.reason) });
    }
    if (performance.now() - sliceMs < SLICE_MS) continue;
    await new Promise(setImmediate);
    sliceMs = performance.now();
  }
  const where = query.get("channel");
  const of = where === undefined ? `TOPIC(${query.get("topic")})` : `CHANNEL(${where}) of ${query.get("topic")}`;
  broker.logger.info(`${of}: ${done} messages ${what} over HTTP${failed.length === 0 ? "" : `; ${failed.length} were not`}`);
  return json({ done, failed });
}

/** The code of an error that one message met. Throws what is a defect. */
function codeOf(error: unknown): string {
  if (error instanceof Refusal || error instanceof OperatorError) return error.code;
  const code = unavailableCode(error);
  if (code === undefined) throw error;
  return code;
}
