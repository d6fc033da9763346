import { json, Refusal } from "../../http/server/reply.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Discarded } from "../topics/channel/discarded.ts";
import { parseConsumeOffset } from "../topics/inspect/log-position.ts";
import { seekPreview } from "../topics/inspect/seek-preview.ts";
import { existingChannel, type PartitionPosition, partHere, positionsArgument, positionsOf } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** Longer than any body with an offset. */
const MAX_OFFSET_BYTES = 64;

/** POST /channel/seek?topic=&channel=&to=POSITION[&partition=]: moves a channel to a position of its topic's logs (topics/inspect/log-position.ts). */
export function seekChannel(call: HttpCall): Response {
  const channel = existingChannel(call);
  return move(channel, positionsArgument(call, channel.topic, "to"));
}

/** GET /channel/seek?topic=&channel=&to=POSITION[&partition=]: what the POST would change. A broker that cannot tell knows no such GET, and moves nothing. */
export function previewSeek(call: HttpCall): Response {
  const channel = existingChannel(call);
  const positions = positionsArgument(call, channel.topic, "to");
  const previews = positions.map(({ partition, sequence }) => {
    const part = partHere(channel, partition);
    return { partition: partition.index, sequence, current: part.depth, ...seekPreview(part, sequence) };
  });
  const sum = (read: (preview: (typeof previews)[number]) => number) => previews.reduce((all, preview) => all + read(preview), 0);
  const [{ from }] = previews;
  return json({
    ...(isSplit(channel)
      ? { partitions: previews.map((one) => ({ partition: one.partition, sequence: one.sequence, from: one.from })) }
      : { sequence: previews[0].sequence, from }),
    depth: sum(({ current }) => current),
    new_depth: sum(({ depth }) => depth),
    discarded: discardedJson(total(previews.map(({ discarded }) => discarded))),
  });
}

/** POST /channel/setoffset?topic=&channel=[&partition=]: moves a channel to the position in the body, which has the form of youzan's nsqd. */
export async function setOffset(call: HttpCall): Promise<Response> {
  // The body first, because the channel may be deleted while the body comes.
  const body = await call.body(MAX_OFFSET_BYTES, "INVALID_OFFSET");
  const channel = existingChannel(call);
  if (body.length === 0) throw new Refusal(406, "MSG_EMPTY");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString().trim();
  const position = parseConsumeOffset(text);
  if (position instanceof Error) throw new Refusal(400, position.message);
  const positions = positionsOf(call, channel.topic, position);
  if (positions === undefined) throw new Refusal(400, `invalid consume offset:${text}`);
  return move(channel, positions);
}

/** @throws OperatorError NOT_SAVED if the channel has moved, but would be back after a crash */
function move(channel: Channel, positions: readonly PartitionPosition[]): Response {
  let failure: unknown;
  const moved = positions.map(({ partition, sequence }) => {
    const part = partHere(channel, partition);
    const { discarded } = seekPreview(part, sequence);
    try {
      part.seek(sequence);
    } catch (error) {
      // The other partitions move as well.
      failure = error;
    }
    return { partition: partition.index, sequence, depth: part.depth, discarded };
  });
  if (failure !== undefined) throw failure;
  return json({
    ...(isSplit(channel)
      ? { partitions: moved.map(({ partition, sequence }) => ({ partition, sequence })) }
      : { sequence: moved[0].sequence }),
    depth: moved.reduce((sum, { depth }) => sum + depth, 0),
    discarded: discardedJson(total(moved.map(({ discarded }) => discarded))),
  });
}

/** Whether an answer says of which partition each position is. */
function isSplit({ partitions }: Channel): boolean {
  return partitions.length > 1;
}

function total(all: readonly Discarded[]): Discarded {
  const sum = { inFlight: 0, requeued: 0, deferred: 0 };
  for (const { inFlight, requeued, deferred } of all) {
    sum.inFlight += inFlight;
    sum.requeued += requeued;
    sum.deferred += deferred;
  }
  return sum;
}

function discardedJson({ inFlight, requeued, deferred }: Discarded) {
  return { in_flight: inFlight, requeued, deferred };
}
