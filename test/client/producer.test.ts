import { expect, test } from "bun:test";
import { Producer, type ProducerEvent, type ProducerOptions, PublishError } from "../../src/client/bun.ts";
import { encodeFrame, FRAME_TYPE_ERROR } from "../../src/frame/frame.ts";
import { until } from "../support/server.ts";
import { FakeLookup } from "./support/fake-lookup.ts";
import { RecordingBroker, type RecordingOptions } from "./support/recording-broker.ts";

/** A broker that keeps publishes until the test answers them. */
class HoldingBroker extends RecordingBroker {
  readonly held: { line: string; body: string; reply: (text: string) => void; cut: () => void }[];

  constructor(features: RecordingOptions["features"] = {}) {
    const held: HoldingBroker["held"] = [];
    super([], {
      features,
      onPublish: (line, body, reply, socket) => {
        held.push({ line, body: body.toString("latin1"), reply, cut: () => socket.terminate() });
      },
    });
    this.held = held;
  }

  async next() {
    await until("a publish", () => this.held.length > 0);
    return this.held.shift() as HoldingBroker["held"][number];
  }
}

function producerOf(broker: RecordingBroker | RecordingBroker[], options: Partial<ProducerOptions> = {}): Producer {
  const brokers = [broker].flat().map(({ address }) => address);
  return new Producer({ brokers, maxReconnectMs: 5, ...options });
}

const KNOWS_KEYS = { idempotency: true };

test("messages of one turn travel in one command, and each is acknowledged", async () => {
  using broker = new HoldingBroker();
  await using producer = producerOf(broker);
  await producer.ready();
  const all = Promise.all(["a", "b", "c"].map((body) => producer.publish("t", body)));
  const { line, body, reply } = await broker.next();
  expect(line).toBe("MPUB t");
  expect(Buffer.from(body, "latin1").readUInt32BE(0)).toBe(3);
  let isOver = false;
  void all.then(() => {
    isOver = true;
  });
  await Bun.sleep(0);
  expect(isOver).toBe(false);
  reply("OK");
  expect((await all).map(({ attempts }) => attempts)).toEqual([1, 1, 1]);
});

test("without batches each message has its command", async () => {
  using broker = new RecordingBroker();
  await using producer = producerOf(broker, { batch: false });
  await Promise.all(["a", "b", "c"].map((body) => producer.publish("t", body)));
  expect(broker.commands).toEqual(["PUB t", "PUB t", "PUB t"]);
});

test("a batch is sent when it is full, and lingers no longer than it should", async () => {
  using broker = new RecordingBroker();
  await using producer = producerOf(broker, { batch: { maxMessages: 3, lingerMs: 30 } });
  await producer.ready();
  const first = producer.publish("t", "1");
  await Bun.sleep(1);
  await Promise.all([first, producer.publish("t", "2"), producer.publish("t", "3"), producer.publish("t", "4")]);
  expect(broker.commands).toEqual(["MPUB t", "PUB t"]);
});

test("a full queue makes publishers wait, or fail, as they like", async () => {
  using broker = new HoldingBroker();
  await using waiting = producerOf(broker, { queue: { maxMessages: 2 } });
  await waiting.ready();
  const calls = ["1", "2", "3"].map((body) => waiting.publish("t", body));
  expect(waiting.hasRoom).toBe(false);
  const room = waiting.room();
  (await broker.next()).reply("OK");
  await room;
  (await broker.next()).reply("OK");
  await Promise.all(calls);

  await using rejecting = producerOf(broker, { queue: { maxMessages: 2, overflow: "reject" } });
  await rejecting.ready();
  const accepted = ["1", "2"].map((body) => rejecting.publish("t", body));
  await expect(rejecting.publish("t", "3")).rejects.toMatchObject({ code: "QUEUE_FULL", mayBeDuplicate: false });
  (await broker.next()).reply("OK");
  await Promise.all(accepted);
});

