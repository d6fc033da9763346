import { expect, test } from "bun:test";
import { readLatency } from "../../../src/broker/metrics/stats.ts";
import { ELSEWHERE } from "../../../src/broker/topics/locality.ts";
import { MSG_TIMEOUT_MS, OrderedBroker } from "./support/ordered-broker.ts";

test("of each key one message is in flight, and of several keys one each", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  for (let i = 0; i < 3; i++) for (const key of ["a", "b", "c"]) broker.publish(`${key}${i}`, { key });
  const consumer = broker.consumer(10);
  await broker.pass();
  expect(consumer.finishAll()).toEqual(["a0", "b0", "c0"]);
  await broker.pass();
  expect(consumer.finishAll()).toEqual(["a1", "b1", "c1"]);
  await broker.pass();
  expect(consumer.finishAll()).toEqual(["a2", "b2", "c2"]);
  expect(broker.channel.depth).toBe(0);
});

test("the keys are spread over the consumers, however many messages wait behind the first of each", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  const consumers = [broker.consumer(50), broker.consumer(50)];
  for (let i = 0; i < 80; i++) broker.publish(`${i}`, { key: `k${i % 4}` });
  await broker.pass();
  expect(consumers.map((consumer) => consumer.take().length)).toEqual([2, 2]);
});

test("messages without a key wait for nobody", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  broker.publish("a0", { key: "a" });
  broker.publish("a1", { key: "a" });
  for (let i = 0; i < 3; i++) broker.publish(`${i}`);
  const consumer = broker.consumer(10);
  await broker.pass();
  expect(consumer.take()).toEqual(["a0", "0", "1", "2"]);
});

test("in order of the partition one message is in flight, whoever takes more", async () => {
  await using broker = new OrderedBroker({ order: "partition" });
  for (const key of ["a", "b", "", "a"]) broker.publish(key, { key });
  const consumers = [broker.consumer(5), broker.consumer(5)];
  for (const body of ["a", "b", "", "a"]) {
    await broker.pass();
    expect(consumers.flatMap((consumer) => consumer.finishAll())).toEqual([body]);
  }
});

test("a requeue with a delay holds its key for that delay, and no other key", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  for (let i = 0; i < 3; i++) for (const key of ["a", "b"]) broker.publish(`${key}${i}`, { key });
  const consumer = broker.consumer(10);
  await broker.pass();
  const [a, b] = consumer.deliveries.splice(0);
  broker.part.requeue(consumer, a.sequence, 1000);
  broker.part.finish(consumer, b.sequence);
  await broker.pass();
  expect(consumer.finishAll()).toEqual(["b1"]);
  await broker.pass();
  expect(consumer.finishAll()).toEqual(["b2"]);
  await broker.pass(990);
  expect(consumer.take()).toEqual([]);
  await broker.pass(10);
  expect(consumer.deliveries[0].attempts).toBe(2);
  expect(consumer.finishAll()).toEqual(["a0"]);
});

test("a delay is kept over a restart and a kill, with its key", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  for (let i = 0; i < 2; i++) for (const key of ["a", "b"]) broker.publish(`${key}${i}`, { key });
  const first = broker.consumer(10);
  await broker.pass();
  broker.part.requeue(first, first.deliveries[0].sequence, 10_000);
  await broker.pass(500);
  await broker.restart();
  const second = broker.consumer(10);
  await broker.pass(500);
  expect(second.take()).toEqual(["b0"]);
  broker.kill();
  const third = broker.consumer(10, {}, 60_000);
  await broker.pass(500);
  expect(third.finishAll()).toEqual(["b0"]);
  await broker.pass(8400);
  expect(third.finishAll()).toEqual(["b1"]);
  await broker.pass(200);
  expect(third.finishAll()).toEqual(["a0"]);
  await broker.pass();
  expect(third.finishAll()).toEqual(["a1"]);
});

test("a message that timed out goes to another consumer, and a late FIN finishes nothing", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  for (let i = 0; i < 2; i++) broker.publish(`a${i}`, { key: "a" });
  const late = broker.consumer(1, {}, 1000);
  await broker.pass();
  const [{ sequence }] = late.deliveries.splice(0);
  const other = broker.consumer(1, {}, 1000);
  await broker.pass(1100);
  expect(broker.part.finish(late, sequence)?.message).toBe("ID not in flight");
  await broker.pass(300);
  expect(late.take()).toEqual([]);
  expect(other.deliveries.map(({ body }) => body)).toEqual(["a0"]);
  expect(broker.part.finish(late, sequence)?.message).toBe("client does not own message");
});

