import type { Timestamp } from "../frame/layout.ts";

/** The monotonic clock may drift from the wall clock by this much before it is set again. */
const MAX_DRIFT_MS = 2;

/**
 * The time of the turn of the event loop: read once for all that one callback does, and in ns as two 32-bit
 * halves for message timestamps, without a BigInt per message.
 */
export class Clock {
  nowMs = 0;
  /** For what must not depend on when somebody sets the clock, ms since the process began. */
  steadyMs = 0;
  readonly time: Timestamp = { high: 0, low: 0 };
  private offsetMs = performance.timeOrigin;

  constructor() {
    this.read();
  }

  read(): void {
    this.steadyMs = performance.now();
    let nowMs = this.offsetMs + this.steadyMs;
    const wallMs = Date.now();
    if (Math.abs(nowMs - wallMs - 0.5) > MAX_DRIFT_MS) {
      this.offsetMs += wallMs - nowMs;
      nowMs = wallMs;
    }
    this.nowMs = nowMs;
    const us = Math.floor(nowMs * 1000);
    const seconds = Math.floor(us / 1_000_000);
    // seconds × 10^9 + rest exceeds 53 bits: built from 16-bit parts of the seconds.
    const upper = Math.floor(seconds / 65536) * 1_000_000_000;
    const low = (upper % 65536) * 65536 + (seconds % 65536) * 1_000_000_000 + (us % 1_000_000) * 1000;
    this.time.high = Math.floor(upper / 65536) + Math.floor(low / 4294967296);
    this.time.low = low % 4294967296;
  }
}
