import type { ChannelPartition } from "./channel-partition.ts";
import { channelRow } from "./channel-row.ts";

/**
 * In a channel with an order, a message is delivered once those before it are finished at the other brokers as well that have the partition:
 * whoever leads next would deliver them again, after it. Several that are finished meanwhile go together.
 */
export class OrderHold {
  /** How many messages were finished when the others got the progress last. Below 0: this broker has just begun to lead. */
  private sharedCount = -1;
  private isWaiting = false;

  constructor(private readonly part: ChannelPartition) {}

  /** Whether messages may be delivered now. If not, the channel is dispatched when they may. */
  admits(): boolean {
    const { partition, meter } = this.part;
    if (partition.replicated === undefined) return true;
    const [replicated] = partition.replicated;
    if (this.isWaiting || !replicated.mayDeliverInOrder()) return false;
    if (meter.finishedCount === this.sharedCount) return true;
    this.sharedCount = meter.finishedCount;
    replicated.state?.saveChannel(channelRow(this.part));
    const sharing = replicated.state?.untilShared();
    if (sharing === undefined) return true;
    this.isWaiting = true;
    const end = () => {
      this.isWaiting = false;
      this.part.markDirty();
    };
    sharing.then(end, end);
    return false;
  }
}
