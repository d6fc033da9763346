import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBroker } from "../../../src/broker/broker.ts";
import type { TopicPartition } from "../../../src/broker/topics/topic-partition.ts";
import type { PartitionOrigin } from "../../../src/broker/topics/topic-plan.ts";
import { defaultOptions, MemoryLogger, numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

const ORIGIN: PartitionOrigin = { prefix: 0xabcdef, firstSequence: 500, firstPosition: 12_345 };

const brokers: TimedBroker[] = [];

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.end();
});

function start(origin: PartitionOrigin | undefined, others = 0): { timed: TimedBroker; partition: TopicPartition } {
  const timed = new TimedBroker();
  brokers.push(timed);
  // The number of the folder is another one than on the other broker.
  for (let i = 0; i < others; i++) timed.broker.registry.topic(`other${i}`);
  const origins = origin === undefined ? undefined : new Map([[0, origin]]);
  const topic = timed.broker.registry.topicWith("t", 1, {}, origins);
  return { timed, partition: topic.partitions[0] as TopicPartition };
}

test("a partition begins where the others do, with their prefix, and keeps both", async () => {
  const { timed, partition } = start(ORIGIN, 3);
  expect([partition.log.prefix, partition.log.next, partition.log.end, partition.number]).toEqual([0xabcdef, 500, 12_345, 3]);
  timed.topic.channel("c");
  for (const body of numbers(3)) await timed.publish(body);
  await timed.restart();
  await timed.publish("3");
  timed.kill();
  const [again] = timed.topic.partitions;
  expect([again?.log.prefix, again?.log.startSequence, again?.log.next]).toEqual([0xabcdef, 500, 504]);
  const consumer = new Collector();
  timed.topic.channel("c").addConsumer(consumer);
  timed.topic.channel("c").markDirty();
  timed.clock.advance(10);
  expect(consumer.bodies).toEqual(numbers(4));
  expect(timed.topic.channel("c").partitionOf(0xabcdef).partition).toBe(again as TopicPartition);
});

test("an empty one begins there after a kill, too", () => {
  const { timed } = start(ORIGIN, 1);
  timed.kill();
  const [again] = timed.topic.partitions;
  expect([again?.log.prefix, again?.log.next, again?.released]).toEqual([0xabcdef, 500, 500]);
});

test("where an index is lost, the records are found by the number in the prefix", async () => {
  const { timed, partition } = start(ORIGIN, 2);
  for (const body of numbers(3)) await timed.publish(body);
  const index = `${partition.log.files?.names.directory}/${(500).toString(16).padStart(16, "0")}.idx`;
  const bytes = readFileSync(index);
  bytes[9]++;
  writeFileSync(index, bytes);
  timed.kill();
  expect(timed.topic.partitions[0]?.log.next).toBe(503);
});

test("brokers that have a partition under other numbers have equal files, from the middle of the log too", async () => {
  const leader = start(undefined, 1);
  for (const body of numbers(4)) await leader.timed.publish(body);
  const from = leader.partition.log;
  from.files?.beginEpoch(1);
  await leader.timed.publish("in epoch 1");
  const middle = { prefix: from.prefix, firstSequence: 4, firstPosition: from.locate(4) };
  const follower = start(middle, 5);
  const to = follower.partition.log;
  to.files?.beginEpoch(1);
  const run = from.commitsFrom(4, 1000);
  if (run === undefined || run.isGap) throw new Error("no commits");
  to.appendCommits(run);
  const name = `${(4).toString(16).padStart(16, "0")}`;
  for (const ending of [".log", ".idx"]) {
    const [one, other] = [from, to].map((log) => readFileSync(`${log.files?.names.directory}/${name}${ending}`));
    expect(one?.equals(other as Buffer)).toBe(true);
  }
});

test("a data path with replicas is not served alone, also where its metadata store and the copy of it are lost", async () => {
  const dataPath = temporaryFolder();
  try {
    const options = defaultOptions({ dataPath });
    const first = openBroker(options, new MemoryLogger(), { isReplicated: true });
    const [partition] = first.registry.topicWith("t", 1, {}, new Map([[0, ORIGIN]])).partitions;
    partition?.log.files?.beginEpoch(1);
    await first.publishing.publish(partition as TopicPartition, "", Buffer.from("0"), 0);
    await first.close();
    for (const name of readdirSync(dataPath, { recursive: true }) as string[])
      if (/catalogue/.test(name)) rmSync(join(dataPath, name), { force: true });
    for (let start = 0; start < 2; start++)
      expect(() => openBroker(options, new MemoryLogger())).toThrow("has partitions of a cluster, which other brokers have as well");
    const again = openBroker(options, new MemoryLogger(), { isReplicated: true });
    expect(again.registry.topics.get("t")?.partitions[0]?.log.files?.epoch).toBe(1);
    await again.close();
  } finally {
    removeFolder(dataPath);
  }
});
