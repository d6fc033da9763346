/**
 * Runs the console as if it had watched for a day already: `bun bench/load/watched-day.ts --mode=admin …`. When brokers have answered,
 * its history is filled with 24 hours in which all figures of all topics and channels changed all the time.
 */
import { Cluster } from "../../src/admin/watch/cluster.ts";
import { Figures } from "../../src/admin/watch/figures.ts";

const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;

const { record } = Cluster.prototype;
Cluster.prototype.record = function (timeMs, coveredMs) {
  if (this.entries.topics.size > 0) {
    Cluster.prototype.record = record;
    fill(this, timeMs);
  }
  record.call(this, timeMs, coveredMs);
};

function fill({ history, entries }: Cluster, untilMs: number): void {
  const figures = new Figures();
  for (let timeMs = untilMs - DAY_MS, step = 0; timeMs < untilMs; timeMs += untilMs - timeMs > HOUR_MS ? 60_000 : 10_000, step++) {
    history.advance();
    let i = 0;
    for (const topic of entries.topics.values()) {
      history.record(topic.history, change(figures, i++, step), timeMs, "topic");
      for (const channel of topic.channels.values()) history.record(channel.history, change(figures, i++, step), timeMs, "channel");
    }
  }
}

function change(figures: Figures, entry: number, step: number): Figures {
  figures.depth = 1 + ((entry + step * 7) % 1_000);
  figures.inFlight = 1 + ((entry + step * 3) % 100);
  figures.inRate = 1 + ((entry + step * 11) % 5_000);
  figures.outRate = figures.inRate + 1;
  return figures;
}

await import("../../src/main.ts");
