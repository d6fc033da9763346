import { expect, test } from "bun:test";
import type { Channel } from "../../../../src/broker/topics/channel/channel.ts";
import { Collector, TimedBroker } from "../../../support/timed-broker.ts";

async function withBroker(work: (timed: TimedBroker) => Promise<void>): Promise<void> {
  const timed = new TimedBroker();
  try {
    await work(timed);
  } finally {
    await timed.end();
  }
}

/** A consumer of a channel, which gets what there is for it. */
function consume(timed: TimedBroker, channel: Channel, ready = 100): Collector {
  const consumer = new Collector(ready);
  channel.addConsumer(consumer);
  channel.markDirty();
  timed.clock.endTurn();
  return consumer;
}

/** Does what takes turns of the event loop, some of them real ones. */
async function during<T>(timed: TimedBroker, work: Promise<T>): Promise<T> {
  let isDone = false;
  const end = () => {
    isDone = true;
  };
  work.then(end, end);
  while (!isDone) {
    timed.clock.endTurn();
    await new Promise(setImmediate);
  }
  return work;
}

for (const end of ["stop", "kill"] as const) {
  const goOn = async (timed: TimedBroker) => {
    if (end === "stop") await timed.restart();
    else timed.kill();
    timed.clock.endTurn();
  };

  test(`what holds a channel back is there after a ${end}`, async () => {
    await withBroker(async (timed) => {
      const limits = { skip: true, client_limits: [{ prefix: "10.", ready: 3 }], rate_limit: 5, rate_limit_kb: 9 };
      timed.topic.channel("c").changeSettings(limits);
      await goOn(timed);
      const channel = timed.topic.channels.get("c");
      expect(channel?.settings.toJson()).toEqual(limits);
      expect(channel?.rate).toBeDefined();
    });
  });

  test(`what was dropped or came while a channel skipped does not come after a ${end}`, async () => {
    await withBroker(async (timed) => {
      const channel = timed.topic.channel("c");
      for (const body of ["finished", "deferred", "in flight", "waiting"]) await timed.publish(body);
      const consumer = consume(timed, channel, 3);
      const [part] = channel.partitions;
      part?.finish(consumer, 0);
      part?.requeue(consumer, 1, 20_000);
      timed.clock.endTurn();
      channel.changeSettings({ skip: true });
      await goOn(timed);
      await timed.publish("came");
      timed.topic.channels.get("c")?.changeSettings({ skip: false });
      await timed.publish("after");
      const restored = timed.topic.channel("c");
      const other = consume(timed, restored);
      expect(other.bodies).toEqual(["after"]);
      timed.clock.advance(21_000);
      timed.clock.endTurn();
      expect(other.bodies).toEqual(["after"]);
    });
  });

  test(`deferred messages that were finished do not come after a ${end}, and no other one is lost`, async () => {
    await withBroker(async (timed) => {
      const channel = timed.topic.channel("c");
      const bodies = Array.from({ length: 600 }, (_, i) => `m${i}`);
      for (const body of bodies) await timed.publish(body);
      const consumer = consume(timed, channel, bodies.length);
      const [part] = channel.partitions;
      if (part === undefined) throw new Error("no partition");
      // In memory, due soon, and in buckets that are not loaded for long.
      for (let sequence = 0; sequence < 500; sequence++) part.requeue(consumer, sequence, [100, 2_000, 90_000, 300_000][sequence % 4] ?? 0);
      timed.clock.endTurn();
      expect(channel.deferredCount).toBe(500);
      expect(await during(timed, timed.broker.deferredControl.finishAll(part))).toBe(500);
      expect(channel.deferredCount).toBe(0);
      await goOn(timed);
      const restored = timed.topic.channel("c");
      expect([restored.deferredCount, restored.depth]).toEqual([0, 100]);
      const other = consume(timed, restored, 1000);
      timed.clock.advance(310_000);
      timed.clock.endTurn();
      expect([...new Set(other.bodies)]).toEqual(bodies.slice(500));
    });
  });

  test(`deferred messages that were delivered at once are there after a ${end}, as long as they are not finished`, async () => {
    await withBroker(async (timed) => {
      const channel = timed.topic.channel("c");
      const bodies = Array.from({ length: 400 }, (_, i) => `m${i}`);
      for (const body of bodies) await timed.publish(body);
      const consumer = consume(timed, channel, bodies.length);
      const [part] = channel.partitions;
      if (part === undefined) throw new Error("no partition");
      for (let sequence = 0; sequence < 400; sequence++) part.requeue(consumer, sequence, sequence % 2 === 0 ? 1_800_000 : 7_200_000);
      timed.clock.endTurn();
      channel.pause();
      const untilMs = timed.broker.turn.currentMs + 3_600_000;
      expect(await during(timed, timed.broker.deferredControl.deliverAll(part, untilMs))).toBe(200);
      timed.clock.advance(500);
      timed.clock.endTurn();
      expect([channel.deferredCount, channel.depth]).toEqual([200, 200]);
      await goOn(timed);
      timed.clock.advance(500);
      timed.clock.endTurn();
      const restored = timed.topic.channel("c");
      restored.unpause();
      const other = consume(timed, restored, 1000);
      expect(other.bodies.toSorted()).toEqual(bodies.filter((_, i) => i % 2 === 0).toSorted());
      expect(restored.deferredCount).toBe(200);
    });
  });
}
