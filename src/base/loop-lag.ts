import { type Histogram, newDurations } from "./histogram.ts";

const INTERVAL_MS = 100;

/** Measures how late a timer is called: for so long the event loop did something else. */
export class LoopLag {
  /** ms */
  readonly lags: Histogram = newDurations();
  private lastMs = performance.now();

  constructor() {
    // It keeps no process alive.
    setInterval(() => this.measure(performance.now()), INTERVAL_MS).unref();
  }

  private measure(nowMs: number): void {
    this.lags.record(Math.max(0, nowMs - this.lastMs - INTERVAL_MS));
    this.lastMs = nowMs;
  }
}
