import { newDurations } from "../../base/histogram.ts";
import type { Channel } from "./channel/channel.ts";
import type { Topic } from "./topic.ts";
import { newSizes } from "./topic-meter.ts";

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
  readonly sizes = newSizes();
  readonly toDelivery = newDurations();
  readonly toFinish = newDurations();

  addTopic({ messageCount, messageBytes, corruptRegions, meter }: Topic): void {
    this.messageCount += messageCount;
    this.messageBytes += messageBytes;
    this.corruptRegions += corruptRegions;
    this.sizes.add(meter.sizes);
  }

  addChannel({ messageCount, requeueCount, timeoutCount, meter }: Channel): void {
    this.channelMessageCount += Math.max(0, messageCount);
    this.deliveredCount += meter.deliveredCount;
    this.finishedCount += meter.finishedCount;
    this.requeueCount += requeueCount;
    this.timeoutCount += timeoutCount;
    this.toDelivery.add(meter.toDelivery);
    this.toFinish.add(meter.toFinish);
  }
}
