import { newDurations } from "../../base/histogram.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { newSizes } from "./topic-meter.ts";
import type { TopicPartition } from "./topic-partition.ts";

/** What topics and channels that were deleted since the start had counted: totals of the broker never go back. */
export class RetiredTotals {
  messageCount = 0;
  messageBytes = 0;
  corruptRegions = 0;
  channelMessageCount = 0;
  deliveredCount = 0;
  finishedCount = 0;
  requeueCount = 0;
  timeoutCount = 0;
  filteredCount = 0;
  deadLetterCount = 0;
  readonly sizes = newSizes();
  readonly toDelivery = newDurations();
  readonly toFinish = newDurations();

  addTopic({ messageCount, messageBytes, corruptRegions, meter }: TopicPartition): void {
    this.messageCount += messageCount;
    this.messageBytes += messageBytes;
    this.corruptRegions += corruptRegions;
    this.sizes.add(meter.sizes);
  }

  addChannel({ messageCount, requeueCount, timeoutCount, delivery, meter }: ChannelPartition): void {
    this.channelMessageCount += Math.max(0, messageCount);
    this.deliveredCount += meter.deliveredCount;
    this.finishedCount += meter.finishedCount;
    this.requeueCount += requeueCount;
    this.timeoutCount += timeoutCount;
    this.filteredCount += meter.filteredCount;
    this.deadLetterCount += delivery.deadLetters.count;
    this.toDelivery.add(meter.toDelivery);
    this.toFinish.add(meter.toFinish);
  }
}
