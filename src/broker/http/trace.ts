import { TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { traceIdOf } from "../../frame/header.ts";
import { empty, json, Refusal } from "../../http/server/reply.ts";
import { isKernelError } from "../storage/disk/unreadable-file.ts";
import { type LogRecord, recordAt } from "../storage/log/records.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { type LifeEvent, lifeOf } from "../trace/life.ts";
import { channelNotFound, existingChannel, existingTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { idArgument } from "./messages.ts";

// Calls for the traces of messages (docs/tracing.md).

/** POST /topic/trace?topic=&on=true|false: records what happens to a topic's messages in all its channels, or ceases to. */
export function setTopicTrace(call: HttpCall): Response {
  const topic = existingTopic(call);
  setTrace(call, topic, undefined, onArgument(call));
  return json(describeTopic(call, topic));
}

/** GET /topic/trace?topic= */
export function getTopicTrace(call: HttpCall): Response {
  return json(describeTopic(call, existingTopic(call)));
}

/** POST /channel/trace?topic=&channel=&on=true|false: records what happens to messages in one channel, or ceases to. */
export function setChannelTrace(call: HttpCall): Response {
  const channel = existingChannel(call);
  setTrace(call, channel.topic, channel, onArgument(call));
  return json(describeChannel(call, channel));
}

/** GET /channel/trace?topic=&channel= */
export function getChannelTrace(call: HttpCall): Response {
  return json(describeChannel(call, existingChannel(call)));
}

/** POST /message/trace/enable?topic=[&channel=]: Youzan's call. Its argument `slow` has no effect: all messages are traced. */
export function enableMessageTrace(call: HttpCall): Response {
  return youzan(call, true);
}

/** POST /message/trace/disable?topic=[&channel=]: Youzan's call. */
export function disableMessageTrace(call: HttpCall): Response {
  return youzan(call, false);
}

function youzan(call: HttpCall, on: boolean): Response {
  const topic = existingTopic(call);
  const name = call.query.get("channel");
  const channel = name === undefined ? undefined : topic.channels.get(name);
  if (name !== undefined && channel === undefined) throw channelNotFound();
  setTrace(call, topic, channel, on);
  return empty();
}

/** GET /message/trace?topic=&id=[&channel=]: what was recorded of one message, oldest first; in one channel, if one is given. */
export async function messageTrace(call: HttpCall): Promise<Response> {
  const topic = existingTopic(call);
  const { partition, sequence } = idArgument(call, topic);
  const found = await call.broker.traceSearch.find(partition.number, sequence);
  if (found === "busy") throw new Refusal(503, "TOO_MANY_REQUESTS");
  const events = lifeOf(found.events, sequence, call.query.get("channel"));
  const record = recordOf(partition, sequence);
  if (record !== undefined && events.length > 0 && !events.some(({ kind }) => kind === "published")) events.unshift(publishedOf(record));
  const traceId = record === undefined ? 0n : traceIdOf(record.buffer, record.from);
  if (traceId === 0n) return json({ events, left_out: found.leftOut });
  const published = events.findLast(({ kind }) => kind === "published");
  if (published !== undefined) published.detail = [published.detail, `trace id ${traceId}`].filter((part) => part !== null).join("; ");
  return json({ events, left_out: found.leftOut, trace_id: `${traceId}` });
}

/** The record of a message; undefined if the log does not have it any more, or its file cannot be read. */
function recordOf({ log }: TopicPartition, sequence: number): LogRecord | undefined {
  try {
    return recordAt(log, sequence);
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return undefined;
  }
}

/** When a message was published whose topic was not traced then, by its timestamp. */
function publishedOf({ buffer, from }: LogRecord): LifeEvent {
  const time = Number(buffer.readBigUInt64BE(from + TIMESTAMP_OFFSET) / 1_000_000n);
  const nobody = { channel: null, attempts: null, by: null, delay_ms: null };
  return { time, kind: "published", ...nobody, detail: "by the message's timestamp; the topic was not traced" };
}

/** @throws OperatorError NOT_STORED; Refusal 400 TRACING_DISABLED */
function setTrace({ broker }: HttpCall, topic: Topic, channel: Channel | undefined, on: boolean): void {
  const { tracing, logger } = broker;
  if (on && !tracing.isEnabled) throw new Refusal(400, "TRACING_DISABLED");
  if (channel === undefined) tracing.setTopic(topic, on);
  else tracing.setChannel(channel, on);
  const what = channel === undefined ? `TOPIC(${topic.name})` : `CHANNEL(${channel.name}) of ${topic.name}`;
  logger.info(`${what}: messages are ${on ? "" : "not "}traced from now on`);
}

/** @throws Refusal 400 MISSING_ARG_ON, INVALID_ARG_ON */
function onArgument({ query }: HttpCall): boolean {
  const on = query.get("on");
  if (on === undefined) throw new Refusal(400, "MISSING_ARG_ON");
  if (on !== "true" && on !== "false") throw new Refusal(400, "INVALID_ARG_ON");
  return on === "true";
}

function describeTopic({ broker }: HttpCall, topic: Topic): object {
  const channels = [...topic.channels.values()].filter((channel) => broker.tracing.hasChannel(channel)).map(({ name }) => name);
  return { topic_name: topic.name, on: topic.isTraced, channels, store: describeStore(broker) };
}

function describeChannel({ broker }: HttpCall, channel: Channel): object {
  const { topic, name, isTraced } = channel;
  const own = broker.tracing.hasChannel(channel);
  return { topic_name: topic.name, channel_name: name, on: isTraced, own, store: describeStore(broker) };
}

/** The state of the traces of all topics. */
function describeStore({ options, tracer, traceFiles, otlp }: HttpCall["broker"]): object {
  const { written, dropped } = tracer;
  const spans = otlp && { sent: otlp.sent, dropped: otlp.dropped, dropped_records: otlp.droppedRecords, waiting: otlp.waiting };
  return { bytes: traceFiles.bytes, limit_bytes: options.traceBytes, written, dropped, ...(spans === undefined ? {} : { spans }) };
}
