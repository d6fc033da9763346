import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import { type Chunk, type Gap, UNPOOLED } from "./chunk.ts";
import type { TopicLog } from "./topic-log.ts";

/** One record of a log. Its bytes are the log's memory, valid until the reader returns to the event loop. */
export interface LogRecord {
  sequence: number;
  position: number;
  buffer: Buffer;
  /** The record's frame is at [from, to) in `buffer`. */
  from: number;
  to: number;
}

/** About as much is read around a record that is looked at. */
const READ_NEAR_BYTES = 32 * 1024;

/** Like log.chunkAt(), but for inspection: leaves all caches as they are, and does not report damage. @throws UnreadableFile */
export function peekAt(log: TopicLog, position: number): Chunk | Gap {
  const cached = log.cachedAt(position);
  if (cached !== undefined) return cached;
  if (log.files === undefined) throw new Error(`memory log has no position ${position}`);
  return log.files.reader.read(position, READ_NEAR_BYTES, UNPOOLED, true);
}

/**
 * Reads a log's records in order and leaves all caches as they are: for inspection, not for delivery. Skips damaged records.
 *
 * @param from first sequence, not below the log's start
 * @param to sequence after the last, not above the log's committed end
 * @param visit called with each record; returns true to stop
 * @param maxReads the most runs of records to read; damaged runs count
 * @returns the first sequence that was not visited or skipped
 */
export function visitRecords(
  log: TopicLog,
  from: number,
  to: number,
  visit: (record: LogRecord) => boolean,
  maxReads = Number.POSITIVE_INFINITY,
): number {
  if (from >= to) return from;
  let { position, sequence } = log.runAt(from);
  for (let reads = 0; sequence < to && reads < maxReads; reads++) {
    const chunk = peekAt(log, position);
    if (chunk.isGap) {
      sequence = chunk.nextSequence;
      position = chunk.nextPosition;
      continue;
    }
    const { buffer, view } = chunk;
    const end = chunk.offsetOf(Math.min(chunk.end, log.committedEnd));
    for (let at = chunk.offsetOf(position); at < end && sequence < to; ) {
      const next = at + 4 + view.getUint32(at);
      const seenEnough = sequence >= from && visit({ sequence, position, buffer, from: at, to: next });
      sequence++;
      if (seenEnough) return sequence;
      position += next - at;
      at = next;
    }
  }
  return Math.max(from, Math.min(sequence, to));
}

/**
 * Position of a record behind one whose position is known. In memory, only the records between the two are passed.
 *
 * @param to `from ≤ to ≤ log.committedNext`
 * @throws UnreadableFile
 */
export function locateFrom(log: TopicLog, from: number, position: number, to: number): number {
  if (to === log.committedNext) return log.committedEnd;
  let at = position;
  let sequence = from;
  while (sequence < to) {
    const chunk = log.cachedAt(at);
    if (chunk === undefined) return log.locate(to);
    for (; sequence < to && at < chunk.end; sequence++) at += 4 + chunk.view.getUint32(chunk.offsetOf(at));
  }
  return at;
}

/** The record with a sequence; undefined if the log has none, or a damaged one. */
export function recordAt(log: TopicLog, sequence: number): LogRecord | undefined {
  if (sequence < log.startSequence || sequence >= log.committedNext) return undefined;
  let found: LogRecord | undefined;
  visitRecords(log, sequence, sequence + 1, (record) => {
    found = record;
    return true;
  });
  return found;
}

/** When a record was published, in ms, to the microsecond: a double does not hold the nanoseconds. */
export function publishedMs({ buffer, from }: LogRecord): number {
  const high = buffer.readUInt32BE(from + TIMESTAMP_OFFSET);
  const low = buffer.readUInt32BE(from + TIMESTAMP_OFFSET + 4);
  return Math.round((high * 4294967296 + low) / 1000) / 1000;
}

/**
 * When a message was published, ms since 1970; if it is not in memory, when it was written. Changes no cache.
 *
 * @param position of its record; below 0: unknown
 * @returns undefined where nothing tells it
 * @throws UnreadableFile
 */
export function timeAt(log: TopicLog, sequence: number, position: number): number | undefined {
  const cached = log.cachedAt(position);
  if (cached === undefined) return sequence < log.startSequence ? undefined : log.files?.reader.runAt(sequence).timeMs;
  const at = cached.offsetOf(position) + TIMESTAMP_OFFSET;
  return (cached.view.getUint32(at) * 2 ** 32 + cached.view.getUint32(at + 4)) / 1e6;
}

/**
 * The first message published at or after a time; the log's end if there is none. A deferred message counts from the time at
 * which it was due and joined the log, so that one published before `timeMs` and due after it is not left out.
 */
export function sequenceAtTime(log: TopicLog, timeMs: number): number {
  const wanted = (record: LogRecord) => publishedMs(record) >= timeMs;
  if (log.files === undefined) return firstWhere(log, log.startSequence, log.committedNext, wanted);
  log.catchUp();
  // Commits are in order of time, and so all messages of an earlier commit were published earlier. The time of a commit that
  // recovery has rebuilt is that of one of its messages, in whole milliseconds.
  const first = log.files.reader.commitAtTime(timeMs - 1);
  if (first === undefined) return log.committedNext;
  return firstWhere(log, first.from, log.files.reader.commitAtTime(timeMs)?.to ?? log.committedNext, wanted);
}

/** The message at a position, or the first one behind the gap that the position is in; the log's end if there is none. */
export function sequenceAtPosition(log: TopicLog, position: number): number {
  if (position >= log.committedEnd) return log.committedNext;
  log.catchUp();
  const from = log.files === undefined ? log.startSequence : log.files.reader.commitAtPosition(position);
  return firstWhere(log, from, log.committedNext, (record) => record.position + record.to - record.from > position);
}

/** Sequence of the first wanted record; `to` if there is none. */
function firstWhere(log: TopicLog, from: number, to: number, wanted: (record: LogRecord) => boolean): number {
  let found = to;
  visitRecords(log, from, to, (record) => {
    if (!wanted(record)) return false;
    found = record.sequence;
    return true;
  });
  return found;
}
