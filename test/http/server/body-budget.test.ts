import { expect, test } from "bun:test";
import { BodyBudget, BodyPace, BodyShare } from "../../../src/http/server/body-budget.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

test("the first 64 KiB of a body take no room, and a body takes room as it comes", () => {
  const budget = new BodyBudget(MIB);
  const silent = Array.from({ length: 1000 }, () => new BodyShare());
  for (const share of silent) expect(budget.grow(share, 64 * KIB, 5 * MIB, () => {})).toBeTrue();
  expect(silent.every(({ bytes }) => bytes === 0)).toBeTrue();
  const share = new BodyShare();
  expect(budget.grow(share, 100 * KIB, 5 * MIB, () => {})).toBeTrue();
  expect(share.bytes).toBe(200 * KIB);
  expect(budget.grow(share, 200 * KIB, 5 * MIB, () => {})).toBeTrue();
  expect(share.bytes).toBe(200 * KIB);
  expect(budget.grow(share, 300 * KIB, 310 * KIB, () => {})).toBeTrue();
  expect(share.bytes).toBe(310 * KIB);
});

test("a body that does not fit waits, and a smaller one goes ahead of it", () => {
  const budget = new BodyBudget(MIB);
  const [first, exceeding, large, small] = Array.from({ length: 4 }, () => new BodyShare());
  const granted: string[] = [];
  expect(budget.grow(first, 900 * KIB, 900 * KIB, () => {})).toBeTrue();
  expect(budget.grow(exceeding, 800 * KIB, 800 * KIB, () => {})).toBeTrue();
  expect(budget.grow(large, 700 * KIB, 700 * KIB, () => granted.push("large"))).toBeFalse();
  expect(budget.grow(small, 100 * KIB, 100 * KIB, () => granted.push("small"))).toBeFalse();
  budget.release(first);
  expect(granted).toEqual(["small"]);
  budget.release(exceeding);
  expect(granted).toEqual(["small", "large"]);
});

test("a body that is given up while it waits is not called back", () => {
  const budget = new BodyBudget(MIB);
  const [first, second, third] = Array.from({ length: 3 }, () => new BodyShare());
  budget.grow(first, MIB, MIB, () => {});
  budget.grow(second, MIB, MIB, () => {});
  expect(budget.grow(third, MIB, MIB, () => expect.unreachable())).toBeFalse();
  budget.release(third);
  budget.release(first);
  budget.release(second);
});

test("whatever comes in whatever order, all bodies are received, and one at most exceeds the budget", () => {
  const seed = seedFromEnvironment();
  console.log(`body budget: BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  const budget = new BodyBudget(MIB);
  const bodies = Array.from({ length: 300 }, () => ({ share: new BodyShare(), whole: random.int(1, MIB), received: 0, waits: false }));
  const left = new Set(bodies);
  for (let round = 0; left.size > 0; round++) {
    if (round > 1_000_000) throw new Error(`BUNSQ_SEED=${seed}: ${left.size} bodies never complete`);
    const body = random.pick([...left].slice(0, 50));
    if (body.waits) continue;
    body.received = Math.min(body.whole, body.received + random.int(1, 200 * KIB));
    body.waits = !budget.grow(body.share, body.received, body.whole, () => {
      body.waits = false;
    });
    expect(bodies.reduce((sum, { share }) => sum + share.bytes, 0)).toBeLessThanOrEqual(2 * MIB);
    if (body.waits || body.received < body.whole) continue;
    budget.release(body.share);
    left.delete(body);
  }
});

test("a body is late when a window brings too little of it, or when all of it takes too long", () => {
  const pace = new BodyPace(10_000);
  pace.begin(1000, 5 * MIB);
  expect(pace.isLate(10_999)).toBeFalse();
  expect(pace.isLate(11_000)).toBeTrue();
  pace.begin(1000, 5 * MIB);
  pace.note(4 * MIB);
  expect(pace.isLate(11_000)).toBeFalse();
  // What came before counts for its own window only.
  expect(pace.isLate(21_000)).toBeTrue();
  pace.begin(0, 5 * MIB);
  for (let nowMs = 10_000; nowMs <= 140_000; nowMs += 10_000) {
    pace.note(160 * KIB);
    expect(pace.isLate(nowMs)).toBeFalse();
  }
  pace.note(160 * KIB);
  expect(pace.isLate(150_000)).toBeTrue();
});

test("time in which a body was not read does not count", () => {
  const pace = new BodyPace(10_000);
  pace.begin(0, MIB);
  pace.excuse(5000, 100_000);
  expect(pace.isLate(109_999)).toBeFalse();
  expect(pace.isLate(110_000)).toBeTrue();
});
