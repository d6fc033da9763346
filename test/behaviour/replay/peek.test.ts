import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expectNothing, messages, numbers } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

interface Peeked {
  id: string;
  sequence: number;
  timestamp: string;
  size: number;
  body: unknown;
  encoding?: string;
  state?: string;
  attempts?: number;
  client?: { client_id: string; hostname: string; remote_address: string };
}

test("a page of a topic's log shows ids, times and bodies, and where the next page begins", async () => {
  await using server = WithHttp.start();
  const startMs = Date.now();
  await server.started.publish("t", ...numbers(250));
  const first = await server.json("GET", "/topic/messages?topic=t");
  expect([first.messages.length, first.next, first.beginning, first.end]).toEqual([100, 100, 0, 250]);
  const [message] = first.messages as Peeked[];
  expect(message).toMatchObject({ sequence: 0, size: 1, body: "0" });
  expect(Math.abs(Date.parse(message.timestamp) - startMs)).toBeLessThan(60_000);
  const bodies: unknown[] = [];
  for (let next = 0; next < 250; ) {
    const page = await server.json("GET", `/topic/messages?topic=t&from=${next}&limit=70`);
    expect(page.messages.length).toBeLessThanOrEqual(70);
    bodies.push(...page.messages.map(({ body }: Peeked) => body));
    next = page.next;
  }
  expect(bodies).toEqual(numbers(250));
  expect(await server.json("GET", "/topic/messages?topic=t&from=end")).toEqual({ messages: [], next: 250, beginning: 0, end: 250 });
  const byId = await server.json("GET", `/topic/messages?topic=t&from=${message.id}&limit=1`);
  expect(byId.messages).toEqual([message]);
  // What was looked at is still there for its consumers.
  const consumer = await server.started.consumer("t", "ch", 300);
  const got = await messages(consumer, 250);
  expect(got.map(({ text }) => text)).toEqual(numbers(250));
  expect(got[0].id).toBe(message.id);
  expect(got.every(({ attempts }) => attempts === 1)).toBeTrue();
});

test("a body is told as text, as JSON with its own digits, or in base64; what it cannot be told as comes in base64", async () => {
  await using server = WithHttp.start();
  const bytes = Uint8Array.from([0xff, 0x00, 0x41]);
  await server.started.publish("t", '{"n":12345678901234567890.10}', "no JSON <&>", bytes);
  const peek = async (format: string) => {
    const response = await server.fetch("GET", `/topic/messages?topic=t&format=${format}`);
    const text = await response.text();
    return { text, bodies: (JSON.parse(text).messages as Peeked[]).map(({ body, encoding }) => [body, encoding]) };
  };
  const binary = Buffer.from(bytes).toString("base64");
  expect((await peek("text")).bodies).toEqual([
    ['{"n":12345678901234567890.10}', undefined],
    ["no JSON <&>", undefined],
    [binary, "base64"],
  ]);
  const json = await peek("json");
  expect(json.text).toContain('"body":{"n":12345678901234567890.10}');
  expect(json.bodies.slice(1)).toEqual([
    [Buffer.from("no JSON <&>").toString("base64"), "base64"],
    [binary, "base64"],
  ]);
  expect((await peek("base64")).bodies[2]).toEqual([binary, "base64"]);
});

test("one message is shown with its status in each channel", async () => {
  await using server = WithHttp.start();
  await server.started.consumer("t", "idle");
  const consumer = await server.started.consumer("t", "busy", 1, { client_id: "me", hostname: "here" });
  await server.started.publish("t", "a", "b");
  const { id } = await consumer.message();
  const shown = await server.json("GET", `/message?topic=t&id=${id}`);
  expect(shown).toMatchObject({ id, sequence: 0, body: "a" });
  expect(shown.channels).toEqual([
    { channel_name: "idle", state: "waiting", attempts: 0, traced: false },
    {
      channel_name: "busy",
      state: "in_flight",
      attempts: 1,
      since: expect.any(String),
      timeout_at: expect.any(String),
      client: { client_id: "me", hostname: "here", remote_address: expect.stringMatching(/^127\.0\.0\.1:\d+$/), user_agent: "" },
      traced: false,
    },
  ]);
  consumer.command(`FIN ${id}`);
  const second = await consumer.message();
  expect((await server.json("GET", `/message?topic=t&id=${id}`)).channels[1]).toEqual({
    channel_name: "busy",
    state: "finished",
    attempts: 0,
    traced: false,
  });
  const absent = `${second.id.slice(0, -2)}ff`;
  expect(await server.call("GET", `/message?topic=t&id=${absent}`)).toBe('404 {"message":"MESSAGE_NOT_FOUND"}');
  expect(await server.call("GET", "/message?topic=t&id=zz")).toBe('400 {"message":"INVALID_ARG_ID"}');
  expect(await server.call("GET", "/message?topic=t")).toBe('400 {"message":"MISSING_ARG_ID"}');
});

