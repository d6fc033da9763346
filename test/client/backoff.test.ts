import { expect, test } from "bun:test";
import { Backoff, type BackoffSettings, backoffMs } from "../../src/client/backoff.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const SETTINGS: BackoffSettings = { strategy: "exponential", multiplierMs: 1_000, maxMs: 8_000, random: () => 0.5 };

function stage(settings: Partial<BackoffSettings> = {}) {
  const clock = new SimulatedClock(0);
  const told: string[] = [];
  const state = { hasBroker: true };
  const backoff = new Backoff({ ...SETTINGS, ...settings }, clock, {
    onPause: (level, durationMs) => void told.push(`pause ${level} ${durationMs}`),
    onProbe: (level) => {
      told.push(`probe ${level}`);
      return state.hasBroker;
    },
    onResume: () => void told.push("resume"),
  });
  return { clock, told, state, backoff };
}

test("each failure doubles the pause, up to the maximum, and each success halves it", () => {
  const { clock, told, backoff } = stage();
  for (let i = 0; i < 5; i++) {
    backoff.failed();
    clock.advance(8_000);
  }
  expect(told.filter((line) => line.startsWith("pause"))).toEqual([
    "pause 1 2000",
    "pause 2 4000",
    "pause 3 8000",
    "pause 3 8000",
    "pause 3 8000",
  ]);
  told.length = 0;
  for (let i = 0; i < 4; i++) {
    backoff.succeeded();
    clock.advance(8_000);
  }
  expect(told).toEqual(["pause 2 4000", "probe 2", "pause 1 2000", "probe 1", "resume"]);
  expect(backoff.isActive).toBe(false);
});

test("what is reported during a pause does not count", () => {
  const { clock, told, backoff } = stage();
  backoff.failed();
  for (let i = 0; i < 10; i++) backoff.failed();
  for (let i = 0; i < 10; i++) backoff.succeeded();
  backoff.unchanged();
  expect(told).toEqual(["pause 1 2000"]);
  clock.advance(1_999);
  expect(backoff.isPaused).toBe(true);
  clock.advance(1);
  expect(told).toEqual(["pause 1 2000", "probe 1"]);
});

test("a message that is requeued without a failure pauses once more on the same level", () => {
  const { clock, told, backoff } = stage();
  backoff.unchanged();
  expect(told).toEqual([]);
  backoff.failed();
  clock.advance(2_000);
  backoff.unchanged();
  expect(told).toEqual(["pause 1 2000", "probe 1", "pause 1 2000"]);
});

test("without a connection the probe is tried again each second", () => {
  const { clock, told, state, backoff } = stage();
  state.hasBroker = false;
  backoff.failed();
  clock.advance(4_500);
  expect(told).toEqual(["pause 1 2000", "probe 1", "probe 1", "probe 1"]);
  state.hasBroker = true;
  clock.advance(1_000);
  expect(backoff.isPaused).toBe(false);
});

test("full jitter takes a random part of the pause, and a first level beyond the maximum means none", () => {
  expect(backoffMs({ ...SETTINGS, strategy: "full-jitter" }, 3)).toBe(4_000);
  expect(backoffMs(SETTINGS, 1_000)).toBe(1_000 * 2 ** 40);
  const { told, backoff } = stage({ maxMs: 1_000 });
  backoff.failed();
  expect(told).toEqual([]);
});
