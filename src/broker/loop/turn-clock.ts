import type { Clock } from "../../base/clock.ts";
import type { Timestamp } from "../../frame/layout.ts";

/** The monotonic clock may drift from the wall clock by this much before it is set again. */
const MAX_DRIFT_MS = 2;
/** A larger difference is no drift: somebody has set the wall clock. */
const STEP_MS = 1000;
/** A wall clock that was set ahead counts for ages once it has stayed so for this long. */
const TRUST_MS = 3_600_000;

/**
 * The time of the turn of the event loop: read once for all that one callback does, and in ns as two 32-bit
 * halves for message timestamps, without a BigInt per message.
 *
 * Timeouts and delays go by the broker's own time, which is the wall clock's as long as nobody sets that. When it is set,
 * the broker's time goes on as if it had not been: nothing times out or falls due at once, and nothing waits an hour longer.
 *
 * Ages of what has a wall-clock time on the disk go by `agingMs`: a clock that is wrong for a moment makes nothing too old. Where
 * the wall clock was set ahead, ages follow an hour later, and where it was set back, at once.
 */
export class TurnClock {
  /** The broker's time. */
  nowMs = 0;
  /** The wall clock's. */
  wallMs = 0;
  /** By how much the wall clock was set forward, in all: the difference of the two. */
  stepMs = 0;
  /** The wall clock's, less what it was set ahead by within the last hour: by this, things are too old to be kept. */
  agingMs = 0;
  /** For what must not depend on when somebody sets the clock, ms since the process began. */
  steadyMs = 0;
  readonly time: Timestamp = { high: 0, low: 0 };
  private offsetMs: number;
  /** What `agingMs` is behind the wall clock, until `trustAtMs` by the clock that nobody sets. */
  private doubtedMs = 0;
  private trustAtMs = 0;

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

  /**
   * To be called at the start, with the latest time that an earlier run has left. A clock that was set ahead while no broker ran cannot
   * be told from time that passed, so what seems to have passed does not count for ages at once.
   */
  doubtSince(lastKnownMs: number): void {
    if (this.wallMs > lastKnownMs) this.doubt(this.wallMs - lastKnownMs);
    this.read();
  }

  private doubt(stepMs: number): void {
    this.doubtedMs = Math.max(0, this.doubtedMs + stepMs);
    if (stepMs > 0) this.trustAtMs = this.steadyMs + TRUST_MS;
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
      else {
        this.stepMs += aheadMs;
        this.doubt(aheadMs);
      }
      wallMs += aheadMs;
    }
    this.nowMs = wallMs - this.stepMs;
    this.wallMs = wallMs;
    if (this.steadyMs >= this.trustAtMs) this.doubtedMs = 0;
    this.agingMs = wallMs - this.doubtedMs;
    const us = Math.floor(wallMs * 1000);
    const seconds = Math.floor(us / 1_000_000);
    // seconds × 10^9 + rest exceeds 53 bits: built from 16-bit parts of the seconds.
    const upper = Math.floor(seconds / 65536) * 1_000_000_000;
    const low = (upper % 65536) * 65536 + (seconds % 65536) * 1_000_000_000 + (us % 1_000_000) * 1000;
    this.time.high = Math.floor(upper / 65536) + Math.floor(low / 4294967296);
    this.time.low = low % 4294967296;
  }
}
