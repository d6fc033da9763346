import { expect, test } from "bun:test";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { microtasks, SimulatedBroker } from "./simulation.ts";

const STEPS = 1500;

const seed = seedFromEnvironment();

/** Plays two brokers side by side. @returns what changed each one's disk, and what failed, in order */
async function play(seed: number): Promise<{ brokers: SimulatedBroker[]; traces: string[][] }> {
  const order = Random.forPart(seed, 100);
  const brokers = [0, 1].map((index) => new SimulatedBroker(Random.forPart(seed, index), index));
  for (let step = 0; step < STEPS; step++) {
    order.pick(brokers).step();
    await microtasks();
  }
  for (const broker of brokers) {
    await broker.drain();
    await broker.close();
  }
  return { brokers, traces: brokers.map(({ trace }) => trace) };
}

test(`two brokers with failing disks and clocks of their own lose nothing, each by itself (BUNSQ_SEED=${seed})`, async () => {
  const { brokers, traces } = await play(seed);
  for (const { acknowledged, delivered, published } of brokers) {
    expect(acknowledged.size).toBeGreaterThan(100);
    expect([...acknowledged].filter((body) => !delivered.has(body))).toEqual([]);
    expect([...delivered].filter((body) => !published.has(body))).toEqual([]);
  }
  const failures = traces.map((trace) => trace.filter((line) => /^E[A-Z]+ /.test(line)).length);
  expect(Math.min(...failures)).toBeGreaterThan(3);
}, 60_000);

test(`the same seed makes the same writes, and another seed makes others (BUNSQ_SEED=${seed})`, async () => {
  const [first, second, other] = [await play(seed), await play(seed), await play(seed + 1)];
  expect(second.traces).toEqual(first.traces);
  expect(other.traces).not.toEqual(first.traces);
}, 60_000);
