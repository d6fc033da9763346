import type { LatencyRow } from "../console-api.ts";
import { mergeHistograms } from "../watch/histogram.ts";
import type { Percentiles } from "../watch/percentiles.ts";
import type { TopicLook } from "../watch/topic-look.ts";

/** @param channel empty: of the topic @param percentiles what brokers measured end to end */
export function latencyRows(look: TopicLook, channel: string, percentiles: Iterable<Percentiles | undefined>): LatencyRow[] {
  const told = [...look.byBroker.values()].flatMap((at) => (channel === "" ? at.latency : (at.channelLatency.get(channel) ?? [])));
  return [...mergeHistograms(told), ...endToEnd(percentiles)];
}

/** Percentiles of several brokers cannot be added up, so the largest is shown. */
function endToEnd(percentiles: Iterable<Percentiles | undefined>): LatencyRow[] {
  let count = 0;
  let [p50, p99]: [number | null, number | null] = [null, null];
  for (const measured of percentiles) {
    if (measured === undefined) continue;
    count += measured.count;
    for (const [quantile, ms] of measured.values) {
      if (quantile === 0.5) p50 = Math.max(p50 ?? 0, ms);
      if (quantile === 0.99) p99 = Math.max(p99 ?? 0, ms);
    }
  }
  return count === 0 ? [] : [{ name: "end_to_end", unit: "ms", count, bounds: [], counts: [count], p50, p99 }];
}
