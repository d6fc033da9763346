import { TIMESTAMP_OFFSET } from "../../frame/frame.ts";
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
 */
export function* readRecords(log: TopicLog, from: number, to: number): Generator<LogRecord> {
  if (from >= to) return;
  let { position, sequence } = log.runOf(from);
  while (sequence < to) {
    const chunk = log.peekAt(position);
    if (!("buffer" in chunk)) {
      sequence = chunk.nextSequence;
      position = chunk.nextPosition;
      continue;
    }
    const { buffer, view } = chunk;
    const end = chunk.offsetOf(Math.min(chunk.end, log.committedEnd));
    for (let at = chunk.offsetOf(position); at < end && sequence < to; sequence++) {
      const next = at + 4 + view.getUint32(at);
      if (sequence >= from) yield { sequence, position, buffer, from: at, to: next };
      position += next - at;
      at = next;
    }
  }
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
  // Commits are in order of time: what is in an earlier one was published before.
  const commit = log.files === undefined ? { from: log.startSequence, to: log.committedNext } : log.files.commitAtTime(timeMs);
  if (commit === undefined) return log.committedNext;
  for (const record of readRecords(log, commit.from, commit.to)) if (publishedMs(record) >= timeMs) return record.sequence;
  return commit.to;
}

/** The message that holds a byte of the log, or the first behind a gap; the log's end if there is none. */
export function sequenceAtPosition(log: TopicLog, position: number): number {
  if (position >= log.committedEnd) return log.committedNext;
  const from = log.files === undefined ? log.startSequence : log.files.commitAtPosition(position);
  for (const record of readRecords(log, from, log.committedNext)) {
    if (record.position + record.to - record.from > position) return record.sequence;
  }
  return log.committedNext;
}
