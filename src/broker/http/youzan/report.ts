import { text } from "../../../http/server/reply.ts";
import type { ChannelPartition } from "../../topics/channel/channel-partition.ts";
import { existingChannel, partsArgument } from "../arguments.ts";
import type { HttpCall } from "../call.ts";

/** How many ranges of finished messages are shown. */
const MOST_RANGES = 20;

/** GET /message/stats?topic=&channel=[&partition=]: where a channel is in its logs, as text to be read by people. */
export function messageStats(call: HttpCall): Response {
  const channel = existingChannel(call);
  return text(partsArgument(call, channel).map(describePart).join("\n"));
}

function describePart({ partition, name, inFlight, deferrals, backlog, requeueCount, timeoutCount }: ChannelPartition): string {
  const { window } = inFlight;
  const skips = backlog.skips.slice(0, MOST_RANGES).map(({ from, to }) => `${from}-${to - 1}`);
  const more = backlog.skips.length > MOST_RANGES ? `, and ${backlog.skips.length - MOST_RANGES} more ranges` : "";
  return [
    `topic ${partition.topic.name} partition ${partition.index} channel ${name}`,
    `inflight ${inFlight.count}, ready ${inFlight.waitingCount}, deferred ${inFlight.deferredCount}, in the deferred store ${deferrals.storedCount},`,
    `requeued ${requeueCount}, timed out ${timeoutCount}, in memory ${window.unfinished}, detached ${inFlight.detached.size},`,
    `log ${partition.log.startSequence} to ${partition.log.committedNext}, all finished below ${inFlight.floor}, next ${window.cursor}, finished beyond: ${skips.join(" ") || "none"}${more}`,
    "",
  ].join("\n");
}
