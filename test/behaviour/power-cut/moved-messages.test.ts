import { afterAll, expect, spyOn, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import type { Durability } from "../../../src/broker/options.ts";
import type { Bucket } from "../../../src/broker/storage/deferred/bucket.ts";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";
import type { UnsyncedChange } from "./support/fault-disk.ts";

const MEMORY_FOLDER = "/dev/shm";
const TOPIC = "t";
const CHANNEL = "c";
/** Longer than anything here but what waits for a sync. */
const SYNC_TIMEOUT_MS = 20_000;
/** Cursors are saved within this time. */
const SAVED_MS = 400;
const LONG_MS = 100_000;
/** Messages that are due so much later are in a wide bucket at first. */
const MOVED_MS = 300_000;

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
});

function start(durability: Durability = "write"): CutBroker {
  const folder = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
  folders.push(folder);
  const server = new CutBroker(folder, { durability, syncTimeoutMs: SYNC_TIMEOUT_MS, maxBytesPerFile: 300, msgTimeoutMs: 600_000 });
  channelOf(server);
  return server;
}

function channelOf({ broker }: CutBroker): Channel {
  return broker.registry.topic(TOPIC).channel(CHANNEL);
}

const everything = () => true;
const entries = ({ path }: UnsyncedChange) => path.endsWith(".msg");

/** Publishes messages, and lets them be synced and delivered. */
async function deliver(server: CutBroker, bodies: string[]): Promise<MemoryConsumer> {
  for (const body of bodies) expect(await server.publish(TOPIC, body)).toBe("OK");
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  const channel = channelOf(server);
  const consumer = new MemoryConsumer(1, channel, 600_000);
  consumer.readyCount = 1000;
  channel.addConsumer(consumer);
  channel.markDirty();
  await server.pass(10);
  expect(consumer.deliveries.map(({ body }) => body)).toEqual(bodies);
  return consumer;
}

/** Cuts the power, which leaves the metadata store as it is. @returns what the channel will get then */
function owedAfter(server: CutBroker, loses: (change: UnsyncedChange) => boolean): string[] {
  const after = server.restart(server.disk.afterLosing(loses));
  const bodies = [...owed(after.broker, TOPIC, CHANNEL)].sort();
  after.abandon();
  return bodies;
}

test("a message that was requeued with a delay survives a power cut that takes its entry and leaves the cursor", async () => {
  const server = start();
  const consumer = await deliver(server, ["old", "older"]);
  channelOf(server).partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  expect(channelOf(server).partitions[0].floor).toBe(1);
  expect(owedAfter(server, everything)).toEqual(["old", "older"]);
});

test("a straggler that was moved to the deferred store survives a power cut that takes its entry and leaves the cursor", async () => {
  const server = start();
  await deliver(server, ["straggler"]);
  channelOf(server).partitions[0].deferrals.moveStragglers();
  await server.pass(SAVED_MS);
  expect(channelOf(server).partitions[0].floor).toBe(1);
  expect(owedAfter(server, everything)).toEqual(["straggler"]);
});

test("a waiting message that an operator deferred survives a power cut that takes its entry and leaves the cursor", async () => {
  const server = start();
  for (const body of ["first", "second"]) await server.publish(TOPIC, body);
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  const { broker } = server;
  const requeued = broker.messageControl.requeue(channelOf(server).partitions[0], 1, LONG_MS);
  await server.pass(SAVED_MS);
  await requeued;
  expect(owedAfter(server, everything)).toEqual(["first", "second"]);
});

test("segments that only a moved message needs stay until its entry is synced", async () => {
  const server = start();
  const bodies = Array.from({ length: 20 }, (_, at) => `message ${at} ${"x".repeat(50)}`);
  const consumer = await deliver(server, bodies);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  for (let sequence = 1; sequence < 15; sequence++) channel.partitions[0].finish(consumer, sequence);
  await server.pass(SAVED_MS);
  expect(channel.partitions[0].floor).toBe(15);
  expect(owedAfter(server, entries)).toContain(bodies[0] as string);
});

test("a message whose entry a kill left unsynced survives a power cut in the next run", async () => {
  const server = start();
  const consumer = await deliver(server, ["old"]);
  channelOf(server).partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  const killed = server.kill();
  const other = await deliver1(killed, "new");
  channelOf(killed).partitions[0].finish(other, 1);
  await killed.pass(SAVED_MS);
  // What was finished since the last sync may come again.
  expect(owedAfter(killed, entries)).toContain("old");
});

