import { type Fields, fieldsOf, listOf, numberOf } from "../upstream/fields.ts";

/** A percentile of a broker's channel or topic, or of several together. In the order of nsqadmin's JSON. */
interface Percentile {
  average: number;
  count: number;
  max: number;
  min: number;
  quantile: number;
  /** Only of one broker. */
  value?: number;
}

/** End-to-end latencies, in nsqadmin's JSON. Times in ns. */
export interface Latency {
  count: number;
  percentiles: Percentile[] | null;
  topic: string;
  channel: string;
  host: string;
}

/** What one broker says. */
export function latencyOf(fields: Fields): Latency {
  const count = numberOf(fields, "count");
  const percentiles = listOf(fields, "percentiles").map((each) => {
    const [quantile, value] = [numberOf(fieldsOf(each), "quantile"), numberOf(fieldsOf(each), "value")];
    return { average: value, count, max: value, min: value, quantile, value };
  });
  return { count, percentiles: Array.isArray(fields.percentiles) ? percentiles : null, topic: "", channel: "", host: "" };
}

/** The latencies of several brokers together: the average of a percentile is weighted by the messages. */
export function mergeLatencies(latencies: readonly Latency[], topic: string, channel: string): Latency {
  const merged = new Map<number, Percentile>();
  let messages = 0;
  for (const { count, percentiles } of latencies) {
    messages += count;
    for (const { quantile, average, min, max, count: weight } of percentiles ?? []) {
      const one = merged.get(quantile) ?? { average: 0, count: 0, max: 0, min: Number.POSITIVE_INFINITY, quantile };
      merged.set(quantile, one);
      one.max = Math.max(one.max, max);
      one.min = Math.min(one.min, min);
      one.count += weight;
      one.average = one.count === 0 ? 0 : one.average + ((average - one.average) * weight) / one.count;
    }
  }
  return { count: messages, percentiles: merged.size === 0 ? null : [...merged.values()], topic, channel, host: "*" };
}
