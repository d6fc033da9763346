import type { LatencyRow } from "../console-api.ts";
import { type Fields, fieldsOf, listOf } from "../upstream/fields.ts";

/** Names that the console shows. */
const NAMES: ReadonlySet<unknown> = new Set<LatencyRow["name"]>([
  "publish_to_ok",
  "publish_to_delivery",
  "delivery_to_finish",
  "end_to_end",
  "message_size",
]);
const MOST_HISTOGRAMS = 8;
const MOST_BOUNDS = 64;

/** A distribution that a bunsq broker has measured since it started. */
export interface Histogram {
  name: LatencyRow["name"];
  unit: LatencyRow["unit"];
  bounds: number[];
  /** One more than bounds. */
  counts: number[];
}

/** @param stats with a `latency` (docs/metrics.md) */
export function readHistograms(stats: Fields): Histogram[] {
  return listOf(stats, "latency")
    .slice(0, MOST_HISTOGRAMS)
    .map(fieldsOf)
    .flatMap((item) => {
      const bounds = listOf(item, "bounds").map(Number);
      const counts = listOf(item, "counts").map(Number);
      const isUsable =
        NAMES.has(item.name) &&
        bounds.length <= MOST_BOUNDS &&
        counts.length === bounds.length + 1 &&
        [...bounds, ...counts].every(Number.isFinite);
      const unit = item.unit === "bytes" ? "bytes" : "ms";
      return isUsable ? [{ name: item.name as LatencyRow["name"], unit, bounds, counts }] : [];
    });
}

/** Adds up what several brokers measured. Those that measure in other steps than the first are left out. */
export function mergeHistograms(all: readonly Histogram[]): LatencyRow[] {
  const merged = new Map<string, Histogram>();
  for (const { name, unit, bounds, counts } of all) {
    const known = merged.get(name);
    if (known === undefined) merged.set(name, { name, unit, bounds, counts: [...counts] });
    else if (String(known.bounds) === String(bounds)) for (const [i, count] of counts.entries()) known.counts[i] = known.counts[i]! + count;
  }
  return [...merged.values()].map((histogram) => ({
    ...histogram,
    count: histogram.counts.reduce((sum, count) => sum + count, 0),
    p50: quantile(histogram, 0.5),
    p99: quantile(histogram, 0.99),
  }));
}

/** As if the values were spread evenly in their bucket. Of those above all bounds no more is known than the last bound. */
function quantile({ bounds, counts }: Histogram, share: number): number | null {
  const count = counts.reduce((sum, bucket) => sum + bucket, 0);
  if (count === 0) return null;
  let left = share * count;
  for (const [i, bucket] of counts.entries()) {
    if (left > bucket || bucket === 0) {
      left -= bucket;
      continue;
    }
    const low = bounds[i - 1] ?? 0;
    const high = bounds[i] ?? low;
    return Math.round((low + ((high - low) * left) / bucket) * 1000) / 1000;
  }
  return bounds.at(-1) ?? null;
}
