import { expect, test } from "bun:test";
import { Collector, TimedBroker } from "../../../support/timed-broker.ts";

async function withBroker(work: (timed: TimedBroker) => Promise<void>): Promise<void> {
  const timed = new TimedBroker();
  try {
    await work(timed);
  } finally {
    await timed.end();
  }
}

async function publishTo(timed: TimedBroker, count: number, body = "m"): Promise<void> {
  for (let i = 0; i < count; i++) await timed.publish(`${body}${i}`);
}

/** Lets time pass, and counts what the consumer got in each of the spans. */
function received(timed: TimedBroker, consumer: Collector, spans: number, spanMs: number): number[] {
  return Array.from({ length: spans }, () => {
    const before = consumer.received.length;
    for (let ms = 0; ms < spanMs; ms++) {
      timed.clock.advance(1);
      timed.clock.endTurn();
    }
    return consumer.received.length - before;
  });
}

for (const order of ["none", "key"]) {
  test(`a rate bounds the messages per second of a channel with order ${order}, and is no bound without one`, async () => {
    await withBroker(async (timed) => {
      const channel = timed.topic.channel("c");
      channel.changeSettings({ order, rate_limit: 20 });
      await publishTo(timed, 100);
      const consumer = new Collector();
      channel.addConsumer(consumer);
      channel.markDirty();
      timed.clock.endTurn();
      // What a tenth of a second may bring was saved up.
      const [first = 0, ...others] = received(timed, consumer, 3, 1000);
      expect(first).toBeGreaterThanOrEqual(19);
      expect(first).toBeLessThanOrEqual(22);
      for (const count of others) expect(Math.abs(count - 20)).toBeLessThanOrEqual(1);
      channel.changeSettings({ rate_limit: 0 });
      timed.clock.endTurn();
      expect(consumer.received.length).toBe(100);
      expect(consumer.bodies).toEqual(Array.from({ length: 100 }, (_, i) => `m${i}`));
    });
  });
}

test("redeliveries count, too", async () => {
  await withBroker(async (timed) => {
    const channel = timed.topic.channel("c");
    channel.changeSettings({ rate_limit: 10 });
    await publishTo(timed, 1);
    const consumer = new Collector();
    channel.addConsumer(consumer);
    channel.markDirty();
    timed.clock.endTurn();
    expect(consumer.received.length).toBe(1);
    for (let ms = 0; ms < 1000; ms++) {
      if (consumer.inFlightCount > 0) channel.partitions[0]?.requeue(consumer, 0, 0);
      timed.clock.advance(1);
      timed.clock.endTurn();
    }
    expect(Math.abs(consumer.received.length - 11)).toBeLessThanOrEqual(1);
  });
});

test("a rate in kilobytes bounds the bytes per second", async () => {
  await withBroker(async (timed) => {
    const channel = timed.topic.channel("c");
    channel.changeSettings({ rate_limit_kb: 10 });
    await publishTo(timed, 60, "x".repeat(1000));
    const consumer = new Collector();
    channel.addConsumer(consumer);
    channel.markDirty();
    timed.clock.endTurn();
    const [, ...later] = received(timed, consumer, 4, 1000);
    for (const count of later) expect(Math.abs(count - 10)).toBeLessThanOrEqual(1);
  });
});

test("partitions share a rate, each in its turn", async () => {
  await withBroker(async (timed) => {
    const topic = timed.broker.registry.topicWith("t", 3);
    const channel = topic.channel("c");
    channel.changeSettings({ rate_limit: 30 });
    await publishTo(timed, 150);
    const consumer = new Collector();
    channel.addConsumer(consumer);
    channel.markDirty();
    timed.clock.endTurn();
    received(timed, consumer, 2, 1000);
    expect(consumer.received.length).toBeLessThanOrEqual(66);
    const counts = channel.partitions.map(({ meter }) => meter.deliveredCount);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(4);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(18);
  });
});
