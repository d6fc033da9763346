import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import type { Disk } from "../disk/disk.ts";
import { Bucket, bucketName } from "./bucket.ts";

/**
 * The levels of the timing wheel: widths of buckets, finest first, each 64 times the one before. A message goes to the finest
 * level at which its due time is less than 64 widths away. So there are some two hundred buckets at most, whatever the delays.
 */
const WIDTHS_MS = [1000, 64 * 1000, 4096 * 1000, 262_144 * 1000];
export const FINEST_MS = WIDTHS_MS[0];
/** A bucket of the finest width is loaded this long before its time begins. */
const LOAD_LEAD_MS = 800;

/** All buckets, and the ones among them that have something to be written. */
export class BucketSet implements Iterable<Bucket> {
  readonly dirty = new Set<Bucket>();
  private readonly byName = new Map<string, Bucket>();

  constructor(
    readonly disk: Disk,
    readonly directory: string,
    private readonly rateLimitedLog: RateLimitedLog,
  ) {}

  get size(): number {
    return this.byName.size;
  }

  [Symbol.iterator](): Iterator<Bucket> {
    return this.byName.values();
  }

  /** The bucket of a width for messages that are due at a time; made if there is none. */
  for(dueMs: number, widthMs: number, nowMs: number): Bucket {
    const startMs = startOf(dueMs, widthMs);
    const known = this.byName.get(bucketName(startMs, widthMs));
    if (known !== undefined) return known;
    const bucket = new Bucket(this.disk, this.directory, startMs, widthMs);
    bucket.loading = isNear(bucket, nowMs);
    this.add(bucket);
    return bucket;
  }

  add(bucket: Bucket): void {
    this.byName.set(bucket.name, bucket);
  }

  has(bucket: Bucket): boolean {
    return this.byName.get(bucket.name) === bucket;
  }

  /** Removes a bucket and its files. */
  remove(bucket: Bucket): void {
    if (this.has(bucket)) this.byName.delete(bucket.name);
    this.dirty.delete(bucket);
    bucket.remove((error) => this.rateLimitedLog.error(`deferred messages: cannot remove a file from ${this.directory}: ${error.message}`));
  }
}

/** Whether it is time to load a bucket. Never for wider ones: their messages move to finer buckets before. */
export function isNear(bucket: Bucket, nowMs: number): boolean {
  return bucket.widthMs === FINEST_MS && bucket.startMs - LOAD_LEAD_MS <= nowMs;
}

/** The width of the bucket that a message goes to. */
export function widthFor(dueMs: number, nowMs: number): number {
  let level = 0;
  while (level < WIDTHS_MS.length - 1 && dueMs - nowMs >= 64 * WIDTHS_MS[level]) level++;
  // A wide bucket whose messages are being moved takes no new ones.
  while (level > 0 && moveAtMs(startOf(dueMs, WIDTHS_MS[level]), WIDTHS_MS[level]) <= nowMs) level--;
  return WIDTHS_MS[level];
}

/** When the bucket of a width begins that a due time is in. */
export function startOf(dueMs: number, widthMs: number): number {
  return Math.floor(dueMs / widthMs) * widthMs;
}

/** When the messages of a wide bucket begin to move to finer ones. */
export function moveAtMs(startMs: number, widthMs: number): number {
  return startMs - widthMs / 2;
}

/** Writes the staged entries of several buckets, all or none. @returns why that failed; no part of them is in any bucket then */
export function commitTogether(buckets: Set<Bucket>): Error | undefined {
  let written = 0;
  for (const bucket of buckets) {
    const failure = bucket.commitEntries();
    if (failure === undefined) {
      written++;
      continue;
    }
    for (const one of buckets) {
      if (written-- > 0) one.rollBackEntries();
      else one.discardEntries();
    }
    return failure;
  }
  return undefined;
}
