import { expect, test } from "bun:test";
import { NumberQueue } from "../../src/base/number-queue.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

test("numbers leave in the order in which they came, while the queue grows and wraps around", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const queue = new NumberQueue();
  const model: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    if (random.chance(0.51)) {
      queue.push(i * 2 ** 20);
      model.push(i * 2 ** 20);
    } else {
      expect(queue.shift(), `BUNSQ_SEED=${seed}`).toBe(model.shift() ?? Number.NaN);
    }
    if (random.chance(0.0002)) {
      queue.clear();
      model.length = 0;
    }
    if (queue.length !== model.length) throw new Error(`BUNSQ_SEED=${seed}: ${queue.length} numbers, not ${model.length}`);
  }
});

test("an empty queue returns NaN", () => {
  expect(new NumberQueue().shift()).toBeNaN();
});
