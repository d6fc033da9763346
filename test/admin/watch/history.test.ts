import { describe, expect, test } from "bun:test";
import { Figures } from "../../../src/admin/watch/figures.ts";
import { History, type HistoryRange, type SERIES } from "../../../src/admin/watch/history.ts";
import { decodeValue, encodeValue } from "../../../src/admin/watch/scale.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START_MS = 1_700_000_000_000 - (1_700_000_000_000 % HOUR);

function figures(values: Partial<Figures>): Figures {
  return Object.assign(new Figures(), values);
}

/** The values of a series as an array, null where there is none. */
function read(history: History, entry: number, name: (typeof SERIES)[number], range: HistoryRange, nowMs: number): (number | null)[] {
  return [...history.read(entry, name, range, nowMs).values].map((value) => (Number.isNaN(value) ? null : value));
}

describe("the scale", () => {
  test("is right to a thousandth, from a thousandth to a trillion", () => {
    for (let value = 0.001; value < 1e12; value *= 1.013) {
      expect(Math.abs(decodeValue(encodeValue(value)) / value - 1)).toBeLessThan(0.001);
    }
  });

  test("keeps 0, whole numbers up to a thousand, and what was not measured", () => {
    expect(decodeValue(encodeValue(0))).toBe(0);
    expect(decodeValue(encodeValue(Number.NaN))).toBeNaN();
    for (let value = 1; value <= 1_000; value++) expect(decodeValue(encodeValue(value))).toBe(value);
    expect(decodeValue(encodeValue(1e15))).toBeCloseTo(1e12, -8);
  });
});

describe("the history", () => {
  test("has the mean of 10 s for an hour and of a minute for a day", () => {
    const history = new History(1024 * 1024);
    const entry = history.add();
    for (let ms = 0; ms < 3 * HOUR; ms += 2_000) {
      history.advance();
      history.record(entry, figures({ depth: ms / 1000, inRate: 5 }), START_MS + ms, "all");
    }
    const nowMs = START_MS + 3 * HOUR - 1;
    const fine = history.read(entry, "depth", "1h", nowMs);
    expect(fine.stepMs).toBe(10_000);
    expect(fine.values.length).toBe(360);
    expect(fine.fromMs).toBe(START_MS + 2 * HOUR);
    // From 7,200 to 7,208 s.
    expect(fine.values[0]).toBeCloseTo(7_204, -1);
    expect(fine.values[359]).toBeCloseTo(10_794, -1);
    const coarse = read(history, entry, "depth", "24h", nowMs);
    expect(coarse.length).toBe(1_440);
    expect(coarse.slice(0, 1_260).every((value) => value === null)).toBe(true);
    expect(coarse[1_260]).toBeCloseTo(29, 0);
    expect(read(history, entry, "in_rate", "24h", nowMs).slice(1_260)).toEqual(Array(180).fill(5));
    expect(read(history, entry, "out_rate", "24h", nowMs).every((value) => value === null)).toBe(true);
  });

  test("has no values for the time in which nothing was measured", () => {
    const history = new History(1024 * 1024);
    const entry = history.add();
    for (const minute of [0, 1, 2, 30, 31]) history.record(entry, figures({ depth: 7 }), START_MS + minute * MINUTE, "all");
    const values = read(history, entry, "depth", "24h", START_MS + 31 * MINUTE);
    expect(values.slice(-33)).toEqual([null, 7, 7, 7, ...Array(27).fill(null), 7, 7]);
  });

  test("begins anew for a topic that takes the place of another", () => {
    const history = new History(1024 * 1024);
    const entry = history.add();
    for (let ms = 0; ms < HOUR; ms += 10_000) history.record(entry, figures({ depth: ms }), START_MS + ms, "all");
    history.remove(entry);
    expect(history.add()).toBe(entry);
    expect(read(history, entry, "depth", "1h", START_MS + HOUR).every((value) => value === null)).toBe(true);
  });

  test("takes no blocks for series that do not change", () => {
    const history = new History(1024 * 1024);
    const entries = Array.from({ length: 100 }, () => history.add());
    const found = history.bytes;
    for (let ms = 0; ms < 24 * HOUR; ms += 10_000) {
      history.advance();
      for (const entry of entries) history.record(entry, figures({ depth: 12, inRate: 0 }), START_MS + ms, "all");
    }
    expect(history.bytes).toBe(found);
    expect(read(history, 99, "depth", "24h", START_MS + 24 * HOUR - 1)).toEqual(Array(1_440).fill(12));
  });

  test("drops the oldest part of the day for all when its memory is used up, and keeps the last hour", () => {
    // An hour takes four blocks of 240 bytes, a day thirteen.
    const history = new History(100 * 10 * 240);
    const entries = Array.from({ length: 100 }, () => history.add());
    for (let ms = 0; ms < 24 * HOUR; ms += 10_000) {
      history.advance();
      for (const entry of entries) history.record(entry, figures({ depth: entry + (ms % 70_000) }), START_MS + ms, "all");
    }
    const nowMs = START_MS + 24 * HOUR - 1;
    for (const entry of [0, 50, 99]) {
      expect(read(history, entry, "depth", "1h", nowMs).every((value) => value !== null)).toBe(true);
      const day = read(history, entry, "depth", "24h", nowMs);
      const known = day.findIndex((value) => value !== null);
      expect(known).toBeGreaterThan(0);
      expect(known).toBeLessThan(1_440 - 8 * 60);
      expect(day.slice(known).every((value) => value !== null)).toBe(true);
    }
  });

  test("is what was recorded, whatever comes and goes", () => {
    const seed = seedFromEnvironment();
    console.log(`BUNSQ_SEED=${seed}`);
    const random = new Random(seed);
    const history = new History(8 * 1024 * 1024);
    const model = new Map<number, Map<number, number>>();
    const value = new Map<number, number>();
    let slot = Math.floor(START_MS / 10_000);
    for (let step = 0; step < 2_000; step++) {
      slot += random.chance(0.02) ? random.int(1, 150) : 1;
      history.advance();
      if (random.chance(0.02) || model.size === 0) {
        const entry = history.add();
        model.set(entry, new Map());
        value.set(entry, 1);
      }
      for (const [entry, slots] of model) {
        if (random.chance(0.002)) {
          history.remove(entry);
          model.delete(entry);
          continue;
        }
        if (random.chance(0.1)) value.set(entry, random.int(0, 999));
        if (random.chance(0.03)) continue;
        const depth = value.get(entry)!;
        slots.set(slot, depth);
        history.record(entry, figures({ depth }), slot * 10_000, "all");
      }
    }
    for (const [entry, slots] of model) {
      const expected = Array.from({ length: 360 }, (_, i) => slots.get(slot - 359 + i) ?? null);
      const found = read(history, entry, "depth", "1h", slot * 10_000).map((depth) => (depth === null ? null : Math.round(depth)));
      expect(found).toEqual(expected);
    }
  });
});
