import type { Clock } from "../../base/clock.ts";
import type { Timestamp } from "../../frame/layout.ts";

/** The monotonic clock may drift from the wall clock by this much before it is set again. */
const MAX_DRIFT_MS = 2;
/** A larger difference is no drift: somebody has set the wall clock. */
const STEP_MS = 1000;

/**
 * The time of the turn of the event loop: read once for all that one callback does, and in ns as two 32-bit
 * halves for message timestamps, without a BigInt per message.
 *
 * Timeouts and delays go by the broker's own time, which is the wall clock's as long as nobody sets that. When it is set,
 * the broker's time goes on as if it had not been: nothing times out or falls due at once, and nothing waits an hour longer.
 */
export class TurnClock {
  /** The broker's time. */
  nowMs = 0;
  /** The wall clock's. */
  wallMs = 0;
  /** By how much the wall clock was set forward, in all: the difference of the two. */
  stepMs = 0;
  /** For what must not depend on when somebody sets the clock, ms since the process began. */
  steadyMs = 0;
  readonly time: Timestamp = { high: 0, low: 0 };
  private offsetMs: number;

  constructor(private readonly clock: Clock) {
    this.offsetMs = clock.wallMs() - clock.steadyMs();
    this.read();
  }

  /** Goes on by the time of an earlier run of the broker, in which the wall clock was set. */
  continueFrom(stepMs: number): void {
    this.offsetMs += this.stepMs - stepMs;
    this.stepMs = stepMs;
    this.read();
  }

  /** The broker's time at this moment rather than in this turn. */
  currentMs(): number {
    return this.offsetMs + this.clock.steadyMs();
  }

  /** What the wall clock says, or said, at a moment of the broker's time. */
  toWall(atMs: number): number {
    return atMs + this.stepMs;
  }

  read(): void {
    this.steadyMs = this.clock.steadyMs();
    let wallMs = this.offsetMs + this.steadyMs + this.stepMs;
    const aheadMs = this.clock.wallMs() - wallMs;
    if (Math.abs(aheadMs + 0.5) > MAX_DRIFT_MS) {
      if (Math.abs(aheadMs) < STEP_MS) this.offsetMs += aheadMs;
      else this.stepMs += aheadMs;
      wallMs += aheadMs;
    }
    this.nowMs = wallMs - this.stepMs;
    this.wallMs = wallMs;
    const us = Math.floor(wallMs * 1000);
    const seconds = Math.floor(us / 1_000_000);
    // seconds × 10^9 + rest exceeds 53 bits: built from 16-bit parts of the seconds.
    const upper = Math.floor(seconds / 65536) * 1_000_000_000;
    const low = (upper % 65536) * 65536 + (seconds % 65536) * 1_000_000_000 + (us % 1_000_000) * 1000;
    this.time.high = Math.floor(upper / 65536) + Math.floor(low / 4294967296);
    this.time.low = low % 4294967296;
  }
}
