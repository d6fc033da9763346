import { expect, test } from "bun:test";
import { applyDelta, rowKey } from "../../../src/admin/page/state/delta.ts";

const page = () => ({
  rows: [
    { topic: "a", depth: 1 },
    { topic: "b", depth: 2 },
    { topic: "c", depth: 3 },
  ],
  total: 3,
  offset: 0,
});

test("a row that has not changed stays the same object", () => {
  const before = page();
  const after = applyDelta(before, { rows: [{ topic: "b", depth: 9 }] }) as ReturnType<typeof page>;
  expect(after.rows).toEqual([
    { topic: "a", depth: 1 },
    { topic: "b", depth: 9 },
    { topic: "c", depth: 3 },
  ]);
  expect(after.rows[0]).toBe(before.rows[0]!);
  expect(after.rows[2]).toBe(before.rows[2]!);
  expect(before.rows[1]).toEqual({ topic: "b", depth: 2 });
});

test("rows come, go and move by the order", () => {
  const after = applyDelta(page(), { rows: [{ topic: "d", depth: 4 }], order: ["d", "c", "a"], set: { total: 4 } });
  expect(after).toEqual({
    rows: [
      { topic: "d", depth: 4 },
      { topic: "c", depth: 3 },
      { topic: "a", depth: 1 },
    ],
    total: 4,
    offset: 0,
  });
});

test("members replace those of their names, also in a view without rows", () => {
  expect(applyDelta({ depth: 1, spark: { depth: [1] } }, { set: { depth: 2 } })).toEqual({ depth: 2, spark: { depth: [1] } });
});

test("a change that does not fit is told", () => {
  expect(applyDelta(page(), { order: ["a", "z"] })).toBeUndefined();
  expect(applyDelta(page(), { rows: [{ topic: "z" }] })).toBeUndefined();
  expect(applyDelta({ depth: 1 }, { rows: [{ topic: "a" }] })).toBeUndefined();
  expect(applyDelta(undefined, { set: { depth: 1 } })).toBeUndefined();
});

test("a row's key is its key, its address, or its topic and channel", () => {
  expect([{ key: "k", address: "a" }, { address: "a", topic: "t" }, { topic: "t", channel: "c" }, { topic: "t" }].map(rowKey)).toEqual([
    "k",
    "a",
    "t c",
    "t",
  ]);
});
