import type { Clock } from "../../base/clock.ts";

const MOST_KEYS = 10_000;
/** In the place of all keys for which there is no room. It is no address and no user's name. */
const OTHERS = "\0others";

interface Bucket {
  left: number;
  /** When `left` was right, ms. */
  atMs: number;
}

/** Bounds how often something may fail: by key, as an address or a user, `burst` times at once, and one more each `refillMs`. */
export class AttemptLimit {
  private readonly buckets = new Map<string, Bucket>();

  constructor(
    private readonly burst: number,
    private readonly refillMs: number,
    private readonly clock: Pick<Clock, "steadyMs">,
  ) {}

  /** Begins an attempt. @returns 0 if it may go on, else in how many ms it may */
  begin(key: string): number {
    const bucket = this.bucketOf(key);
    if (bucket.left < 1) return Math.ceil((1 - bucket.left) * this.refillMs);
    bucket.left--;
    return 0;
  }

  /** An attempt has not failed, and does not count. */
  succeeded(key: string): void {
    const bucket = this.bucketOf(key);
    bucket.left = Math.min(this.burst, bucket.left + 1);
  }

  private bucketOf(key: string): Bucket {
    const known = this.buckets.get(key) ?? this.newBucket(key);
    const nowMs = this.clock.steadyMs();
    known.left = Math.min(this.burst, known.left + (nowMs - known.atMs) / this.refillMs);
    known.atMs = nowMs;
    return known;
  }

  /** Who sends from many addresses must not push out what is known of others, so the rest shares a bucket. */
  private newBucket(key: string): Bucket {
    if (this.buckets.size >= MOST_KEYS) this.forgetFull();
    const kept = this.buckets.size >= MOST_KEYS ? OTHERS : key;
    const bucket = this.buckets.get(kept) ?? { left: this.burst, atMs: this.clock.steadyMs() };
    this.buckets.set(kept, bucket);
    return bucket;
  }

  private forgetFull(): void {
    const nowMs = this.clock.steadyMs();
    for (const [key, { left, atMs }] of this.buckets) {
      if (left + (nowMs - atMs) / this.refillMs >= this.burst) this.buckets.delete(key);
    }
  }
}
