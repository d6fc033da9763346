import { traceIdOf } from "../../frame/header.ts";
import { MAX_TRACE_ID } from "../../frame/json-header.ts";
import { encodedJson, Refusal } from "../../http/server/reply.ts";
import { KIND_PUBLISH } from "../storage/deferred/entry.ts";
import { type LogRecord, peekAt, recordAt, visitRecords } from "../storage/log/records.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import { listDeferred, parsePageStart } from "../topics/inspect/deferred-search.ts";
import { messageOfId } from "../topics/inspect/log-position.ts";
import { freshRanges, type MessageState, type MessageStatus, messageStatus, messagesIn } from "../topics/inspect/message-status.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import {
  existingChannel,
  existingTopic,
  onePartition,
  type PartitionPosition,
  partHere,
  partitionArgument,
  positionArgument,
} from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { formatArgument, isoTime, limitArgument, MessageList, messageJson, PAGE_READS, statusJson } from "./message-json.ts";

// Calls that show messages without consuming them. They change nothing in the broker, and keep nothing in its caches.

/** A page of the messages with one trace id looks at no more messages than this. */
const MOST_LOOKED_AT = 50_000;

/**
 * GET /topic/messages?topic=[&partition=][&from=POSITION][&trace_id=][&limit=][&format=]: a page of one log of a topic
 * (topics/inspect/log-position.ts). With a trace id it has only the messages with that one, and may be empty though there is a next page.
 */
export function topicMessages(call: HttpCall): Response {
  const topic = existingTopic(call);
  const { partition, sequence: from } = startOf(call, topic, onePartition(call, topic).log.startSequence);
  const list = new MessageList(formatArgument(call), limitArgument(call));
  const { log } = partition;
  const traceId = traceIdArgument(call);
  let others = 0;
  const add = (record: LogRecord) => {
    if (traceId !== undefined && traceIdOf(record.buffer, record.from) !== traceId) return ++others >= MOST_LOOKED_AT;
    list.add(record.sequence, record.buffer, record.from, record.to);
    return list.full;
  };
  const next = visitRecords(log, from, log.committedNext, add, PAGE_READS);
  return encodedJson(list.toJson({ next, beginning: log.startSequence, end: log.committedNext, ...pageJson(topic, partition) }));
}

/** @throws Refusal 400 INVALID_TRACE_ID */
export function traceIdArgument({ query }: HttpCall): bigint | undefined {
  const text = query.get("trace_id");
  if (text === undefined) return undefined;
  const traceId = /^\d{1,20}$/.test(text) ? BigInt(text) : MAX_TRACE_ID + 1n;
  if (traceId > MAX_TRACE_ID) throw new Refusal(400, "INVALID_TRACE_ID");
  return traceId;
}

/** Where a page of one partition begins: an id names the partition. Otherwise it is the first one, unless `partition` names another. */
function startOf(call: HttpCall, topic: Topic, beginning: number): PartitionPosition {
  const from = call.query.get("from");
  const named = from === undefined || partitionArgument(call, topic) !== undefined ? undefined : messageOfId(topic, from)?.partition;
  const partition = named ?? onePartition(call, topic);
  return { partition, sequence: from === undefined ? beginning : positionArgument(call, partition, "from") };
}

/** Which partition an answer is about, where there are several. */
function partitionJson({ settings }: Topic, { index }: TopicPartition): { partition?: number } {
  return settings.partitions > 1 ? { partition: index } : {};
}

/** Which partition a page is of, where there are several, and which ones of this broker have pages, too. */
function pageJson(topic: Topic, partition: TopicPartition): { partition?: number; partitions?: number[] } {
  if (topic.settings.partitions === 1) return {};
  return { ...partitionJson(topic, partition), partitions: topic.partitions.map(({ index }) => index) };
}

/** GET /message?topic=&id=[&format=]: one message, and its status in each channel. */
export function oneMessage(call: HttpCall): Response {
  const topic = existingTopic(call);
  const format = formatArgument(call);
  const { partition, sequence } = idArgument(call, topic);
  const record = recordAt(partition.log, sequence);
  if (record === undefined) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  const channels = [...partition.channels.values()].map((channel) => ({
    channel_name: channel.name,
    ...statusJson(call.broker, messageStatus(channel, sequence)),
    traced: channel.inFlight.trace !== undefined,
  }));
  const more = { traced: topic.isTraced, channels, ...partitionJson(topic, partition) };
  return encodedJson(messageJson(sequence, record.buffer, record.from, record.to, format, more));
}

/**
 * GET /channel/messages?topic=&channel=&state=in_flight|waiting|deferred[&from=][&limit=][&format=]: a page of a channel's
 * messages in a state, by sequence.
 */
