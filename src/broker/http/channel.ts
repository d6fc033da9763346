import { empty } from "../../http/server/reply.ts";
import { ChannelSettings } from "../topics/channel/channel-settings.ts";
import { channelNotFound, existingChannel, partitionArgument, partsArgument, positionsArgument, topicAndChannel } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { settingsArguments, withSettings } from "./channel-settings.ts";

/**
 * POST /channel/create?topic=&channel=[&start=POSITION][&ordered=key|partition|none][&filter=JSON][&max_attempts=N&dead_letter_topic=]:
 * makes a channel, which starts at a position of its topic's log if one is given (topics/inspect/log-position.ts). A channel that
 * exists stays where it is, and gets the settings that are given.
 */
export function createChannel(call: HttpCall): Response {
  const { topic, channelName } = topicAndChannel(call);
  partitionArgument(call, topic);
  const starts = call.query.get("start") === undefined ? [] : positionsArgument(call, topic, "start");
  const changes = settingsArguments(call);
  withSettings(() => (topic.channels.get(channelName)?.settings ?? ChannelSettings.DEFAULT).changedIn(topic.name, changes));
  const channel = topic.channel(channelName, (partition) => starts.find((start) => start.partition === partition)?.sequence);
  channel.changeSettings(changes);
  return empty();
}

/** POST /channel/delete?topic=&channel=: deletes a channel with its messages, and closes its consumers' connections. */
export function deleteChannel(call: HttpCall): Response {
  const { topic, channelName } = topicAndChannel(call);
  partitionArgument(call, topic);
  if (!topic.deleteChannel(channelName)) throw channelNotFound();
  return empty();
}

/** POST /channel/empty?topic=&channel=[&partition=]: drops all messages of a channel, also those in flight. */
export function emptyChannel(call: HttpCall): Response {
  const channel = existingChannel(call);
  channel.empty(partsArgument(call, channel));
  return empty();
}

/** POST /channel/pause?topic=&channel=[&partition=]: consumers of a channel get no messages until it is unpaused. */
export function pauseChannel(call: HttpCall): Response {
  const channel = existingChannel(call);
  channel.pause(partsArgument(call, channel));
  return empty();
}

/** POST /channel/unpause?topic=&channel=[&partition=] */
export function unpauseChannel(call: HttpCall): Response {
  const channel = existingChannel(call);
  channel.unpause(partsArgument(call, channel));
  return empty();
}