test("a message that timed out comes again to the nearest consumer if the others are farther", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  broker.publish("a0", { key: "a" });
  const near = broker.consumer(5);
  const far = broker.consumer(5);
  far.nearness = ELSEWHERE;
  await broker.pass();
  expect(near.take()).toEqual(["a0"]);
  await broker.pass(MSG_TIMEOUT_MS + 300);
  expect(near.finishAll()).toEqual(["a0"]);
  expect(far.take()).toEqual([]);
});

test("what a consumer had in flight that leaves comes to another one, in order", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  for (let i = 0; i < 3; i++) broker.publish(`a${i}`, { key: "a" });
  const first = broker.consumer(5);
  await broker.pass();
  expect(first.take()).toEqual(["a0"]);
  broker.disconnect(first);
  const second = broker.consumer(5);
  for (const body of ["a0", "a1", "a2"]) {
    await broker.pass();
    expect(second.finishAll()).toEqual([body]);
  }
});

test("a channel gets its order once nothing is in flight, and nothing is delivered before", async () => {
  await using broker = new OrderedBroker({});
  for (let i = 0; i < 4; i++) broker.publish(`a${i}`, { key: "a" });
  const consumer = broker.consumer(2);
  await broker.pass();
  broker.channel.changeSettings({ order: "key" });
  const [a0, a1] = consumer.deliveries.splice(0);
  broker.part.finish(consumer, a1.sequence);
  await broker.pass();
  expect(consumer.take()).toEqual([]);
  broker.part.requeue(consumer, a0.sequence, 0);
  for (const body of ["a0", "a2", "a3"]) {
    await broker.pass();
    expect(consumer.finishAll()).toEqual([body]);
  }
});

test("the latency of a key that hangs is measured from its own publish", async () => {
  await using broker = new OrderedBroker({ order: "key" }, 1, {
    e2eProcessingLatencyPercentiles: [1],
    e2eProcessingLatencyWindowTimeMs: 3_600_000,
  });
  const consumer = broker.consumer(1000, {}, 1e9);
  broker.publish("hangs", { key: "hangs" });
  await broker.pass(60_000);
  const [hung] = consumer.deliveries.splice(0);
  for (let left = 40; left > 0; left--) {
    for (let i = 0; i < 500; i++) broker.publish("", { key: `k${i}` });
    await broker.pass();
    consumer.finishAll();
  }
  expect(broker.part.inFlight.selection?.left.size).toBe(1);
  expect(broker.part.finish(consumer, hung.sequence)).toBeUndefined();
  const [{ value }] = readLatency([1], [broker.channel]).percentiles ?? [];
  expect(value).toBeGreaterThan(59e9);
});

test("a key that hangs delays no other one, far beyond what is kept in memory of the window", async () => {
  await using broker = new OrderedBroker({ order: "key" });
  const count = 90_000;
  for (let i = 0; i < count; i++) broker.publish(`${i}`, { key: i % 50 === 0 ? "hangs" : `k${i}` });
  const consumer = broker.consumer(1000, {}, 1e9);
  await broker.pass();
  const hung = consumer.deliveries.find(({ body }) => body === "0")?.sequence ?? -1;
  const finished = new Set<string>();
  let quiet = 0;
  while (quiet < 20) {
    const came = consumer.deliveries.splice(0).filter(({ sequence }) => sequence !== hung);
    for (const { sequence, body } of came) {
      broker.part.finish(consumer, sequence);
      finished.add(body);
    }
    quiet = came.length === 0 ? quiet + 1 : 0;
    await broker.pass();
  }
  expect(finished.size).toBe(count - count / 50);
  expect(broker.channel.depth).toBe(count / 50 - 1);
  expect(broker.part.inFlight.window.capacity).toBeLessThan(count / 2);
  // What is left is there after a restart, too, and comes in order.
  await broker.pass(500);
  await broker.restart();
  const next = broker.consumer(100);
  for (let i = 0; i < count; i += 50) {
    while (next.deliveries.length === 0) await broker.pass();
    expect(next.finishAll()).toEqual([`${i}`]);
  }
  await broker.pass();
  expect(next.take()).toEqual([]);
  expect(broker.channel.depth).toBe(0);
});
