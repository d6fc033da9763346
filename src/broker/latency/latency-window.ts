import type { DDSketch } from "@datadog/sketches-js";
import { lazy } from "../../base/lazy.ts";

/** Percentiles read from it are within this share of a value that was measured. */
export const RELATIVE_ACCURACY = 0.01;

export type LatencySketch = DDSketch;

export function newSketch(): LatencySketch {
  return new lazy.sketches.DDSketch({ relativeAccuracy: RELATIVE_ACCURACY });
}

/**
 * Latencies of the recent past: two sketches of half a window each, as nsqd has it (internal/quantile). What is read
 * covers between a half and a whole window. A sketch takes 1 KB for each power of ten that latencies spread over.
 */
export class LatencyWindow {
  private current = newSketch();
  private previous = newSketch();
  private readonly halfMs: number;
  private movedAtMs: number;

  constructor(windowMs: number, nowMs: number) {
    this.halfMs = windowMs / 2;
    this.movedAtMs = nowMs;
  }

  /** Takes down one latency. 15 to 40 ns, without an allocation. @param ns a negative one (a clock was set) counts as 0 */
  record(ns: number, nowMs: number): void {
    if (nowMs - this.movedAtMs > this.halfMs || nowMs < this.movedAtMs - this.halfMs) this.move(nowMs);
    this.current.accept(Math.max(ns, 0));
  }

  /** Adds what was measured in the window to a sketch. */
  addTo(sketch: LatencySketch, nowMs: number): void {
    if (nowMs - this.movedAtMs > this.halfMs) this.move(nowMs);
    sketch.merge(this.previous);
    sketch.merge(this.current);
  }

  private move(nowMs: number): void {
    const halves = Math.floor((nowMs - this.movedAtMs) / this.halfMs);
    this.previous = halves === 1 ? this.current : newSketch();
    this.current = newSketch();
    // A clock that was set back starts the halves anew from where it stands.
    this.movedAtMs = halves < 1 ? nowMs : this.movedAtMs + halves * this.halfMs;
  }
}
