import { rateStep } from "../../base/rates.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";

const INTERVAL_MS = 1000;

/** Samples the counters of all topics and channels once per second. A channel at rest costs five comparisons. */
export class RateSampler {
  private sampledAtMs = Number.NaN;

  constructor(private readonly registry: { readonly partitions: Iterable<TopicPartition> }) {}

  /** Takes samples if it is time to. @param nowMs of a steady clock */
  sampleIfDue(nowMs: number): void {
    const elapsedMs = nowMs - this.sampledAtMs;
    if (elapsedMs < INTERVAL_MS) return;
    this.sampledAtMs = nowMs;
    // The first call has nothing to compare with but the start, which is as long ago as an interval at the most.
    const step = rateStep((Number.isNaN(elapsedMs) ? INTERVAL_MS : elapsedMs) / 1000);
    for (const partition of this.registry.partitions) {
      partition.meter.sample(partition.messageCount, step);
      for (const channel of partition.channels.values()) channel.meter.sample(channel, step);
    }
  }
}
