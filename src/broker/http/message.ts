import { empty, Refusal } from "../../http/server/reply.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import { messageOfInternalId } from "../topics/inspect/internal-id.ts";
import { messageOfId } from "../topics/inspect/log-position.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { existingChannel, partHere, partitionArgument } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { operatorName } from "./origin.ts";
import { deferral } from "./pub.ts";

// Calls of operators for single messages, whoever has the message.

/**
 * POST /message/finish?topic=&channel=&id=: finishes a message in a channel, whether it is in flight, waiting or deferred. In place of
 * `id` there may be `msgid`, Youzan's id.
 */
export async function finishMessage(call: HttpCall): Promise<Response> {
  const { part, sequence } = call.query.get("msgid") === undefined ? target(call) : youzanTarget(call);
  await call.broker.messageControl.finish(part, sequence, operatorName(call, part));
  logAction(call, part.channel, "finished");
  return empty();
}

/**
 * POST /message/requeue?topic=&channel=&id=[&defer=ms]: has a channel deliver a message again, at once or after a delay, whether
 * it is in flight, waiting or deferred.
 */
export async function requeueMessage(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const { part, sequence } = target(call);
  const delayMs = deferral(call.query, broker.options.maxReqTimeoutMs);
  await broker.messageControl.requeue(part, sequence, delayMs, operatorName(call, part));
  logAction(call, part.channel, `requeued for ${delayMs} ms`);
  return empty();
}

/** @throws Refusal 400, 404, 409 */
function target(call: HttpCall): ReleasedMessage {
  const channel = existingChannel(call);
  const id = call.query.get("id");
  if (id === undefined) throw new Refusal(400, "MISSING_ARG_ID");
  return releasedMessage(channel, id);
}

/** @throws Refusal 400, 404, 409 */
function youzanTarget(call: HttpCall): ReleasedMessage {
  const channel = existingChannel(call);
  const named = partitionArgument(call, channel.topic);
  const text = call.query.get("msgid") ?? "";
  if (!/^\d{1,20}$/.test(text)) throw new Refusal(400, "INVALID_REQUEST");
  const message = messageOfInternalId(channel.topic, BigInt(text));
  if (message === undefined || (named !== undefined && named !== message.partition)) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  return released(channel, message);
}

/** A message that its topic has released to a channel. */
interface ReleasedMessage {
  part: ChannelPartition;
  sequence: number;
}

/** @throws Refusal 400, 404, 409 */
export function releasedMessage(channel: Channel, id: string): ReleasedMessage {
  const message = messageOfId(channel.topic, id);
  if (message === undefined) throw new Refusal(400, "INVALID_ARG_ID");
  return released(channel, message);
}

function released(channel: Channel, { partition, sequence }: { partition: TopicPartition; sequence: number }): ReleasedMessage {
  if (sequence >= partition.log.committedNext) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  // The topic is paused, so the channel has not got the message yet.
  if (sequence >= partition.released) throw new Refusal(409, "MESSAGE_NOT_IN_CHANNEL");
  return { part: partHere(channel, partition), sequence };
}

function logAction(call: HttpCall, channel: Channel, what: string): void {
  call.broker.logger.info(
    `CHANNEL(${channel.name}) of ${channel.topic.name}: message ${call.query.get("msgid") ?? call.query.get("id")} ${what} over HTTP`,
    call.about({ topic: channel.topic.name, channel: channel.name }),
  );
}
