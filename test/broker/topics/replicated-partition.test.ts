import { afterEach, expect, test } from "bun:test";
import { truncateSync } from "node:fs";
import type { Environment } from "../../../src/broker/broker.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { cutLog } from "../../../src/broker/storage/log/log-cut.ts";
import { recordAt } from "../../../src/broker/storage/log/records.ts";
import { ReplicatedPartition } from "../../../src/broker/topics/replicated-partition.ts";
import type { TopicPartition } from "../../../src/broker/topics/topic-partition.ts";
import { BODY_OFFSET } from "../../../src/frame/frame.ts";
import { InProcess, messages, numbers } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

const NOT_LEADER = new Error("not the leader");

let timed: TimedBroker;
afterEach(() => timed?.end());

/** A broker with a replicated partition of the topic "t", and a channel with a consumer. */
function start(
  options: Partial<BrokerOptions> = {},
  environment: Environment = {},
): { partition: TopicPartition; replica: ReplicatedPartition; consumer: Collector } {
  timed = new TimedBroker(options, environment);
  const [partition] = timed.topic.partitions as [TopicPartition];
  const replica = new ReplicatedPartition(partition, timed.broker);
  partition.replicate(replica, 0);
  const consumer = new Collector();
  timed.topic.channel("c").addConsumer(consumer);
  return { partition, replica, consumer };
}

/** Publishes, and notes how it ends. */
function publish(outcomes: string[], body: string, key = ""): void {
  const name = key === "" ? body : `${body} (${key})`;
  timed.broker.publishing.publish(timed.topic.nextPartition(), key, Buffer.from(body), 0).then(
    () => outcomes.push(name),
    (error: Error) => outcomes.push(`${name}: ${error.message}`),
  );
  timed.clock.endTurn();
}

/** Ends the turn, and lets promises settle. */
async function turn(): Promise<void> {
  timed.clock.endTurn();
  for (let i = 0; i < 5; i++) await Promise.resolve();
}

function bodiesOf({ log }: TopicPartition): string[] {
  const bodies: string[] = [];
  for (let sequence = log.startSequence; sequence < log.committedNext; sequence++) {
    const record = recordAt(log, sequence);
    bodies.push(record === undefined ? "" : record.buffer.toString("latin1", record.from + BODY_OFFSET, record.to));
  }
  return bodies;
}

test("a message is acknowledged and delivered once the replicas have it, and not before", async () => {
  const { partition, replica, consumer } = start();
  const outcomes: string[] = [];
  for (const body of numbers(4)) publish(outcomes, body);
  await turn();
  expect([outcomes, consumer.bodies, partition.log.committedNext, partition.released]).toEqual([[], [], 4, 0]);
  replica.release(3);
  await turn();
  expect([outcomes, consumer.bodies, partition.released]).toEqual([["0", "1", "2"], ["0", "1", "2"], 3]);
  expect(partition.releasedPosition).toBe(partition.log.locate(3));
  replica.release(4);
  await turn();
  expect([outcomes, consumer.bodies]).toEqual([numbers(4), numbers(4)]);
  expect(partition.releasedPosition).toBe(partition.log.committedEnd);
  // A new leader may know of less, but what is released stays that.
  replica.release(3);
  expect([partition.released, partition.releasable]).toEqual([4, 4]);
});

test("what replicas had before it was committed here needs no wait", async () => {
  const { replica, consumer } = start();
  replica.release(10);
  const outcomes: string[] = [];
  publish(outcomes, "a");
  await turn();
  expect([outcomes, consumer.bodies]).toEqual([["a"], ["a"]]);
});

test("emptying drops only what replicas have", async () => {
  const { partition, replica } = start();
  timed.topic.pause();
  const outcomes: string[] = [];
  for (const body of numbers(5)) publish(outcomes, body);
  replica.release(2);
  timed.topic.empty();
  expect([partition.released, timed.topic.depth]).toEqual([2, 3]);
  expect(timed.topic.channel("c").depth).toBe(0);
});

test("refused publishes fail at once and for good, and later ones until the partition accepts publishes again", async () => {
  const { partition, replica, consumer } = start();
  const outcomes: string[] = [];
  publish(outcomes, "a");
  publish(outcomes, "b");
  replica.release(1);
  replica.refuse(NOT_LEADER);
  // Other messages may take these sequences.
  replica.release(5);
  await turn();
  expect(outcomes).toEqual(["a", "b: not the leader"]);
  publish(outcomes, "c");
  await turn();
  expect(outcomes.slice(2)).toEqual(["c: not the leader"]);
  expect(partition.log.next).toBe(2);
  replica.accept();
  publish(outcomes, "d");
  await turn();
  expect(outcomes.slice(3)).toEqual(["d"]);
  expect(consumer.bodies).toEqual(["a", "b", "d"]);
});

