import type { Channel } from "../topics/channel/channel.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";

/** What /stats counts of a channel, and of what it has of each partition. */
export interface ChannelCounts {
  channel_name: string;
  depth: number;
  backend_depth: number;
  in_flight_count: number;
  deferred_count: number;
  message_count: number;
  requeue_count: number;
  timeout_count: number;
}

export function readCounts(channel: Channel | ChannelPartition): ChannelCounts {
  return {
    channel_name: channel.name,
    depth: channel.depth,
    backend_depth: channel.backendDepth,
    in_flight_count: channel.inFlightCount,
    deferred_count: channel.deferredCount,
    message_count: channel.messageCount,
    requeue_count: channel.requeueCount,
    timeout_count: channel.timeoutCount,
  };
}
