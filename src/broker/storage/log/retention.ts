/**
 * How long a topic's log keeps what every channel has finished, so that a channel can go back to it. It never shortens
 * the life of what some channel has still to get.
 */
export interface Retention {
  /** Messages published in the last so many ms are kept; 0: no such limit. */
  timeMs: number;
  /** The newest so many bytes of the log are kept; 0: no such limit. With both, what is within both is kept. */
  bytes: number;
}

/** As nsqd: what all channels are done with is gone. */
export const NO_RETENTION: Retention = { timeMs: 0, bytes: 0 };

/** Whole segments are let go, so segments are kept to this part of what is retained. */
const PARTS = 8;
/** But no smaller than this, however little is retained. */
const SMALLEST_SEGMENT_BYTES = 1024 * 1024;
/** Nor younger, when they are rolled for their age. */
const SHORTEST_AGE_MS = 1000;
/** A log with more segments than this is not rolled for age: its oldest is not to be let go soon anyway. */
export const MAX_AGED_SEGMENTS = 64;

export function isRetaining({ timeMs, bytes }: Retention): boolean {
  return timeMs > 0 || bytes > 0;
}

/**
 * Whether a segment in which everything is finished is still kept.
 *
 * @param ageMs of its last commit
 * @param bytesBehind that the log has behind it
 */
export function isRetained(retention: Retention, ageMs: number, bytesBehind: number): boolean {
  if (!isRetaining(retention)) return false;
  return (retention.timeMs === 0 || ageMs < retention.timeMs) && (retention.bytes === 0 || bytesBehind < retention.bytes);
}

/** Bytes after which a log goes on in a new segment. */
export function segmentBytes({ bytes }: Retention, maxBytesPerFile: number): number {
  return bytes === 0 ? maxBytesPerFile : Math.min(maxBytesPerFile, Math.max(SMALLEST_SEGMENT_BYTES, Math.floor(bytes / PARTS)));
}

/** Ms after its first commit that it does. */
export function segmentAgeMs({ timeMs }: Retention): number {
  return timeMs === 0 ? Number.POSITIVE_INFINITY : Math.max(SHORTEST_AGE_MS, timeMs / PARTS);
}