test("where the broker knows no keys, a message on a broken connection is rejected as a possible duplicate", async () => {
  using broker = new HoldingBroker();
  await using producer = producerOf(broker);
  await producer.ready();
  const call = producer.publish("t", "x");
  (await broker.next()).cut();
  const error = (await call.catch((thrown: unknown) => thrown)) as PublishError;
  expect(error).toBeInstanceOf(PublishError);
  expect([error.code, error.mayBeDuplicate, error.broker, error.command]).toEqual(["CONNECTION_LOST", true, broker.address, "PUB"]);
  expect(error.message).toContain("may duplicate it");
});

test("with retry always it is sent again, and the receipt says what may have happened", async () => {
  using broker = new HoldingBroker();
  const events: ProducerEvent[] = [];
  await using producer = producerOf(broker, { retry: "always", onEvent: (event) => void events.push(event) });
  await producer.ready();
  const call = producer.publish("t", "x");
  (await broker.next()).cut();
  (await broker.next()).reply("OK");
  expect(await call).toEqual({ broker: broker.address, attempts: 2, mayBeDuplicate: true });
  expect(events.filter(({ type }) => type === "maybe-duplicated")).toHaveLength(1);
});

test("where the broker knows keys, the same command with the same key is sent to it again", async () => {
  using broker = new HoldingBroker(KNOWS_KEYS);
  using other = new HoldingBroker(KNOWS_KEYS);
  await using producer = producerOf([broker, other], { sameBrokerMs: 5_000 });
  await producer.ready();
  const calls = Promise.all(["a", "b", "c", "d"].map((body) => producer.publish("t", body)));
  const first = await broker.next();
  (await other.next()).reply("OK");
  expect(first.line).toMatch(/^MPUB t \S+$/);
  first.cut();
  const again = await broker.next();
  expect([again.line, again.body]).toEqual([first.line, first.body]);
  again.reply("OK");
  for (const { mayBeDuplicate } of await calls) expect(mayBeDuplicate).toBe(false);
  expect(other.held).toEqual([]);
});

test("a broker that stays away loses its messages to another, with the same key and a report", async () => {
  const broker = new HoldingBroker(KNOWS_KEYS);
  using other = new HoldingBroker(KNOWS_KEYS);
  const events: ProducerEvent[] = [];
  await using producer = producerOf([broker, other], { sameBrokerMs: 50, onEvent: (event) => void events.push(event) });
  await producer.ready();
  const calls = Promise.all([producer.publish("t", "a"), producer.publish("t", "b")]);
  const lost = await broker.next();
  (await other.next()).reply("OK");
  broker[Symbol.dispose]();
  const moved = await other.next();
  expect([moved.line, moved.body]).toEqual([lost.line, lost.body]);
  moved.reply("OK");
  expect((await calls).map(({ mayBeDuplicate }) => mayBeDuplicate).sort()).toEqual([false, true]);
  const [, key] = lost.line.split(" t ");
  expect(events).toContainEqual({ type: "maybe-duplicated", topic: "t", count: 1, from: broker.address, to: other.address, key });
});

test("messages that were not sent go elsewhere without a report", async () => {
  const broker = new HoldingBroker();
  using other = new HoldingBroker();
  const producer = producerOf([broker, other], { batch: { lingerMs: 100 } });
  await producer.ready();
  const calls = Promise.all(Array.from({ length: 10 }, (_, i) => producer.publish("t", `${i}`)));
  broker[Symbol.dispose]();
  while (producer.pending > 0) {
    await until("an end or a publish", () => other.held.length > 0 || producer.pending === 0);
    other.held.shift()?.reply("OK");
    await Bun.sleep(1);
  }
  expect((await calls).every(({ mayBeDuplicate, broker: at }) => !mayBeDuplicate && at === other.address)).toBe(true);
  await producer.close();
});