export function channelMessages(call: HttpCall): Response {
  const whole = existingChannel(call);
  const channel = partHere(whole, onePartition(call, whole.topic));
  const state = call.query.get("state");
  if (state === undefined) throw new Refusal(400, "MISSING_ARG_STATE");
  const list = new MessageList(formatArgument(call), limitArgument(call));
  const next = state === "deferred" ? addDeferred(call, channel, list) : addInState(call, channel, state, list);
  return encodedJson(list.toJson({ next, ...pageJson(whole.topic, channel.partition) }));
}

/** @returns where the next page begins; null at the end @throws Refusal 400 */
function addInState(call: HttpCall, channel: ChannelPartition, state: string, list: MessageList): number | null {
  const from = call.query.get("from") === undefined ? 0 : positionArgument(call, channel.partition, "from");
  if (state === "in_flight") return addDelivered(call, channel, "in_flight", from, list);
  if (state === "waiting") return addWaiting(call, channel, from, list);
  throw new Refusal(400, "INVALID_ARG_STATE");
}

/** The message that the argument `id` names. @throws Refusal 400 */
export function idArgument({ query }: HttpCall, topic: Topic): { partition: TopicPartition; sequence: number } {
  const id = query.get("id");
  if (id === undefined) throw new Refusal(400, "MISSING_ARG_ID");
  const message = messageOfId(topic, id);
  if (message === undefined) throw new Refusal(400, "INVALID_ARG_ID");
  return message;
}

/** Adds messages in a state that were delivered before. @returns where the next page begins; null at the end */
function addDelivered(
  { broker }: HttpCall,
  channel: ChannelPartition,
  state: MessageState,
  from: number,
  list: MessageList,
): number | null {
  const frames = new Frames(channel);
  for (const one of messagesIn(channel, state, from, 1001)) {
    if (list.full) return one.sequence;
    const record = frames.of(one);
    // A message that is damaged on the disk is left out. Consumers do not get it either.
    if (record !== undefined) list.add(one.sequence, record.buffer, record.from, record.to, statusJson(broker, one));
  }
  return null;
}

/**
 * Adds deferred messages: first those with a short delay, which are in memory, then those in the deferred store. Pages of the
 * store begin at a name instead of a sequence.
 */
function addDeferred(call: HttpCall, channel: ChannelPartition, list: MessageList): string | number | null {
  const { broker, query } = call;
  const text = query.get("from");
  let from = parsePageStart(text ?? "memory-0");
  if (from === undefined) {
    if (!/^\d{1,15}$/.test(text ?? "")) throw new Refusal(400, "INVALID_ARG_FROM");
    const next = addDelivered(call, channel, "deferred", Number(text), list);
    if (next !== null) return next;
    from = { inMemory: 0 };
  } else if (text === undefined) {
    const next = addDelivered(call, channel, "deferred", 0, list);
    if (next !== null) return next;
  }
  return listDeferred(broker.deferred, channel, from, {
    get full() {
      return list.full;
    },
    add: (message) => {
      const frame = channel.deferrals.frameOf(message);
      const sequence = message.kind === KIND_PUBLISH ? null : message.sequence;
      list.add(sequence, frame, 0, frame.length, {
        state: "deferred",
        attempts: message.attempts,
        due: isoTime(broker.turn.toWall(message.dueMs)),
      });
    },
  });
}

/** Adds waiting messages: first those that are delivered again, then those that were never delivered. */
function addWaiting(call: HttpCall, channel: ChannelPartition, from: number, list: MessageList): number | null {
  const again = addDelivered(call, channel, "requeued", from, list);
  if (again !== null) return again;
  const { log, released } = channel.partition;
  const fresh = statusJson(call.broker, messageStatus(channel, released));
  let reads = PAGE_READS;
  for (const range of freshRanges(channel, from, released)) {
    if (list.full || reads-- <= 0) return range.from;
    const add = (record: LogRecord) => {
      list.add(record.sequence, record.buffer, record.from, record.to, fresh);
      return list.full;
    };
    const next = visitRecords(log, range.from, range.to, add, PAGE_READS);
    if (next < range.to) return next;
  }
  return null;
}

/** Finds the frames of messages, given in ascending order, in the log or the deferred store. */
class Frames {
  private readonly log: TopicLog;
  private last: { start: number; end: number; buffer: Buffer } | undefined;

  constructor(private readonly channel: ChannelPartition) {
    this.log = channel.partition.log;
  }

  /** @returns undefined if the bytes are damaged */
  of({ position, stored }: MessageStatus): { buffer: Buffer; from: number; to: number } | undefined {
    if (stored !== undefined) return { buffer: this.channel.deferrals.frameOf(stored), from: 0, to: stored.frameBytes };
    if (this.last === undefined || position < this.last.start || position >= this.last.end) {
      const chunk = peekAt(this.log, position);
      if (chunk.isGap) return undefined;
      this.last = chunk;
    }
    const { buffer, start } = this.last;
    const from = position - start;
    return { buffer, from, to: from + 4 + buffer.readUInt32BE(from) };
  }
}
