import type { Family } from "../../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { processMetrics } from "../../../http/metrics/process-metrics.ts";
import { brokerMetrics, type MetricsSource } from "./broker-families.ts";
import { Consumers, clientMetrics } from "./clients.ts";
import { dashboardMetrics } from "./dashboard-names.ts";
import { CHANNEL_FAMILIES, CHANNEL_RATE_FAMILIES, SIZES, TO_DELIVERY, TO_FINISH, TOPIC_FAMILIES, TOPIC_RATE } from "./families.ts";
import { type Group, Groups, type Scope, type Spread } from "./groups.ts";
import { partitionMetrics } from "./partitions.ts";

const WINDOWS = ["1s", "1m", "5m"].map((window) => labels({ window }));

/** Writes all metrics of a broker that are asked for. Yields after each piece of work, which takes some µs. */
export function* expose(source: MetricsSource, scope: Scope, names: readonly string[], text: MetricText): Generator<void> {
  yield* processMetrics(text);
  yield* brokerMetrics(source, text);
  const { topics, retired } = source.registry;
  const groups = new Groups(scope, Date.now());
  yield* groups.read(topics, retired);
  yield* writeGroups(groups.topics, TOPIC_FAMILIES, text);
  yield* writeRates(groups.topicSpreads, [TOPIC_RATE], text);
  yield* writeHistograms(groups.topicSpreads, [SIZES], text);
  yield* writeGroups(groups.channels, CHANNEL_FAMILIES, text);
  yield* writeRates(groups.channelSpreads, CHANNEL_RATE_FAMILIES, text);
  yield* writeHistograms(groups.channelSpreads, [TO_DELIVERY, TO_FINISH], text);
  if (scope.detail === "partition") yield* partitionMetrics(source, scope, text);
  const consumers = new Consumers();
  if (scope.detail === "client") {
    yield* consumers.read(source, scope);
    yield* clientMetrics(consumers, text);
  }
  if (source.clusterReport !== undefined) yield* source.clusterReport.metrics(scope, text);
  if (names.length > 0) yield* dashboardMetrics(source, scope, names, consumers, text);
}

function* writeGroups(groups: readonly Group[], families: readonly Family[], text: MetricText): Generator<void> {
  for (let i = 0; i < families.length; i++) {
    text.family(families[i]);
    for (let row = 0; row < groups.length; row++) {
      const { labels, values } = groups[row];
      text.sample(labels, values[i]);
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}

function* writeRates(spreads: readonly Spread[], families: readonly Family[], text: MetricText): Generator<void> {
  for (let i = 0; i < families.length; i++) {
    text.family(families[i]);
    for (const { labels, rates } of spreads) {
      WINDOWS.forEach((window, k) => {
        text.sample(labels === "" ? window : `${labels},${window}`, Math.round(rates[i][k] * 1000) / 1000);
      });
      yield;
    }
  }
}

function* writeHistograms(spreads: readonly Spread[], families: readonly Family[], text: MetricText): Generator<void> {
  for (let i = 0; i < families.length; i++) {
    text.family(families[i]);
    for (const { labels, histograms } of spreads) {
      text.histogram(labels, histograms[i], families[i].unit === "seconds");
      yield;
    }
  }
}
