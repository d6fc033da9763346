import type { Clock } from "../../base/clock.ts";

/** How much may be taken at once after a pause, as a part of a second. */
const BURST_SECONDS = 0.1;

/** A bound on bytes per second, for all that share it. */
export class ByteRate {
  private left: number;
  private atMs: number;

  constructor(
    private readonly clock: Pick<Clock, "steadyMs">,
    private readonly bytesPerSecond: number,
  ) {
    this.left = bytesPerSecond * BURST_SECONDS;
    this.atMs = clock.steadyMs();
  }

  /** Whether something may be taken now, however large. */
  get hasLeft(): boolean {
    const nowMs = this.clock.steadyMs();
    this.left = Math.min(this.bytesPerSecond * BURST_SECONDS, this.left + ((nowMs - this.atMs) / 1_000) * this.bytesPerSecond);
    this.atMs = nowMs;
    return this.left > 0;
  }

  take(bytes: number): void {
    this.left -= bytes;
  }
}
