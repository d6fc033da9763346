import { expect, test } from "bun:test";
import { BrokerList } from "../../src/client/broker-list.ts";
import type { LinkEvent } from "../../src/client/events.ts";
import { until } from "../support/server.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { FakeLookup } from "./support/fake-lookup.ts";

const POLL_MS = 60_000;

function stage(lookups: FakeLookup[]) {
  const clock = new SimulatedClock(0);
  const told: string[][] = [];
  const events: LinkEvent[] = [];
  const source = { lookups: lookups.map(({ address }) => address), lookupPollMs: POLL_MS };
  const list = new BrokerList(source, "t", clock, {
    onBrokers: (brokers) => void told.push([...brokers].sort()),
    emit: (event) => void events.push(event),
  });
  list.start();
  return { clock, told, events, list };
}

test("what all lookup servers say is merged, and what none says any more is gone", async () => {
  using one = new FakeLookup();
  using other = new FakeLookup();
  one.brokers = ["a", "b"];
  other.brokers = ["b", "c", "::1"];
  const { clock, told, list } = stage([one, other]);
  await until("the first answer", () => told.length === 1);
  expect(told[0]).toEqual(["[::1]:4150", "a:4150", "b:4150", "c:4150"]);
  other.brokers = ["b"];
  clock.advance(POLL_MS * 1.2);
  await until("the second answer", () => told.length === 2);
  expect(told[1]).toEqual(["a:4150", "b:4150"]);
  list.stop();
});

test("while a lookup server is down, it is reported, and what it said last counts", async () => {
  using one = new FakeLookup();
  using other = new FakeLookup();
  one.brokers = ["a"];
  other.brokers = ["b"];
  const { clock, told, events, list } = stage([one, other]);
  await until("the first answer", () => told.length === 1);
  other.isDown = true;
  clock.advance(POLL_MS * 1.2);
  await until("the second answer", () => told.length === 2);
  expect(told[1]).toEqual(["a:4150", "b:4150"]);
  expect(events).toMatchObject([
    { type: "lookup-failed", lookup: other.address, error: { code: "LOOKUP_FAILED", command: "GET /lookup", text: "500 INTERNAL_ERROR" } },
  ]);
  list.stop();
});

test("polls are apart by the interval, 15 % earlier or later", async () => {
  using lookup = new FakeLookup();
  lookup.brokers = ["a"];
  const gapsMs: number[] = [];
  const { clock, told, list } = stage([lookup]);
  await until("the first answer", () => told.length === 1);
  for (let i = 1; i < 20; i++) {
    let gapMs = 0;
    while (lookup.asked === i && gapMs < 2 * POLL_MS) {
      clock.advance(500);
      gapMs += 500;
      // A request that was made is on its way.
      if (gapMs >= POLL_MS * 0.85) await Bun.sleep(1);
    }
    await until("the answer", () => told.length === i + 1);
    gapsMs.push(gapMs);
  }
  expect(Math.min(...gapsMs)).toBeGreaterThanOrEqual(POLL_MS * 0.85);
  expect(new Set(gapsMs).size).toBeGreaterThan(5);
  list.stop();
});

test("a topic that nobody has is looked for every few seconds, and lost brokers at once", async () => {
  using lookup = new FakeLookup();
  const { clock, told, list } = stage([lookup]);
  await until("the first answer", () => told.length === 1);
  expect(told[0]).toEqual([]);
  lookup.brokers = ["a"];
  clock.advance(2_500);
  await until("the second answer", () => told.length === 2);
  expect(told[1]).toEqual(["a:4150"]);
  lookup.brokers = ["b"];
  list.pollSoon();
  list.pollSoon();
  clock.advance(1_000);
  await until("the third answer", () => told.length === 3);
  expect(told[2]).toEqual(["b:4150"]);
  expect(lookup.asked).toBe(3);
  list.stop();
  list.pollSoon();
  clock.advance(10 * POLL_MS);
  await Bun.sleep(5);
  expect(lookup.asked).toBe(3);
});

test("a broker that was lost is looked for again soon, and then at longer and longer intervals", async () => {
  using lookup = new FakeLookup();
  lookup.brokers = ["a", "b"];
  const { clock, told, list } = stage([lookup]);
  await until("the first answer", () => told.length === 1);
  lookup.brokers = ["a"];
  list.pollSoon();
  clock.advance(1_000);
  await until("it is gone", () => told.length === 2);
  // Each interval is up to 15 % longer.
  for (const intervalMs of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]) {
    const before = told.length;
    clock.advance(intervalMs * 1.15);
    await until("the next answer", () => told.length === before + 1);
  }
  const asked = lookup.asked;
  clock.advance(POLL_MS * 0.8);
  await Bun.sleep(5);
  expect(lookup.asked).toBe(asked);
  list.stop();
});
