import type { Clock, Timer } from "../../base/clock.ts";

/** What was asked of brokers because somebody looks at it. */
export interface Look {
  /** How much it holds: clients, or channels. */
  readonly size: number;
  /** Asks the brokers again. Brokers that do not answer are left out. */
  refresh(): Promise<void>;
}

/** What nobody looked at for this time is forgotten. */
const FORGET_MS = 60_000;
/** A look that is out of date is waited for as long as this, and then shown as it was. */
const PATIENCE_MS = 250;

interface Kept<Value> {
  value: Value;
  refreshedMs: number;
  usedMs: number;
  refreshing: Promise<void> | undefined;
}

/** Looks by what they are about. Each is asked for once, however many look at it, and only while somebody does. */
export class LookCache<Value extends Look> {
  /** The one that was used last is at the end. */
  private readonly kept = new Map<string, Kept<Value>>();
  private timer: Timer | undefined;

  /**
   * @param mostLooks the looks that are kept
   * @param mostSize what they hold together
   */
  constructor(
    private readonly clock: Clock,
    private readonly mostLooks: number,
    private readonly mostSize: number,
  ) {}

  /** How much all looks hold. */
  get size(): number {
    let size = 0;
    for (const { value } of this.kept.values()) size += value.size;
    return size;
  }

  /**
   * @param freshMs how old it may be
   * @param make makes a look that has asked nothing yet
   */
  async get(key: string, freshMs: number, make: () => Value): Promise<Value> {
    const nowMs = this.clock.steadyMs();
    const known = this.kept.get(key);
    const kept = known ?? { value: make(), refreshedMs: Number.NEGATIVE_INFINITY, usedMs: nowMs, refreshing: undefined };
    this.kept.delete(key);
    this.kept.set(key, kept);
    kept.usedMs = nowMs;
    this.timer ??= this.clock.callAfter(FORGET_MS, () => this.forget());
    if (nowMs - kept.refreshedMs >= freshMs) kept.refreshing ??= this.refresh(kept);
    if (kept.refreshing !== undefined) {
      if (kept.refreshedMs === Number.NEGATIVE_INFINITY) await kept.refreshing;
      else await this.wait(kept.refreshing);
    }
    this.evict(kept);
    return kept.value;
  }

  /** What was asked is out of date: the next look asks anew. */
  drop(key: string): void {
    this.kept.delete(key);
  }

  close(): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.kept.clear();
  }

  private async refresh(kept: Kept<Value>): Promise<void> {
    // What was asked for now is as old as the question.
    const askedMs = this.clock.steadyMs();
    try {
      await kept.value.refresh();
    } finally {
      kept.refreshedMs = askedMs;
      kept.refreshing = undefined;
    }
  }

  private async wait(refreshing: Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.clock.callAfter(PATIENCE_MS, resolve);
    await Promise.race([refreshing, promise]);
    this.clock.cancel(timer);
  }

  /** Drops those that were used longest ago until the rest fits. */
  private evict(used: Kept<Value>): void {
    for (const [key, kept] of this.kept) {
      if (this.kept.size <= this.mostLooks && this.size <= this.mostSize) return;
      if (kept !== used) this.kept.delete(key);
    }
  }

  private forget(): void {
    const beforeMs = this.clock.steadyMs() - FORGET_MS;
    for (const [key, kept] of this.kept) {
      if (kept.usedMs > beforeMs) break;
      this.kept.delete(key);
    }
    this.timer = this.kept.size === 0 ? undefined : this.clock.callAfter(FORGET_MS, () => this.forget());
  }
}
