import { describe, expect, test } from "bun:test";
import type { Delta } from "../../../src/admin/console-api.ts";
import { Snapshot } from "../../../src/admin/stream/snapshot.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { applyDelta } from "./apply-delta.ts";

type View = Record<string, unknown>;

describe("a snapshot", () => {
  test("says nothing of a view that has not changed", () => {
    const view = { rows: [{ topic: "a", depth: 1 }], total: 1 };
    expect(new Snapshot(view).deltaFrom(new Snapshot(structuredClone(view)))).toBe("");
  });

  test("has the changed rows whole, and the order only if it has changed", () => {
    const before = new Snapshot({
      rows: [
        { topic: "a", depth: 1 },
        { topic: "b", depth: 2 },
      ],
      total: 2,
    });
    const changed = new Snapshot({
      rows: [
        { topic: "a", depth: 5 },
        { topic: "b", depth: 2 },
      ],
      total: 2,
    });
    expect(JSON.parse(changed.deltaFrom(before)!)).toEqual({ rows: [{ topic: "a", depth: 5 }] });
    const moved = new Snapshot({
      rows: [
        { topic: "b", depth: 2 },
        { topic: "a", depth: 1 },
      ],
      total: 2,
    });
    expect(JSON.parse(moved.deltaFrom(before)!)).toEqual({ order: ["b", "a"] });
  });

  test("names the rows of all lists by their own keys", () => {
    const rows = [{ key: "k", address: "x" }, { address: "b:1" }, { topic: "t", channel: "c" }, { topic: "t" }];
    const delta = JSON.parse(new Snapshot({ rows }).deltaFrom(new Snapshot({ rows: [] }))!) as Delta;
    expect(delta.order).toEqual(["k", "b:1", "t c", "t"]);
  });

  test("cannot say that a member is gone", () => {
    expect(new Snapshot({ topic: "t" }).deltaFrom(new Snapshot({ topic: "t", inactive: true }))).toBeUndefined();
    expect(new Snapshot({ total: 1 }).deltaFrom(new Snapshot({ total: 1, rows: [] }))).toBeUndefined();
  });

  test("of before, with its delta, is what a new one says in full", () => {
    const seed = seedFromEnvironment();
    console.log(`BUNSQ_SEED=${seed}`);
    const random = new Random(seed);
    let shown = randomView(random);
    let before = new Snapshot(shown);
    for (let round = 0; round < 2_000; round++) {
      const view = randomView(random);
      const after = new Snapshot(view);
      const delta = after.deltaFrom(before);
      if (delta === undefined) shown = JSON.parse(after.full()) as View;
      else if (delta !== "") shown = applyDelta(shown, JSON.parse(delta) as Delta);
      expect(shown).toEqual(JSON.parse(after.full()) as View);
      expect(JSON.parse(after.full())).toEqual(JSON.parse(JSON.stringify(view)));
      before = after;
    }
  });
});

function randomView(random: Random): View {
  const names = Array.from({ length: random.int(0, 8) }, (_, i) => `t${i}`).filter(() => random.chance(0.7));
  const rows = names
    .sort(() => random.next() - 0.5)
    .map((topic) => ({ topic, depth: random.int(0, 2), spark: { depth: [random.int(0, 1)] } }));
  return {
    ...(random.chance(0.9) ? { rows } : {}),
    total: random.int(0, 3),
    by_broker: [{ broker: "a:1", depth: random.int(0, 2) }],
    ...(random.chance(0.1) ? { inactive: true } : {}),
  };
}
