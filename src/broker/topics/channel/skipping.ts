import { DETAIL_OPERATOR } from "../../trace/record.ts";
import type { ChannelPartition } from "./channel-partition.ts";

/** Finishes all messages that a channel has of a partition, because it is set to skip them. */
export function skipAll(part: ChannelPartition): void {
  const { inFlight, deferrals, backlog, delivery } = part;
  const { window, detached, selection } = inFlight;
  const hasOthers = window.unfinished > 0 || detached.size > 0 || deferrals.storedCount > 0 || (selection?.left.size ?? 0) > 0;
  if (hasOthers) part.empty();
  else if (delivery.dispatcher.tryFresh(() => backlog.dropOldest(Number.POSITIVE_INFINITY, DETAIL_OPERATOR))) part.markTrimmable();
}
