import { expect, spyOn, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { TurnClock } from "../../../src/broker/loop/turn-clock.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;

function nanoseconds(clock: TurnClock): bigint {
  return (BigInt(clock.time.high) << 32n) | BigInt(clock.time.low);
}

test("the time in ns is the time in ms, exact to the microsecond, at any date", () => {
  const clock = new TurnClock(systemClock);
  const dates = [0, 1, 999.5, 65_535_999.75, 65_536_000, 1_700_000_000_123.25, 4_294_967_296_000, 2 ** 43];
  for (const ms of dates) {
    const wall = spyOn(Date, "now").mockReturnValue(Math.floor(ms));
    // A wall clock that jumps is followed at once, by what is told to people and machines.
    clock.read();
    wall.mockRestore();
    expect(nanoseconds(clock)).toBe(BigInt(Math.floor(clock.wallMs * 1000)) * 1000n);
    expect(Math.abs(clock.wallMs - ms)).toBeLessThan(3);
  }
});

test("the clock runs between two ticks of the wall clock, and never far from it", () => {
  const clock = new TurnClock(systemClock);
  for (let i = 0; i < 1000; i++) {
    const before = Date.now();
    clock.read();
    expect(clock.nowMs).toBeGreaterThan(before - 3);
    expect(clock.nowMs).toBeLessThan(Date.now() + 4);
  }
});

test("a wall clock that is set forward or back does not move the time by which delays go", () => {
  const machine = new SimulatedClock(START_MS);
  const clock = new TurnClock(machine);
  let jumpedMs = 0;
  for (const jumpMs of [3_600_000, -86_400_000, 5_000, 31_536_000_000, 0]) {
    machine.stall(7);
    machine.setWallClock(jumpMs - jumpedMs);
    jumpedMs = jumpMs;
    clock.read();
    expect([clock.nowMs, clock.wallMs]).toEqual([START_MS + machine.steadyMs(), START_MS + machine.steadyMs() + jumpMs]);
    expect(clock.toWall(clock.nowMs)).toBe(clock.wallMs);
  }
});

test("a clock goes on by the time of an earlier run, in which the wall clock was set", () => {
  const clock = new TurnClock(new SimulatedClock(START_MS));
  clock.continueFrom(3_600_000);
  expect([clock.nowMs, clock.wallMs]).toEqual([START_MS - 3_600_000, START_MS]);
});

test("a small difference is drift, and both times follow it", () => {
  const machine = new SimulatedClock(START_MS);
  const clock = new TurnClock(machine);
  machine.setWallClock(600);
  clock.read();
  expect([clock.stepMs, clock.nowMs, clock.wallMs]).toEqual([0, START_MS + 600, START_MS + 600]);
});
