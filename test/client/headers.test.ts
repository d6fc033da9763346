import { afterAll, expect, test } from "bun:test";
import {
  type BatchMessage,
  Consumer,
  type ConsumerEvent,
  type ConsumerOptions,
  type Message,
  Producer,
  type ProducerOptions,
} from "../../src/client/bun.ts";
import { murmur3 } from "../../src/client/murmur3.ts";
import { Chooser } from "../../src/client/strategy.ts";
import { encodeFrame, FRAME_TYPE_ERROR } from "../../src/frame/frame.ts";
import { InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";
import { SteppedClock } from "../support/stepped-clock.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers) await close();
});

function address({ broker }: InProcess): string {
  return `127.0.0.1:${broker.tcpPort}`;
}

function newProducer(server: InProcess, options: Partial<ProducerOptions> = {}): Producer {
  const producer = new Producer({ brokers: [address(server)], ...options });
  closers.push(() => producer.close({ drainMs: 0 }));
  return producer;
}

/** A consumer whose messages are gathered, and answered by the test. */
function gather(server: InProcess, options: Partial<ConsumerOptions> = {}): { messages: Message[]; consumer: Consumer } {
  const messages: Message[] = [];
  const consumer = new Consumer({ brokers: [address(server)], topic: "t", channel: "c", maxInFlight: 100, ...options });
  void consumer.run((message) => void messages.push(message), { manual: true });
  closers.push(() => consumer.close({ drainMs: 0 }));
  return { messages, consumer };
}

test("a message comes with its headers, key, tag and trace id, one without them with none", async () => {
  await using server = InProcess.start();
  const producer = newProducer(server);
  const headers = { region: "eu", count: 3, nested: { on: true }, ünï: "😀" };
  // All travel in one command.
  await Promise.all([
    producer.publish("t", "all", { key: "ä key", headers, tag: "red", traceId: 2n ** 64n - 1n }),
    producer.publish("t", "none"),
    producer.publish("t", new Uint8Array([107]), { key: "k" }),
  ]);
  await producer.publish("t", "alone", { headers: {} });
  const { messages } = gather(server, { headers: true });
  await until("all messages", () => messages.length === 4);
  const read = (message: Message | undefined) => {
    if (message === undefined) throw new Error("no message");
    const { key, tag, traceId, partition, size } = message;
    return { text: message.text(), headers: message.headers, key, tag, traceId, partition, size };
  };
  const nothing = { headers: {}, key: undefined, tag: undefined, traceId: undefined, partition: 0 };
  expect(messages.map(read)).toEqual([
    { text: "all", headers, key: "ä key", tag: "red", traceId: 2n ** 64n - 1n, partition: 0, size: 3 },
    { ...nothing, text: "none", size: 4 },
    { ...nothing, text: "k", key: "k", size: 1 },
    { ...nothing, text: "alone", size: 5 },
  ]);
  expect(messages.map(({ id }) => id)).toEqual([1, 2, 3, 4].map((id) => id.toString().padStart(16, "0")));
  for (const message of messages) expect(message.finish()).toBe(true);
  const channel = server.broker.registry.topic("t").channel("c");
  await until("all are finished", () => channel.inFlightCount === 0 && channel.depth === 0);

  const plain = gather(server, { channel: "plain" });
  await until("it is subscribed", () => plain.consumer.connected.length === 1);
  await producer.publish("t", "again", { key: "k", headers });
  await until("a message", () => plain.messages.length === 1);
  const [message] = plain.messages;
  expect(message?.text()).toBe("again");
  expect([message?.headers, message?.key, message?.traceId, message?.partition]).toEqual([{}, undefined, undefined, undefined]);
});