test("commands behind one that was refused for good are sent again, because they were not carried out", async () => {
  using broker = new HoldingBroker();
  await using producer = producerOf(broker, { batch: false });
  await producer.ready();
  const bad = producer.publish("t", "bad");
  const good = producer.publish("t", "good");
  const refused = await broker.next();
  await broker.next();
  broker.send(FRAME_TYPE_ERROR, "E_BAD_TOPIC PUB topic name is not valid");
  refused.cut();
  await expect(bad).rejects.toMatchObject({ name: "BrokerError", code: "E_BAD_TOPIC", broker: broker.address, command: "PUB" });
  (await broker.next()).reply("OK");
  expect((await good).mayBeDuplicate).toBe(false);
});

test("a message that one broker cannot store goes to another", async () => {
  using full = new RecordingBroker([], {
    onPublish: (_line, _body, _reply, socket) => void socket.write(encodeFrame(FRAME_TYPE_ERROR, "E_PUB_FAILED PUB failed: disk full")),
  });
  using other = new RecordingBroker();
  await using producer = producerOf([full, other], { batch: false });
  for (let i = 0; i < 4; i++) expect((await producer.publish("t", "x")).broker).toBe(other.address);
  await using alone = producerOf(full);
  await expect(alone.publish("t", "x")).rejects.toMatchObject({ code: "E_PUB_FAILED" });
});

test("a message that takes too long is rejected, and its late answer is not taken for another's", async () => {
  using broker = new HoldingBroker();
  await using producer = producerOf(broker, { timeoutMs: 100, batch: false });
  await producer.ready();
  await expect(producer.publish("t", "slow")).rejects.toMatchObject({ code: "TIMEOUT", mayBeDuplicate: true });
  const late = await broker.next();
  const second = producer.publish("t", "second");
  const next = await broker.next();
  late.reply("OK");
  next.reply("OK");
  await second;
  expect(producer.pending).toBe(0);
});

test("a broker that answers nothing any more is left", async () => {
  using broker = new HoldingBroker();
  const errors: (string | undefined)[] = [];
  await using producer = producerOf(broker, {
    timeoutMs: 60,
    onEvent: (event) => {
      if (event.type === "disconnected") errors.push(event.error?.code);
    },
  });
  await producer.ready();
  await expect(producer.publish("t", "lost")).rejects.toMatchObject({ code: "TIMEOUT" });
  await until("the end of the connection", () => errors.length === 1);
  expect(errors).toEqual(["TIMEOUT"]);
  await until("another one", () => producer.connected.length === 1);
  broker.held.length = 0;
  const again = producer.publish("t", "again");
  (await broker.next()).reply("OK");
  await again;
});

test("without a broker a message is given up in time", async () => {
  const gone = new RecordingBroker();
  const { address } = gone;
  gone[Symbol.dispose]();
  await using producer = new Producer({ brokers: [address], timeoutMs: 80 });
  await expect(producer.publish("t", "x")).rejects.toMatchObject({ code: "NO_BROKER", mayBeDuplicate: false });
});

test("closing waits for acknowledgements, and rejects what has none in time", async () => {
  using broker = new HoldingBroker();
  const patient = producerOf(broker);
  await patient.ready();
  const acknowledged = patient.publish("t", "x");
  const held = await broker.next();
  const closing = patient.close();
  await expect(patient.publish("t", "y")).rejects.toMatchObject({ code: "CLOSED" });
  held.reply("OK");
  await Promise.all([acknowledged, closing]);

  const hasty = producerOf(broker);
  await hasty.ready();
  const lost = hasty.publish("t", "x");
  await broker.next();
  const [outcome] = await Promise.allSettled([lost, hasty.close({ drainMs: 20 })]);
  expect(outcome).toMatchObject({ status: "rejected", reason: { code: "CLOSED", mayBeDuplicate: true } });
});