/** Publishes a message and has it delivered at once. */
async function deliver1(server: CutBroker, body: string): Promise<MemoryConsumer> {
  const channel = channelOf(server);
  const consumer = new MemoryConsumer(2, channel, 600_000);
  channel.addConsumer(consumer);
  expect(await server.publish(TOPIC, body)).toBe("OK");
  await server.pass(10);
  expect(consumer.deliveries.map((one) => one.body)).toEqual([body]);
  return consumer;
}

test("what was finished before the last sync stays finished, however often messages move", async () => {
  const server = start();
  const bodies = ["0", "1", "2", "3", "4", "5"];
  const consumer = await deliver(server, bodies);
  const channel = channelOf(server);
  const { syncedProgress } = server.broker.metadata;
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  channel.partitions[0].finish(consumer, 1);
  await server.pass(SYNC_TIMEOUT_MS - SAVED_MS);
  // These are saved, and then a sync begins that covers them.
  channel.partitions[0].requeue(consumer, 2, LONG_MS);
  channel.partitions[0].finish(consumer, 3);
  await server.pass(SAVED_MS - 100);
  expect(syncedProgress.floorOf(channel.partitions[0].id)).toBe(0);
  const { checkpointer } = server.broker;
  checkpointer.syncBegins();
  channel.partitions[0].requeue(consumer, 4, LONG_MS);
  await server.pass(50);
  checkpointer.syncEnded(true);
  expect(syncedProgress.floorOf(channel.partitions[0].id)).toBe(4);
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  expect(syncedProgress.floorOf(channel.partitions[0].id)).toBeUndefined();
  expect(owedAfter(server, everything)).toEqual(["0", "2", "4", "5"]);
});

test("a channel that was emptied or moved after a message had left it stays so in a power cut", async () => {
  const server = start();
  const consumer = await deliver(server, ["0", "1", "2", "3"]);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  channel.partitions[0].seek(2);
  expect(owedAfter(server, everything)).toEqual(["2", "3"]);
});

test("a topic that could not be deleted keeps its messages in a power cut", async () => {
  const server = start("fsync");
  channelOf(server);
  expect(await server.publish(TOPIC, "1")).toBe("OK");
  const { metadata, registry } = server.broker;
  using _ = spyOn(metadata, "removeTopic").mockImplementationOnce(() => {
    throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
  });
  expect(() => registry.deleteTopic(TOPIC)).toThrow("NOT_STORED");
  expect(await server.publish(TOPIC, "2")).toBe("OK");
  expect(owedAfter(server, everything)).toEqual(["1", "2"]);
});

test("a channel that was moved while a sync was under way stays so in a power cut, and loses nothing", async () => {
  const server = start();
  const consumer = await deliver(server, ["0", "1", "2", "3"]);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  const { checkpointer, metadata } = server.broker;
  expect(metadata.syncedProgress.floorOf(channel.partitions[0].id)).toBe(0);
  for (const sequence of [1, 2]) channel.partitions[0].finish(consumer, sequence);
  await server.pass(SAVED_MS);
  checkpointer.syncBegins();
  channel.partitions[0].seek(2);
  await server.pass(10);
  channel.partitions[0].requeue(consumer, 2, LONG_MS);
  await server.pass(SAVED_MS);
  checkpointer.syncEnded(true);
  expect(owedAfter(server, everything)).toEqual(["2", "3"]);
});

test("an emptied channel gets no message again that had left it", async () => {
  const server = start();
  const consumer = await deliver(server, ["0", "1"]);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  channel.empty();
  expect(owedAfter(server, everything)).toEqual([]);
});

test("with fsync a message leaves its channel only when its entry is synced, and nothing is kept back for it", async () => {
  const server = start("fsync");
  const consumer = await deliver(server, ["0", "1"]);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  channel.partitions[0].finish(consumer, 1);
  await server.pass(SAVED_MS);
  expect(channel.partitions[0].floor).toBe(2);
  expect(server.broker.metadata.syncedProgress.floorOf(channel.partitions[0].id)).toBeUndefined();
  expect(owedAfter(server, everything)).toEqual(["0"]);
});

test("a message that is requeued again survives a power cut that takes the new entry and leaves the record that the old one is done", async () => {
  const server = start();
  const consumer = await deliver(server, ["old"]);
  const channel = channelOf(server);
  channel.partitions[0].requeue(consumer, 0, 3000);
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  expect(consumer.deliveries.length).toBe(2);
  channel.partitions[0].requeue(consumer, 0, LONG_MS);
  await server.pass(SAVED_MS);
  expect(owedAfter(server, entries)).toEqual(["old"]);
});

