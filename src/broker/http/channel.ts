import { empty } from "../../http/server/reply.ts";
import { channelNotFound, existingChannel, placeArgument, topicAndChannel } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/**
 * POST /channel/create?topic=&channel=[&start=PLACE]: with a place (place.ts) a new channel starts there; one that exists
 * stays where it is.
 */
export function createChannel(call: HttpCall): Response {
  const { topic, channelName } = topicAndChannel(call);
  topic.channel(channelName, call.query.get("start") === undefined ? undefined : placeArgument(call, topic, "start"));
  return empty();
}

/** POST /channel/delete?topic=&channel= — with its messages; hangs up on its consumers. */
export function deleteChannel(call: HttpCall): Response {
  const { topic, channelName } = topicAndChannel(call);
  if (!topic.deleteChannel(channelName)) throw channelNotFound();
  return empty();
}

/** POST /channel/empty?topic=&channel= — drops all its messages, those in flight too. */
export function emptyChannel(call: HttpCall): Response {
  existingChannel(call).empty();
  return empty();
}

/** POST /channel/pause?topic=&channel= — its consumers get nothing until it is unpaused. */
export function pauseChannel(call: HttpCall): Response {
  existingChannel(call).pause();
  return empty();
}

/** POST /channel/unpause?topic=&channel= */
export function unpauseChannel(call: HttpCall): Response {
  existingChannel(call).unpause();
  return empty();
}
