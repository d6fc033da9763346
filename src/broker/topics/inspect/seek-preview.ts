import type { ChannelPartition } from "../channel/channel-partition.ts";
import type { Discarded } from "../channel/discarded.ts";

/** What a seek would change. */
interface SeekPreview {
  /** The sequence of the message that the channel would deliver next for the first time. */
  from: number;
  /** The depth afterwards. */
  depth: number;
  discarded: Discarded;
}

/** What ChannelPartition.seek() would do, without doing it. @param sequence of a message in the log, or its end */
export function seekPreview({ inFlight, deferrals, partition }: ChannelPartition, sequence: number): SeekPreview {
  return {
    from: inFlight.window.cursor,
    depth: Math.max(0, partition.released - sequence),
    discarded: {
      inFlight: inFlight.count,
      requeued: inFlight.waitingCount,
      deferred: inFlight.deferredCount + deferrals.storedCount,
    },
  };
}
