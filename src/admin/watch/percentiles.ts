import { type Fields, fieldsOf, listOf, numberOf } from "../upstream/fields.ts";

const NS_PER_MS = 1_000_000;
/** More than a broker is ever told to measure. */
const MOST_PERCENTILES = 16;

/** The end-to-end latencies that a broker with --e2e-processing-latency-percentile measures. */
export interface Percentiles {
  count: number;
  /** By quantile, in (0, 1]; ms. */
  values: [quantile: number, ms: number][];
}

/** @param stats with an `e2e_processing_latency` @returns undefined if nothing was measured */
export function readPercentiles(stats: Fields): Percentiles | undefined {
  const latency = fieldsOf(stats.e2e_processing_latency);
  const count = numberOf(latency, "count");
  if (count === 0) return undefined;
  const values = listOf(latency, "percentiles")
    .slice(0, MOST_PERCENTILES)
    .map((item): [number, number] => {
      const measured = fieldsOf(item);
      return [numberOf(measured, "quantile"), numberOf(measured, "value") / NS_PER_MS];
    });
  return { count, values };
}
