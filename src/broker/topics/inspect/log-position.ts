import { nsToMs, parseDuration } from "../../../base/go/duration.ts";
import { goInteger } from "../../../base/go/integer.ts";
import { expandSequence, readPrefix, readSequence, topicNumberOf } from "../../../frame/id.ts";
import { recordAt, sequenceAtPosition, sequenceAtTime } from "../../storage/log/records.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { Topic } from "../topic.ts";
import type { TopicPartition } from "../topic-partition.ts";

/** A position in a topic's log, as a request names it. */
export type LogPosition =
  | { kind: "beginning" }
  | { kind: "end" }
  | { kind: "sequence"; sequence: number }
  | { kind: "time"; timeMs: number }
  | { kind: "position"; position: number }
  | { kind: "id"; id: string };

const DIGITS = /^\d{1,15}$/;
const NUMBER = /^\d{1,19}(\.\d+)?$/;
const ID = /^[0-9a-f]{16}$/;
/** RFC 3339. In a query a plus sign becomes a space, so a space is accepted in its place. */
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+ -]\d\d:\d\d)$/i;

/**
 * Parses a log position: `beginning` (or `start`), `end`, `sequence:N`, `id:ID`, `time:T` with an RFC 3339 time or a Unix time,
 * or `ago:1h30m`. The word in front may be left out of a sequence, an id of 16 hex digits, and an RFC 3339 time.
 *
 * @returns undefined for anything else
 */
export function parseLogPosition(text: string, nowMs: number): LogPosition | undefined {
  if (text === "beginning" || text === "start") return { kind: "beginning" };
  if (text === "end") return { kind: "end" };
  const colon = text.indexOf(":");
  const word = /^[a-z]+$/.test(text.slice(0, Math.max(0, colon))) ? text.slice(0, colon) : "";
  const value = word === "" ? text : text.slice(colon + 1);
  if (word === "time" || (word === "" && DATE.test(value))) {
    const timeMs = parseTime(value);
    return timeMs === undefined ? undefined : { kind: "time", timeMs };
  }
  if ((word === "id" || word === "") && ID.test(value)) return { kind: "id", id: value };
  if ((word === "sequence" || word === "") && DIGITS.test(value)) return { kind: "sequence", sequence: Number(value) };
  if (word === "ago") {
    const ns = parseDuration(value);
    return ns === undefined || ns < 0n ? undefined : { kind: "time", timeMs: nowMs - nsToMs(ns) };
  }
  return undefined;
}

/**
 * Parses what Youzan's nsqd takes in /channel/setoffset and SUB_ADVANCED: `timestamp:SECONDS`, `virtual_queue:BYTES` from the log's
 * start, `msgcount:N` for the Nth message, or `special:-1` for the end.
 *
 * @param text one character per byte
 * @returns an error in its words for anything else
 */
export function parseConsumeOffset(text: string): LogPosition | Error {
  const [, type, digits = ""] = /^(timestamp|virtual_queue|msgcount|special):([^:]*)$/.exec(text) ?? [];
  if (type === undefined) return new Error(`invalid consume offset:${text}`);
  const value = goInteger(digits, "ParseInt");
  if (value instanceof Error) return value;
  if (type === "special") return value === -1 ? { kind: "end" } : new Error("not supported offset type");
  if (value < 0) return new Error(type === "timestamp" ? `Invalid timestamp ${value}` : `invalid consume offset:${text}`);
  if (type === "timestamp") return { kind: "time", timeMs: value * 1000 };
  return type === "msgcount" ? { kind: "sequence", sequence: Math.max(0, value - 1) } : { kind: "position", position: value };
}

/** Parses an RFC 3339 time, or a Unix time in s, ms, µs or ns. Its size tells the unit, up to the year 5138. */
function parseTime(text: string): number | undefined {
  if (NUMBER.test(text)) {
    const value = Number(text);
    if (value < 1e11) return value * 1000;
    if (value < 1e14) return value;
    return value < 1e17 ? value / 1e3 : value / 1e6;
  }
  if (!DATE.test(text)) return undefined;
  const timeMs = Date.parse(text.replace(" ", "+").toUpperCase());
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/** The partition and the sequence of the message with an id. @returns undefined for an id that no message of the topic has or will have */
export function messageOfId({ partitions }: Topic, id: string): { partition: TopicPartition; sequence: number } | undefined {
  for (const partition of partitions) {
    const sequence = sequenceOfId(partition.log, id);
    if (sequence !== undefined) return { partition, sequence };
  }
  return undefined;
}

/** The sequence of the message with an id in a log. @returns undefined for an id that none of its messages has or will have */
function sequenceOfId(log: TopicLog, id: string): number | undefined {
  if (!ID.test(id)) return undefined;
  const bytes = Buffer.from(id, "latin1");
  const prefix = readPrefix(bytes, 0);
  const sequence = expandSequence(readSequence(bytes, 0), log.next);
  if (log.prefixes.has(prefix)) return sequence;
  // The log has nothing left of a message that is in the deferred store alone, so nothing can tell its node.
  if (sequence < log.startSequence) return topicNumberOf(prefix) === topicNumberOf(log.prefix) ? sequence : undefined;
  return log.prefixes.confirm(prefix, () => recordAt(log, sequence)) ? sequence : undefined;
}

/**
 * The sequence of the message at a position. A position before the log's oldest message becomes that message, and one beyond its
 * newest the log's end.
 *
 * @returns undefined for an id that no message of the topic has or will have
 */
export function resolveLogPosition({ log }: TopicPartition, position: LogPosition): number | undefined {
  const bounded = (sequence: number) => Math.max(log.startSequence, Math.min(sequence, log.committedNext));
  switch (position.kind) {
    case "beginning":
      return log.startSequence;
    case "end":
      return log.committedNext;
    case "sequence":
      return bounded(position.sequence);
    case "time":
      return sequenceAtTime(log, position.timeMs);
    case "position":
      return sequenceAtPosition(log, position.position);
    case "id": {
      const sequence = sequenceOfId(log, position.id);
      return sequence === undefined ? undefined : bounded(sequence);
    }
  }
}
