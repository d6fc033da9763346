import { afterEach, expect, test } from "bun:test";
import { PendingAcks } from "../../../src/broker/tcp/pending-acks.ts";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import { ReplicatedPartition } from "../../../src/broker/topics/replicated-partition.ts";
import type { StateValues } from "../../../src/broker/topics/state-values.ts";
import type { TopicPartition } from "../../../src/broker/topics/topic-partition.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

const NOT_LEADER = new Error("another broker leads");

/** What all replicas have. */
class Shared implements StateValues {
  readonly values = new Map<string, Buffer>();
  number = 0;
  /** Whether replicas take changes. */
  isStuck = false;
  private reached = 0;

  get mark(): number {
    if (!this.isStuck) this.reached = this.number;
    return this.reached;
  }

  set(key: string, value: Buffer | undefined): void {
    this.number++;
    if (value === undefined) this.values.delete(key);
    else this.values.set(key, value);
  }

  get(key: string): Buffer | undefined {
    return this.values.get(key);
  }

  keys(prefix: string): string[] {
    return [...this.values.keys()].filter((key) => key.startsWith(prefix)).sort();
  }
}

/** A broker that leads the partition, or follows. */
class Side extends TimedBroker {
  replica!: ReplicatedPartition;

  constructor(readonly shared: Shared) {
    super();
    this.follow();
  }

  get partition(): TopicPartition {
    return this.topic.partitions[0] as TopicPartition;
  }

  follow(): void {
    const { partition, broker } = this;
    if (partition.replicated === undefined) {
      this.replica = new ReplicatedPartition(partition, broker);
      partition.replicate(this.replica, 0);
    }
    this.replica.leads = false;
    this.replica.refuse(NOT_LEADER);
    broker.channelKeeper.putAway(partition);
    this.topic.servingChanged();
  }

  lead(): void {
    this.replica.leads = true;
    this.replica.accept();
    this.topic.servingChanged();
    this.broker.channelKeeper.takeUp(this.partition, this.shared, []);
    this.release();
  }

  /** Replicas have everything. */
  release(): void {
    this.clock.endTurn();
    this.replica.release(this.partition.log.committedNext);
    this.clock.endTurn();
  }

  /** Publishes, and waits until replicas have it. */
  async put(body: string, delayMs = 0): Promise<void> {
    const published = this.broker.publishing.publish(this.topic.nextPartition(), "", Buffer.from(body), delayMs);
    this.release();
    await published;
  }

  /** Copies what another one has. */
  copy(other: Side): void {
    for (;;) {
      const run = other.partition.log.commitsFrom(this.partition.log.committedNext, 1 << 20);
      if (run === undefined || run.isGap) return;
      this.partition.log.appendCommits(run);
    }
  }

  /** Lets time pass until everything is saved. */
  settle(ms = 200): void {
    for (let passed = 0; passed < ms; passed += 10) {
      this.clock.advance(10);
      this.release();
    }
  }

  consume(channel: Channel, ready = 1_000): Collector {
    const collector = new Collector(ready);
    channel.addConsumer(collector);
    channel.markDirty();
    this.settle();
    return collector;
  }
}

const sides: Side[] = [];
afterEach(async () => {
  for (const side of sides.splice(0)) await side.end();
});

function pair(): { one: Side; other: Side; shared: Shared } {
  const shared = new Shared();
  const [one, other] = [new Side(shared), new Side(shared)];
  sides.push(one, other);
  one.lead();
  return { one, other, shared };
}

/** The lead goes from one to the other, which has all of its messages. */
function change(from: Side, to: Side): void {
  to.copy(from);
  from.follow();
  // Time passes for both.
  to.clock.advance(Math.max(0, from.nowMs - to.nowMs));
  to.lead();
}

test("channels go on where they were, with what is finished, paused and set", async () => {
  const { one, other } = pair();
  const channel = one.topic.channel("c");
  one.topic.channel("paused").pause();
  one.topic.channel("gone");
  one.topic.channel("plain");
  channel.changeSettings({ order: "key" });
  for (let i = 0; i < 10; i++) await one.put(`${i}`);
  const collector = one.consume(one.topic.channel("plain"));
  const [part] = one.topic.channel("plain").partitions;
  for (const sequence of [0, 1, 2, 5, 6]) part.finish(collector, sequence);
  one.topic.deleteChannel("gone");
  one.settle();
  change(one, other);
  expect([...other.topic.channels.keys()].sort()).toEqual(["c", "paused", "plain"]);
  expect([other.topic.channel("paused").paused, other.topic.channel("c").paused]).toEqual([true, false]);
  expect(other.topic.channel("c").settings.order).toBe("key");
  expect(other.consume(other.topic.channel("plain")).received).toEqual([3, 4, 7, 8, 9].map((body) => ({ body: `${body}`, attempts: 2 })));
  expect(one.topic.channels.size).toBe(0);
});

