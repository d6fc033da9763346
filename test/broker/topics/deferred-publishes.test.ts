import { afterEach, expect, test } from "bun:test";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

const DELAY_MS = 5000;

class Timed extends TimedBroker {
  override publish(body: string, delayMs = DELAY_MS): Promise<void> {
    return super.publish(body, delayMs);
  }

  /** What a channel delivers once everything is due. */
  bodiesOf(channel: Channel): string[] {
    this.clock.advance(2 * DELAY_MS);
    const collector = new Collector();
    channel.addConsumer(collector);
    channel.markDirty();
    this.clock.advance(1000);
    return collector.bodies.sort();
  }
}

let timed: Timed | undefined;

afterEach(async () => {
  await timed?.end();
  timed = undefined;
});

/** What may come between a publish and its due time. */
const MEANWHILE: [name: string, pass: (timed: Timed) => void | Promise<void>][] = [
  ["at once", () => {}],
  ["over a restart", (timed) => timed.restart()],
  ["over a kill", (timed) => timed.kill()],
];

for (const [when, pass] of MEANWHILE) {
  test(`a channel that is created later does not get a deferred publish, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("first");
    await timed.publish("one");
    await pass(timed);
    const second = timed.topic.channel("second");
    expect([timed.topic.channel("first").deferredCount, second.deferredCount, second.messageCount]).toEqual([1, 0, 0]);
    await timed.publish("two");
    await pass(timed);
    expect(timed.topic.channel("second").deferredCount).toBe(1);
    expect(timed.bodiesOf(timed.topic.channel("first"))).toEqual(["one", "two"]);
    expect(timed.bodiesOf(timed.topic.channel("second"))).toEqual(["two"]);
    expect(timed.topic.channel("second").deferredCount).toBe(0);
  });

  test(`deleting a channel and creating it again does not bring deferred publishes back, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("c");
    await timed.publish("one");
    timed.topic.deleteChannel("c");
    await pass(timed);
    expect(timed.topic.depth).toBe(0);
    timed.topic.channel("c");
    await pass(timed);
    await timed.publish("two");
    expect(timed.bodiesOf(timed.topic.channel("c"))).toEqual(["two"]);
    expect(timed.topic.partitions[0].deferredPublishes.count).toBe(0);
  });

  test(`deferred publishes that nobody gets any more are dropped when they are due, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("c");
    await timed.publish("soon");
    await timed.publish("in ten minutes", 600_000);
    timed.topic.deleteChannel("c");
    await pass(timed);
    timed.clock.advance(700_000);
    await pass(timed);
    expect([timed.topic.depth, timed.topic.partitions[0].deferredPublishes.count, timed.topic.partitions[0].log.next]).toEqual([0, 0, 0]);
    expect(timed.bodiesOf(timed.topic.channel("c"))).toEqual([]);
  });

  test(`the first channel of a topic gets what waited for it, ${when}`, async () => {
    timed = new Timed();
    await timed.publish("one");
    await pass(timed);
    await timed.publish("two");
    expect(timed.topic.depth).toBe(2);
    const first = timed.topic.channel("first");
    expect(first.deferredCount).toBe(2);
    expect(timed.topic.channel("second").deferredCount).toBe(0);
    await pass(timed);
    expect(timed.bodiesOf(timed.topic.channel("first"))).toEqual(["one", "two"]);
    expect(timed.bodiesOf(timed.topic.channel("second"))).toEqual([]);
  });

  test(`channels that are created while the topic is paused get what was published in the pause, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("first");
    await timed.publish("before");
    timed.topic.pause();
    await timed.publish("in the pause");
    await pass(timed);
    expect(timed.topic.channel("second").deferredCount).toBe(1);
    await pass(timed);
    timed.topic.unpause();
    expect(timed.bodiesOf(timed.topic.channel("first"))).toEqual(["before", "in the pause"]);
    expect(timed.bodiesOf(timed.topic.channel("second"))).toEqual(["in the pause"]);
  });
}

test("a channel that is created in a pause does not get what was published before and fell due in the pause", async () => {
  timed = new Timed();
  timed.topic.channel("first");
  await timed.publish("before");
  timed.topic.pause();
  await timed.publish("in the pause");
  timed.clock.advance(2 * DELAY_MS);
  const second = timed.topic.channel("second");
  timed.topic.unpause();
  expect(timed.bodiesOf(timed.topic.channel("first"))).toEqual(["before", "in the pause"]);
  expect(timed.bodiesOf(second)).toEqual(["in the pause"]);
});

/** What a channel says that it holds, and how many messages have entered it. */
const counts = (channel: Channel) => [channel.depth + channel.deferredCount + channel.inFlightCount, channel.messageCount];