test("what a kill left of a message that was requeued again says that it is finished, and after a power cut that it may not be", async () => {
  const server = start();
  const consumer = await deliver(server, ["old", "other"]);
  const channel = channelOf(server);
  for (const sequence of [0, 1]) channel.partitions[0].requeue(consumer, sequence, 3000);
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  for (const sequence of [0, 1]) channel.partitions[0].requeue(consumer, sequence, 3000);
  await server.pass(4000, 50);
  expect(consumer.deliveries.length).toBe(6);
  channel.partitions[0].finish(consumer, 0);
  await server.pass(SAVED_MS);
  const killed = server.kill();
  expect([...owed(killed.broker, TOPIC, CHANNEL)]).toEqual(["other"]);
  await killed.pass(SAVED_MS);
  const again = killed.kill();
  expect([...owed(again.broker, TOPIC, CHANNEL)]).toEqual(["other"]);
  expect(owedAfter(again, entries)).toContain("other");
});

test("what joined the log and was finished before a kill does not come again, and is certain once it is synced", async () => {
  const server = start();
  for (const body of ["first", "second"]) await server.publish(TOPIC, body, { deferMs: 1000 });
  const channel = channelOf(server);
  const consumer = new MemoryConsumer(1, channel, 600_000);
  channel.addConsumer(consumer);
  await server.pass(2000, 50);
  expect(consumer.deliveries.length).toBe(2);
  channel.partitions[0].finish(consumer, 0);
  await server.pass(SAVED_MS);
  const killed = server.kill();
  expect([...owed(killed.broker, TOPIC, CHANNEL)]).toEqual(["second"]);
  await killed.pass(2 * SYNC_TIMEOUT_MS, 100);
  expect(owedAfter(killed, everything)).toEqual(["second"]);
});

test("a deferred publish that has fallen due survives a power cut that takes the log's new record and leaves the record that it joined", async () => {
  const server = start();
  expect(await server.publish(TOPIC, "deferred", { deferMs: 3 * SYNC_TIMEOUT_MS })).toBe("OK");
  const [{ log }] = server.broker.registry.topic(TOPIC).partitions;
  while (log.committedNext === 0) await server.pass(2);
  await server.pass(50);
  expect(owedAfter(server, ({ path }) => /\.(log|idx)$/.test(path))).toEqual(["deferred"]);
});

/** Publishes messages that are due much later, and waits until their bucket was seen to move to finer ones `count` times. */
async function move(server: CutBroker, bodies: string[], count: number): Promise<void> {
  for (const body of bodies) expect(await server.publish(TOPIC, body, { deferMs: MOVED_MS })).toBe("OK");
  await server.pass(2 * SYNC_TIMEOUT_MS, 100);
  const { buckets } = server.broker.deferred as unknown as { buckets: Iterable<Bucket> };
  const wide = [...buckets].find(({ widthMs }) => widthMs > 1000) as Bucket;
  for (let moved = 0, last = 0; moved < count; ) {
    await server.pass(20);
    if (wide.movedTo === last) continue;
    last = wide.movedTo;
    moved++;
  }
}

test("a deferred publish that moves to a finer bucket survives a power cut that takes its new entry and leaves the record that it moved", async () => {
  const server = start();
  await move(server, ["deferred"], 1);
  await server.pass(50);
  expect(owedAfter(server, entries)).toEqual(["deferred"]);
});

test.each([
  ["a power cut that takes nothing", "write", "power"],
  ["a kill", "write", "kill"],
  ["a kill", "fsync", "kill"],
] as const)("deferred publishes that move in several pieces are there once after %s, with %s", async (_, durability, end) => {
  const server = start(durability);
  // A piece begins with 512 KiB.
  const bodies = Array.from({ length: 5 }, (_body, at) => `${at}${"x".repeat(300_000)}`);
  await move(server, bodies, 2);
  const after = end === "kill" ? server.kill() : server.restart(server.disk.afterLosing(() => false));
  expect([...owed(after.broker, TOPIC, CHANNEL)].sort()).toEqual(bodies);
  expect(after.broker.registry.topic(TOPIC).partitions[0].deferredPublishes.count).toBe(bodies.length);
  after.abandon();
});
