import { expect, test } from "bun:test";
import { Flapping } from "../../../src/cluster/election/flapping.ts";

const heard = () => true;
const silent = () => false;

test("who took over wrongly twice waits longer each time, and for half a minute at most", () => {
  const flapping = new Flapping(1_000);
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    flapping.tookOverFrom("a", 5_000 * i);
    flapping.look(5_000 * i + 100, heard);
    waits.push(flapping.waitMs("a"));
  }
  expect(waits).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  expect(flapping.waitMs("b")).toBe(0);
});

test("a leader that stays silent was gone, and a calm minute is forgiven", () => {
  const flapping = new Flapping(1_000);
  for (const atMs of [0, 20_000]) {
    flapping.tookOverFrom("a", atMs);
    flapping.look(atMs + 5_000, silent);
    flapping.look(atMs + 15_000, heard);
  }
  expect(flapping.waitMs("a")).toBe(0);
  for (const atMs of [40_000, 50_000]) {
    flapping.tookOverFrom("a", atMs);
    flapping.look(atMs + 1, heard);
  }
  expect(flapping.waitMs("a")).toBe(1_000);
  flapping.look(120_000, heard);
  expect(flapping.waitMs("a")).toBe(0);
});
