import { expect, test } from "bun:test";
import { Consumer, Producer, type ProducerEvent, type ProducerOptions } from "../../src/client/bun.ts";
import { InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";

const address = ({ broker }: InProcess) => `127.0.0.1:${broker.tcpPort}`;

/** Drains a broker, and closes it then. */
async function drain({ broker }: InProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    broker.drain.onDrained = resolve;
    broker.drain.begin(30_000);
  });
  await broker.close();
}

for (const way of ["round-robin", "fewest-pending", "with keys"] as const) {
  test(`a producer goes on with another broker when one is drained (${way}), and no publish fails or is repeated`, async () => {
    const strategy = way === "with keys" ? "round-robin" : way;
    await using one = InProcess.start();
    await using other = InProcess.start();
    const events: ProducerEvent[] = [];
    const onEvent = (event: ProducerEvent) => void events.push(event);
    // Without retries a publish whose fate is not known fails.
    const options: ProducerOptions = { brokers: [address(one), address(other)], strategy, retry: "never", onEvent };
    await using producer = new Producer(options);
    await producer.ready();
    let isDrained = false;
    let published = 0;
    const publishAll = async (publisher: number) => {
      for (let i = 0; !isDrained || i < 100; i++) {
        await producer.publish("t", `${publisher} ${i}`, way === "with keys" ? { key: `${publisher % 7}` } : {});
        published++;
      }
    };
    const publishing = Promise.all(Array.from({ length: 20 }, (_, publisher) => publishAll(publisher)));
    await until("both have some", () => [one, other].every(({ broker }) => broker.registry.topics.has("t")));
    await drain(one);
    isDrained = true;
    await publishing;
    expect(events.filter(({ type }) => type === "maybe-duplicated")).toEqual([]);
    const ends = [one, other].map(({ broker }) => broker.registry.topics.get("t")?.partitions[0].log.committedNext ?? 0);
    expect(ends.every((end) => end > 0)).toBe(true);
    expect(ends.reduce((sum, end) => sum + end)).toBe(published);
  }, 30_000);
}

test("a producer of one broker waits for its return when it is drained", async () => {
  await using server = InProcess.start();
  const events: ProducerEvent[] = [];
  const tcpAddress = address(server);
  await using producer = new Producer({ brokers: [tcpAddress], maxReconnectMs: 50, onEvent: (event) => void events.push(event) });
  await producer.publish("t", "before");
  const isLeft = drain(server);
  await until("it refuses", () => server.broker.publishing.isDraining);
  const publishing = producer.publish("t", "meanwhile");
  await isLeft;
  await server.restart({ tcpAddress });
  expect(await publishing).toMatchObject({ broker: tcpAddress, mayBeDuplicate: false });
  expect(server.broker.registry.topics.get("t")?.partitions[0].log.committedNext).toBe(2);
}, 30_000);

test("a consumer finishes what it has, copies a dead letter, and gets on with the other broker", async () => {
  await using one = InProcess.start();
  await using other = InProcess.start();
  for (const server of [one, other]) await server.publish("t", "bad", "slow");
  const finish = Promise.withResolvers<void>();
  const received: string[] = [];
  await using consumer = new Consumer({
    ...{ brokers: [address(one), address(other)], topic: "t", channel: "c", maxInFlight: 4 },
    ...{ maxAttempts: 1, deadLetterTopic: "dead", backoff: false },
  });
  void consumer.run(async (message) => {
    received.push(message.text());
    await finish.promise;
    if (message.text() === "bad") throw new Error("bad");
  });
  await until("all are received", () => received.length === 4);
  const isDrained = drain(one);
  await until("it refuses", () => one.broker.publishing.isDraining);
  finish.resolve();
  await isDrained;
  await until("the other one has answers", () => other.broker.registry.topics.get("t")?.channels.get("c")?.inFlightCount === 0);
  await other.publish("t", "later");
  await until("it is received", () => received.length === 5);
  await one.restart();
  const channel = one.broker.registry.topics.get("t")?.channels.get("c");
  expect([channel?.depth, channel?.inFlightCount, channel?.deferredCount]).toEqual([0, 0, 0]);
  expect(one.broker.registry.topics.get("dead")?.partitions[0].log.committedNext).toBe(1);
}, 30_000);
