/**
 * How long a topic's log keeps messages that every channel has finished, so that a channel can go back to them. Messages that
 * a channel has not finished are kept in any case.
 */
export interface Retention {
  /** Keeps messages younger than this; 0: no such limit. */
  timeMs: number;
  /** Keeps this many of the log's newest bytes; 0: no such limit. With both limits, messages within both are kept. */
  bytes: number;
}

/** Messages that all channels have finished are removed, as in nsqd. */
export const NO_RETENTION: Retention = { timeMs: 0, bytes: 0 };

/** Only whole segments are removed, so a segment is at most one of this many parts of what is retained. */
const PARTS = 8;
/** A segment may reach this size, however little is retained. */
const SMALLEST_SEGMENT_BYTES = 1024 * 1024;
/** A segment may reach this age before it is followed by another because of its age. */
const SHORTEST_AGE_MS = 1000;
/** A log with more segments than this starts no new one because of age, since its oldest one will not be removed soon anyway. */
export const MAX_AGED_SEGMENTS = 64;

export function isRetaining({ timeMs, bytes }: Retention): boolean {
  return timeMs > 0 || bytes > 0;
}

/**
 * Whether a segment with only finished messages is kept.
 *
 * @param ageMs age of the segment's last commit
 * @param bytesBehind how many bytes the log has behind the segment
 */
export function isRetained(retention: Retention, ageMs: number, bytesBehind: number): boolean {
  if (!isRetaining(retention)) return false;
  return (retention.timeMs === 0 || ageMs < retention.timeMs) && (retention.bytes === 0 || bytesBehind < retention.bytes);
}

/** How many bytes a segment gets before a new one follows it. */
export function segmentBytes({ bytes }: Retention, maxBytesPerFile: number): number {
  return bytes === 0 ? maxBytesPerFile : Math.min(maxBytesPerFile, Math.max(SMALLEST_SEGMENT_BYTES, Math.floor(bytes / PARTS)));
}

/** How long after its first commit a segment is followed by a new one. */
export function segmentAgeMs({ timeMs }: Retention): number {
  return timeMs === 0 ? Number.POSITIVE_INFINITY : Math.max(SHORTEST_AGE_MS, timeMs / PARTS);
}
