import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Topic } from "../../../src/broker/topics/topic.ts";
import { InProcess, messages, numbers } from "../../support/in-process.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

let timed: TimedBroker;
afterEach(() => timed?.end());

/** Starts a broker whose topic "t" has a number of partitions. */
function start(partitions: number): Topic {
  timed = new TimedBroker();
  return timed.broker.registry.topicWith("t", partitions);
}

async function publish(...bodies: string[]): Promise<void> {
  for (const body of bodies) await timed.publish(body);
}

/** Bodies that a channel has still to get, by partition. */
function depths(topic: Topic): number[] {
  return topic.partitions.map(({ depth }) => depth);
}

test("a topic with several partitions has a row, a folder and a prefix for each, and its first one is named like the topic", async () => {
  const topic = start(3);
  expect(topic.partitions.map(({ name, index }) => [name, index])).toEqual([
    ["t", 0],
    ["t@1", 1],
    ["t@2", 2],
  ]);
  expect(new Set(topic.partitions.map(({ log }) => log.prefix)).size).toBe(3);
  expect(timed.broker.registry.topics.size).toBe(1);
  await timed.restart();
  expect(timed.topic.partitions.map(({ name }) => name)).toEqual(["t", "t@1", "t@2"]);
});

test("publishes go round the partitions, a batch stays together, and a key has its partition", async () => {
  const topic = start(3);
  await publish(...numbers(6));
  expect(depths(topic)).toEqual([2, 2, 2]);
  const batch = Buffer.from("\0\0\0\x02\0\0\0\x011\0\0\0\x012", "latin1");
  const published = timed.broker.publishing.publishBatch(topic.nextPartition(), "", batch);
  timed.clock.endTurn();
  await published;
  expect(depths(topic)).toEqual([4, 2, 2]);
  // Youzan's clients compute the same: murmur3 of "test" is 0xba6bd213.
  expect(topic.partitionOfKey(Buffer.from("test"))?.index).toBe(0xba6bd213 % 3);
  expect(topic.partitionOfKey(Buffer.from("The quick brown fox jumps over the lazy dog"))?.index).toBe(0x2e4ff723 % 3);
});

test("what clients publish goes round the partitions, whichever command they use", async () => {
  await using server = InProcess.start();
  const topic = server.broker.registry.topicWith("t", 4);
  const client = await server.client();
  const batch = "\0\0\0\x02\0\0\0\x011\0\0\0\x012";
  for (const [line, body, count] of [
    ["PUB t", "x", 1],
    ["MPUB t", batch, 2],
    ["DPUB t 0", "x", 1],
  ] as const) {
    const before = depths(topic);
    for (let i = 0; i < 4; i++) expect(await client.call(line, body)).toBe("OK");
    expect(depths(topic)).toEqual(before.map((depth) => depth + count));
  }
});

test("a consumer gets the messages of all partitions, over a restart and a kill", async () => {
  const topic = start(4);
  topic.channel("c");
  await publish(...numbers(8));
  await timed.restart();
  await publish(...numbers(8, 8));
  timed.kill();
  const consumer = new Collector();
  timed.topic.channel("c").addConsumer(consumer);
  timed.topic.channel("c").markDirty();
  timed.clock.advance(10);
  expect(consumer.bodies.map(Number).toSorted((a, b) => a - b)).toEqual(numbers(16).map(Number));
  expect(timed.topic.channel("c")).toMatchObject({ depth: 0, inFlightCount: 16 });
});

test("pausing and emptying a topic or a channel is for all partitions, and outlives a kill", async () => {
  const topic = start(3);
  const channel = topic.channel("c");
  topic.pause();
  await publish(...numbers(6));
  expect([topic.depth, channel.depth]).toEqual([6, 0]);
  timed.kill();
  expect(timed.topic.paused).toBeTrue();
  expect(timed.topic.partitions.every(({ paused }) => paused)).toBeTrue();
  expect(timed.topic.depth).toBe(6);
  timed.topic.empty();
  await publish(...numbers(3));
  timed.topic.unpause();
  expect(timed.topic.channel("c").depth).toBe(3);
  timed.topic.channel("c").pause();
  timed.topic.channel("c").empty();
  await publish(...numbers(3));
  timed.kill();
  expect(timed.topic.channel("c").paused).toBeTrue();
  expect(timed.topic.channel("c").depth).toBe(3);
});