test("messages of one key go to its partition, alone, in batches, and deferred", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  server.broker.registry.topicWith("t", 8);
  const producer = newProducer(server);
  const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`);
  await Promise.all(keys.map((key) => producer.publish("t", key, { key })));
  await producer.publishBatch(
    "t",
    keys.map((key): BatchMessage => ({ body: key, key })),
  );
  await producer.publishBatch("t", ["one", "two"], { key: "key 7" });
  await Promise.all(keys.map((key) => producer.publish("t", key, { key, deferMs: 10, headers: { late: "1" } })));
  await producer.publish("t", "named", { partition: 5 });
  await producer.publish("t", "named", { partition: 5, key: "key 0", deferMs: 10 });
  await clock.pass(10);
  const { messages } = gather(server, { headers: true, maxInFlight: 1_000 });
  await until("all messages", () => messages.length === 3 * keys.length + 4);
  for (const message of messages) {
    const { key } = message;
    const partition = message.text() === "named" || key === undefined ? 5 : murmur3(key) % 8;
    expect([key, message.partition]).toEqual([key, partition]);
  }
  expect(messages.filter(({ headers }) => headers.late === "1")).toHaveLength(keys.length);
});

test("a publish with headers is repeated with its idempotency key, and published once", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 4);
  const producer = newProducer(server);
  for (let i = 0; i < 3; i++) {
    await producer.publish("t", "x", { key: "k", idempotencyKey: "once" });
    await producer.publish("t", "x", { partition: 1, idempotencyKey: "named" });
    await producer.publishBatch("t", ["a", "b"], { headers: { a: "1" }, idempotencyKey: "both" });
  }
  expect(server.broker.registry.topic("t").messageCount).toBe(4);
});

test("what cannot be a key, a header, a tag, a trace id or a partition is refused before it is sent", async () => {
  await using server = InProcess.start();
  const producer = newProducer(server);
  const refused = async (options: object) => expect(producer.publish("t", "x", options)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  for (const key of ["", "k".repeat(1_025), "ü".repeat(513), 5]) await refused({ key });
  for (const tag of ["", "t".repeat(101)]) await refused({ tag });
  for (const traceId of [0n, -1n, 2n ** 64n, 5]) await refused({ traceId });
  for (const headers of [{ "##key": "x" }, { a: 1n }, { a: "x".repeat(65_535) }]) await refused({ headers });
  for (const partition of [-1, 1_024, 0.5, "0"]) await refused({ partition });
  await refused({ key: "k", headers: { "##client_dispatch_tag": "x" } });
  await expect(producer.publishBatch("t", ["x", { body: "y", key: "k" }], { idempotencyKey: "i" })).rejects.toMatchObject({
    code: "INVALID_OPTION",
  });
  for (const order of ["keys", ""]) expect(() => gather(server, { order: order as "key" })).toThrow("order is none, key or partition");
  for (const filter of [{ header: "a" }, { all: {} }, { all: null }, { any: { a: 1 } }]) {
    expect(() => gather(server, { filter: filter as { all: Record<string, string> } })).toThrow("a filter has a header");
  }
  for (const choice of [{ tag: "x" }, { partition: 0 }, { filter: { header: "a", equals: "1" } }]) {
    expect(() => gather(server, { ...choice, headers: false })).toThrow("need messages with headers");
  }
  // The longest that there may be.
  await producer.publish("t", "x", { key: "ü".repeat(512), tag: "t".repeat(100), headers: { a: "x".repeat(60_000) } });
  await expect(producer.publish("t", "x", { partition: 9 })).rejects.toMatchObject({ code: "E_TOPIC_NOT_EXIST" });
});

test("a broker without headers gets keyed messages as they are, and those that would lose something fail alone", async () => {
  using broker = new RecordingBroker();
  await using producer = new Producer({ brokers: [broker.address] });
  const results = await Promise.allSettled([
    producer.publish("t", "keyed", { key: "k" }),
    producer.publish("t", "headers", { headers: { a: "1" } }),
    producer.publish("t", "plain"),
    producer.publish("t", "tag", { tag: "x" }),
    producer.publish("t", "trace", { traceId: 1n, deferMs: 5 }),
    producer.publishBatch("t", ["batch", { body: "other", headers: {} }]),
    producer.publish("t", "partition", { partition: 0 }),
  ]);
  expect(results.map(({ status }) => status === "fulfilled")).toEqual([true, false, true, false, false, false, false]);
  for (const result of results) {
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "HEADERS_UNSUPPORTED", mayBeDuplicate: false });
  }
  expect(broker.commands).toEqual(["MPUB t"]);
  expect(broker.bodies[0]).toBe("\0\0\0\x02\0\0\0\x05keyed\0\0\0\x05plain");
  expect(producer.pending).toBe(0);
});

test("a consumer of a broker that does not have what it asks for is told so", async () => {
  using broker = new RecordingBroker(["x"]);
  const errorOf = async (options: Partial<ConsumerOptions>) => {
    const events: ConsumerEvent[] = [];
    const onEvent = (event: ConsumerEvent) => void events.push(event);
    const consumer = new Consumer({ brokers: [broker.address], topic: "t", channel: "c", ...options, onEvent });
    void consumer.run(() => {});
    const failed = () => events.find((event) => event.type === "connect-failed");
    await until("it is refused", () => failed() !== undefined);
    await consumer.close();
    return failed()?.error.code;
  };
  expect(await errorOf({ order: "key" })).toBe("ORDER_UNSUPPORTED");
  for (const options of [{ tag: "x" }, { partition: 0 }, { filter: { header: "a", equals: "1" } }]) {
    expect(await errorOf(options)).toBe("HEADERS_UNSUPPORTED");
  }
  await until("no connection is left", () => broker.connections === 0);
  expect(broker.commands).toEqual([]);
  // Headers alone are no reason: such a broker has none.
  await using consumer = new Consumer({ brokers: [broker.address], topic: "t", channel: "c", headers: true });
  for await (const message of consumer) {
    expect([message.text(), message.headers, message.key]).toEqual(["x", {}, undefined]);
    message.finish();
    break;
  }
});

test("consumers choose by tag, filter and partition", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 2);
  const red = gather(server, { tag: "red" });
  const rest = gather(server);
  const eu = gather(server, { channel: "eu", filter: { header: "region", equals: "eu" } });
  const notEu = gather(server, { channel: "other", filter: { any: { region: "eu", country: "fr" }, not: true } });
  const first = gather(server, { channel: "first", partition: 1 });
  const all = [red, rest, eu, notEu, first];
  await until("all are subscribed", () => all.every(({ consumer }) => consumer.connected.length === 1));
  const producer = newProducer(server);
  const send = (body: string, options: object) => producer.publish("t", body, { partition: 0, ...options });
  await send("a", { tag: "red", headers: { region: "eu" } });
  await send("b", { tag: "blue", headers: { region: "us" } });
  await send("c", { headers: { region: "us", country: "fr" }, partition: 1 });
  const texts = ({ messages }: { messages: Message[] }) => messages.map((message) => message.text());
  await until("all are delivered", () => texts(red).length === 1 && texts(rest).length === 2 && texts(first).length === 1);
  await until("what is filtered is finished", () => texts(eu).length === 1 && texts(notEu).length === 1);
  expect(all.map((one) => texts(one).sort())).toEqual([["a"], ["b", "c"], ["a"], ["b"], ["c"]]);
  expect(first.messages[0]?.partition).toBe(1);
});

test("with an order, several consumers with many handlers have one message of each key at a time, in its order", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 8);
  const producer = newProducer(server);
  const working = new Set<string>();
  const seen = new Map<string, number[]>();
  let together = 0;
  const handle = async (message: Message) => {
    const { key = "" } = message;
    expect(working.has(key)).toBe(false);
    working.add(key);
    together = Math.max(together, working.size);
    await new Promise(setImmediate);
    working.delete(key);
    const number = Number(message.text());
    // Some fail once, and come again before the next one of their key.
    if (number % 7 === 3 && message.attempts === 1) return void message.requeue(0, { backoff: false });
    seen.set(key, [...(seen.get(key) ?? []), number]);
  };
  for (let i = 0; i < 3; i++) {
    const consumer = new Consumer({ brokers: [address(server)], topic: "t", channel: "c", order: "key", maxInFlight: 20 });
    void consumer.run(handle);
    closers.push(() => consumer.close({ drainMs: 0 }));
  }
  const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`);
  const published: Promise<unknown>[] = [];
  for (let i = 0; i < 50; i++) for (const key of keys) published.push(producer.publish("t", `${i}`, { key }));
  await Promise.all(published);
  await until("all are handled", () => [...seen.values()].reduce((sum, { length }) => sum + length, 0) === published.length);
  for (const key of keys) expect(seen.get(key)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  expect(together).toBeGreaterThan(1);
  expect(server.broker.registry.topic("t").channel("c").settings.order).toBe("key");
}, 30_000);

