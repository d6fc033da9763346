import { goInteger } from "../../base/go/integer.ts";
import { MESSAGE_ID_BYTES } from "../../frame/frame.ts";
import { encodeHeader, NO_BYTES } from "../../frame/header.ts";
import { writeId } from "../../frame/id.ts";
import { murmur3 } from "../../frame/murmur3.ts";
import { isValidName } from "../../frame/names.ts";
import { internalId, rawBytes } from "../../frame/youzan.ts";
import { negotiated } from "../../http/server/negotiated.ts";
import { encodedJson, Refusal, text } from "../../http/server/reply.ts";
import { LeaderError } from "../acks/pending-publish.ts";
import { type ForwardedMessages, oneMessage } from "../forwarding/forwarded-messages.ts";
import type { MessagePlace } from "../forwarding/forwarded-publish.ts";
import { Elsewhere, placeOf } from "../forwarding/place.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { HttpCall } from "./call.ts";
import { messageHeader } from "./message-header.ts";
import { traceIdArgument } from "./messages.ts";
import { publishOrigin } from "./origin.ts";
import { idempotencyKey } from "./pub.ts";
import { type NamedTopic, publishFrom } from "./publish-place.ts";

// Youzan's calls that publish. Unlike /pub they make no topic, and they are refused in Youzan's words.

/**
 * POST /pub_ext?topic=&ext=[&partition=][&key=]: publishes the body as one message with a JSON header, which X-Nsqext-NAME adds to. With
 * a trace id in it the answer says where the message is.
 */
export async function pubExt(call: HttpCall): Promise<Response> {
  const { topic, body } = await readPublish(call);
  if (call.query.get("ext") === undefined) throw new Refusal(400, "E_INVALID_JSON_HEADER");
  const { header, key, isTraced, traceId, textBytes } = messageHeader(call, topic.topic);
  const place = await publish(call, topic, key, body, header, textBytes, traceId);
  return isTraced && place !== undefined ? negotiated(call.request, place) : text("OK");
}

/** POST /pubtrace?topic=&trace_id=[&partition=]: publishes the body as one message with a trace id. The answer says where it is. */
export async function pubTrace(call: HttpCall): Promise<Response> {
  const { topic, body } = await readPublish(call);
  const traceId = traceIdArgument(call);
  if (traceId === undefined) throw new Refusal(400, "INVALID_TRACE_ID");
  const header = traceId === 0n ? NO_BYTES : encodeHeader({ traceId, key: NO_BYTES, tag: NO_BYTES, text: NO_BYTES });
  const place = await publish(call, topic, NO_BYTES, body, header, 0, traceId);
  return place === undefined ? text("OK") : encodedJson(place);
}

async function readPublish(call: HttpCall): Promise<{ topic: NamedTopic; body: Uint8Array }> {
  const { broker, query } = call;
  const body = await call.body(broker.options.maxMsgSizeBytes, "MSG_TOO_BIG");
  if (body.length === 0) throw new Refusal(406, "MSG_EMPTY");
  const name = query.get("topic");
  if (name === undefined) throw new Refusal(400, "MISSING_ARG_TOPIC");
  if (!isValidName(name)) throw new Refusal(400, "INVALID_ARG_TOPIC");
  const topic = broker.registry.topics.get(name);
  if (topic !== undefined || broker.publishing.forwarder?.topic(name) !== undefined) return { topic: { name, topic }, body };
  broker.registry.checkWaiting(name);
  throw new Refusal(404, "E_TOPIC_NOT_EXIST");
}

/**
 * @returns where the message is, as JSON. The id is a number of 64 bits, which JavaScript rounds; `message_id` is the id in all other calls.
 * Undefined for a repetition: where the first one is, is not known
 */
async function publish(
  call: HttpCall,
  topic: NamedTopic,
  key: Uint8Array,
  body: Uint8Array,
  header: Uint8Array,
  textBytes: number,
  traceId: bigint,
): Promise<string | undefined> {
  const { publishing } = call.broker;
  const size = rawBytes(body.length, textBytes, topic.topic?.settings.extended === true);
  const place = youzanPlace(call, topic, key);
  if (place instanceof Elsewhere) {
    const published = await publishRemote(call, place, oneMessage(header, body, 0, body.length));
    return published && placeJson(published, size, traceId);
  }
  if (publishing.refusalFor(place.topic) !== undefined) throw new Refusal(400, "E_FAILED_ON_NOT_WRITABLE");
  const { next: sequence, end: position, prefix } = place.log;
  const published = publishing.publish(place, idempotencyKey(call), body, 0, publishOrigin(call, place), header);
  const isRepeated = publishing.appended === 0;
  await published;
  return isRepeated ? undefined : placeJson({ partition: place.index, prefix, sequence, position }, size, traceId);
}

/** As publishFrom(), with refusals in Youzan's words. */
async function publishRemote(call: HttpCall, place: Elsewhere, messages: ForwardedMessages): Promise<MessagePlace | undefined> {
  try {
    return await publishFrom(call, place, messages, "PUB", idempotencyKey(call), 0);
  } catch (error) {
    if (error instanceof LeaderError && error.youzanCode !== undefined) throw new Refusal(400, error.youzanCode);
    throw error;
  }
}

function placeJson({ partition, prefix, sequence, position }: MessagePlace, size: number, traceId: bigint): string {
  const id = internalId(partition, sequence);
  const messageId = Buffer.alloc(MESSAGE_ID_BYTES);
  writeId(new DataView(messageId.buffer, messageId.byteOffset, MESSAGE_ID_BYTES), 0, prefix, sequence);
  return `{"status":"OK","id":${id},"trace_id":"${traceId}","queue_offset":${position},"rawsize":${size},"message_id":"${messageId}"}`;
}

/** The partition that a call names, or that of the key, or the next one. */
function youzanPlace(call: HttpCall, { name, topic }: NamedTopic, key: Uint8Array): TopicPartition | Elsewhere {
  const argument = call.query.get("partition");
  const index = argument === undefined ? -1 : goInteger(Buffer.from(argument).toString("latin1"), "Atoi");
  if (typeof index !== "number") throw new Refusal(400, index.message);
  const { forwarder } = call.broker.publishing;
  const routed = forwarder?.topic(name);
  const hasPartition = routed === undefined ? topic?.hasPartition(index) : index >= 0 && index < routed.partitions;
  if (index !== -1 && hasPartition !== true) throw new Refusal(404, "E_TOPIC_NOT_EXIST");
  const hash = key.length === 0 ? undefined : murmur3(key, 0, key.length, 0);
  const place = forwarder && placeOf(forwarder, name, topic, index === -1 ? undefined : index, hash, idempotencyKey(call));
  if (place !== undefined) return place;
  const fromKey = () => (hash === undefined ? topic?.nextPartition() : topic?.partitionOfHash(hash));
  const partition = index === -1 ? fromKey() : topic?.partition(index);
  if (partition === undefined) throw new Refusal(400, "E_FAILED_ON_NOT_LEADER");
  return partition;
}
