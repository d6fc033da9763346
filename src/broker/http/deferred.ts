import { empty, Refusal } from "../../http/server/reply.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import { existingChannel, partsArgument } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { operatorName } from "./origin.ts";

// Calls for all messages of a channel that were requeued with a delay. Deferred publishes belong to the topic.

const MS_PER_HOUR = 3_600_000;

/** POST /channel/emptydelayed?topic=&channel=[&partition=]: finishes the deferred messages of a channel. */
export function emptyDeferred(call: HttpCall): Promise<Response> {
  const { deferredControl } = call.broker;
  return forParts(call, "finished", (part) => deferredControl.finishAll(part, operatorName(call, part)));
}

/**
 * POST /channel/requeuedelayed?topic=&channel=[&partition=][&offset=HOURS]: delivers the deferred messages now that are due within a number of
 * hours; without `offset`, within one.
 */
export function requeueDeferred(call: HttpCall): Promise<Response> {
  const { deferredControl, turn } = call.broker;
  const hours = call.query.get("offset") ?? "1";
  if (!/^\d{1,9}$/.test(hours)) throw new Refusal(400, "INVALID_ARG_OFFSET");
  const untilMs = turn.currentMs + Number(hours) * MS_PER_HOUR;
  return forParts(call, "delivered", (part) => deferredControl.deliverAll(part, untilMs, operatorName(call, part)));
}

async function forParts(call: HttpCall, what: string, act: (part: ChannelPartition) => Promise<number>): Promise<Response> {
  const channel = existingChannel(call);
  let count = 0;
  for (const part of partsArgument(call, channel)) count += await act(part);
  const { name, topic } = channel;
  call.broker.logger.info(
    `CHANNEL(${name}) of ${topic.name}: ${count} deferred messages ${what} over HTTP`,
    call.about({ topic: topic.name, channel: name }),
  );
  return empty();
}
