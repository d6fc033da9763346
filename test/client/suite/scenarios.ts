import assert from "node:assert/strict";
import type * as Client from "../../../src/client/client.ts";

// What the client does at a real broker. It runs under Bun from source and under Node from the package, so it uses neither's own API.

/** Where and how a scenario is played. */
export interface Stage {
  client: typeof Client;
  /** The broker's addresses. */
  tcp: string;
  http: string;
  /** A lookup server's HTTP address that knows the broker. */
  lookup: string;
  isBunsq: boolean;
  /** How to connect: TLS, compression. */
  connection: Client.ConnectionOptions;
}

type Scenario = (stage: Stage) => Promise<void>;

let topics = 0;

/** A topic that no other scenario uses. */
function newTopic(): string {
  return `client-${Date.now()}-${topics++}`;
}

/** Waits for a condition, and says what it waited for. */
async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function newProducer({ client, tcp, connection }: Stage, options: Partial<Client.ProducerOptions> = {}): Client.Producer {
  return new client.Producer({ brokers: [tcp], ...connection, ...options });
}

function newConsumer({ client, tcp, connection }: Stage, topic: string, options: Partial<Client.ConsumerOptions> = {}): Client.Consumer {
  return new client.Consumer({ brokers: [tcp], topic, channel: "c", maxInFlight: 100, ...connection, ...options });
}

const TRAFFIC: Record<string, Scenario> = {
  "2,000 messages of all kinds come as they were published": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const bodies = Array.from({ length: 1_990 }, (_, i) => `message ${i} ${"é€😀".repeat(i % 7)}`);
    const binary = Array.from({ length: 10 }, (_, i) => new Uint8Array(1 + i * 100_000).map((_, at) => (at * 7 + i) & 0xff));
    await Promise.all([...bodies, ...binary].map((body) => producer.publish(topic, body)));
    const seen: string[] = [];
    const consumer = newConsumer(stage, topic);
    const decoder = new TextDecoder("latin1");
    const run = consumer.run((message) => {
      seen.push(decoder.decode(message.body));
      assert.equal(message.attempts, 1);
      assert.equal(message.topic, topic);
      assert.match(message.id, /^[0-9a-f]{16}$/);
      assert.ok(Math.abs(message.publishedAt.getTime() - Date.now()) < 600_000);
      assert.equal(message.body.length, message.size);
    });
    await until("all messages", () => seen.length >= 2_000);
    await consumer.close();
    await run;
    await producer.close();
    const encoder = new TextEncoder();
    const expected = [...bodies.map((body) => encoder.encode(body)), ...binary].map((body) => decoder.decode(body));
    assert.deepEqual(seen.sort(), expected.sort());
  },
};

