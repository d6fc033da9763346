import { expect, test } from "bun:test";
import { KnownKeys } from "../../../../src/broker/storage/idempotency/known-keys.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

test("the oldest key is the one that was added first and is still there, whatever was deleted", () => {
  const seed = seedFromEnvironment();
  console.log(`seed of the keys: ${seed}`);
  const random = new Random(seed);
  const keys = new KnownKeys();
  const model: [string, number][] = [];
  for (let step = 0; step < 20_000; step++) {
    // It grows and shrinks, down to nothing.
    const isGrowing = step % 2_000 < 900;
    if (model.length === 0 || random.chance(isGrowing ? 0.7 : 0.2)) {
      const name = `key ${random.int(0, 500)}`;
      const at = model.findIndex(([known]) => known === name);
      if (at >= 0) {
        model.splice(at, 1);
        keys.delete(name);
      }
      model.push([name, step]);
      keys.add(name, step);
    } else {
      const at = random.chance(0.8) ? 0 : random.int(0, model.length - 1);
      const [[name] = [""]] = model.splice(at, 1);
      keys.delete(name);
    }
    if (random.chance(0.8)) expect(keys.oldest()).toEqual(model[0] as [string, number]);
  }
  expect(keys.size).toBe(model.length);
  for (const [name, timeMs] of model) expect(keys.timeOf(name)).toBe(timeMs);
  expect(keys.timeOf("another")).toBeUndefined();
});