test("a signal takes back a message that was not sent, and leaves one that was", async () => {
  using broker = new HoldingBroker();
  await using producer = producerOf(broker, { batch: { maxMessages: 1 } });
  await producer.ready();
  const unsent = new AbortController();
  const kept = producer.publish("t", "kept");
  (await broker.next()).reply("OK");
  await kept;
  const slow = producerOf(broker, { batch: { lingerMs: 50 } });
  await slow.ready();
  const taken = slow.publish("t", "taken back", { signal: unsent.signal });
  const batch = slow.publishBatch("t", ["taken", "back"], { signal: unsent.signal });
  const left = slow.publish("t", "left");
  unsent.abort(new Error("changed my mind"));
  await expect(taken).rejects.toThrow("changed my mind");
  await expect(batch).rejects.toThrow("changed my mind");
  const only = await broker.next();
  expect([only.line.split(" ")[0], only.body]).toEqual(["PUB", "left"]);
  only.reply("OK");
  await left;
  expect(slow.pending).toBe(0);
  await slow.close();
});

test("closing does not wait for messages that were taken back while there was no broker", async () => {
  const producer = new Producer({ brokers: ["127.0.0.1:1"] });
  const unwanted = new AbortController();
  const taken = [
    producer.publish("t", "x", { signal: unwanted.signal }),
    producer.publishBatch("t", ["y", "z"], { signal: unwanted.signal }),
  ];
  unwanted.abort(new Error("not wanted"));
  for (const one of taken) await expect(one).rejects.toThrow("not wanted");
  // It would wait for the drain time, which is longer than a test may take.
  await producer.close();
  expect(producer.pending).toBe(0);
});

test("a large message that is taken back while it waits holds nobody up", async () => {
  using broker = new HoldingBroker();
  const producer = producerOf(broker, { batch: false });
  await producer.ready();
  const first = producer.publish("t", "first");
  const sent = await broker.next();
  // Sent alone, so only when the first one has its answer.
  const unsent = new AbortController();
  const taken = producer.publish("t", new Uint8Array(1024 * 1024 + 1), { signal: unsent.signal });
  const last = producer.publish("t", "last");
  await Bun.sleep(0);
  unsent.abort(new Error("not wanted"));
  await expect(taken).rejects.toThrow("not wanted");
  sent.reply("OK");
  await first;
  const next = await broker.next();
  expect(next.body).toBe("last");
  next.reply("OK");
  await last;
  await producer.close();
});

test("messages that are taken back while others wait for room lose and repeat none of these", async () => {
  using broker = new HoldingBroker();
  const producer = producerOf(broker, { batch: false, queue: { maxMessages: 1_001 } });
  await producer.ready();
  const unwanted = new AbortController();
  // As many as may be unanswered are sent, one more has its broker, and the rest waits for room.
  const results = Array.from({ length: 1_000 }, (_, n) => producer.publish("t", `sent ${n}`));
  const taken = producer.publish("t", "taken back", { signal: unwanted.signal });
  for (let n = 0; n < 5; n++) results.push(producer.publish("t", `waiting ${n}`));
  await until("all that may be sent", () => broker.held.length === 1_000);
  unwanted.abort(new Error("not wanted"));
  await expect(taken).rejects.toThrow("not wanted");
  const bodies: string[] = [];
  let answered = false;
  const all = Promise.all(results).then(() => {
    answered = true;
  });
  await until("all answers", () => {
    for (const { body, reply } of broker.held.splice(0)) {
      bodies.push(body);
      reply("OK");
    }
    return answered;
  });
  await all;
  expect(bodies).toEqual([...Array.from({ length: 1_000 }, (_, n) => `sent ${n}`), ...Array.from({ length: 5 }, (_, n) => `waiting ${n}`)]);
  expect(producer.pending).toBe(0);
  await producer.close();
});