const SCENARIOS: Record<string, Scenario> = {
  "messages have keys and headers, or are refused where there are none": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const headers = { region: "eu", count: 1 };
    await producer.publish(topic, "keyed", { key: "k" });
    const whole = producer.publish(topic, "whole", { key: "k", headers, tag: "red", traceId: 2n ** 63n });
    if (stage.isBunsq) await whole;
    else await assert.rejects(whole, { code: "HEADERS_UNSUPPORTED", mayBeDuplicate: false });
    const seen: unknown[] = [];
    for await (const message of newConsumer(stage, topic, { headers: true })) {
      const { key, tag, traceId } = message;
      seen.push([message.text(), message.headers, key, tag, traceId]);
      message.finish();
      if (seen.length === (stage.isBunsq ? 2 : 1)) break;
    }
    if (!stage.isBunsq) assert.deepEqual(seen, [["keyed", {}, undefined, undefined, undefined]]);
    else {
      assert.deepEqual(seen, [
        ["keyed", {}, "k", undefined, undefined],
        ["whole", headers, "k", "red", 2n ** 63n],
      ]);
    }
    await producer.close();
  },

  "a consumer with an order gets the messages of each key in their order": async (stage) => {
    const topic = newTopic();
    const events: Client.ConsumerEvent[] = [];
    const consumer = newConsumer(stage, topic, { order: "key", onEvent: (event) => void events.push(event) });
    const seen: string[] = [];
    const run = consumer.run(async (message) => {
      // The first ones of each key take longest.
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, 10 - Number(message.text()))));
      seen.push(`${message.key} ${message.text()}`);
    });
    if (!stage.isBunsq) {
      const isRefused = (event: Client.ConsumerEvent) => event.type === "connect-failed" && event.error.code === "ORDER_UNSUPPORTED";
      await until("it is refused", () => events.some(isRefused));
    } else {
      await consumer.ready();
      const producer = newProducer(stage);
      const numbers = Array.from({ length: 20 }, (_, i) => i);
      await Promise.all(numbers.flatMap((i) => ["a", "b", "c"].map((key) => producer.publish(topic, `${i}`, { key }))));
      await until("all messages", () => seen.length === 60);
      for (const key of ["a", "b", "c"]) {
        assert.deepEqual(
          seen.filter((one) => one.startsWith(key)),
          numbers.map((i) => `${key} ${i}`),
        );
      }
      await producer.close();
    }
    await consumer.close();
    await run;
  },

  "a batch is published whole, in its order": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const receipt = await producer.publishBatch(topic, ["a", "b", new Uint8Array([99])]);
    assert.deepEqual(receipt, { broker: stage.tcp, attempts: 1, mayBeDuplicate: false });
    const seen: string[] = [];
    for await (const message of newConsumer(stage, topic)) {
      seen.push(message.text());
      message.finish();
      if (seen.length === 3) break;
    }
    assert.deepEqual(seen, ["a", "b", "c"]);
    await producer.close();
  },

  "a deferred message comes when it is due": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const consumer = newConsumer(stage, topic);
    const seen: [string, number][] = [];
    void consumer.run((message) => void seen.push([message.text(), Date.now()]));
    await consumer.ready();
    const beganAt = Date.now();
    await producer.publish(topic, "later", { deferMs: 300 });
    await producer.publish(topic, "now");
    await until("both", () => seen.length === 2);
    assert.deepEqual(
      seen.map(([text]) => text),
      ["now", "later"],
    );
    assert.ok((seen[1]?.[1] ?? 0) - beganAt >= 290);
    await consumer.close();
    await producer.close();
  },

  "a message that is too big is refused alone": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const results = await Promise.allSettled([
      producer.publish(topic, "good 1"),
      producer.publish(topic, new Uint8Array(1_100_000)),
      producer.publish(topic, "good 2"),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    const { reason } = results[1] as PromiseRejectedResult;
    assert.ok(reason instanceof stage.client.ClientError);
    // nsqd closes the connection so that its answer may be lost.
    assert.ok(reason.code === "E_BAD_MESSAGE" || (!stage.isBunsq && reason.code === "CONNECTION_LOST"), reason.code);
    assert.equal(reason.broker, stage.tcp);
    assert.ok(reason.command?.endsWith("PUB"));
    await producer.publish(topic, "good 3");
    await producer.close();
  },

  "a mistake of the caller is told to the caller": async (stage) => {
    const producer = newProducer(stage);
    const { ClientError } = stage.client;
    for (const [code, attempt] of [
      ["INVALID_TOPIC", () => producer.publish("no topic", "x")],
      ["INVALID_MESSAGE", () => producer.publish("topic", "")],
      ["INVALID_OPTION", () => producer.publish("topic", "x", { deferMs: -1 })],
      ["INVALID_OPTION", () => producer.publish("topic", "x", { idempotencyKey: "a b" })],
      ["INVALID_MESSAGE", () => producer.publishBatch("topic", [])],
    ] as const) {
      await assert.rejects(attempt, (error: unknown) => error instanceof ClientError && error.code === code);
    }
    await producer.close();
    await assert.rejects(producer.publish("topic", "x"), { code: "CLOSED" });
    assert.throws(() => newConsumer(stage, "no topic"), { code: "INVALID_OPTION" });
    assert.throws(() => new stage.client.Producer({}), { code: "INVALID_OPTION" });
    assert.throws(() => newProducer(stage, { brokers: ["nowhere"] }), { code: "INVALID_OPTION" });
  },

  "what a handler throws requeues its message": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publish(topic, "try again");
    const attempts: number[] = [];
    const failures: string[] = [];
    const consumer = newConsumer(stage, topic, {
      requeueDelayMs: 0,
      backoff: false,
      onEvent: (event) => {
        if (event.type === "handler-failed") failures.push(event.error.message);
      },
    });
    void consumer.run(async (message) => {
      attempts.push(message.attempts);
      if (message.attempts === 1) throw new Error("first");
      if (message.attempts === 2) return message.requeue(10);
      return undefined;
    });
    await until("three attempts", () => attempts.length === 3);
    await consumer.close();
    assert.deepEqual(attempts, [1, 2, 3]);
    assert.deepEqual(failures, ["first"]);
    await producer.close();
  },

  "a message that fails too often goes to the dead-letter topic": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publish(topic, "poison");
    const gaveUp: unknown[] = [];
    const consumer = newConsumer(stage, topic, {
      requeueDelayMs: 0,
      backoff: false,
      maxAttempts: 3,
      deadLetterTopic: `${topic}-dead`,
      onGiveUp: (message, error) => void gaveUp.push([message.text(), message.attempts, error?.message]),
    });
    void consumer.run(() => {
      throw new Error("always");
    });
    const seen: string[] = [];
    for await (const message of newConsumer(stage, `${topic}-dead`)) {
      seen.push(message.text());
      message.finish();
      break;
    }
    assert.deepEqual(seen, ["poison"]);
    assert.deepEqual(gaveUp, [["poison", 3, "always"]]);
    await until("it is finished", () => consumer.inFlight === 0);
    await consumer.close();
    await producer.close();
  },

  "leaving the loop gives back what was received": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publishBatch(topic, ["1", "2", "3", "4", "5"]);
    const first: string[] = [];
    for await (const message of newConsumer(stage, topic)) {
      first.push(message.text());
      message.finish();
      if (first.length === 2) break;
    }
    const second: string[] = [];
    for await (const message of newConsumer(stage, topic)) {
      second.push(message.text());
      message.finish();
      if (second.length === 3) break;
    }
    assert.deepEqual([...first, ...second].sort(), ["1", "2", "3", "4", "5"]);
    await producer.close();
  },

  "a message is touched until its handler ends": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publish(topic, "slow");
    const attempts: number[] = [];
    let hasEnded = false;
    const consumer = newConsumer(stage, topic, { touch: "auto", msgTimeoutMs: 1_000 });
    void consumer.run(async (message) => {
      attempts.push(message.attempts);
      await new Promise((resolve) => setTimeout(resolve, 2_300));
      hasEnded = true;
    });
    await until("the handler's end", () => hasEnded);
    await consumer.close();
    assert.deepEqual(attempts, [1]);
    await producer.close();
  },

  "closing waits for the handlers": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publishBatch(topic, ["1", "2", "3"]);
    let begun = 0;
    let ended = 0;
    const consumer = newConsumer(stage, topic);
    const run = consumer.run(async () => {
      begun++;
      await new Promise((resolve) => setTimeout(resolve, 200));
      ended++;
    });
    await until("the handlers", () => begun === 3);
    await consumer.close();
    await run;
    assert.equal(ended, 3);
    await until("all are finished", async () => (await depth(stage, topic)) === 0);
    await producer.close();
  },

  "closing ends after its time, and the rest is delivered again": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publish(topic, "stuck");
    let begun = 0;
    const stuck = newConsumer(stage, topic, { msgTimeoutMs: 1_000 });
    void stuck.run(() => {
      begun++;
      return new Promise(() => {});
    });
    await until("the handler", () => begun === 1);
    await stuck.close({ drainMs: 50 });
    for await (const message of newConsumer(stage, topic)) {
      assert.equal(message.attempts, 2);
      message.finish();
      break;
    }
    await producer.close();
  },

  "concurrency bounds the handlers": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publishBatch(
      topic,
      Array.from({ length: 40 }, (_, i) => `${i}`),
    );
    let running = 0;
    let most = 0;
    let ended = 0;
    const consumer = newConsumer(stage, topic);
    void consumer.run(
      async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        running--;
        ended++;
      },
      { concurrency: 3 },
    );
    await until("all", () => ended === 40);
    assert.equal(most, 3);
    await consumer.close();
    await producer.close();
  },

  "with back-off per message, only the message that failed waits": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publishBatch(topic, ["bad", ...Array.from({ length: 200 }, (_, i) => `${i}`)]);
    let good = 0;
    let goodAtRetry = -1;
    const consumer = newConsumer(stage, topic, { backoff: "message", backoffMultiplierMs: 100, maxInFlight: 1 });
    void consumer.run((message) => {
      if (message.text() !== "bad") return void good++;
      if (message.attempts === 1) throw new Error("once");
      goodAtRetry = good;
    });
    await until("the retry", () => goodAtRetry >= 0 && good === 200);
    await consumer.close();
    await producer.close();
  },

  "one failure stops a consumer that backs off, and one success starts it": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    await producer.publish(topic, "bad");
    const events: string[] = [];
    let good = 0;
    const consumer = newConsumer(stage, topic, {
      backoffMultiplierMs: 50,
      requeueDelayMs: 0,
      onEvent: ({ type }) => void events.push(type),
    });
    void consumer.run((message) => {
      if (message.attempts === 1 && message.text() === "bad") throw new Error("once");
      good++;
    });
    await until("a back-off", () => events.includes("backoff"));
    await producer.publish(topic, "good");
    await until("both", () => good === 2);
    assert.deepEqual(
      events.filter((type) => type.startsWith("backoff")),
      ["backoff", "backoff-probe", "backoff-ended"],
    );
    await consumer.close();
    await producer.close();
  },

  "brokers are found through lookups, and one that is down is only reported": async (stage) => {
    const topic = newTopic();
    const failed = new Set<string>();
    const { client, lookup, connection } = stage;
    const lookups = ["127.0.0.1:1", lookup];
    const onEvent = (event: Client.ConsumerEvent | Client.ProducerEvent) => {
      if (event.type === "lookup-failed") failed.add(event.lookup);
    };
    const producer = new client.Producer({ lookups, lookupPollMs: 200, onEvent, ...connection });
    await producer.publish(topic, "found");
    for await (const message of new client.Consumer({ lookups, lookupPollMs: 200, topic, channel: "c", onEvent, ...connection })) {
      assert.equal(message.text(), "found");
      message.finish();
      break;
    }
    assert.deepEqual([...failed], ["127.0.0.1:1"]);
    await producer.close();
  },

  "signals end what they were given to": async (stage) => {
    const topic = newTopic();
    const producer = newProducer(stage);
    const stop = new AbortController();
    const consumer = newConsumer(stage, topic);
    const run = consumer.run(() => {}, { signal: stop.signal });
    await consumer.ready();
    stop.abort();
    await run;
    const aborted = AbortSignal.abort(new Error("not any more"));
    await assert.rejects(producer.publish(topic, "x", { signal: aborted }), /not any more/);
    const nobody = new stage.client.Producer({ brokers: ["127.0.0.1:1"] });
    const waiting = new AbortController();
    const publishing = nobody.publish(topic, "x", { signal: waiting.signal });
    waiting.abort(new Error("too long"));
    await assert.rejects(publishing, /too long/);
    await assert.rejects(nobody.ready({ timeoutMs: 50 }), { code: "NO_BROKER" });
    await nobody.close({ drainMs: 0 });
    await producer.close();
  },

  "the broker knows who is connected": async (stage) => {
    const topic = newTopic();
    const consumer = newConsumer(stage, topic, {
      clientId: "me",
      hostname: "my.host",
      userAgent: "scenario/1",
      sampleRate: 50,
      maxInFlight: 7,
    });
    let features: Partial<Client.Features> = {};
    const events = consumer.events();
    void consumer.run(() => {});
    for await (const event of events) {
      if (event.type !== "connected") continue;
      features = event.features;
      break;
    }
    await consumer.ready();
    assert.equal(features.sampleRate, 50);
    assert.equal(features.idempotency, false);
    const reader = new stage.client.BrokerClient(stage.http);
    const clients = async () => {
      const stats = (await reader.stats({ topic })) as { topics?: { channels: { clients: Record<string, unknown>[] }[] }[] };
      return stats.topics?.[0]?.channels[0]?.clients ?? [];
    };
    await until("its RDY", async () => (await clients())[0]?.ready_count === 7);
    const [known] = await clients();
    assert.deepEqual([known?.client_id, known?.hostname, known?.user_agent, known?.sample_rate], ["me", "my.host", "scenario/1", 50]);
    await consumer.close();
  },

  "a topic can be read, and a channel moved": async (stage) => {
    if (!stage.isBunsq) return;
    const topic = newTopic();
    const producer = newProducer(stage);
    const reader = new stage.client.BrokerClient(stage.http);
    await reader.createTopic(topic);
    await reader.setRetention(topic, { time: "1h" });
    assert.equal((await reader.retention(topic)).time, "1h0m0s");
    await reader.createChannel(topic, "c");
    for (let i = 0; i < 5; i++) await producer.publish(topic, JSON.stringify({ i }));
    const read: unknown[] = [];
    for await (const { body } of reader.messages(topic, { format: "json", limit: 2 })) read.push(body);
    assert.deepEqual(
      read,
      [0, 1, 2, 3, 4].map((i) => ({ i })),
    );
    // A new topic releases nothing until the lookup servers have named its channels.
    let id = "";
    await until("the channel's messages", async () => {
      const waiting = await reader.peekChannel(topic, "c", "waiting", { limit: 2 });
      id = waiting.messages[0]?.id ?? "";
      return waiting.messages.length === 2;
    });
    await reader.finishMessage(topic, "c", id);
    await assert.rejects(reader.finishMessage(topic, "c", id), { name: "HttpError", status: 409, code: "MESSAGE_FINISHED" });
    assert.equal((await reader.message(topic, id)).channels.length, 1);
    assert.equal((await reader.seek(topic, "c", "beginning")).depth, 5);
    const seen: unknown[] = [];
    for await (const message of newConsumer(stage, topic)) {
      seen.push(message.json<{ i: number }>().i);
      message.finish();
      if (seen.length === 5) break;
    }
    assert.deepEqual(seen, [0, 1, 2, 3, 4]);
    await producer.close();
  },

  "messages of several partitions are read, page by page": async (stage) => {
    if (!stage.isBunsq) return;
    const topic = newTopic();
    const producer = newProducer(stage);
    const reader = new stage.client.BrokerClient(stage.http);
    await reader.createTopic(topic, { partitions: 3 });
    await reader.createChannel(topic, "c");
    for (let i = 0; i < 15; i++) await producer.publish(topic, `${i}`, { key: `key ${i % 5}` });
    const read = async (messages: AsyncIterable<{ body: unknown }>) => {
      const bodies: unknown[] = [];
      for await (const { body } of messages) bodies.push(body);
      return bodies;
    };
    const all = Array.from({ length: 15 }, (_, i) => `${i}`).sort();
    assert.deepEqual((await read(reader.messages(topic, { limit: 2 }))).sort(), all);
    assert.deepEqual((await read(reader.channelMessages(topic, "c", "waiting", { limit: 2 }))).sort(), all);
    const last = await reader.peek(topic, { partition: 2 });
    const bodies = last.messages.map(({ body }) => body);
    assert.deepEqual(await read(reader.messages(topic, { limit: 2, partition: 2 })), bodies);
    // An id is in one partition.
    assert.deepEqual(await read(reader.messages(topic, { limit: 1, from: String(last.messages[1]?.id) })), bodies.slice(1));
    await reader.skipChannel(topic, "c");
    await reader.limitRate(topic, "c", { messages: 100 });
    await reader.limitClients(topic, "c", 7, "10.");
    const settings = await reader.channelSettings(topic, "c");
    assert.deepEqual([settings.skip, settings.rate_limit, settings.client_limits], [true, 100, [{ prefix: "10.", ready: 7 }]]);
    assert.deepEqual(await read(reader.channelMessages(topic, "c", "waiting")), []);
    await reader.unskipChannel(topic, "c");
    assert.equal((await reader.channelSettings(topic, "c")).skip, false);
    await producer.close();
  },

  "a publish that is repeated with its key is not published again": async (stage) => {
    if (!stage.isBunsq) return;
    const topic = newTopic();
    const producer = newProducer(stage);
    for (let i = 0; i < 3; i++) await producer.publish(topic, "once", { idempotencyKey: "order-1" });
    await producer.publishBatch(topic, ["a", "b"], { idempotencyKey: "order-2" });
    await producer.publishBatch(topic, ["a", "b"], { idempotencyKey: "order-2" });
    const reader = new stage.client.BrokerClient(stage.http);
    assert.equal((await reader.peek(topic)).messages.length, 3);
    await producer.close();
  },
};

/** How many messages of a channel wait or are in flight. */
async function depth({ client, http }: Stage, topic: string): Promise<number> {
  const stats = (await new client.BrokerClient(http).stats({ topic })) as {
    topics?: { channels: { depth: number; in_flight_count: number }[] }[];
  };
  const channel = stats.topics?.[0]?.channels[0];
  return channel === undefined ? -1 : channel.depth + channel.in_flight_count;
}

/** What is played over each kind of connection. */
export const trafficScenarios = Object.entries(TRAFFIC);
/** Everything. */
export const allScenarios = [...trafficScenarios, ...Object.entries(SCENARIOS)];
