import { json, Refusal } from "../../http/server/reply.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { parseConsumeOffset, resolveLogPosition } from "../topics/inspect/log-position.ts";
import { existingChannel, placeArgument } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** Longer than any body that says an offset. */
const MAX_OFFSET_BYTES = 64;

/** POST /channel/seek?topic=&channel=&to=PLACE: moves a channel to a place in its topic's log (place.ts). */
export function seekChannel(call: HttpCall): Response {
  const channel = existingChannel(call);
  return move(channel, placeArgument(call, channel.topic, "to"));
}

/** POST /channel/setoffset?topic=&channel=: the same, with the place in the body as youzan's nsqd has it. */
export async function setOffset(call: HttpCall): Promise<Response> {
  // The body first, since a channel may be gone once it is there.
  const body = await call.body(MAX_OFFSET_BYTES, "INVALID_OFFSET");
  const channel = existingChannel(call);
  if (body.length === 0) throw new Refusal(406, "MSG_EMPTY");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const place = parseConsumeOffset(text);
  const sequence = place === undefined ? undefined : resolveLogPosition(channel.topic, place);
  if (sequence === undefined) throw new Refusal(400, `invalid consume offset:${text}`);
  return move(channel, sequence);
}

/** @throws OperatorError NOT_SAVED when the channel moved, but would be where it was after a crash */
function move(channel: Channel, sequence: number): Response {
  const { inFlight, requeued, deferred } = channel.seek(sequence);
  return json({ sequence, depth: channel.depth, discarded: { in_flight: inFlight, requeued, deferred } });
}
