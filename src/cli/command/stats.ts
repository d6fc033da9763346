import type { Broker } from "./brokers.ts";

/** What a topic or a channel of a broker has, or of several brokers, added up. */
export interface Counts {
  topic: string;
  /** Undefined for the topic itself. */
  channel: string | undefined;
  /** Messages that wait, not in flight and not deferred. For a topic: those that no channel has got. */
  depth: number;
  inFlight: number;
  deferred: number;
  /** Messages that have come since the broker started. */
  messages: number;
  requeues: number;
  timeouts: number;
  consumers: number;
  isPaused: boolean;
  /** How many partitions a topic has; 1 for a channel. */
  partitions: number;
  /** What a channel delivers one after the other: `none`, `key` or `partition`. */
  order: string;
}

/**
 * The topics and channels of brokers, sorted by name, a topic before its channels.
 *
 * @param topic given: only this one
 * @throws ClientError if a broker does not answer
 */
export async function readCounts(brokers: readonly Broker[], topic?: string): Promise<Counts[]> {
  const answers = await Promise.all(
    brokers.map(({ client }) => client.stats({ partitions: false, ...(topic === undefined ? {} : { topic }) })),
  );
  return addUp(answers.flatMap(countsOf));
}

/** The counts in an answer of /stats. What is missing counts as 0. */
export function countsOf(answer: Readonly<Record<string, unknown>>): Counts[] {
  return objects(answer.topics).flatMap((topic) => {
    const name = String(topic.topic_name);
    const channels = objects(topic.channels).map((channel) => counts(name, String(channel.channel_name), channel));
    return [counts(name, undefined, topic), ...channels];
  });
}

function counts(topic: string, channel: string | undefined, from: Readonly<Record<string, unknown>>): Counts {
  const number = (name: string) => (typeof from[name] === "number" ? from[name] : 0);
  return {
    topic,
    channel,
    depth: number("depth"),
    inFlight: number("in_flight_count"),
    deferred: number("deferred_count"),
    messages: number("message_count"),
    requeues: number("requeue_count"),
    timeouts: number("timeout_count"),
    consumers: number("client_count"),
    isPaused: from.paused === true,
    partitions: Math.max(1, number("partition_num")),
    order: orderIn(from.delivery),
  };
}

function orderIn(delivery: unknown): string {
  if (typeof delivery !== "object" || delivery === null || !("order" in delivery)) return "none";
  return typeof delivery.order === "string" ? delivery.order : "none";
}

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : [];
}

/** Adds up what several brokers have of the same topic or channel. It counts as paused if it is at any of them. */
function addUp(all: readonly Counts[]): Counts[] {
  const sums = new Map<string, Counts>();
  for (const one of all) {
    const key = keyOf(one);
    const sum = sums.get(key);
    if (sum === undefined) sums.set(key, { ...one });
    else {
      sum.depth += one.depth;
      sum.inFlight += one.inFlight;
      sum.deferred += one.deferred;
      sum.messages += one.messages;
      sum.requeues += one.requeues;
      sum.timeouts += one.timeouts;
      sum.consumers += one.consumers;
      sum.isPaused ||= one.isPaused;
      sum.partitions = Math.max(sum.partitions, one.partitions);
      if (sum.order === "none") sum.order = one.order;
    }
  }
  return [...sums.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** Identifies a topic or a channel, and sorts a topic before its channels. No name has a space. */
export function keyOf({ topic, channel }: Pick<Counts, "topic" | "channel">): string {
  return channel === undefined ? topic : `${topic} ${channel}`;
}

/** Counts for programs, with the words of /stats. */
export function countsJson({
  topic,
  channel,
  depth,
  inFlight,
  deferred,
  messages,
  requeues,
  timeouts,
  consumers,
  isPaused,
  partitions,
  order,
}: Counts): object {
  const name = { topic, channel: channel ?? null };
  return {
    ...name,
    depth,
    in_flight: inFlight,
    deferred,
    messages,
    requeues,
    timeouts,
    consumers,
    paused: isPaused,
    ...(channel === undefined ? { partitions } : { order }),
  };
}
