import type { LatencySketch } from "./latency-window.ts";

/** The latencies of a topic or a channel, as in nsqd's statistics (internal/quantile). */
export interface LatencyStats {
  /** Messages finished within the window. */
  count: number;
  /** In descending order of the quantile; null if the broker does not measure latencies. */
  percentiles: { quantile: number; value: number }[] | null;
}

/** What nsqd shows without configured percentiles, and for a topic without channels. */
export const NO_LATENCY: LatencyStats = { count: 0, percentiles: null };

export function percentilesOf(percentiles: readonly number[], sketch: LatencySketch): LatencyStats {
  return { count: sketch.count, percentiles: percentiles.map((quantile) => ({ quantile, value: valueAt(sketch, quantile) })) };
}

/** In ns. The middle of a sketch's bin may be outside of the measured range, so it is bounded by that. */
function valueAt(sketch: LatencySketch, quantile: number): number {
  if (sketch.count === 0) return 0;
  if (quantile === 1) return Math.round(sketch.max);
  return Math.round(Math.min(sketch.max, Math.max(sketch.min, sketch.getValueAtQuantile(quantile))));
}

/** Formats latencies for the text form of /stats: `12.3ms, 1.5ms`, or nothing if the broker does not measure any. */
export function printLatency({ percentiles }: LatencyStats): string {
  return (percentiles ?? []).map(({ value }) => printNs(value)).join(", ");
}

/** Formats a duration as nsqd does (internal/stringy): with one decimal, in the largest unit that the value exceeds. */
function printNs(ns: number): string {
  if (ns > 1e9) return `${(ns / 1e9).toFixed(1)}s`;
  if (ns > 1e6) return `${(ns / 1e6).toFixed(1)}ms`;
  if (ns > 1e3) return `${(ns / 1e3).toFixed(1)}us`;
  return `${ns.toFixed(1)}ns`;
}
