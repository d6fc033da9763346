import type { History } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { ChannelEntry, TopicEntry } from "../watch/entries.ts";
import { type HistoryRange, isKept, SERIES, type SeriesName, type Values } from "../watch/history.ts";
import { orNull } from "../watch/scale.ts";
import type { Totals } from "../watch/totals.ts";

/** @param of a topic, a channel, or all topics together that may be seen */
export function historyView(cluster: Cluster, of: TopicEntry | ChannelEntry | Totals, range: HistoryRange, timeMs: number): History {
  const read = (name: SeriesName): Values => {
    if ("ofBroker" in of) {
      return of.history === undefined ? nothing(cluster, range, timeMs) : cluster.history.read(of.history, name, range, timeMs);
    }
    if (isKept(name, "channel" in of ? "channel" : "topic")) return cluster.history.read(of.history, name, range, timeMs);
    return "channel" in of ? ofTopic(cluster, of, name, range, timeMs) : sumOfChannels(cluster, of, name, range, timeMs);
  };
  const { fromMs, stepMs } = read("depth");
  const series = Object.fromEntries(SERIES.map((name) => [name, Array.from(read(name).values, orNull)])) as History["series"];
  return { from: fromMs, step_s: stepMs / 1000, series };
}

/** Where no history is kept. */
function nothing({ history, totalHistory }: Cluster, range: HistoryRange, timeMs: number): Values {
  const values = history.read(totalHistory, "depth", range, timeMs);
  values.values.fill(Number.NaN);
  return values;
}

/** What came to a channel's topic while there was the channel. */
function ofTopic({ history, entries }: Cluster, channel: ChannelEntry, name: SeriesName, range: HistoryRange, timeMs: number): Values {
  const own = history.read(channel.history, "depth", range, timeMs);
  const topic = entries.topics.get(channel.topic);
  const values = topic === undefined ? undefined : history.read(topic.history, name, range, timeMs).values;
  return { ...own, values: own.values.map((depth, i) => (Number.isNaN(depth) ? depth : (values?.[i] ?? Number.NaN))) };
}

function sumOfChannels({ history }: Cluster, topic: TopicEntry, name: SeriesName, range: HistoryRange, timeMs: number): Values {
  // A topic without channels has none of it.
  const sum = history.read(topic.history, "depth", range, timeMs);
  sum.values.fill(Number.NaN);
  for (const channel of topic.channels.values()) {
    const { values } = history.read(channel.history, name, range, timeMs);
    for (const [i, value] of values.entries()) if (!Number.isNaN(value)) sum.values[i] = value + (sum.values[i] || 0);
  }
  return sum;
}
