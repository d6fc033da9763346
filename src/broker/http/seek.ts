import { json, Refusal } from "../../http/server/reply.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import type { Discarded } from "../topics/channel/discarded.ts";
import { parseConsumeOffset, resolveLogPosition } from "../topics/inspect/log-position.ts";
import { seekPreview } from "../topics/inspect/seek-preview.ts";
import { existingChannel, positionArgument } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** Longer than any body with an offset. */
const MAX_OFFSET_BYTES = 64;

/** POST /channel/seek?topic=&channel=&to=POSITION: moves a channel to a position of its topic's log (topics/inspect/log-position.ts). */
export function seekChannel(call: HttpCall): Response {
  const [part] = existingChannel(call).partitions;
  return move(part, positionArgument(call, part.partition, "to"));
}

/** GET /channel/seek?topic=&channel=&to=POSITION: what the POST would change. A broker that cannot tell knows no such GET, and moves nothing. */
export function previewSeek(call: HttpCall): Response {
  const [part] = existingChannel(call).partitions;
  const sequence = positionArgument(call, part.partition, "to");
  const { from, depth, discarded } = seekPreview(part, sequence);
  return json({ sequence, from, depth: part.depth, new_depth: depth, discarded: discardedJson(discarded) });
}

/** POST /channel/setoffset?topic=&channel=: moves a channel to the position in the body, which has the form of youzan's nsqd. */
export async function setOffset(call: HttpCall): Promise<Response> {
  // The body first, because the channel may be deleted while the body comes.
  const body = await call.body(MAX_OFFSET_BYTES, "INVALID_OFFSET");
  const [part] = existingChannel(call).partitions;
  if (body.length === 0) throw new Refusal(406, "MSG_EMPTY");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const position = parseConsumeOffset(text);
  const sequence = position === undefined ? undefined : resolveLogPosition(part.partition, position);
  if (sequence === undefined) throw new Refusal(400, `invalid consume offset:${text}`);
  return move(part, sequence);
}

/** @throws OperatorError NOT_SAVED if the channel has moved, but would be back after a crash */
function move(channel: ChannelPartition, sequence: number): Response {
  const discarded = channel.seek(sequence);
  return json({ sequence, depth: channel.depth, discarded: discardedJson(discarded) });
}

function discardedJson({ inFlight, requeued, deferred }: Discarded) {
  return { in_flight: inFlight, requeued, deferred };
}
