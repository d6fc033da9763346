import { afterEach, expect, test } from "bun:test";
import { Random, seedFromEnvironment } from "../../../support/random.ts";
import { Collector, TimedBroker } from "../../../support/timed-broker.ts";

const TIMEOUT_MS = 1000;

let timed: TimedBroker;

afterEach(() => timed.end());

test("of two messages that time out at RDY 1, each comes in turn", async () => {
  timed = new TimedBroker();
  const channel = timed.topic.channel("c");
  const consumer = new Collector(1, 1, TIMEOUT_MS);
  channel.addConsumer(consumer);
  for (const body of ["0", "1"]) await timed.publish(body);
  timed.clock.advance(5 * (TIMEOUT_MS + 10));
  expect(consumer.bodies).toEqual(["0", "1", "0", "1", "0", "1"]);
}, 60_000);

test("of six messages that time out at RDY 1, all have come after eleven deliveries", async () => {
  timed = new TimedBroker();
  const channel = timed.topic.channel("c");
  const consumer = new Collector(1, 1, TIMEOUT_MS);
  channel.addConsumer(consumer);
  for (let i = 0; i < 6; i++) await timed.publish(`${i}`);
  timed.clock.advance(10 * (TIMEOUT_MS + 10));
  expect(consumer.bodies).toEqual(["0", "1", "0", "2", "1", "3", "0", "4", "2", "5", "1"]);
});

const seed = seedFromEnvironment();

for (const rdy of [1, 2, 3, 5, 40, 600]) {
  test(`no message waits behind more than one of the other kind, with RDY ${rdy} (BUNSQ_SEED=${seed})`, async () => {
    const random = Random.forPart(seed, rdy);
    timed = new TimedBroker();
    const channel = timed.topic.channel("c");
    const consumers = [new Collector(rdy, 1), new Collector(rdy, 2)];
    /** What was delivered, by all consumers, in order. */
    const order: number[] = [];
    for (const consumer of consumers) {
      const { push } = consumer.received;
      consumer.received.push = (...items) => {
        order.push(...items.map(({ attempts }) => attempts));
        return push.apply(consumer.received, items);
      };
      channel.addConsumer(consumer);
    }
    let published = 0;
    let requeued = 0;
    let fresh = 0;
    let again = 0;
    let run = 0;
    let wasRedelivery: boolean | undefined;
    for (let step = 0; step < 400; step++) {
      // All that happens in one turn, then its dispatch.
      const count = random.int(0, 2 * rdy);
      for (let i = 0; i < count; i++) void timed.broker.publishing.publish(timed.topic.partitions[0], "", Buffer.from(`${published++}`), 0);
      for (const consumer of consumers) {
        for (const { body } of consumer.received.splice(0, random.int(0, rdy))) {
          if (random.next() < 0.5) expect(channel.partitions[0].finish(consumer, Number(body))).toBeUndefined();
          else {
            expect(channel.partitions[0].requeue(consumer, Number(body), 0)).toBeUndefined();
            requeued++;
          }
        }
      }
      order.length = 0;
      timed.clock.advance(1);
      for (const attempts of order) {
        const isRedelivery = attempts > 1;
        const otherWaits = isRedelivery ? fresh < published : again < requeued;
        run = otherWaits ? (isRedelivery === wasRedelivery ? run + 1 : 1) : 0;
        wasRedelivery = otherWaits ? isRedelivery : undefined;
        expect(run).toBeLessThanOrEqual(1);
        if (isRedelivery) again++;
        else fresh++;
      }
    }
    expect(again).toBeGreaterThan(100);
    expect(fresh).toBeGreaterThan(100);
  });
}