test("a channel tells what it has in flight, by whom and since when, and what waits", async () => {
  await using server = WithHttp.start();
  const startMs = Date.now();
  await server.started.publish("t", ...numbers(10));
  const one = await server.started.consumer("t", "ch", 2, { client_id: "one" });
  const [first, other] = await messages(one, 2);
  const two = await server.started.consumer("t", "ch", 1, { client_id: "two" });
  await two.message();
  server.broker.registry.topic("t").channel("ch").pause();
  one.command(`REQ ${other.id} 0`);
  await until("it is requeued", () => server.broker.registry.topic("t").channel("ch").requeueCount === 1);

  const inFlight = await server.json("GET", "/channel/messages?topic=t&channel=ch&state=in_flight");
  expect(inFlight.next).toBeNull();
  expect(inFlight.messages.map(({ body, client }: Peeked) => [body, client?.client_id])).toEqual([
    ["0", "one"],
    ["2", "two"],
  ]);
  const [held] = inFlight.messages;
  expect(held.id).toBe(first.id);
  expect(Date.parse(held.since)).toBeGreaterThanOrEqual(startMs - 5);
  expect(Date.parse(held.timeout_at) - Date.parse(held.since)).toBe(60_000);

  const waiting: Peeked[] = [];
  for (let next: number | null = 0; next !== null; ) {
    const page = await server.json("GET", `/channel/messages?topic=t&channel=ch&state=waiting&limit=3&from=${next}`);
    waiting.push(...page.messages);
    next = page.next;
  }
  expect(waiting.map(({ body, state, attempts }) => [body, state, attempts])).toEqual([
    ["1", "requeued", 1],
    ...numbers(7, 3).map((body) => [body, "waiting", 0]),
  ]);
  expect(await server.call("GET", "/channel/messages?topic=t&channel=ch")).toBe('400 {"message":"MISSING_ARG_STATE"}');
  expect(await server.call("GET", "/channel/messages?topic=t&channel=ch&state=lost")).toBe('400 {"message":"INVALID_ARG_STATE"}');
  expect(await server.call("GET", "/channel/messages?topic=t&channel=none&state=waiting")).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
});

test("bad arguments are refused", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  for (const [query, answer] of [
    ["topic=t&limit=0", "400 INVALID_ARG_LIMIT"],
    ["topic=t&limit=x", "400 INVALID_ARG_LIMIT"],
    ["topic=t&format=xml", "400 INVALID_ARG_FORMAT"],
    ["topic=t&from=x", "400 INVALID_ARG_FROM"],
    ["topic=none", "404 TOPIC_NOT_FOUND"],
    ["", "400 MISSING_ARG_TOPIC"],
  ]) {
    const [status, code] = answer.split(" ");
    expect(await server.call("GET", `/topic/messages?${query}`)).toBe(`${status} {"message":"${code}"}`);
  }
});

test("a page is bounded in bytes, but always tells one message", async () => {
  await using server = WithHttp.start();
  const large = "x".repeat(700_000);
  await server.started.publish("t", large, large, large, "small");
  const page = await server.json("GET", "/topic/messages?topic=t");
  expect([page.messages.length, page.next]).toEqual([2, 2]);
  expect((await server.json("GET", "/topic/messages?topic=t&from=2&limit=1")).messages[0].size).toBe(700_000);
});

test("a look at any depth finds the right message, changes no cache, and disturbs no consumer", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed} (BUNSQ_SEED=${seed} to repeat)`);
  const random = new Random(seed);
  await using server = WithHttp.start({ maxBytesPerFile: 256 * 1024 });
  await server.call("POST", "/topic/create?topic=t");
  const consumer = await server.started.consumer("t", "ch", 0);
  const count = 60_000;
  const client = await server.started.client();
  for (let i = 0; i < count; ) {
    const many = Math.min(count - i, random.int(1, 2000));
    client.mpub(
      "t",
      numbers(many, i).map((text) => text.padEnd(100, ".")),
    );
    await client.response();
    i += many;
  }
  const { chunks } = server.broker;
  const used = chunks.usedBytes;
  for (let i = 0; i < 200; i++) {
    const from = random.int(0, count - 1);
    const limit = random.int(1, 20);
    const page = await server.json("GET", `/topic/messages?topic=t&from=${from}&limit=${limit}`);
    const expected = numbers(Math.min(limit, count - from), from).map((text) => text.padEnd(100, "."));
    expect(page.messages.map(({ body }: Peeked) => body)).toEqual(expected);
  }
  expect(chunks.usedBytes).toBe(used);
  expect(server.broker.registry.topic("t").channel("ch").depth).toBe(count);
  consumer.command("RDY 10");
  expect((await messages(consumer, 10)).map(({ text }) => Number.parseInt(text, 10))).toEqual(numbers(10).map(Number));
}, 30_000);

test("what is damaged on disk is left out of a page, and is neither reported nor counted for it", async () => {
  await using server = WithHttp.start({ maxBytesPerFile: 2048 });
  for (let i = 0; i < 40; i++) await server.started.publish("t", `message ${i}`.padEnd(200, "."));
  await server.restart();
  const topics = join(server.started.dataPath, "bunsq-data/topics");
  const directory = join(topics, readdirSync(topics)[0]);
  const file = join(directory, readdirSync(directory).sort()[5]);
  expect(file).toEndWith(".log");
  const bytes = readFileSync(file);
  bytes[100] ^= 1;
  writeFileSync(file, bytes);
  const firstSequence = Number.parseInt(basename(file), 16);
  const before = server.broker.registry.corruptRegions;
  for (let i = 0; i < 3; i++) {
    const { messages: page } = await server.json("GET", "/topic/messages?topic=t");
    const shown = page.map(({ sequence }: Peeked) => sequence);
    const lost = numbers(40)
      .map(Number)
      .filter((sequence) => !shown.includes(sequence));
    expect([shown.length, lost]).toEqual([39, [firstSequence]]);
  }
  expect(server.broker.registry.corruptRegions).toBe(before);
  const consumer = await server.started.consumer("t", "ch", 100);
  expect(await messages(consumer, 39)).toHaveLength(39);
  await expectNothing(consumer);
  expect(server.broker.registry.corruptRegions).toBe(before + 1);
});
