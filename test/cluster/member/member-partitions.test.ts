import { afterEach, expect, test } from "bun:test";
import { RateLimitedLog } from "../../../src/base/rate-limited-log.ts";
import { NO_BALLAST } from "../../../src/broker/storage/disk/ballast.ts";
import { MemberPartitions } from "../../../src/cluster/member/member-partitions.ts";
import { Replication } from "../../../src/cluster/replication/replication.ts";
import { StateStore } from "../../../src/cluster/replication/state/state-store.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { SHAPES } from "../../../src/cluster/state/records.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { TimedBroker } from "../../support/timed-broker.ts";
import { SimEtcd } from "../simulator/sim-etcd.ts";
import { SETTINGS } from "../simulator/sim-lookup.ts";
import { SimNode } from "../simulator/sim-node.ts";
import { SimTime } from "../simulator/sim-time.ts";

const KEYS = new ClusterKeys("test");
const [OURS, THEIRS, TOPIC] = ["a".repeat(16), "b".repeat(16), "f".repeat(16)];

const ends: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A broker with a topic of its own, and a record in etcd of a topic with the same name and the same prefix. */
async function open(inSync: readonly string[], known: { stored?: { modRevision: number; value: object } } = {}) {
  const timed = new TimedBroker();
  const folder = temporaryFolder();
  const { broker, clock, log, topic } = timed;
  const time = new SimTime();
  const etcd = new SimEtcd(time, new Random(1));
  const view = new ClusterView(etcd.client(new SimNode("n", time)), KEYS, new SimNode("n", time), log);
  const states = new StateStore(folder, clock, NO_BALLAST);
  const errors = new RateLimitedLog(log, () => clock.steadyMs());
  await timed.publish("mine");
  const added: number[] = [];
  let replica: object | undefined;
  const replication: Replication = Object.create(Replication.prototype, {
    replica: { value: () => replica },
    add: {
      value: ({ number }: { number: number }) => {
        replica = Object.assign(known, { onRecord: () => added.push(number), logGrew: () => {} });
        return replica;
      },
    },
    remove: { value: () => {} },
  });
  const partitions = new MemberPartitions({ broker, clock, uid: OURS, view, keys: KEYS, errors, states, onServing: () => {} });
  ends.push(async () => {
    partitions.close();
    view.close();
    await timed.end();
    states.close();
    removeFolder(folder);
  });
  partitions.start(replication);
  const [{ log: own }] = topic.partitions;
  const record = { uid: TOPIC, prefix: own.prefix, replicas: [THEIRS, OURS], leader: THEIRS, epoch: 3, inSync };
  const puts = [
    { put: KEYS.topic(topic.name), value: SHAPES.topics.write({ ...SETTINGS, uid: TOPIC, partitions: 1, replicas: 2, minInSync: 1 }) },
    { put: KEYS.partition(topic.name, 0), value: SHAPES.partitions.write(record) },
  ];
  etcd.store.txn([], puts, []);
  void view.start();
  time.advance(1_000);
  clock.advance(1_000);
  /** Etcd does not name this broker any more. */
  const take = () => {
    const value = SHAPES.partitions.write({ ...record, replicas: [THEIRS], inSync: [THEIRS] });
    etcd.store.txn([], [{ put: KEYS.partition(topic.name, 0), value }], []);
    etcd.changed();
    time.advance(1_000);
    clock.advance(1_000);
  };
  return { topic, added, log, own, take };
}

test("what a broker has alone is not taken for a replica of another topic with its name and prefix", async () => {
  const { topic, added, log, own } = await open([THEIRS]);
  expect(added).toEqual([]);
  expect(log.lines.join("\n")).toContain(
    "this broker has a topic of its own with this name; empty and delete it here, or give it replicas",
  );
  expect([topic.partitions[0]?.serving, own.next - own.startSequence]).toEqual([true, 1]);
});

test("what a broker had alone is a replica if its record says that it is in sync", async () => {
  const { added, own } = await open([THEIRS, OURS]);
  expect(added).toContain(own.prefix);
});

test("a replica is dropped when etcd does not name this broker any more, unless that was told by an older record than its replica knows", async () => {
  const DROPPED = "this broker has partitions no more: 0";
  const heard = await open([THEIRS, OURS]);
  heard.take();
  expect(heard.log.lines.join("\n")).toContain(DROPPED);
  const late = await open([THEIRS, OURS], { stored: { modRevision: 1_000, value: {} } });
  late.take();
  expect(late.log.lines.join("\n")).not.toContain(DROPPED);
  expect(late.topic.partitions.length).toBe(1);
});
