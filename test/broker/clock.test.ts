import { expect, spyOn, test } from "bun:test";
import { Clock } from "../../src/broker/clock.ts";

function nanoseconds(clock: Clock): bigint {
  return (BigInt(clock.time.high) << 32n) | BigInt(clock.time.low);
}

test("the time in ns is the time in ms, exact to the microsecond, at any date", () => {
  const clock = new Clock();
  const dates = [0, 1, 999.5, 65_535_999.75, 65_536_000, 1_700_000_000_123.25, 4_294_967_296_000, 2 ** 43];
  for (const ms of dates) {
    const wall = spyOn(Date, "now").mockReturnValue(Math.floor(ms));
    // A wall clock that jumps is followed at once.
    clock.read();
    wall.mockRestore();
    expect(nanoseconds(clock)).toBe(BigInt(Math.floor(clock.nowMs * 1000)) * 1000n);
    expect(Math.abs(clock.nowMs - ms)).toBeLessThan(3);
  }
});

test("the clock runs between two ticks of the wall clock, and never far from it", () => {
  const clock = new Clock();
  for (let i = 0; i < 1000; i++) {
    const before = Date.now();
    clock.read();
    expect(clock.nowMs).toBeGreaterThan(before - 3);
    expect(clock.nowMs).toBeLessThan(Date.now() + 4);
  }
});
