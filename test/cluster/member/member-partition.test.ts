import { afterEach, expect, test } from "bun:test";
import { RateLimitedLog } from "../../../src/base/rate-limited-log.ts";
import { NO_BALLAST } from "../../../src/broker/storage/disk/ballast.ts";
import { MemberPartition } from "../../../src/cluster/member/member-partition.ts";
import { ReplicaMemories } from "../../../src/cluster/member/replica-memories.ts";
import { StateStore } from "../../../src/cluster/replication/state/state-store.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { TimedBroker } from "../../support/timed-broker.ts";

const ends: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A broker with a topic that becomes a replica, whose metadata store fails when it is told to. */
function open() {
  const timed = new TimedBroker();
  const folder = temporaryFolder();
  const { broker, clock, log } = timed;
  const states = new StateStore(folder, clock, NO_BALLAST);
  ends.push(async () => {
    await timed.end();
    states.close();
    removeFolder(folder);
  });
  const errors = new RateLimitedLog(log, () => clock.steadyMs());
  return { timed, broker, clock, parts: { broker, uid: "u", clock, errors, states }, errors };
}

test("a leader that cannot take up its channels serves nothing, and tries again", async () => {
  const { timed, broker, clock, parts, errors } = open();
  const { topic } = timed;
  topic.channel("c");
  await timed.publish("1");
  const [partition] = topic.partitions;
  const memories = new ReplicaMemories(broker.metadata, clock, errors);
  const memory = memories.of({ topicId: partition.id, uid: "t", epoch: 1, isWhole: true });
  let isFailing = true;
  const channelKeeper: typeof broker.channelKeeper = Object.create(broker.channelKeeper, {
    takeUp: {
      value: (...given: Parameters<typeof broker.channelKeeper.takeUp>) => {
        if (isFailing) throw new Error("disk I/O error");
        broker.channelKeeper.takeUp(...given);
      },
    },
  });
  const member = new MemberPartition(
    { ...parts, broker: Object.create(broker, { channelKeeper: { value: channelKeeper } }) },
    partition,
    memory,
    () => {},
  );
  member.onRole({ name: "leader", epoch: 2 });
  expect([member.replicated.leads, partition.serving, topic.channels.size]).toEqual([false, false, 0]);
  expect(timed.log.lines.join()).toContain("its channels: disk I/O error");
  isFailing = false;
  clock.advance(1_000);
  expect([member.replicated.leads, partition.serving, [...topic.channels.keys()]]).toEqual([true, true, ["c"]]);
  expect(topic.channel("c").partitions[0]?.floor).toBe(0);
});

test("what could not be led is not tried again once another broker leads", () => {
  const { timed, broker, clock, parts, errors } = open();
  const [partition] = timed.topic.partitions;
  const memory = new ReplicaMemories(broker.metadata, clock, errors).of({ topicId: partition.id, uid: "t", epoch: 1, isWhole: true });
  const channelKeeper = Object.create(broker.channelKeeper, { canTakeUp: { value: () => false } });
  const failing = { ...parts, broker: Object.create(broker, { channelKeeper: { value: channelKeeper } }) };
  const member = new MemberPartition(failing, partition, memory, () => {});
  const timers = () => (Reflect.get(clock, "calls") as unknown[]).length;
  const before = timers();
  member.onRole({ name: "leader", epoch: 2 });
  expect(timers()).toBe(before + 1);
  member.onRole({ name: "out", epoch: 2 });
  expect(timers()).toBe(before);
});

test("publishes that wait for what does not come are refused, as it is not known whether they will be there, until it goes on", async () => {
  const { timed, broker, clock, parts, errors } = open();
  const { topic } = timed;
  const [partition] = topic.partitions;
  const memories = new ReplicaMemories(broker.metadata, clock, errors);
  const memory = memories.of({ topicId: partition.id, uid: "t", epoch: 1, isWhole: true });
  const member = new MemberPartition(parts, partition, memory, () => {});
  member.onRole({ name: "leader", epoch: 2 });
  const first = timed.publish("1").catch((error: Error) => error.message);
  clock.advance(1_000);
  member.onStall("a replica does not answer");
  clock.advance(0);
  expect(await first).toBe("a replica does not answer; whether the message is delivered later is not known");
  member.onStall(undefined);
  const second = timed.publish("2");
  clock.advance(0);
  member.onHighWatermark(partition.log.committedNext);
  clock.advance(0);
  await second;
  expect(partition.releasable).toBe(2);
});