test("a dead letter keeps its headers and its key, also where another topic has a message with the same id", async () => {
  await using server = InProcess.start();
  const producer = newProducer(server);
  // Ids with headers are the same in all topics.
  for (const topic of ["t", "u"]) await producer.publish(topic, `bad ${topic}`, { key: "k", headers: { a: topic }, traceId: 7n });
  await producer.publish("t", "plain");
  for (const topic of ["t", "u"]) {
    const consumer = new Consumer({
      brokers: [address(server)],
      topic,
      channel: "c",
      maxAttempts: 1,
      deadLetterTopic: "dead",
      backoff: false,
    });
    void consumer.run(() => Promise.reject(new Error("no")));
    closers.push(() => consumer.close({ drainMs: 0 }));
  }
  const { messages } = gather(server, { topic: "dead", headers: true });
  await until("all are dead letters", () => messages.length === 3);
  const read = messages.map((message) => [message.text(), message.headers, message.key, message.traceId]);
  expect(read.sort()).toEqual([
    ["bad t", { a: "t" }, "k", 7n],
    ["bad u", { a: "u" }, "k", 7n],
    ["plain", {}, undefined, undefined],
  ]);
});

test("without lookup servers a key's partition is looked for at the other brokers", async () => {
  const refuse = encodeFrame(FRAME_TYPE_ERROR, "E_FAILED_ON_NOT_LEADER ");
  const features = { message_headers: true };
  using one = new RecordingBroker([], { features, onPublish: (_line, _body, _reply, socket) => void socket.write(refuse) });
  using other = new RecordingBroker([], { features });
  await using producer = new Producer({ brokers: [one.address, other.address] });
  await producer.ready();
  for (let i = 0; i < 10; i++) expect((await producer.publish("t", "x", { key: `${i}` })).broker).toBe(other.address);
  expect(one.commands.length).toBeGreaterThan(0);
  expect(other.commands).toHaveLength(10);
  await using alone = new Producer({ brokers: [one.address] });
  await expect(alone.publish("t", "x", { key: "k" })).rejects.toMatchObject({ code: "E_FAILED_ON_NOT_LEADER" });
});

