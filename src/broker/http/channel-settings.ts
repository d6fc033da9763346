import { empty, json, Refusal } from "../../http/server/reply.ts";
import type { SettingsJson } from "../topics/channel/channel-settings.ts";
import { SettingsError } from "../topics/channel/settings-error.ts";
import { existingChannel, wholeChannel } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** The settings of a channel that a call's arguments name. @throws Refusal 400 */
export function settingsArguments({ query }: Pick<HttpCall, "query">): SettingsJson {
  const settings: SettingsJson = {};
  const order = query.get("ordered");
  if (order !== undefined) settings.order = order;
  const filter = query.get("filter");
  if (filter !== undefined) settings.filter = filter === "" ? null : parsed(filter);
  const attempts = query.get("max_attempts");
  if (attempts !== undefined) settings.max_attempts = /^\d{1,9}$/.test(attempts) ? Number(attempts) : Number.NaN;
  const topic = query.get("dead_letter_topic");
  if (topic !== undefined) settings.dead_letter_topic = topic;
  return settings;
}

/** Does what may find that settings cannot be used. @throws Refusal 400 */
export function withSettings<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SettingsError) throw new Refusal(400, `INVALID_ARG_${error.setting.toUpperCase()}`);
    throw error;
  }
}

/**
 * POST /channel/setorder?topic=&channel=&order=key|partition|none: what a channel delivers one after the other. Youzan's `true` and
 * `false` are partition and none.
 */
export function setChannelOrder(call: HttpCall): Response {
  const channel = wholeChannel(call);
  const given = call.query.get("order");
  if (given === undefined) throw new Refusal(400, "MISSING_ARG_ORDER");
  const order = given === "true" ? "partition" : given === "false" ? "none" : given;
  withSettings(() => channel.changeSettings({ order }));
  return empty();
}

/** GET /channel/settings?topic=&channel=: how a channel delivers its messages. */
export function getChannelSettings(call: HttpCall): Response {
  const { topic, name, settings } = existingChannel(call);
  const { order, filter, maxAttempts, deadLetterTopic, limits } = settings;
  return json({
    topic_name: topic.name,
    channel_name: name,
    order,
    filter: filter?.toJson() ?? null,
    max_attempts: maxAttempts,
    dead_letter_topic: deadLetterTopic,
    skip: limits.skips,
    skip_zan_test: limits.skipsZanTest,
    client_limits: limits.ready.list,
    rate_limit: limits.messagesPerSecond,
    rate_limit_kb: limits.kilobytesPerSecond,
  });
}

/**
 * POST /channel/settings?topic=&channel=[&ordered=][&filter=][&max_attempts=][&dead_letter_topic=]: changes how a channel delivers its
 * messages. What is not given stays as it is; an empty filter takes all.
 */
export function changeChannelSettings(call: HttpCall): Response {
  const channel = existingChannel(call);
  withSettings(() => channel.changeSettings(settingsArguments(call)));
  return getChannelSettings(call);
}

function parsed(filter: string): unknown {
  try {
    return JSON.parse(filter);
  } catch {
    throw new Refusal(400, "INVALID_ARG_FILTER");
  }
}
