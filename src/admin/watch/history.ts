import { BlockPool } from "./block-pool.ts";
import type { Figures } from "./figures.ts";
import { Ring } from "./ring.ts";
import { decodeValue, encodeValue } from "./scale.ts";

/** What is kept of each topic and channel, in this order. */
export const SERIES = ["depth", "in_rate", "out_rate", "in_flight", "deferred", "requeue_rate", "timeout_rate"] as const;
export type SeriesName = (typeof SERIES)[number];

/** What history is of. */
export type HistoryKind = "all" | "topic" | "channel";

/**
 * What is kept. A topic's other series are the sums of its channels', and to a channel comes what comes to its topic: a third of the
 * memory is saved by that.
 */
const KEPT: Record<HistoryKind, ReadonlySet<SeriesName>> = {
  all: new Set(SERIES),
  topic: new Set(["depth", "in_rate"]),
  channel: new Set(SERIES.filter((name) => name !== "in_rate")),
};

const FINE = { stepMs: 10_000, slots: 360 };
const COARSE = { stepMs: 60_000, slots: 1_440 };

/** Entries are made for this many at a time. */
const ENTRIES_AT_A_TIME = 1_024;

/** The ranges that can be asked for. */
export type HistoryRange = "1h" | "24h";

/** Mean values of a series: the time of the first one in ms, and NaN where there is none. */
export interface Values {
  fromMs: number;
  stepMs: number;
  values: Float64Array;
}

/**
 * What topics and channels did: a value every 10 s for an hour, and one every minute for a day, each the mean of what was measured.
 * Memory is bounded. When it is used up, the oldest part of the day is dropped for all topics and channels alike, two hours
 * at a time; series that did not change keep theirs, since they need no memory.
 *
 * Times are of a clock that does not go back.
 */
export class History {
  private readonly pool: BlockPool;
  private readonly fine: Mean;
  private readonly coarse: Mean;
  private readonly free: number[] = [];
  private entries = 0;
  private reserved = 0;

  /** @param budgetBytes for the values; what it takes to find them comes on top, about 1 KB per topic or channel */
  constructor(budgetBytes: number) {
    this.pool = new BlockPool(budgetBytes, () => this.coarse.ring.dropOldest() || this.fine.ring.dropOldest());
    this.fine = new Mean(new Ring(this.pool, FINE.stepMs, FINE.slots));
    this.coarse = new Mean(new Ring(this.pool, COARSE.stepMs, COARSE.slots));
  }

  /** What it has taken from the system. */
  get bytes(): number {
    return this.pool.bytes + this.fine.bytes + this.coarse.bytes;
  }

  /** An entry for one more topic or channel. */
  add(): number {
    const freed = this.free.pop();
    if (freed !== undefined) return freed;
    if (this.entries === this.reserved) {
      this.reserved += Math.max(ENTRIES_AT_A_TIME, this.reserved >> 2);
      this.fine.reserve(this.reserved * SERIES.length);
      this.coarse.reserve(this.reserved * SERIES.length);
    }
    return this.entries++;
  }

  /** The topic or channel is gone. */
  remove(entry: number): void {
    for (let i = 0; i < SERIES.length; i++) {
      this.fine.clear(entry * SERIES.length + i);
      this.coarse.clear(entry * SERIES.length + i);
    }
    this.free.push(entry);
  }

  /** To be called before the entries are recorded: values of slots that have ended are written then. */
  advance(): void {
    this.pool.allowReclaim();
  }

  record(entry: number, figures: Figures, timeMs: number, kind: HistoryKind): void {
    for (let i = 0; i < SERIES.length; i++) {
      const name = SERIES[i]!;
      if (!KEPT[kind].has(name)) continue;
      const value = figureOf(figures, name);
      this.fine.record(entry * SERIES.length + i, value, timeMs);
      this.coarse.record(entry * SERIES.length + i, value, timeMs);
    }
  }

  read(entry: number, name: SeriesName, range: HistoryRange, nowMs: number): Values {
    return (range === "1h" ? this.fine : this.coarse).read(entry * SERIES.length + SERIES.indexOf(name), nowMs);
  }
}

/** Whether a series is kept, and does not follow from others. */
export function isKept(name: SeriesName, kind: HistoryKind): boolean {
  return KEPT[kind].has(name);
}

function figureOf(figures: Figures, name: SeriesName): number {
  switch (name) {
    case "depth":
      return figures.depth;
    case "in_rate":
      return figures.inRate;
    case "out_rate":
      return figures.outRate;
    case "in_flight":
      return figures.inFlight;
    case "deferred":
      return figures.deferred;
    case "requeue_rate":
      return figures.requeueRate;
    case "timeout_rate":
      return figures.timeoutRate;
  }
}

/** A ring, and of each of its series the mean of the slot that has not ended. */
class Mean {
  private sums = new Float64Array(0);
  private counts = new Uint16Array(0);
  private slots = new Float64Array(0);

  constructor(readonly ring: Ring) {}

  get bytes(): number {
    return this.ring.bytes + this.sums.byteLength + this.counts.byteLength + this.slots.byteLength;
  }

  reserve(series: number): void {
    this.ring.reserve(series);
    const sums = new Float64Array(series);
    sums.set(this.sums);
    const counts = new Uint16Array(series);
    counts.set(this.counts);
    const slots = new Float64Array(series);
    slots.set(this.slots);
    Object.assign(this, { sums, counts, slots });
  }

  clear(series: number): void {
    this.ring.clear(series);
    this.sums[series] = 0;
    this.counts[series] = 0;
    this.slots[series] = 0;
  }

  /** @param value NaN if nothing was measured */
  record(series: number, value: number, timeMs: number): void {
    const slot = this.ring.slotOf(timeMs);
    if (slot !== this.slots[series]) {
      if (this.slots[series] !== 0) this.ring.write(series, this.slots[series]!, encodeValue(this.sums[series]! / this.counts[series]!));
      this.slots[series] = slot;
      this.sums[series] = 0;
      this.counts[series] = 0;
    }
    if (Number.isNaN(value)) return;
    this.sums[series] = this.sums[series]! + value;
    this.counts[series] = this.counts[series]! + 1;
  }

  /** With the slot that was not written yet, as far as it has come. */
  read(series: number, nowMs: number): Values {
    const { ring } = this;
    const values = new Float64Array(ring.slots);
    const end = ring.slotOf(nowMs);
    const from = end - ring.slots + 1;
    for (let slot = from; slot <= end; slot++) values[slot - from] = decodeValue(ring.read(series, slot));
    const open = this.slots[series]! - from;
    // Rounded as the others are.
    if (open >= 0 && open < ring.slots) values[open] = decodeValue(encodeValue(this.sums[series]! / this.counts[series]!));
    return { fromMs: from * ring.stepMs, stepMs: ring.stepMs, values };
  }
}
