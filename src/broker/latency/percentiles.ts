import type { LatencySketch } from "./latency-window.ts";

/** What nsqd's statistics say of a topic's or a channel's latencies (internal/quantile). */
export interface LatencyStats {
  /** Messages finished within the window. */
  count: number;
  /** In the order of the flag; null where none are kept. */
  percentiles: { quantile: number; value: number }[] | null;
}

/** Without configured percentiles, and for a topic without channels, nsqd's are always these. */
export const NO_LATENCY: LatencyStats = { count: 0, percentiles: null };

export function percentilesOf(percentiles: readonly number[], sketch: LatencySketch): LatencyStats {
  return { count: sketch.count, percentiles: percentiles.map((quantile) => ({ quantile, value: valueAt(sketch, quantile) })) };
}

/** ns. A bin's middle may lie outside of what was measured: nothing was ever slower than the slowest. */
function valueAt(sketch: LatencySketch, quantile: number): number {
  if (sketch.count === 0) return 0;
  if (quantile === 1) return Math.round(sketch.max);
  return Math.round(Math.min(sketch.max, Math.max(sketch.min, sketch.getValueAtQuantile(quantile))));
}

/** As /stats shows latencies to people: `12.3ms, 1.5ms`; empty where none are kept. */
export function printLatency({ percentiles }: LatencyStats): string {
  return (percentiles ?? []).map(({ value }) => printNs(value)).join(", ");
}

/** nsqd's own form (internal/stringy): one digit after the point, in the largest unit that the value exceeds. */
function printNs(ns: number): string {
  if (ns > 1e9) return `${(ns / 1e9).toFixed(1)}s`;
  if (ns > 1e6) return `${(ns / 1e6).toFixed(1)}ms`;
  if (ns > 1e3) return `${(ns / 1e3).toFixed(1)}us`;
  return `${ns.toFixed(1)}ns`;
}