test("a truncated partition has lost the messages, their keys and what channels knew of them", async () => {
  const { partition, replica, consumer } = start();
  const outcomes: string[] = [];
  publish(outcomes, "a", "k1");
  publish(outcomes, "b", "k2");
  publish(outcomes, "c", "k3");
  replica.release(1);
  await turn();
  expect(() => replica.truncateTo(1)).toThrow("accepts publishes");
  replica.refuse(NOT_LEADER);
  expect(() => replica.truncateTo(0)).toThrow(RangeError);
  expect(() => replica.truncateTo(4)).toThrow(RangeError);
  // The channel was to begin behind messages that were not released.
  timed.topic.channel("c").partIn(partition).backlog.skip(1, 3);
  replica.truncateTo(1);
  expect([bodiesOf(partition), partition.releasable]).toEqual([["a"], 1]);
  replica.accept();
  for (const [body, key] of [
    ["a", "k1"],
    ["b", "k2"],
    ["d", "k4"],
  ] as const)
    publish(outcomes, body, key);
  replica.release(3);
  await turn();
  expect(outcomes).toEqual(["a (k1)", "b (k2): not the leader", "c (k3): not the leader", "a (k1)", "b (k2)", "d (k4)"]);
  expect(bodiesOf(partition)).toEqual(["a", "b", "d"]);
  expect(consumer.bodies).toEqual(["a", "b", "d"]);
  timed.kill();
  // The void keys are void after a start as well: k3 is new, k2 was given again.
  for (const key of ["k2", "k3"]) publish(outcomes, key, key);
  await turn();
  expect(bodiesOf(timed.topic.partitions[0] as TopicPartition)).toEqual(["a", "b", "d", "k3"]);
});

test("where no channel is, what was released before is truncated too if the leader has lost it", async () => {
  const { partition, replica } = start();
  const outcomes: string[] = [];
  for (const body of ["a", "b", "c"]) publish(outcomes, body);
  replica.release(3);
  await turn();
  replica.leads = false;
  replica.refuse(NOT_LEADER);
  expect(() => replica.truncateTo(1)).toThrow(RangeError);
  timed.broker.channelKeeper.putAway(partition);
  replica.truncateTo(1);
  expect([bodiesOf(partition), partition.released, partition.releasable, partition.depth]).toEqual([["a"], 1, 1, 0]);
  replica.leads = true;
  replica.accept();
  publish(outcomes, "d");
  await turn();
  replica.release(2);
  await turn();
  expect([outcomes, bodiesOf(partition)]).toEqual([
    ["a", "b", "c", "d"],
    ["a", "d"],
  ]);
});

test("publishes of the turn in which the partition is truncated are refused", async () => {
  const { partition, replica } = start();
  const outcomes: string[] = [];
  publish(outcomes, "a");
  timed.broker.publishing.publish(partition, "", Buffer.from("b"), 0).catch((error: Error) => outcomes.push(error.message));
  replica.refuse(NOT_LEADER);
  replica.truncateTo(0);
  await turn();
  expect(outcomes.toSorted()).toEqual(["a: not the leader", "not the leader"]);
  expect([partition.log.next, bodiesOf(partition)]).toEqual([0, []]);
});

test("the store does not say that more was synced than the log has", async () => {
  const { partition, replica } = start();
  const outcomes: string[] = [];
  for (const body of numbers(6)) publish(outcomes, body);
  replica.release(2);
  await new Promise<void>((resolve) => partition.log.files?.sync(() => resolve()));
  timed.broker.checkpointer.saveSynced([partition]);
  expect(timed.broker.metadata.syncedSequences().get(partition.id)).toBe(6);
  replica.refuse(NOT_LEADER);
  replica.truncateTo(4);
  expect(timed.broker.metadata.syncedSequences().get(partition.id)).toBe(4);
  timed.kill();
  expect(timed.topic.partitions[0]?.log.next).toBe(4);
  expect(timed.log.matching(/ERROR/)).toBeEmpty();
});

