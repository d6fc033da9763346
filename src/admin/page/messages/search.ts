import type { MessageRow, MessageState } from "../../message-api.ts";
import { withQuery } from "../state/routes.ts";

/** What messages are looked for: the address of the messages' page has it. */
export interface Search {
  topic: string;
  channel: string;
  broker: string;
  /** Empty: all. */
  partition: string;
  state: MessageState;
  /** A log position. */
  from: string;
  match: Match;
  q: string;
}

const MATCHES = ["text", "regexp", "json", "key", "header"] as const;
type Match = (typeof MATCHES)[number];

/** Messages of one call. */
const PAGE_MESSAGES = 100;
/** Messages that the page keeps: more are for a better search. */
export const MAX_KEPT_MESSAGES = 2000;
/** Messages that an action on all that a search finds may be about. */
export const MAX_SELECTED = 10_000;

const STATES: readonly MessageState[] = ["log", "waiting", "in_flight", "deferred"];

export function searchOf(query: URLSearchParams): Search {
  const channel = query.get("channel") ?? "";
  const state = STATES.find((known) => known === query.get("state"));
  return {
    topic: query.get("topic") ?? "",
    channel,
    broker: query.get("broker") ?? "",
    partition: query.get("partition") ?? "",
    // Only a channel has messages that wait, are in flight or deferred.
    state: channel === "" ? "log" : (state ?? "log"),
    from: query.get("from") ?? "",
    match: MATCHES.find((known) => known === query.get("match")) ?? "text",
    q: query.get("q") ?? "",
  };
}

/** The call that finds the messages. @param from another place to begin, such as the `next` of the page before */
export function searchPath(search: Search, from = search.from): string {
  const { topic, channel, broker, partition, state, match, q } = search;
  return withQuery("/messages", {
    topic,
    channel,
    broker,
    partition,
    state,
    from,
    match: q === "" ? undefined : match,
    q,
    limit: PAGE_MESSAGES,
  });
}

/** A message's key in the list. A deferred publish has no id, but a time to the nanosecond. */
export function messageKey({ broker, id, timestamp, channel }: MessageRow): string {
  return `${broker} ${channel ?? ""} ${id ?? timestamp}`;
}

/** The list with a further page behind it, or with newer messages in front of it. Each message once, at most `limit`. */
export function joined(
  list: readonly MessageRow[],
  messages: readonly MessageRow[],
  where: "behind" | "in front",
  limit = MAX_KEPT_MESSAGES,
): MessageRow[] {
  const known = new Set(list.map(messageKey));
  const fresh = messages.filter((row) => !known.has(messageKey(row)));
  const all = where === "behind" ? [...list, ...fresh] : [...fresh.toReversed(), ...list];
  return all.slice(0, limit);
}

/** The ids of messages, by their brokers: an id means something to its own broker only. */
export function idsByBroker(rows: readonly MessageRow[]): Map<string, string[]> {
  const ids = new Map<string, string[]>();
  for (const { broker, id } of rows) {
    if (id === null) continue;
    const list = ids.get(broker);
    if (list === undefined) ids.set(broker, [id]);
    else list.push(id);
  }
  return ids;
}
