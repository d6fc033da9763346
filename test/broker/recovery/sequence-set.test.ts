import { expect, test } from "bun:test";
import { SequenceSet } from "../../../src/broker/recovery/sequence-set.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

function members(set: SequenceSet, from = 0): number[] {
  return [...set.rangesFrom(from)].flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i));
}

test("a set, sparse or dense, has each sequence that was added once", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  for (const [count, span] of [
    [500, 1e12],
    [20_000, 30_000],
    [20_000, 400_000],
  ]) {
    const set = new SequenceSet();
    const model = new Set<number>();
    for (let i = 0; i < count; i++) {
      const sequence = Math.floor(random.next() * span);
      expect(set.add(sequence), `BUNSQ_SEED=${seed}`).toBe(!model.has(sequence));
      model.add(sequence);
    }
    expect(set.size).toBe(model.size);
    const sorted = [...model].sort((a, b) => a - b);
    expect(members(set)).toEqual(sorted);
    const middle = sorted[sorted.length >> 1];
    expect(members(set, middle)).toEqual(sorted.filter((sequence) => sequence >= middle));
  }
});

test("neighbours make one range, also over the edges of pages", () => {
  const set = new SequenceSet();
  for (let sequence = 200_000; sequence >= 60_000; sequence--) set.add(sequence);
  set.add(7);
  expect([...set.rangesFrom(0)]).toEqual([
    { from: 7, to: 8 },
    { from: 60_000, to: 200_001 },
  ]);
  expect([...set.rangesFrom(65_536)]).toEqual([{ from: 65_536, to: 200_001 }]);
  expect([...set.rangesFrom(200_001)]).toEqual([]);
});