test("a topic is deleted with all partitions, whatever kills the broker, and can be made again with one", async () => {
  const topic = start(3);
  topic.channel("c");
  await publish(...numbers(6));
  timed.broker.registry.deleteTopic("t");
  timed.kill();
  expect(timed.broker.registry.topics.size).toBe(0);
  await publish("new");
  expect(timed.topic.partitions.length).toBe(1);
  await timed.restart();
  expect(timed.topic.partitions.length).toBe(1);
  expect(timed.topic.depth).toBe(1);
});

test("a deletion that got as far as the first partition's folder goes on at the next start", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 3);
  await server.publish("t", ...numbers(6));
  const [first] = server.broker.registry.topic("t").partitions;
  first.log.files?.moveTo(join(server.dataPath, "bunsq-data", "topics", `deleted-${first.id}`));
  await server.restart();
  expect(server.broker.registry.topics.size).toBe(0);
  await server.broker.recycler.folders.done();
  expect(readdirSync(join(server.dataPath, "bunsq-data", "topics"))).toEqual(["catalogue.copy"]);
});

test("a topic gets more partitions: its channels get all of their messages, its settings hold there, and fewer are refused", async () => {
  const topic = start(1);
  const channel = topic.channel("c");
  topic.setRetention({ timeMs: 60_000, bytes: 1000 });
  topic.setDurability("fsync");
  channel.pause();
  await publish("0");
  timed.broker.registry.topicWith("t", 3);
  await publish(...numbers(3, 1));
  expect(channel.depth).toBe(4);
  timed.kill();
  const { partitions } = timed.topic;
  expect(partitions.map(({ retention, durability }) => [retention.bytes, durability])).toEqual(Array(3).fill([1000, "fsync"]));
  expect(timed.topic.channel("c").partitions.map(({ paused, depth }) => [paused, depth])).toEqual([
    [true, 2],
    [true, 1],
    [true, 1],
  ]);
  expect(() => timed.broker.registry.topicWith("t", 2)).toThrow("TOO_FEW_PARTITIONS");
  expect(timed.broker.registry.topicWith("t", 3)).toBe(timed.topic);
});

test("consumers that are there when a topic gets more partitions get their messages", async () => {
  const topic = start(2);
  const channel = topic.channel("c");
  const consumer = new Collector();
  channel.addConsumer(consumer);
  timed.broker.registry.topicWith("t", 5);
  await publish(...numbers(10));
  timed.clock.advance(10);
  expect(consumer.received.length).toBe(10);
});

test("a data path is of the older format until a topic has several partitions", async () => {
  timed = new TimedBroker();
  await publish("0");
  const version = () => timed.broker.metadata.formatVersion;
  expect(version()).toBe(2);
  timed.broker.registry.topicWith("other", 2);
  expect(version()).toBe(3);
  await timed.restart();
  expect(version()).toBe(3);
});

test("deferred publishes go round the partitions, and come when they are due, over a kill", async () => {
  const topic = start(3);
  topic.channel("c");
  for (const body of numbers(6)) await timed.publish(body, 5000);
  expect(topic.partitions.map(({ deferredPublishes }) => deferredPublishes.count)).toEqual([2, 2, 2]);
  timed.kill();
  const channel = timed.topic.channel("c");
  expect(channel.deferredCount).toBe(6);
  const consumer = new Collector();
  channel.addConsumer(consumer);
  timed.clock.advance(6000);
  expect(consumer.bodies.toSorted()).toEqual(numbers(6));
});

