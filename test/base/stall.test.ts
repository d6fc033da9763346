import { expect, test } from "bun:test";
import { PatientTimer, StallWatch } from "../../src/base/stall.ts";

test("a check that comes a second late or more tells of a stall, a smaller delay does not", () => {
  const watch = new StallWatch(250, 9_800);
  expect(watch.check(10_000)).toBe(0);
  expect(watch.check(10_250)).toBe(0);
  expect(watch.check(11_400)).toBe(0);
  expect(watch.check(15_650)).toBe(4000);
  expect(watch.check(15_900)).toBe(0);
});

test("a timer that a stall delayed calls back after what has arrived is read", async () => {
  const order: string[] = [];
  const arrived = new Promise<void>((resolve) => {
    const timer = new PatientTimer(10, () => {
      order.push("timeout");
      resolve();
    });
    expect(timer).toBeDefined();
  });
  // Something that happens in the turn of the event loop after the timers.
  setTimeout(() => setImmediate(() => order.push("read")), 0);
  Bun.sleepSync(1200);
  await arrived;
  expect(order).toEqual(["read", "timeout"]);
});

test("a timer that is cancelled does not call back, also after a stall", async () => {
  const timer = new PatientTimer(10, () => expect.unreachable());
  Bun.sleepSync(1200);
  await new Promise((resolve) => setTimeout(resolve, 20));
  timer.cancel();
  await new Promise((resolve) => setTimeout(resolve, 700));
});