test("with fsync a sync begins with the commit, though the acknowledgement waits for replicas alone", async () => {
  const { partition, replica } = start({ durability: "fsync" });
  const outcomes: string[] = [];
  publish(outcomes, "a");
  await until("the log is synced", () => partition.log.files?.syncs.syncedSequence === 1);
  await turn();
  expect(outcomes).toEqual([]);
  replica.release(1);
  await turn();
  expect(outcomes).toEqual(["a"]);
});

test("small commits of a replicated partition do not go to the journal", () => {
  const { partition } = start();
  expect(partition.mayJournal).toBe(false);
});

test("a connection's OKs keep their order, whatever the topics of its publishes wait for", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("replicated", "c", 10);
  const [partition] = server.broker.registry.topic("replicated").partitions as [TopicPartition];
  const replica = new ReplicatedPartition(partition, server.broker);
  partition.replicate(replica, 0);
  const client = await server.client();
  client.command("PUB lone", "1");
  expect(await client.response()).toBe("OK");
  let oks = 0;
  client.onFrame = () => oks++;
  client.command("PUB replicated", "2");
  client.command("PUB lone", "3");
  const other = await server.client();
  await other.call("PUB lone", "4");
  // The lone topic has the message, and its OK waits for the one before.
  expect([server.broker.registry.topic("lone").depth, oks]).toEqual([3, 0]);
  replica.release(1);
  expect((await messages(consumer, 1)).map(({ text }) => text)).toEqual(["2"]);
  while (oks < 2) await new Promise(setImmediate);
  expect(oks).toBe(2);
});

test("a connection whose publish is refused gets the error, and no OK for what waits behind it", async () => {
  await using server = InProcess.start();
  const [partition] = server.broker.registry.topic("replicated").partitions as [TopicPartition];
  const replica = new ReplicatedPartition(partition, server.broker);
  partition.replicate(replica, 0);
  const client = await server.client();
  client.command("PUB replicated", "1");
  client.command("PUB lone", "2");
  const other = await server.client();
  await other.call("PUB lone", "3");
  replica.refuse(NOT_LEADER);
  expect((await client.next()).text).toBe("E_PUB_FAILED PUB failed not the leader");
});

test("a start releases no more of a replica than channels had, until it is told what others have", async () => {
  const { partition, replica } = start({}, { isReplicated: true });
  partition.log.files?.beginEpoch(1);
  const outcomes: string[] = [];
  for (const body of numbers(5)) publish(outcomes, body);
  replica.release(2);
  await turn();
  timed.topic.channel("c").empty();
  timed.kill();
  const [again] = timed.topic.partitions as [TopicPartition];
  expect([again.released, again.log.next]).toEqual([2, 5]);
  const copy = new ReplicatedPartition(again, timed.broker);
  again.replicate(copy, again.releasable);
  copy.refuse(NOT_LEADER);
  expect(() => copy.truncateTo(1)).toThrow(RangeError);
  copy.truncateTo(3);
  copy.release(3);
  const consumer = new Collector();
  timed.topic.channel("c").addConsumer(consumer);
  timed.topic.channel("c").markDirty();
  timed.clock.advance(10);
  expect(consumer.bodies).toEqual(["2"]);
  // A broker that is alone takes all for its own.
  timed.kill({});
  expect(timed.topic.partitions[0]?.released).toBe(3);
});

test("a replica that has lost its log's end ends there, and its channels go on there", async () => {
  const { partition, replica } = start({}, { isReplicated: true });
  partition.log.files?.beginEpoch(1);
  const outcomes: string[] = [];
  for (const body of numbers(5)) publish(outcomes, body);
  replica.release(5);
  timed.topic.channel("c").empty();
  await timed.restart((directory) => {
    const { number, name, log } = partition;
    const options = { directory: log.files?.names.directory.replace(/^.*bunsq-data/, `${directory}/bunsq-data`) ?? "" };
    cutLog({ disk: systemDisk, topicNumber: number, topicName: name, logger: timed.log, onCorrupt: () => {}, ...options }, 2);
    truncateSync(`${options.directory}/0000000000000000.log`, 2 * (BODY_OFFSET + 1));
  });
  const [again] = timed.topic.partitions as [TopicPartition];
  expect([again.log.next, again.released, timed.topic.channel("c").partIn(again).floor]).toEqual([2, 2, 2]);
  expect(timed.log.matching(/ids are not used again/)).toBeEmpty();
});
