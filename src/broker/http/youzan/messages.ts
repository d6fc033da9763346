import { goInteger } from "../../../base/go/integer.ts";
import { encodeJson } from "../../../base/go/json.ts";
import { ID_OFFSET, MESSAGE_ID_BYTES, TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import { bodyAt, HeaderReader } from "../../../frame/header.ts";
import { internalId } from "../../../frame/youzan.ts";
import { encodedJson, Refusal } from "../../../http/server/reply.ts";
import { recordAt, sequenceAtPosition } from "../../storage/log/records.ts";
import { messageOfInternalId } from "../../topics/inspect/internal-id.ts";
import { messageStatus } from "../../topics/inspect/message-status.ts";
import type { Topic } from "../../topics/topic.ts";
import type { TopicPartition } from "../../topics/topic-partition.ts";
import { existingChannel, existingTopic, onePartition, partHere, partitionArgument } from "../arguments.ts";
import type { HttpCall } from "../call.ts";
import { bodyJson } from "../message-json.ts";

/** Where a message is. */
interface Place {
  readonly partition: TopicPartition;
  readonly sequence: number;
}

/**
 * GET /message/get?topic=&search_mode=id|count|virtual_offset&search_pos=N[&partition=][&needext=true]: one message by Youzan's id, by how
 * many were published before it, or by the offset in its log: the first one there or behind. With delayed_queue=true&channel=: a
 * message that the channel has deferred, by its id.
 */
export function getMessage(call: HttpCall): Response | Promise<Response> {
  const mode = call.query.get("search_mode");
  if (call.query.get("delayed_queue") === "true") return deferredMessage(call, mode);
  const topic = existingTopic(call);
  if (mode !== "id" && mode !== "count" && mode !== "virtual_offset")
    throw new Refusal(400, "search mode should be one of id/count/virtual_offset");
  const { partition, sequence } = mode === "id" ? idPlace(call, topic) : positionPlace(call, topic, mode);
  const record = recordAt(partition.log, sequence);
  if (record === undefined) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  const { buffer, from, to, position } = record;
  const place = { id: numberJson(internalId(partition.index, sequence)), attempts: 0, offset: position, count: sequence + 1 };
  return encodedJson(messageText(call, buffer, from, to, place));
}

/** The place of the message whose id is given. @throws Refusal 400, 404 */
function idPlace(call: HttpCall, topic: Topic): Place {
  const named = partitionArgument(call, topic);
  const place = messageOfInternalId(topic, searchPosition(call));
  if (place === undefined || (named !== undefined && named !== place.partition)) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  return place;
}

/** The place of the first message at a count or offset, or behind it. @throws Refusal 400, 404 */
function positionPlace(call: HttpCall, topic: Topic, mode: "count" | "virtual_offset"): Place {
  const partition = onePartition(call, topic);
  const position = Number(searchPosition(call));
  const { log } = partition;
  return { partition, sequence: mode === "count" ? Math.max(position, log.startSequence) : sequenceAtPosition(log, position) };
}

/** @throws Refusal 400 */
function searchPosition({ query }: HttpCall): bigint {
  const text = query.get("search_pos") ?? "";
  const value = goInteger(text, "ParseInt");
  if (value instanceof Error) throw new Refusal(400, value.message);
  if (value < 0) throw new Refusal(400, "INVALID_ARG_SEARCH_POS");
  return BigInt(text.replace("+", ""));
}

/** @throws Refusal; OperatorError */
async function deferredMessage(call: HttpCall, mode: string | undefined): Promise<Response> {
  const channel = existingChannel(call);
  if (mode !== "id") throw new Refusal(400, "delayed queue search mode must be id");
  const { partition, sequence } = idPlace(call, channel.topic);
  const part = partHere(channel, partition);
  const record = recordAt(partition.log, sequence);
  const origin = numberJson(internalId(partition.index, sequence));
  const offset = record?.position ?? 0;
  const status = messageStatus(part, sequence);
  // A channel with an order keeps its deferred messages with the others.
  if (status.state === "deferred" && status.stored === undefined && record !== undefined) {
    const place = { id: origin, origin, attempts: status.attempts, offset };
    return encodedJson(messageText(call, record.buffer, record.from, record.to, place));
  }
  const stored = status.stored ?? (await call.broker.messageControl.findStored(part, sequence));
  if (stored === undefined || (status.stored !== undefined && status.state !== "deferred")) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  const frame = part.deferrals.frameOf(stored);
  const place = { id: String(stored.number), origin, attempts: stored.attempts, offset };
  return encodedJson(messageText(call, frame, 0, frame.length, place));
}

/** What an answer says of a message beside what its record has. */
interface Facts {
  readonly id: string;
  /** The id of the message, if `id` is that of its entry in the deferred store. */
  readonly origin?: string;
  readonly attempts: number;
  readonly offset: number;
  /** How many were published to the partition up to this one. */
  readonly count?: number;
}

/** A message as Youzan's nsqd shows it. @param frame has its record in [from, to) */
function messageText({ query }: HttpCall, frame: Buffer, from: number, to: number, facts: Facts): string {
  const { id, origin, attempts, offset, count } = facts;
  const header = new HeaderReader();
  const hasHeader = header.read(frame, from);
  const text = hasHeader && query.get("needext") === "true" ? frame.toString("utf8", header.textFrom, header.textTo) : "";
  const traceId = hasHeader ? header.traceId : 0n;
  const members = [
    `"id":${id}`,
    ...(origin === undefined ? [] : [`"orig_id":${origin}`]),
    `"trace_id":${numberJson(traceId)}`,
    bodyJson(frame.subarray(bodyAt(frame, from), to), "text"),
    `"timestamp":${frame.readBigUInt64BE(from + TIMESTAMP_OFFSET)}`,
    `"attempts":${attempts}`,
    `"offset":${offset}`,
    ...(count === undefined ? [] : [`"queue_cnt_index":${count}`]),
    `"ext":${encodeJson(text)}`,
    `"message_id":"${frame.toString("latin1", from + ID_OFFSET, from + ID_OFFSET + MESSAGE_ID_BYTES)}"`,
  ];
  return `{${members.join(",")}}`;
}

/** An id as a number, or as a text where a double would not hold it. */
function numberJson(id: bigint): string {
  return id > BigInt(Number.MAX_SAFE_INTEGER) ? `"${id}"` : String(id);
}
