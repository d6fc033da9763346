import { expect, test } from "bun:test";
import { ratesOf, sortCounts } from "../../../src/cli/command/rates.ts";
import { type Counts, countsOf } from "../../../src/cli/command/stats.ts";
import { shortCount, shortDuration, tableLines } from "../../../src/cli/command/text-table.ts";

const counts = (changes: Partial<Counts>): Counts => ({
  ...{ topic: "t", channel: "c", depth: 0, inFlight: 0, deferred: 0, messages: 0 },
  ...{ requeues: 0, timeouts: 0, consumers: 0, isPaused: false, partitions: 1, order: "none" },
  ...changes,
});

test("rates are what came, and what came and is not there any more, by the time between two looks", () => {
  const before = [counts({ messages: 100, depth: 50, inFlight: 10 })];
  const now = [counts({ messages: 300, depth: 40, inFlight: 0, deferred: 20 })];
  expect(ratesOf(before, now, 2)).toMatchObject([{ inRate: 100, outRate: 100 }]);
  expect(ratesOf(undefined, now, 2)).toMatchObject([{ inRate: 0, outRate: 0 }]);
  // A channel that was moved back, and a broker that was started again.
  expect(ratesOf(now, [counts({ messages: 300, depth: 300 })], 1)).toMatchObject([{ inRate: 0, outRate: 0 }]);
  expect(ratesOf(now, [counts({ messages: 1 })], 1)).toMatchObject([{ inRate: 0 }]);
  const [topic] = ratesOf([counts({ channel: undefined })], [counts({ channel: undefined, messages: 5 })], 1);
  expect([topic?.inRate, topic?.outRate]).toEqual([5, undefined]);
});

test("rows are sorted by name, or down by a number", () => {
  const rows = ratesOf(
    undefined,
    [counts({ topic: "b", depth: 5 }), counts({ topic: "a", depth: 5 }), counts({ topic: "c", depth: 9 })],
    1,
  );
  expect(sortCounts(rows, "name").map(({ topic }) => topic)).toEqual(["a", "b", "c"]);
  expect(sortCounts(rows, "depth").map(({ topic }) => topic)).toEqual(["c", "a", "b"]);
});

test("an answer of /stats with other or missing fields is read for what it has", () => {
  expect(countsOf({ topics: null })).toEqual([]);
  expect(countsOf({ topics: [{ topic_name: "t", depth: "many", channels: null }, 5] })).toEqual([counts({ channel: undefined })]);
});

test("numbers and times are short, and columns as wide as what is in them", () => {
  expect([0, 999, 9_999, 12_345, 999_999, 1_234_567].map(shortCount)).toEqual(["0", "999", "9999", "12.3k", "1000k", "1235k"]);
  expect([0, 4_200, 59_000, 190_000, 18_120_000, 1_051_200_000].map(shortDuration)).toEqual([
    "0.0s",
    "4.2s",
    "59s",
    "3m10s",
    "5h02m",
    "12d04h",
  ]);
  const columns = [
    { title: "NAME", text: (row: string) => row },
    { title: "N", isNumber: true, text: (row: string) => String(row.length) },
  ];
  expect(tableLines(columns, ["a", "longer"])).toEqual(["NAME    N", "a       1", "longer  6"]);
});
