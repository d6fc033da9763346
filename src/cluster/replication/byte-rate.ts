import type { Clock } from "../../base/clock.ts";

/**
 * How much may be taken at once after a pause, as a part of a second. What a turn that comes late has missed is not made up for: so on a
 * machine that is busy less is taken.
 */
const BURST_SECONDS = 0.01;
/** The most that is allowed beyond the rate and not taken. */
const MOST_EXTRA_BYTES = 8 * 1024 * 1024;

/** A bound on bytes per second, for all that share it. They are taken evenly, a little at a time. */
export class ByteRate {
  private left: number;
  private atMs: number;
  private waiting = new Set<() => void>();

  constructor(
    private readonly clock: Pick<Clock, "steadyMs" | "callAfter">,
    private readonly bytesPerSecond: number,
  ) {
    this.left = bytesPerSecond * BURST_SECONDS;
    this.atMs = clock.steadyMs();
  }

  /** Whether something may be taken now, however large. */
  get hasLeft(): boolean {
    return this.leftNow > 0;
  }

  /** How much may be taken now; below 0: more was taken than that. */
  get leftNow(): number {
    const nowMs = this.clock.steadyMs();
    const most = this.bytesPerSecond * BURST_SECONDS;
    if (this.left < most) this.left = Math.min(most, this.left + ((nowMs - this.atMs) / 1_000) * this.bytesPerSecond);
    this.atMs = nowMs;
    return this.left;
  }

  take(bytes: number): void {
    this.left -= bytes;
  }

  /** Allows more than the rate. */
  give(bytes: number): void {
    this.left = Math.max(this.left, Math.min(MOST_EXTRA_BYTES, this.left + bytes));
  }

  /** Calls back once something may be taken; once, however often it was asked to meanwhile. Those who asked first are called first. */
  callWhenLeft(call: () => void): void {
    this.waiting.add(call);
    if (this.waiting.size > 1) return;
    const waitMs = Math.max(1, Math.ceil((-this.leftNow / this.bytesPerSecond) * 1_000));
    this.clock.callAfter(waitMs, () => {
      const { waiting } = this;
      this.waiting = new Set();
      for (const called of waiting) called();
    });
  }
}
