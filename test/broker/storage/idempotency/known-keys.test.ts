import { expect, test } from "bun:test";
import { KnownKeys, nameFor } from "../../../../src/broker/storage/idempotency/known-keys.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

test("the oldest key is the one that was added first and is still there, and a key's topics are known, whatever was deleted", () => {
  const seed = seedFromEnvironment();
  console.log(`seed of the keys: ${seed}`);
  const random = new Random(seed);
  const keys = new KnownKeys();
  const model: [string, number][] = [];
  for (let step = 0; step < 20_000; step++) {
    // It grows and shrinks, down to nothing.
    const isGrowing = step % 2_000 < 900;
    if (model.length === 0 || random.chance(isGrowing ? 0.7 : 0.2)) {
      const name = nameFor(random.int(1, 4), `key ${random.int(0, 120)}`);
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
    if (step < 3_000 || random.chance(0.2)) continue;
    const key = `key ${random.int(0, 120)}`;
    const known = [1, 2, 3, 4].filter((topicId) => model.some(([name]) => name === nameFor(topicId, key)));
    expect(keys.topicsWith(key)?.toSorted()).toEqual(known);
  }
  expect(keys.size).toBe(model.length);
  for (const [name, timeMs] of model) expect(keys.timeOf(name)).toBe(timeMs);
  expect(keys.topicsWith("another")).toEqual([]);
  expect(keys.timeOf("another")).toBeUndefined();
});

test("which topics know a key is found out some keys at a time, while others come and go", () => {
  const keys = new KnownKeys();
  for (let i = 0; i < 10_000; i++) keys.add(nameFor(1 + (i % 3), `key ${i >> 1}`), i);
  let calls = 0;
  while (keys.topicsWith("key 2") === undefined) {
    keys.delete(nameFor(1 + ((5000 + calls) % 3), `key ${(5000 + calls) >> 1}`));
    keys.add(nameFor(9, `late ${calls++}`), 0);
  }
  expect(calls).toBeGreaterThan(5);
  // The fifth and the sixth key.
  expect(keys.topicsWith("key 2")?.toSorted()).toEqual([2, 3]);
  expect(keys.topicsWith("key 2500")).toEqual([]);
  expect(keys.topicsWith("key 4999")?.toSorted()).toEqual([1, 3]);
  for (let i = 0; i < calls; i++) expect(keys.topicsWith(`late ${i}`)).toEqual([9]);
  expect(keys.size).toBe(10_000);
});