test("deferred publishes and requeues are delivered once, at their time, by whoever leads then", async () => {
  const { one, other, shared } = pair();
  one.topic.channel("c");
  await one.put("now");
  await one.put("soon", 3_000);
  await one.put("late", 60_000);
  const collector = one.consume(one.topic.channel("c"));
  expect(collector.bodies).toEqual(["now"]);
  one.topic.channel("c").partitions[0].requeue(collector, 0, 30_000);
  one.settle();
  expect(shared.keys("deferred/").length).toBe(3);
  change(one, other);
  expect([other.topic.channel("c").deferredCount, other.topic.channel("c").depth]).toEqual([3, 0]);
  const first = other.consume(other.topic.channel("c"));
  other.settle(5_000);
  expect(first.bodies).toEqual(["soon"]);
  expect(shared.keys("deferred/").length).toBe(2);
  other.topic.channel("c").partitions[0].finish(first, 1);
  other.topic.channel("c").removeConsumer(first);
  other.settle();
  // Then back: what the first one has of its own is void.
  change(other, one);
  one.settle(100_000);
  const last = one.consume(one.topic.channel("c"));
  expect(last.bodies.sort()).toEqual(["late", "now"]);
  for (const sequence of [0, 2]) one.topic.channel("c").partitions[0].finish(last, sequence);
  one.settle(2_000);
  expect([shared.keys("deferred/"), shared.keys("joining/")]).toEqual([[], []]);
  expect([one.topic.channel("c").deferredCount, one.topic.channel("c").depth, other.topic.channels.size]).toEqual([0, 0, 0]);
});

test("a follower delivers nothing that is deferred", async () => {
  const { one, other } = pair();
  one.topic.channel("c");
  await one.put("a", 1_000);
  change(one, other);
  const before = one.partition.log.committedNext;
  one.clock.advance(10_000);
  expect(one.partition.log.committedNext).toBe(before);
});

test("a deferred publish is acknowledged once replicas have it", async () => {
  const { one, shared } = pair();
  one.topic.channel("c");
  one.settle();
  shared.isStuck = true;
  let isDone = false;
  const published = one.broker.publishing.publish(one.partition, "", Buffer.from("a"), 5_000).then(() => {
    isDone = true;
  });
  one.settle();
  await Promise.resolve();
  expect(isDone).toBe(false);
  shared.isStuck = false;
  one.broker.turn.schedule();
  one.settle();
  await published;
});

test("a publish whose leader goes before anybody has its acknowledgement is refused", async () => {
  const { one, shared } = pair();
  shared.isStuck = true;
  const published = one.broker.publishing.publish(one.partition, "", Buffer.from("a"), 5_000);
  one.settle();
  one.follow();
  one.clock.endTurn();
  await expect(published).rejects.toThrow("another broker leads");
});

test.each([0, 5_000])("so is one with a delay of %d ms that a connection waits for", (delayMs) => {
  const { one, shared } = pair();
  const answers: string[] = [];
  const client = { closed: false, onAcksSent() {}, onPublishFailed() {}, respond() {}, closeGracefully() {} };
  const outbox = { write: (frame: Buffer, from: number, to: number) => answers.push(frame.toString("latin1", from, to)) };
  // The outbox of a connection does more than what acknowledgements need.
  const acks = new PendingAcks(client, outbox as never, one.broker);
  shared.isStuck = true;
  acks.add(one.broker.publishing.defer(one.partition, "", Buffer.from("a"), 0, 1, delayMs));
  one.clock.endTurn();
  expect(answers).toEqual([]);
  one.follow();
  one.clock.endTurn();
  expect(answers).toEqual([expect.stringContaining(NOT_LEADER.message)]);
});

test("a deferred publish whose leader goes in the turn in which it came is refused: the next leader does not have it", async () => {
  const { one, shared } = pair();
  const published = one.broker.publishing.publish(one.topic.nextPartition(), "", Buffer.from("a"), 1_000);
  one.follow();
  one.clock.endTurn();
  await expect(published).rejects.toThrow(NOT_LEADER.message);
  expect(shared.keys("deferred/")).toEqual([]);
});

