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
