import type { ChannelRow, Overview } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { ChannelEntry } from "../watch/entries.ts";
import type { Figures } from "../watch/figures.ts";
import type { Totals } from "../watch/totals.ts";
import { brokerRow, lookupRow } from "./broker-rows.ts";
import { channelRow } from "./channel-rows.ts";

/** The worst of each kind that are shown. */
const WORST = 10;

const MEASURES: Record<keyof Overview["worst"], (figures: Figures) => number> = {
  depth: ({ depth }) => depth,
  oldest_age_ms: ({ oldestAgeMs }) => oldestAgeMs,
  timeout_rate: ({ timeoutRate }) => timeoutRate,
  requeue_rate: ({ requeueRate }) => requeueRate,
};

export function overview(cluster: Cluster, timeMs: number, totals: Totals): Overview {
  return {
    ...totals.figures.counts(),
    brokers: [...cluster.brokers.values()].map((broker) => brokerRow(broker, cluster, totals, timeMs)),
    lookups: [...cluster.lookups.values()].map((lookup) => lookupRow(lookup, totals)),
    topics: totals.topics,
    channels: totals.channels,
    worst: {
      depth: worst(cluster, MEASURES.depth, timeMs, totals),
      oldest_age_ms: worst(cluster, MEASURES.oldest_age_ms, timeMs, totals),
      timeout_rate: worst(cluster, MEASURES.timeout_rate, timeMs, totals),
      requeue_rate: worst(cluster, MEASURES.requeue_rate, timeMs, totals),
    },
    spark: totals.spark.read(timeMs),
  };
}

/** The channels with the most of something, and only those that have any. */
function worst(cluster: Cluster, measure: (figures: Figures) => number, timeMs: number, totals: Totals): ChannelRow[] {
  const found: ChannelEntry[] = [];
  let least = 0;
  for (const [topic, { channels }] of cluster.entries.topics) {
    if (!totals.maySee(topic)) continue;
    for (const channel of channels.values()) {
      // Also false for what was not measured.
      if (!(measure(channel.figures) > least)) continue;
      found.push(channel);
      found.sort((a, b) => measure(b.figures) - measure(a.figures));
      if (found.length <= WORST) continue;
      found.pop();
      least = measure(found[WORST - 1]!.figures);
    }
  }
  return found.map((channel) => channelRow(cluster, channel, timeMs));
}
