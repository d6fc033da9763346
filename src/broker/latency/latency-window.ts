import type { DDSketch } from "@datadog/sketches-js";
import { lazy } from "../../base/lazy.ts";

/** Percentiles differ from a measured value by this share of it at the most. */
export const RELATIVE_ACCURACY = 0.01;

export type LatencySketch = DDSketch;

export function newSketch(): LatencySketch {
  return new lazy.sketches.DDSketch({ relativeAccuracy: RELATIVE_ACCURACY });
}

/**
 * The latencies of the recent past, in two sketches of half a window each, as in nsqd (internal/quantile). So it covers between
 * half a window and a whole one. A sketch takes 1 KB for each power of ten that the latencies spread over.
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

  /** Records one latency. That takes 15 to 40 ns, and allocates nothing. @param ns if negative, because a clock was set, counts as 0 */
  record(ns: number, nowMs: number): void {
    if (nowMs - this.movedAtMs > this.halfMs || nowMs < this.movedAtMs - this.halfMs) this.move(nowMs);
    this.current.accept(Math.max(ns, 0));
  }

  /** Adds the latencies of the window to a sketch. */
  addTo(sketch: LatencySketch, nowMs: number): void {
    if (nowMs - this.movedAtMs > this.halfMs) this.move(nowMs);
    sketch.merge(this.previous);
    sketch.merge(this.current);
  }

  /** Begins the half of the window that `nowMs` is in. */
  private move(nowMs: number): void {
    const halves = Math.floor((nowMs - this.movedAtMs) / this.halfMs);
    this.previous = halves === 1 ? this.current : newSketch();
    this.current = newSketch();
    // After a clock was set back, a half begins now.
    this.movedAtMs = halves < 1 ? nowMs : this.movedAtMs + halves * this.halfMs;
  }
}
