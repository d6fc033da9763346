import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import type { Durability } from "../../../src/broker/options.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";
import type { UnsyncedChange } from "./support/fault-disk.ts";

const MEMORY_FOLDER = "/dev/shm";
const TOPIC = "t";
const CHANNEL = "c";
const KEY = "order 7";
const SYNC_TIMEOUT_MS = 1000;

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
});

function start(durability: Durability): CutBroker {
  const folder = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
  folders.push(folder);
  const server = new CutBroker(folder, { durability, syncTimeoutMs: SYNC_TIMEOUT_MS, idempotencyWindowMs: 3_600_000 });
  server.broker.registry.topic(TOPIC).channel(CHANNEL);
  return server;
}

const everything = () => true;
const ofKeys = ({ path }: UnsyncedChange) => path.endsWith(".keys");

/** Repeats a publish with its key. @returns what the channel will get then */
async function repeat(server: CutBroker, body: string, deferMs: number): Promise<string[]> {
  expect(await server.publish(TOPIC, body, { deferMs, key: KEY })).toBe("OK");
  const bodies = [...owed(server.broker, TOPIC, CHANNEL)].sort();
  server.abandon();
  return bodies;
}

// ---- the message is lost, and its key is not: the repetition is a new publish

test("a deferred publish was refused because its sync failed, and a power cut loses the record that its key is void", async () => {
  const server = start("fsync");
  server.disk.failsToSync = (path) => path.endsWith(".msg");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 90_000, key: KEY })).not.toBe("OK");
  const after = server.restart(server.disk.afterLosing(everything));
  expect(await repeat(after, "repeated", 90_000)).toEqual(["repeated"]);
});

test("a deferred publish with write durability is lost in a power cut before its sync", async () => {
  const server = start("write");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 90_000, key: KEY })).toBe("OK");
  const after = server.restart(server.disk.afterLosing((change) => !ofKeys(change)));
  expect(await repeat(after, "repeated", 90_000)).toEqual(["repeated"]);
});

test("a deferred publish is lost in a power cut that follows a kill, before any sync", async () => {
  const server = start("write");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 90_000, key: KEY })).toBe("OK");
  const killed = server.kill();
  const after = killed.restart(killed.disk.afterLosing((change) => !ofKeys(change)));
  expect(await repeat(after, "repeated", 90_000)).toEqual(["repeated"]);
});

test("the entry of a lost deferred publish gives its number to no other, so a second power cut does not bring its key back", async () => {
  const server = start("write");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 90_000, key: KEY })).toBe("OK");
  const once = server.restart(server.disk.afterLosing((change) => !ofKeys(change)));
  expect(await once.publish(TOPIC, "another", { deferMs: 90_000 })).toBe("OK");
  // The file of keys without this one is lost, and the one before is not removed yet.
  const twice = once.restart(once.disk.afterLosing(ofKeys));
  expect(await repeat(twice, "repeated", 90_000)).toEqual(["another", "repeated"]);
});

for (const batch of [false, true]) {
  test(`${batch ? "an MPUB" : "a PUB"} is lost in a power cut that leaves a later message`, async () => {
    const server = start("write");
    const { publishing, registry } = server.broker;
    const topic = registry.topic(TOPIC);
    const body = Buffer.from("lost");
    const published = batch
      ? publishing.publishBatch(topic.partitions[0], KEY, Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, body.length]), body]))
      : publishing.publish(topic.partitions[0], KEY, body, 0);
    await server.pass(10);
    await published;
    expect(await server.publish(TOPIC, "later")).toBe("OK");
    const after = server.restart(server.disk.afterLosing(({ path, bytes }) => path.endsWith(".log") && bytes?.includes(body) === true));
    expect(await repeat(after, "repeated", 0)).toEqual(["later", "repeated"]);
  });
}

// ---- the message is there, or was: the repetition is not published

for (const [when, passMs, left] of [
  ["its OK", 0, ["deferred"]],
  ["the next sync", 2 * SYNC_TIMEOUT_MS, ["deferred"]],
  ["it joined its topic's log", 5000, ["deferred"]],
  ["its bucket was removed", 30_000, ["deferred"]],
] as const) {
  test(`with fsync the key of a deferred publish survives a power cut after ${when}`, async () => {
    const server = start("fsync");
    expect(await server.publish(TOPIC, "deferred", { deferMs: 4000, key: KEY })).toBe("OK");
    await server.pass(passMs, 50);
    for (const loses of [everything, ofKeys, (change: UnsyncedChange) => !ofKeys(change)]) {
      expect(await repeat(server.restart(server.disk.afterLosing(loses)), "repeated", 4000)).toEqual([...left]);
    }
  });
}

test("with fsync the key of a deferred publish survives a power cut at the moment at which it has joined the log", async () => {
  const server = start("fsync");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 4000, key: KEY })).toBe("OK");
  const topic = server.broker.registry.topic(TOPIC);
  while (topic.partitions[0].log.committedNext === 0) await server.pass(2);
  expect(await repeat(server.restart(server.disk.afterLosing(() => false)), "repeated", 4000)).toEqual(["deferred"]);
  expect(await repeat(server.restart(server.disk.afterLosing(everything)), "repeated", 4000)).toEqual(["deferred"]);
});

test("with write durability the key of a deferred publish survives a power cut after the next sync, and after its bucket was removed", async () => {
  const server = start("write");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 4000, key: KEY })).toBe("OK");
  for (const passMs of [2 * SYNC_TIMEOUT_MS, 30_000]) {
    await server.pass(passMs, 50);
    expect(await repeat(server.restart(server.disk.afterLosing(everything)), "repeated", 4000)).toEqual(["deferred"]);
  }
});

test("the key of a deferred publish survives a kill before any sync, and then a power cut after one", async () => {
  const server = start("write");
  expect(await server.publish(TOPIC, "deferred", { deferMs: 4000, key: KEY })).toBe("OK");
  const killed = server.kill();
  await killed.pass(30_000, 50);
  expect(await repeat(killed.restart(killed.disk.afterLosing(everything)), "repeated", 4000)).toEqual(["deferred"]);
});

// ---- clocks

test("a wall clock that is a year ahead while a sync ends takes no key away", async () => {
  const yearMs = 365 * 24 * 3_600_000;
  const server = start("write");
  expect(await server.publish(TOPIC, "first", { key: KEY })).toBe("OK");
  await server.pass(2 * SYNC_TIMEOUT_MS, 50);
  expect(await server.publish(TOPIC, "deferred", { deferMs: 90_000, key: "another" })).toBe("OK");
  server.clock.setWallClock(yearMs);
  await server.pass(2 * SYNC_TIMEOUT_MS, 50);
  server.clock.setWallClock(-yearMs);
  await server.pass(2 * SYNC_TIMEOUT_MS, 50);
  expect(await repeat(server.kill(), "repeated", 0)).toEqual(["deferred", "first"]);
});