test("a channel that is made later does not get deferred publishes from before, and a topic without channels keeps its messages", async () => {
  const { one, other } = pair();
  await one.put("kept");
  await one.put("held", 20_000);
  change(one, other);
  expect([other.topic.depth, other.partition.released]).toEqual([2, 0]);
  other.topic.channel("first");
  await other.put("both", 20_000);
  other.topic.channel("second");
  await other.put("all", 20_000);
  change(other, one);
  one.settle(30_000);
  expect(one.consume(one.topic.channel("first")).bodies.sort()).toEqual(["all", "both", "held", "kept"]);
  expect(one.consume(one.topic.channel("second")).bodies.sort()).toEqual(["all"]);
});

test("a straggler that left the window is in one place after a change of leader", async () => {
  const { one, other } = pair();
  const collector = one.consume(one.topic.channel("c"), 10_000);
  for (let i = 0; i < 3_000; i++) {
    void one.put(`${i}`);
    if (i % 100 === 0) one.settle(10);
  }
  one.settle();
  const [part] = one.topic.channel("c").partitions;
  for (let sequence = 1; sequence < 3_000; sequence++) part.finish(collector, sequence);
  one.settle(1_000);
  change(one, other);
  expect(other.consume(other.topic.channel("c")).bodies).toEqual(["0"]);
});

test("a partition that a broker had alone is shared with its channels and deferred messages", async () => {
  const shared = new Shared();
  const alone = new TimedBroker();
  alone.topic.channel("c");
  alone.topic.channel("b").pause();
  await alone.publish("a");
  await alone.publish("b", 20_000);
  const { broker, topic } = alone;
  const [partition] = topic.partitions as [TopicPartition];
  const replica = new ReplicatedPartition(partition, broker);
  partition.replicate(replica, partition.log.committedNext);
  replica.leads = false;
  replica.refuse(NOT_LEADER);
  broker.channelKeeper.putAway(partition);
  replica.leads = true;
  replica.accept();
  topic.servingChanged();
  broker.channelKeeper.takeUp(partition, shared, []);
  expect(shared.keys("")).toEqual(["channel/b", "channel/c", "deferred/0000000000000001", "topic"]);
  expect([topic.channel("c").deferredCount, topic.channel("c").depth, topic.channel("b").paused]).toEqual([1, 1, true]);
  await alone.end();
});

test("in a channel with an order, the next message is delivered once replicas know that the one before is finished", async () => {
  const { one, other, shared } = pair();
  const channel = one.topic.channel("c");
  channel.changeSettings({ order: "partition" });
  for (let i = 0; i < 4; i++) await one.put(`${i}`);
  const collector = one.consume(channel);
  const [part] = channel.partitions;
  expect(collector.bodies).toEqual(["0"]);
  part.finish(collector, 0);
  one.settle();
  await Promise.resolve();
  one.settle();
  expect(collector.bodies).toEqual(["0", "1"]);
  // The last change that replicas have.
  expect(shared.mark).toBe(shared.number);
  shared.isStuck = true;
  part.finish(collector, 1);
  one.settle();
  expect(collector.bodies).toEqual(["0", "1"]);
  shared.isStuck = false;
  one.replica.state?.advanced();
  await new Promise(setImmediate);
  one.settle();
  expect(collector.bodies).toEqual(["0", "1", "2"]);
  one.replica.mayDeliverInOrder = () => false;
  part.finish(collector, 2);
  one.settle();
  expect(collector.bodies.length).toBe(3);
  // Only the one in flight comes again.
  change(one, other);
  expect(other.consume(other.topic.channel("c")).received).toEqual([{ body: "3", attempts: 1 }]);
});

test("a channel that is ahead of a log which lost messages goes back, also for the leader after this one", async () => {
  const { one, other, shared } = pair();
  const third = new Side(shared);
  sides.push(third);
  const channel = one.topic.channel("c");
  for (let i = 0; i < 6; i++) await one.put(`${i}`);
  const collector = one.consume(channel);
  const [part] = channel.partitions;
  for (let i = 0; i < 6; i++) part.finish(collector, i);
  one.settle();
  // The other one was the last of the in-sync set, and a power cut has taken half of its log.
  other.copy(one);
  other.replica.truncateTo(3);
  one.follow();
  other.lead();
  for (let i = 0; i < 3; i++) await other.put(`new ${i}`);
  change(other, third);
  expect(third.consume(third.topic.channel("c")).bodies).toEqual(["new 0", "new 1", "new 2"]);
});
