import { expect, test } from "bun:test";
import { OrderRight } from "../../../src/cluster/replication/order-right.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

test("who was refused hears when messages may be handed out, also where the right was lost and there again in between", () => {
  const clock = new SimulatedClock(1_000_000);
  const right = new OrderRight(clock, "");
  const confirm = () => right.confirmed(clock.steadyMs(), clock.wallMs());
  expect([right.permits(false), right.begins(false)]).toEqual([false, false]);
  confirm();
  expect([right.begins(false), right.begins(false), right.permits(false)]).toEqual([true, false, true]);
  clock.advance(10_000);
  expect(right.permits(false)).toBe(false);
  confirm();
  expect([right.begins(false), right.permits(false)]).toEqual([true, true]);
});

test("while the partition is handed over nobody begins, and if that fails who was refused meanwhile hears of it", () => {
  const clock = new SimulatedClock(1_000_000);
  const right = new OrderRight(clock, "");
  right.confirmed(clock.steadyMs(), clock.wallMs());
  expect(right.begins(false)).toBe(true);
  expect([right.permits(true), right.begins(true)]).toEqual([false, false]);
  expect(right.begins(false)).toBe(true);
});
