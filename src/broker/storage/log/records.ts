import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import type { TopicLog } from "./topic-log.ts";

/** One record as it stands in a log. The bytes are the log's own: valid until the reader gives control away. */
export interface LogRecord {
  sequence: number;
  position: number;
  buffer: Buffer;
  /** Of its frame. */
  from: number;
  to: number;
}

/**
 * Reads a log's records in order, beside all caches: for who looks, not for who consumes. Damaged ones are left out.
 *
 * @param from first sequence, at least the log's start
 * @param to exclusive, at most the log's committed end
 * @param visit told each; true when it has seen enough
 * @param maxReads runs of records that are read at the most, damaged ones too
 * @returns the first sequence that was not looked at
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
    const chunk = log.peekAt(position);
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

/** When a record was published, ms; to about a microsecond. */
export function publishedMs({ buffer, from }: LogRecord): number {
  const high = buffer.readUInt32BE(from + TIMESTAMP_OFFSET);
  const low = buffer.readUInt32BE(from + TIMESTAMP_OFFSET + 4);
  return (high * 4294967296 + low) / 1e6;
}

/**
 * The first message published at or after a time; the log's end if there is none. A deferred message counts from when
 * it joined the log: one that fell due later is not left out because it was published earlier.
 */
export function sequenceAtTime(log: TopicLog, timeMs: number): number {
  const wanted = (record: LogRecord) => publishedMs(record) >= timeMs;
  if (log.files === undefined) return firstWhere(log, log.startSequence, log.committedNext, wanted);
  log.catchUp();
  // Commits are in order of time: what is in an earlier one was published before. The time of one that recovery wrote
  // anew is that of a message in it, in whole milliseconds.
  const first = log.files.commitAtTime(timeMs - 1);
  if (first === undefined) return log.committedNext;
  return firstWhere(log, first.from, log.files.commitAtTime(timeMs)?.to ?? log.committedNext, wanted);
}

/** The message that holds a byte of the log, or the first behind a gap; the log's end if there is none. */
export function sequenceAtPosition(log: TopicLog, position: number): number {
  if (position >= log.committedEnd) return log.committedNext;
  log.catchUp();
  const from = log.files === undefined ? log.startSequence : log.files.commitAtPosition(position);
  return firstWhere(log, from, log.committedNext, (record) => record.position + record.to - record.from > position);
}

/** Sequence of the first record that is looked for; `to` if there is none. */
function firstWhere(log: TopicLog, from: number, to: number, wanted: (record: LogRecord) => boolean): number {
  let found = to;
  visitRecords(log, from, to, (record) => {
    if (!wanted(record)) return false;
    found = record.sequence;
    return true;
  });
  return found;
}
