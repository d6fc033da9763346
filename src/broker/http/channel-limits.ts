import { empty, Refusal } from "../../http/server/reply.ts";
import { wholeChannel } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { withSettings } from "./channel-settings.ts";

// What holds a channel back. It is set for all partitions of the channel, and kept over restarts.

/** POST /channel/skip?topic=&channel=: drops all messages of a channel, and from then on finishes each that comes without delivering it. */
export function skipChannel(call: HttpCall): Response {
  const channel = wholeChannel(call);
  withSettings(() => channel.changeSettings({ skip: true }));
  return empty();
}

/** POST /channel/unskip?topic=&channel= */
export function unskipChannel(call: HttpCall): Response {
  const channel = wholeChannel(call);
  withSettings(() => channel.changeSettings({ skip: false }));
  return empty();
}

/**
 * POST /channel/skipZanTest?topic=&channel=: from now on finishes each message that comes with `zan_test` in its header without
 * delivering it. What the channel has taken from its backlog already is delivered.
 */
export function skipZanTest(call: HttpCall): Response {
  return setZanTestSkipped(call, true);
}

/** POST /channel/unskipZanTest?topic=&channel= */
export function unskipZanTest(call: HttpCall): Response {
  return setZanTestSkipped(call, false);
}

function setZanTestSkipped(call: HttpCall, isSkipped: boolean): Response {
  const channel = wholeChannel(call);
  // Its messages have no headers.
  if (channel.topic.settings.extended === false) throw new Refusal(400, "INVALID_REQUEST");
  withSettings(() => channel.changeSettings({ skip_zan_test: isSkipped }));
  return empty();
}

/**
 * POST /channel/setclientlimit?topic=&channel=&ready=N[&client_prefix=]: bounds how many messages each client has in flight whose
 * address or id begins with the prefix. Of several prefixes the longest one counts. 0: the prefix has no limit any more.
 */
export function limitClients(call: HttpCall): Response {
  const { query } = call;
  const channel = wholeChannel(call);
  const ready = numberArgument(call, "ready");
  if (ready === undefined) throw new Refusal(400, "MISSING_ARG_READY");
  const limits = channel.settings.limits.ready.with(query.get("client_prefix") ?? "", ready);
  withSettings(() => channel.changeSettings({ client_limits: limits }));
  return empty();
}

/**
 * POST /channel/ratelimit?topic=&channel=[&ratekilobytes=N][&ratemessages=N]: bounds how many KiB of messages, or how many messages,
 * are delivered per second. 0: no limit. One that is not given stays.
 */
export function limitRate(call: HttpCall): Response {
  const channel = wholeChannel(call);
  const kilobytes = numberArgument(call, "ratekilobytes");
  const messages = numberArgument(call, "ratemessages");
  if (kilobytes === undefined && messages === undefined) throw new Refusal(400, "MISSING_ARG_RATEKILOBYTES");
  const changes = {
    ...(kilobytes === undefined ? {} : { rate_limit_kb: kilobytes }),
    ...(messages === undefined ? {} : { rate_limit: messages }),
  };
  withSettings(() => channel.changeSettings(changes));
  return empty();
}

/** @throws Refusal 400 */
function numberArgument({ query }: HttpCall, name: string): number | undefined {
  const text = query.get(name);
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new Refusal(400, `INVALID_ARG_${name.toUpperCase()}`);
  return Number(text);
}