for (const [when, pass] of MEANWHILE) {
  test(`what a paused topic holds back from one channel, and not from another, changes no count of waiting messages, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("first");
    for (const body of ["one", "two", "three"]) await timed.publish(body);
    timed.topic.channel("second");
    for (const body of ["four", "five"]) await timed.publish(body, 0);
    timed.topic.pause();
    timed.clock.advance(2 * DELAY_MS);
    await timed.publish("six", 0);
    await pass(timed);
    const isSame = when === "at once";
    const { topic } = timed;
    expect(topic.depth).toBe(4);
    // Deferred publishes count from when they are stored, and the topic's since the start.
    expect(counts(topic.channel("first"))).toEqual([2, isSame ? 2 : 0]);
    expect(counts(topic.channel("second"))).toEqual([2, isSame ? 2 : 0]);
    topic.unpause();
    timed.clock.endTurn();
    expect(counts(topic.channel("first"))).toEqual([6, isSame ? 6 : 4]);
    expect(counts(topic.channel("second"))).toEqual([3, isSame ? 3 : 1]);
    expect(timed.bodiesOf(topic.channel("first"))).toEqual(["five", "four", "one", "six", "three", "two"]);
    expect(timed.bodiesOf(topic.channel("second"))).toEqual(["five", "four", "six"]);
  });

  test(`emptying a channel of a paused topic does not bring back what the channel never gets, ${when}`, async () => {
    timed = new Timed();
    timed.topic.channel("first");
    await timed.publish("before");
    timed.topic.channel("second");
    await timed.publish("waiting", 0);
    timed.topic.pause();
    timed.clock.advance(2 * DELAY_MS);
    await timed.publish("held", 0);
    timed.topic.channel("second").empty();
    await pass(timed);
    expect(counts(timed.topic.channel("second"))).toEqual([0, when === "at once" ? 1 : 0]);
    timed.topic.unpause();
    expect(timed.bodiesOf(timed.topic.channel("second"))).toEqual(["held"]);
    expect(timed.bodiesOf(timed.topic.channel("first"))).toEqual(["before", "held", "waiting"]);
  });

  test(`a channel of a paused topic that was moved to the end counts nothing that the topic holds back, ${when}`, async () => {
    timed = new Timed();
    const channel = timed.topic.channel("c");
    await timed.publish("one", 0);
    timed.topic.pause();
    for (const body of ["two", "three"]) await timed.publish(body, 0);
    channel.partitions[0].seek(timed.topic.partitions[0].log.next);
    await pass(timed);
    expect(counts(timed.topic.channel("c"))).toEqual([0, when === "at once" ? 1 : 0]);
    timed.topic.channel("c").partitions[0].seek(timed.topic.partitions[0].log.startSequence);
    expect(counts(timed.topic.channel("c"))).toEqual([1, when === "at once" ? 1 : 0]);
    timed.topic.unpause();
    timed.clock.endTurn();
    expect(counts(timed.topic.channel("c"))).toEqual([3, when === "at once" ? 3 : 2]);
    expect(timed.bodiesOf(timed.topic.channel("c"))).toEqual(["one", "three", "two"]);
  });
}

test("emptying a topic without channels drops its deferred publishes", async () => {
  timed = new Timed();
  await timed.publish("one");
  timed.topic.empty();
  expect(timed.topic.depth).toBe(0);
  await timed.publish("two");
  expect(timed.bodiesOf(timed.topic.channel("c"))).toEqual(["two"]);
});

test("what a channel counts stays right if it is emptied before a publish is stored", async () => {
  timed = new Timed();
  const [channel, other] = [timed.topic.channel("c"), timed.topic.channel("other")];
  const published = timed.broker.publishing.publish(timed.topic.partitions[0], "", Buffer.from("one"), DELAY_MS);
  channel.empty();
  const late = timed.topic.channel("late");
  timed.clock.endTurn();
  await published;
  expect([channel.deferredCount, other.deferredCount, late.deferredCount]).toEqual([0, 1, 0]);
  expect([channel.messageCount, other.messageCount, late.messageCount]).toEqual([0, 1, 0]);
  expect([channel, other, late].map((one) => timed?.bodiesOf(one))).toEqual([[], ["one"], []]);
});

const seed = seedFromEnvironment();

test(`each channel gets exactly the deferred publishes of its time, whatever happens (BUNSQ_SEED=${seed})`, async () => {
  for (let round = 0; round < 12; round++) {
    const random = Random.forPart(seed, round);
    timed = new Timed();
    const expected = new Map<string, string[]>();
    let held: string[] = [];
    let paused = false;
    let number = 0;
    const releaseHeld = () => {
      if (paused || expected.size === 0) return;
      for (const bodies of expected.values()) bodies.push(...held);
      held = [];
    };
    for (let step = 0; step < 60; step++) {
      const name = `c${random.int(1, 3)}`;
      const what = random.next();
      if (what < 0.45) {
        const body = `${number++}`;
        await timed.publish(body, random.pick([500, 3000, DELAY_MS]));
        held.push(body);
      } else if (what < 0.65) {
        timed.topic.channel(name);
        if (!expected.has(name)) expected.set(name, []);
      } else if (what < 0.75) {
        timed.topic.deleteChannel(name);
        expected.delete(name);
      } else if (what < 0.8) {
        timed.topic.pause();
        paused = true;
      } else if (what < 0.86) {
        timed.topic.unpause();
        paused = false;
      } else if (what < 0.9) await timed.restart();
      else if (what < 0.94) {
        // What a channel finished or skipped in the last 0.3 s before a kill may come to it again.
        if (![...timed.topic.partitions[0].channels.values()].some(({ unsaved }) => unsaved)) timed.kill();
      }
      // In a pause what is due waits in the log; over a restart the broker does not know for whom.
      else if (!paused) timed.clock.advance(random.int(300, 3000));
      releaseHeld();
    }
    timed.topic.unpause();
    paused = false;
    releaseHeld();
    timed.topic.channel("c1");
    if (!expected.has("c1")) expected.set("c1", []);
    releaseHeld();
    for (const [name, bodies] of expected) {
      expect([round, name, timed.bodiesOf(timed.topic.channel(name))]).toEqual([round, name, bodies.sort()]);
    }
    await timed.end();
    timed = undefined;
  }
}, 30_000);
