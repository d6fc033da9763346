import type { Clock, Timer } from "../../../src/base/clock.ts";
import type { SimEvent, SimTime } from "./sim-time.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;

/**
 * One process on a machine of its own: its clocks, which may be wrong, and whether it runs. What comes for it while it is paused waits,
 * and what comes after its end is lost.
 */
export class SimNode implements Clock {
  isAlive = true;
  private isPaused = false;
  private readonly waiting: (() => void)[] = [];
  private wallOffsetMs: number;
  private rate: number;
  /** When the rate was set: in true time, and by this node's steady clock. */
  private sinceMs: number;
  private steadySinceMs: number;

  /**
   * @param rate how fast its clocks go: 1 is right, 1.001 gains 1 ms a second
   * @param wallErrorMs how much its wall clock is ahead
   */
  constructor(
    readonly name: string,
    readonly time: SimTime,
    { rate = 1, wallErrorMs = 0, steadyStartMs = 0 } = {},
  ) {
    this.rate = rate;
    this.sinceMs = time.nowMs;
    this.steadySinceMs = steadyStartMs;
    this.wallOffsetMs = START_MS + time.nowMs - steadyStartMs + wallErrorMs;
  }

  steadyMs(): number {
    return this.steadySinceMs + (this.time.nowMs - this.sinceMs) * this.rate;
  }

  wallMs(): number {
    return this.steadyMs() + this.wallOffsetMs;
  }

  callAfter(delayMs: number, callback: () => void): Timer {
    return this.time.after(Math.max(0, delayMs) / this.rate, () => this.run(callback));
  }

  cancel(timer: Timer): void {
    this.time.cancel(timer as SimEvent);
  }

  callAfterTurn(callback: () => void): void {
    this.callAfter(0, callback);
  }

  /** Somebody sets the wall clock. */
  setWallClock(byMs: number): void {
    this.wallOffsetMs += byMs;
  }

  /** Both clocks go faster or slower from now on. Timers that run are not changed. */
  setRate(rate: number): void {
    this.steadySinceMs = this.steadyMs();
    this.sinceMs = this.time.nowMs;
    this.rate = rate;
  }

  /** Calls into this process, now or when it goes on. */
  run(callback: () => void): void {
    if (!this.isAlive) return;
    if (this.isPaused) this.waiting.push(callback);
    else callback();
  }

  /** The process stands still; its clocks go on. */
  pause(): void {
    this.isPaused = true;
  }

  /** The process goes on: what came meanwhile is made in its order, each in a turn of its own. */
  resume(): void {
    this.isPaused = false;
    for (const callback of this.waiting.splice(0)) this.time.after(0, () => this.run(callback));
  }

  /** The process is gone. */
  end(): void {
    this.isAlive = false;
    this.waiting.length = 0;
  }
}