test("a publish whose key repeats is not published again, to whichever partition it would go, also after more were added", async () => {
  const topic = start(3);
  const { publishing } = timed.broker;
  const once = async (key: string) => {
    const published = publishing.publish(timed.topic.nextPartition(), key, Buffer.from(key), 0);
    timed.clock.endTurn();
    await published;
    return publishing.appended;
  };
  expect([await once("a"), await once("a"), await once("b"), await once("a")]).toEqual([1, 0, 1, 0]);
  timed.broker.registry.topicWith("t", 4);
  expect([await once("b"), await once("a"), await once("c")]).toEqual([0, 0, 1]);
  expect(topic.messageCount).toBe(3);
});

test("FIN, REQ and TOUCH find a message's partition by its id", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 4);
  const consumer = await server.consumer("t", "c", 100);
  await server.publish("t", ...numbers(40));
  const frames = await messages(consumer, 40);
  expect(frames.map(({ text }) => Number(text)).toSorted((a, b) => a - b)).toEqual(numbers(40).map(Number));
  for (const { id } of frames.slice(1)) {
    consumer.command(`TOUCH ${id}`);
    consumer.command(`FIN ${id}`);
  }
  consumer.command(`REQ ${frames[0].id} 0`);
  const again = await consumer.message();
  expect([again.text, again.attempts]).toEqual([frames[0].text, 2]);
  const channel = server.broker.registry.topic("t").channel("c");
  expect([channel.depth, channel.inFlightCount, channel.finishedCount]).toEqual([0, 1, 39]);
  consumer.command(`FIN ${frames[5].id}`);
  expect((await consumer.next()).text).toStartWith(`E_FIN_FAILED FIN ${frames[5].id} failed`);
});

test("a consumer that takes one message at a time gets all partitions in turn, and several share them evenly", async () => {
  const topic = start(8);
  const channel = topic.channel("c");
  await publish(...numbers(400));
  const consumers = [1, 2, 3, 4].map((id) => new Collector(1, id));
  for (const consumer of consumers) channel.addConsumer(consumer);
  channel.markDirty();
  timed.clock.endTurn();
  const order: number[] = [];
  for (let round = 0; round < 100; round++) {
    for (const consumer of consumers) {
      const last = Number(consumer.bodies.at(-1));
      // The n-th message went to the partition n modulo 8, where it was the message n / 8.
      order.push(last % 8);
      const part = channel.partitions[last % 8];
      expect(part.finish(consumer, part.partition.log.startSequence + Math.floor(last / 8))).toBeUndefined();
      timed.clock.endTurn();
    }
  }
  expect(consumers.map(({ received }) => received.length)).toEqual([100, 100, 100, 100]);
  expect(channel.depth).toBe(0);
  // Each partition has had its turn within any 16 messages, until the first of them is empty.
  for (let at = 0; at + 16 <= 300; at++) expect(new Set(order.slice(at, at + 16)).size).toBe(8);
});

test("a topic comes back with all partitions and all parts of its channels, though the rows of one of them were lost", async () => {
  await using server = InProcess.start();
  const topic = server.broker.registry.topicWith("t", 3);
  topic.channel("c");
  await server.publish("t", ...numbers(6));
  const [, second] = topic.partitions;
  const { id, number, log } = second;
  await server.close();
  expect(existsSync(join(server.dataPath, "bunsq-data", "topics", `0000${number}-t@1`))).toBeTrue();
  server.reopen();
  server.broker.metadata.removeTopic(id, number, log.next);
  await server.close();
  server.reopen();
  const restored = server.broker.registry.topic("t");
  expect(restored.partitions.map(({ name }) => name)).toEqual(["t", "t@1", "t@2"]);
  expect(restored.channel("c").partitions.length).toBe(3);
  expect(restored.depth + restored.channel("c").depth).toBe(6);
});

test("an #ephemeral topic may have several partitions", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t#ephemeral", 3);
  const consumer = await server.consumer("t#ephemeral", "c", 10);
  await server.publish("t#ephemeral", ...numbers(6));
  expect((await messages(consumer, 6)).map(({ text }) => text).toSorted()).toEqual(numbers(6));
});
