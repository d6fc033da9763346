import type { Trouble } from "../../../base/rate-limited-log.ts";
import type { Disk } from "../disk/disk.ts";
import { Bucket } from "./bucket.ts";
import { FINEST_MS, spanName, startOf } from "./wheel.ts";

/** A finest bucket is loaded this long before it begins. */
const LOAD_LEAD_MS = 800;

/** The buckets there are, and those with something to be written. */
export class Buckets implements Iterable<Bucket> {
  readonly dirty = new Set<Bucket>();
  private readonly byName = new Map<string, Bucket>();

  constructor(
    readonly disk: Disk,
    readonly directory: string,
    private readonly trouble: Trouble,
  ) {}

  get size(): number {
    return this.byName.size;
  }

  [Symbol.iterator](): Iterator<Bucket> {
    return this.byName.values();
  }

  /** The bucket of a width for what is due at a time; a new one if there is none. */
  for(dueMs: number, widthMs: number, nowMs: number): Bucket {
    const startMs = startOf(dueMs, widthMs);
    const known = this.byName.get(spanName(startMs, widthMs));
    if (known !== undefined) return known;
    const bucket = new Bucket(this.disk, this.directory, startMs, widthMs);
    bucket.loading = isNear(bucket, nowMs);
    this.add(bucket);
    return bucket;
  }

  add(bucket: Bucket): void {
    this.byName.set(spanName(bucket.startMs, bucket.widthMs), bucket);
  }

  has(bucket: Bucket): boolean {
    return this.byName.get(spanName(bucket.startMs, bucket.widthMs)) === bucket;
  }

  /** Forgets a bucket, and removes its files. */
  remove(bucket: Bucket): void {
    if (this.has(bucket)) this.byName.delete(spanName(bucket.startMs, bucket.widthMs));
    this.dirty.delete(bucket);
    bucket.remove((error) => this.trouble.error(`deferred messages: cannot remove a file from ${this.directory}: ${error.message}`));
  }
}

/** Whether it is time to load a bucket; wider ones are moved into finer ones instead. */
export function isNear(bucket: Bucket, nowMs: number): boolean {
  return bucket.widthMs === FINEST_MS && bucket.startMs - LOAD_LEAD_MS <= nowMs;
}
