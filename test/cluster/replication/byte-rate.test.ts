import { expect, test } from "bun:test";
import { ByteRate } from "../../../src/cluster/replication/byte-rate.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

test("no more is taken than the rate allows, and little at once after a pause", () => {
  const clock = new SimulatedClock(0);
  const rate = new ByteRate(clock, 1_000_000);
  clock.advance(60_000);
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms++) {
    while (rate.hasLeft) {
      rate.take(3_000);
      taken += 3_000;
    }
    clock.advance(1);
  }
  expect(taken).toBeGreaterThan(9_900_000);
  expect(taken).toBeLessThan(10_200_000);
});

test("what a turn that comes late has missed is not made up for", () => {
  const clock = new SimulatedClock(0);
  const rate = new ByteRate(clock, 1_000_000);
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms += 100) {
    while (rate.hasLeft) {
      rate.take(1_000);
      taken += 1_000;
    }
    clock.advance(100);
  }
  expect(taken).toBe(1_000_000);
});

test("what is given may be taken beside the rate, whenever that is, and bounded", () => {
  const clock = new SimulatedClock(0);
  const rate = new ByteRate(clock, 1_000_000);
  rate.give(500_000);
  clock.advance(60_000);
  expect(rate.leftNow).toBe(510_000);
  rate.take(510_000);
  for (let i = 0; i < 100; i++) rate.give(1_000_000);
  expect(rate.leftNow).toBe(8 * 1024 * 1024);
});

test("whoever waits is called once something may be taken, and those who come after it in their order", () => {
  const clock = new SimulatedClock(0);
  const rate = new ByteRate(clock, 1_000_000);
  const called: string[] = [];
  const waiterOf = (name: string) => {
    const waiter = () => {
      if (!rate.hasLeft) return rate.callWhenLeft(waiter);
      called.push(`${name} at ${clock.steadyMs()}`);
      rate.take(20_000);
    };
    return waiter;
  };
  const [one, other] = [waiterOf("one"), waiterOf("other")];
  rate.take(30_000);
  rate.callWhenLeft(one);
  rate.callWhenLeft(one);
  rate.callWhenLeft(other);
  clock.advance(100);
  expect(called).toEqual(["one at 21", "other at 41"]);
});
