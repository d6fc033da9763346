import { type Counts, keyOf } from "./stats.ts";

/** A topic or a channel with how fast messages come and go. */
export interface RatedCounts extends Counts {
  /** Messages a second. */
  inRate: number;
  /** Messages a second that a channel has finished; undefined for a topic. */
  outRate: number | undefined;
  /** For how long the oldest message that waits has been there, ms; undefined if none waits, or if that is not known. */
  oldestMs: number | undefined;
}

/** What a list of topics and channels can be sorted by. */
export const SORT_KEYS = ["name", "in", "out", "depth", "flight", "deferred", "oldest", "consumers"] as const;
export type SortKey = (typeof SORT_KEYS)[number];

/**
 * Compares two looks at the same brokers.
 *
 * @param before undefined at the first look: then nothing is known about rates, and they are 0
 * @param seconds between the two
 */
export function ratesOf(before: readonly Counts[] | undefined, now: readonly Counts[], seconds: number): RatedCounts[] {
  const earlier = new Map((before ?? []).map((counts) => [keyOf(counts), counts]));
  return now.map((counts) => {
    const then = earlier.get(keyOf(counts));
    // A broker that was started again counts from 0, and a channel that was moved back has more to do.
    const rate = (change: number) => (then === undefined || seconds <= 0 ? 0 : Math.max(0, change) / seconds);
    const inRate = rate(counts.messages - (then?.messages ?? 0));
    const outRate = counts.channel === undefined ? undefined : rate(finished(counts) - (then === undefined ? 0 : finished(then)));
    return { ...counts, inRate, outRate, oldestMs: undefined };
  });
}

/** How many messages a channel has finished since the broker started: those that came and are not there any more. */
function finished({ messages, depth, inFlight, deferred }: Counts): number {
  return messages - depth - inFlight - deferred;
}

/** Sorts by a key: names up, numbers down, and equal ones by name. */
export function sortCounts(rows: readonly RatedCounts[], key: SortKey): RatedCounts[] {
  const value: Record<Exclude<SortKey, "name">, (row: RatedCounts) => number> = {
    in: (row) => row.inRate,
    out: (row) => row.outRate ?? -1,
    depth: (row) => row.depth,
    flight: (row) => row.inFlight,
    deferred: (row) => row.deferred,
    oldest: (row) => row.oldestMs ?? -1,
    consumers: (row) => row.consumers,
  };
  return [...rows].sort((a, b) => (key === "name" ? 0 : value[key](b) - value[key](a)) || (keyOf(a) < keyOf(b) ? -1 : 1));
}