test.each(["PUB failed: disk full", "PUB failed: draining"])(
  "of a batch that is refused with %s each message goes where its key belongs",
  async (why) => {
    const refuse = encodeFrame(FRAME_TYPE_ERROR, `E_MPUB_FAILED ${why}`);
    using one = new RecordingBroker([], { onPublish: (_line, _body, _reply, socket) => void socket.write(refuse) });
    using other = new RecordingBroker();
    using third = new RecordingBroker();
    const brokers = [one.address, other.address, third.address];
    await using producer = new Producer({ brokers });
    await until("all are connected", () => producer.connected.length === 3);
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`);
    const receipts = await Promise.all(keys.map((key) => producer.publish("t", key, { key })));
    const others = [other, third].map(({ address }) => ({ broker: address, seed: murmur3(address), pending: 0 }));
    const chooser = new Chooser("round-robin");
    expect(receipts.map(({ broker }) => broker)).toEqual(keys.map((key) => chooser.choose(others, key).broker));
    expect(one.commands.length).toBeGreaterThan(0);
  },
);

for (const headers of [true, false]) {
  test(`a finish that comes too late does not count for the next delivery, with an order (${headers ? "with" : "without"} headers)`, async () => {
    const clock = new SteppedClock();
    await using server = InProcess.start({}, { clock });
    const errors: string[] = [];
    const onEvent = (event: ConsumerEvent) => {
      if (event.type === "broker-error") errors.push(event.error.code);
    };
    const { messages } = gather(server, { order: "key", headers, msgTimeoutMs: 1_000, onEvent });
    const producer = newProducer(server);
    await producer.publish("t", "first", { key: "k" });
    await producer.publish("t", "second", { key: "k" });
    await until("the first delivery", () => messages.length === 1);
    // It times out, and comes again to the same connection.
    await clock.pass(1_500);
    await until("the second delivery", () => messages.length === 2);
    const [late, current] = messages as [Message, Message];
    expect([late.id, late.attempts, current.attempts]).toEqual([current.id, 1, 2]);
    late.finish();
    await until("it is refused", () => errors.length === 1);
    current.touch();
    expect(messages.map((message) => message.text())).toEqual(["first", "first"]);
    current.finish();
    await until("the next one", () => messages.length === 3);
    messages[2]?.requeue(0, { backoff: false });
    await until("it is delivered again", () => messages.length === 4);
    messages[3]?.finish();
    const channel = server.broker.registry.topic("t").channel("c");
    await until("all are finished", () => channel.inFlightCount === 0 && channel.depth === 0);
    expect(errors).toEqual(["E_FIN_FAILED"]);
  });
}
