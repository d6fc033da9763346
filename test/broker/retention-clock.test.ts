import { afterEach, expect, test } from "bun:test";
import { TimedBroker } from "../support/timed-broker.ts";

// Retention by time, with a wall clock that somebody sets.

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let timed: TimedBroker;

afterEach(() => timed.end());

/** How many finished messages are kept. */
function kept(): number {
  timed.clock.advance(1500);
  const [{ log }] = timed.topic.partitions;
  return log.next - log.startSequence;
}

async function publishSome(): Promise<void> {
  timed = new TimedBroker({ retentionTimeMs: HOUR_MS, maxBytesPerFile: 1000 });
  const channel = timed.topic.channel("c");
  for (let i = 0; i < 100; i++) await timed.publish("x".repeat(50));
  channel.empty();
}

test("a wall clock that is a day ahead for a moment makes nothing too old", async () => {
  await publishSome();
  expect(kept()).toBe(100);
  timed.clock.setWallClock(DAY_MS);
  expect(kept()).toBe(100);
  timed.clock.stall(HOUR_MS / 4);
  timed.clock.setWallClock(-DAY_MS);
  expect(kept()).toBe(100);
  timed.clock.stall(HOUR_MS);
  expect(kept()).toBeLessThan(30);
}, 20_000);

test("a wall clock that was set ahead counts after an hour", async () => {
  await publishSome();
  timed.clock.setWallClock(HOUR_MS / 2);
  timed.clock.stall((3 * HOUR_MS) / 4);
  expect(kept()).toBe(100);
  timed.clock.stall(HOUR_MS / 3);
  expect(kept()).toBeLessThan(30);
}, 20_000);

test("a wall clock that is wrong when the broker starts makes nothing too old", async () => {
  await publishSome();
  // It is killed: the clock of the new run is a day ahead at once.
  timed.clock.setWallClock(DAY_MS);
  timed.kill();
  expect(kept()).toBe(100);
  timed.clock.setWallClock(-DAY_MS);
  expect(kept()).toBe(100);
  timed.clock.stall(HOUR_MS);
  expect(kept()).toBeLessThan(30);
}, 20_000);

test("after a day without a broker messages are too old an hour after the start", async () => {
  await publishSome();
  timed.clock.setWallClock(DAY_MS);
  timed.kill();
  expect(kept()).toBe(100);
  timed.clock.stall(HOUR_MS + 2000);
  expect(kept()).toBeLessThan(30);
}, 20_000);

test("messages that were written while the clock was ahead, and before it was set back, are kept until it comes there again", async () => {
  await publishSome();
  timed.clock.setWallClock(DAY_MS);
  await timed.publish("in the future");
  timed.clock.setWallClock(-DAY_MS);
  for (let i = 0; i < 40; i++) await timed.publish("x".repeat(50));
  timed.topic.channel("c").empty();
  timed.clock.stall(2 * HOUR_MS);
  expect(kept()).toBeGreaterThanOrEqual(40);
}, 20_000);

test("a key keeps a publish from being repeated while the wall clock is a day ahead", async () => {
  timed = new TimedBroker({ idempotencyWindowMs: HOUR_MS });
  const publish = async () => {
    const published = timed.broker.publishing.publish(timed.topic.partitions[0], "key", Buffer.from("body"), 0);
    timed.clock.endTurn();
    await published;
  };
  await publish();
  timed.clock.setWallClock(DAY_MS);
  timed.clock.advance(5000);
  await publish();
  timed.clock.setWallClock(-DAY_MS);
  timed.clock.advance(5000);
  await publish();
  expect(timed.topic.partitions[0].log.next).toBe(1);
}, 20_000);
