import type { ChannelRow, Overview } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { ChannelEntry } from "../watch/entries.ts";
import type { Figures } from "../watch/figures.ts";
import { brokerRow, lookupRow } from "./broker-rows.ts";
import { channelRow } from "./channel-rows.ts";
import type { Sight } from "./views.ts";

/** The worst of each kind that are shown. */
const WORST = 10;

const MEASURES: Record<keyof Overview["worst"], (figures: Figures) => number> = {
  depth: ({ depth }) => depth,
  oldest_age_ms: ({ oldestAgeMs }) => oldestAgeMs,
  timeout_rate: ({ timeoutRate }) => timeoutRate,
  requeue_rate: ({ requeueRate }) => requeueRate,
};

export function overview(cluster: Cluster, timeMs: number, sight: Sight): Overview {
  return {
    ...cluster.figures.counts(),
    brokers: [...cluster.brokers.values()].map((broker) => brokerRow(broker, cluster, timeMs)),
    lookups: [...cluster.lookups.values()].map(lookupRow),
    topics: cluster.entries.topics.size,
    channels: cluster.entries.channels,
    worst: {
      depth: worst(cluster, MEASURES.depth, timeMs, sight),
      oldest_age_ms: worst(cluster, MEASURES.oldest_age_ms, timeMs, sight),
      timeout_rate: worst(cluster, MEASURES.timeout_rate, timeMs, sight),
      requeue_rate: worst(cluster, MEASURES.requeue_rate, timeMs, sight),
    },
    spark: cluster.spark.read(timeMs),
  };
}

/** The channels with the most of something, and only those that have any. */
function worst({ entries }: Cluster, measure: (figures: Figures) => number, timeMs: number, sight: Sight): ChannelRow[] {
  const found: ChannelEntry[] = [];
  let least = 0;
  for (const [topic, { channels }] of entries.topics) {
    if (!sight.maySee(topic)) continue;
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
  return found.map((channel) => channelRow(channel, timeMs));
}