test("what a callback throws is an event, and harms nobody else", async () => {
  using broker = new RecordingBroker();
  const events: ProducerEvent[] = [];
  await using producer = producerOf(broker, { onEvent: (event) => void events.push(event) });
  producer.send("t", "x", () => {
    throw new Error("the callback's own");
  });
  await producer.publish("t", "y");
  const wanted = new AbortController();
  const done = () => {
    throw new Error("also when it was taken back");
  };
  producer.send("t", "z", done, { signal: wanted.signal });
  wanted.abort();
  expect(events.filter(({ type }) => type === "callback-failed")).toMatchObject([
    { error: { message: "the callback's own" } },
    { error: { message: "also when it was taken back" } },
  ]);
  await until("nothing is pending", () => producer.pending === 0);
});

test("what a listener throws, at once or later, harms nobody", async () => {
  using broker = new RecordingBroker();
  const fail = () => {
    throw new Error("the listener's own");
  };
  for (const onEvent of [fail, async () => fail()]) {
    await using producer = producerOf(broker, { onEvent });
    await producer.publish("t", "x");
  }
});

test("publishing from within events and callbacks sends each message once", async () => {
  using broker = new RecordingBroker();
  const wanted = new AbortController();
  const results: unknown[] = [];
  const producer: Producer = producerOf(broker, { batch: { maxMessages: 2 }, queue: { maxMessages: 4 } });
  await producer.ready();
  for (let i = 0; i < 20; i++) {
    const options = i % 3 === 0 ? { signal: wanted.signal } : {};
    producer.send("t", `${i}`, () => producer.send("t", `after ${i}`, (error) => void results.push(error)), options);
  }
  wanted.abort(new Error("not wanted"));
  await until("all", () => results.length === 20);
  expect(results).toEqual(Array(20).fill(undefined));
  await producer.close();
  const bodies = broker.bodies.flatMap((body) => body.match(/(?:after )?\d+/g) ?? []);
  expect(new Set(bodies).size).toBe(bodies.length);
  expect(bodies.filter((body) => body.startsWith("after"))).toHaveLength(20);
});

test("a broker that is found later and does not answer holds nobody up", async () => {
  using lookup = new FakeLookup();
  using broker = new RecordingBroker();
  const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  lookup.brokers = [broker.address];
  const producer = new Producer({ lookups: [lookup.address], lookupPollMs: 20, connectTimeoutMs: 60_000, timeoutMs: 60_000 });
  await producer.publish("t", "before");
  const found = (async () => {
    for await (const event of producer.events()) if (event.type === "broker-found") return event.broker;
    return "";
  })();
  lookup.brokers = [broker.address, `127.0.0.1:${silent.port}`];
  expect(await found).toBe(`127.0.0.1:${silent.port}`);
  expect((await producer.publish("t", "after")).broker).toBe(broker.address);
  // It is forgotten before it has answered, and comes again.
  const forgotten = (async () => {
    for await (const event of producer.events()) if (event.type === "broker-forgotten") return event.broker;
    return "";
  })();
  lookup.brokers = [broker.address];
  expect(await forgotten).toBe(`127.0.0.1:${silent.port}`);
  expect((await producer.publish("t", "still")).broker).toBe(broker.address);
  await producer.close();
  silent.stop(true);
});

test("lookup servers are asked at once when a connection is lost, and not for each attempt that fails", async () => {
  using lookup = new FakeLookup();
  const broker = new RecordingBroker();
  lookup.brokers = [broker.address];
  let failed = 0;
  const producer = new Producer({
    lookups: [lookup.address],
    maxReconnectMs: 200,
    onEvent: (event) => {
      if (event.type === "connect-failed") failed++;
    },
  });
  await producer.ready();
  broker[Symbol.dispose]();
  await until("some attempts", () => failed > 15);
  // At the start, when the connection was lost, and then after ever longer times.
  expect(lookup.asked).toBeWithin(2, 7);
  await producer.close();
}, 60_000);
