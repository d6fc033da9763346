import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { peekAt } from "../../../src/broker/storage/log/records.ts";
import { murmur3 } from "../../../src/client/murmur3.ts";
import { HeaderReader } from "../../../src/frame/header.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { InProcess } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { type RawClient, sized } from "../../support/raw-client.ts";
import { withHeader } from "./support/player.ts";

const NOT_LEADER = "E_FAILED_ON_NOT_LEADER ";
/** Some are long, and some are not ASCII. */
const KEYS = ["test", "Hello, world!", "a", "ab", "abc", "customer-1", "customer-2", "größe", "鍵", "🔑", "k".repeat(1_024)];

function keyed(key: string, more: object = {}): string {
  return JSON.stringify({ "##key": key, ...more });
}

/** The body of an MPUB_EXT. @param messages header and body of each; an empty header is none */
function batch(messages: readonly (readonly [header: string, body: string])[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(messages.length);
  return Buffer.concat([count, ...messages.map(([header, body]) => sized(extended(header, body)))]);
}

function extended(header: string, body: string): Buffer {
  return withHeader(Buffer.from(header).toString("latin1"), body);
}

/** Key and body of each message in the log of each partition that the broker has. */
function logs({ broker }: InProcess, topic: string): string[][] {
  const reader = new HeaderReader();
  return broker.registry.topic(topic).partitions.map(({ log }) => {
    const found: string[] = [];
    for (let at = log.runAt(log.startSequence).position; at < log.committedEnd; ) {
      const chunk = peekAt(log, at);
      if (chunk.isGap) throw new Error("damaged");
      const { buffer } = chunk;
      const from = chunk.offsetOf(at);
      const to = from + 4 + buffer.readUInt32BE(from);
      const has = reader.read(buffer, from);
      const body = buffer.toString("utf8", has ? reader.textTo : from + 34, to);
      found.push(`${buffer.toString("utf8", reader.keyFrom, reader.keyTo)}:${body}`);
      at += to - from;
    }
    return found;
  });
}

async function answers(client: RawClient, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push((await client.next()).text);
  return texts;
}

test("messages with a key go to the partition that murmur3 says", async () => {
  await using started = InProcess.start();
  const topic = started.broker.registry.topicWith("t", 7);
  const client = await started.client();
  for (const key of KEYS) client.command("PUB_EXT t", extended(keyed(key), "x"));
  expect(await answers(client, KEYS.length)).toEqual(KEYS.map(() => "OK"));
  const expected: string[][] = Array.from({ length: 7 }, () => []);
  for (const key of KEYS) (expected[murmur3(key) % 7] as string[]).push(`${key}:x`);
  expect(logs(started, "t")).toEqual(expected);
  // By the reference implementation.
  expect(topic.partitionOfKey(Buffer.from("test"))?.index).toBe(0xba6bd213 % 7);
  expect(topic.partitionOfKey(Buffer.from("Hello, world!"))?.index).toBe(0xc0363e43 % 7);
});

test("a batch is split by its keys, and what has none stays together", async () => {
  await using started = InProcess.start();
  started.broker.registry.topicWith("t", 3);
  const client = await started.client();
  const messages = Array.from({ length: 40 }, (_, i) => {
    const key = i % 4 === 0 ? "" : `key ${i % 11}`;
    return [key === "" ? (i % 8 === 0 ? "" : '{"a":1}') : keyed(key), `${i}`] as const;
  });
  client.command("MPUB_EXT t", batch(messages));
  expect(await client.response()).toBe("OK");
  const found = logs(started, "t");
  const keyless = found.findIndex((log) => log.some((text) => text.startsWith(":")));
  const expected: string[][] = [[], [], []];
  for (const [header, body] of messages) {
    const key = header.includes("##key") ? (JSON.parse(header)["##key"] as string) : "";
    (expected[key === "" ? keyless : murmur3(key) % 3] as string[]).push(`${key}:${body}`);
  }
  expect(found).toEqual(expected);
});

test("a partition that is named wins over keys", async () => {
  await using started = InProcess.start();
  started.broker.registry.topicWith("t", 4);
  const client = await started.client();
  for (const key of KEYS) client.command("PUB_EXT t 2", extended(keyed(key), "x"));
  client.command("MPUB_EXT t 2", batch(KEYS.map((key) => [keyed(key), "y"] as const)));
  expect(await answers(client, KEYS.length + 1)).toEqual(["OK", ...KEYS.map(() => "OK")]);
  const all = [...KEYS.map((key) => `${key}:x`), ...KEYS.map((key) => `${key}:y`)];
  expect(logs(started, "t")).toEqual([[], [], all, []]);
});

test("a key stays in the JSON that consumers get", async () => {
  await using started = InProcess.start();
  started.broker.registry.topicWith("t", 3);
  const consumer = await started.consumer("t", "c", 10, { extend_support: true });
  const client = await started.client();
  const json = '{ "##key" : "k\\u0065y" , "a":"b" }';
  await client.call("PUB_EXT t", extended(json, "body"));
  const { bytes } = await consumer.message();
  expect(bytes.toString("latin1", 30)).toBe(`\x04\x00${String.fromCharCode(json.length)}${json}body`);
  expect(logs(started, "t")[murmur3("key") % 3]).toEqual(["key:body"]);
});

test("keys that are none, empty or too long are refused, and the connection goes on", async () => {
  await using started = InProcess.start();
  started.broker.registry.topicWith("t", 2);
  const client = await started.client();
  for (const value of ['""', "1", "null", '["k"]', `"${"k".repeat(1_025)}"`, `"${"é".repeat(513)}"`]) {
    const header = `{"##key":${value}}`;
    client.command("PUB_EXT t", extended(header, "x"));
    client.command("MPUB_EXT t", batch([[keyed("fine"), "x"] as const, [header, "x"] as const]));
    for (const text of await answers(client, 2)) expect(text).toStartWith("E_INVALID_JSON_HEADER fail to parse json header:");
  }
  expect(await client.call("PUB t", "x")).toBe("OK");
  expect(logs(started, "t").flat()).toEqual([":x"]);
});

test("a partition at another broker is told from one that is nowhere", async () => {
  await using started = InProcess.start();
  const topic = started.broker.registry.topicWith("t", 4, { held: [1, 3] });
  const client = await started.client();
  const [here = "", elsewhere = ""] = [true, false].map((isHere) =>
    [..."abcdefghij"].find((key) => (topic.partitionOfKey(Buffer.from(key)) !== undefined) === isHere),
  );
  client.command("PUB_EXT t", extended(keyed(elsewhere), "1"));
  client.command("MPUB_EXT t", batch([[keyed(here), "2"] as const, [keyed(elsewhere), "3"] as const]));
  client.command("PUB t 0", "4");
  client.command("MPUB_EXT t 2", batch([[keyed(here), "5"] as const]));
  client.command("PUB_TRACE t 0", Buffer.alloc(9));
  expect(await answers(client, 5)).toEqual(Array.from({ length: 5 }, () => NOT_LEADER));
  expect(started.broker.publishing.errorCount).toBe(5);
  expect(await client.call("PUB_EXT t", extended(keyed(here), "6"))).toBe("OK");
  expect(logs(started, "t").flat()).toEqual([`${here}:6`]);
  client.command("PUB t 4", "7");
  expect((await client.next()).text).toBe("E_TOPIC_NOT_EXIST ");
});

for (const durability of ["write", "fsync"] as const) {
  test(`a batch is refused if one of its parts cannot be written (${durability})`, async () => {
    const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
    await using started = InProcess.start({ durability }, { disk });
    started.broker.registry.topicWith("t", 3);
    const client = await started.client();
    const keys = [..."abcdefghij"];
    // Too much for the journal, which has the commits of all partitions in one file.
    const messages = (body: string) => keys.map((key) => [keyed(key), body.repeat(100_000)] as const);
    client.command("MPUB_EXT t", batch(messages("1")));
    expect(await client.response()).toBe("OK");
    const calls = durability === "fsync" ? (["sync"] as const) : (["write"] as const);
    disk.script.push({ path: /-t@1\//, calls, code: "EIO", times: Number.POSITIVE_INFINITY });
    client.command("MPUB_EXT t", batch(messages("2")));
    expect((await client.next()).text).toStartWith("E_MPUB_FAILED ");
    disk.script.length = 0;
    client.command("MPUB_EXT t", batch(messages("3")));
    expect(await client.response()).toBe("OK");
    const bodies = logs(started, "t").map((log) => log.map((text) => text.charAt(2)));
    const perPartition = [0, 1, 2].map((index) => keys.filter((key) => murmur3(key) % 3 === index).length);
    expect(bodies.map((log) => log.filter((body) => body === "3").length)).toEqual(perPartition);
    for (const [index, log] of bodies.entries()) {
      // Each part is there as a whole or not at all.
      const written = log.filter((body) => body === "2").length;
      if (durability === "write") expect(written).toBe(index === 1 ? 0 : (perPartition[index] as number));
      else expect([0, perPartition[index] as number]).toContain(written);
    }
  });
}
