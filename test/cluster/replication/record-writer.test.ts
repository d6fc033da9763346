import { expect, test } from "bun:test";
import { MAX_TXN_OPERATIONS } from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { RecordWriter } from "../../../src/cluster/replication/record-writer.ts";
import type { StoredRecord } from "../../../src/cluster/replication/replica-parts.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { Random } from "../../support/random.ts";
import { NO_FAULTS, SimEtcd } from "../simulator/sim-etcd.ts";
import { SimNode } from "../simulator/sim-node.ts";
import { SimTime } from "../simulator/sim-time.ts";

const KEYS = new ClusterKeys("test");
const [A, B] = ["a".repeat(16), "b".repeat(16)];
const PARTITIONS = 300;
const SHAPE = SHAPES.partitions;

function recordOf(prefix: number, leader: string, epoch: number): PartitionRecord {
  return { uid: "f".repeat(16), prefix, replicas: [A, B], leader, epoch, inSync: [A, B] };
}

/** An etcd with partitions that A leads, and what came of changes that have B lead, by partition. */
function setUp() {
  const time = new SimTime();
  const sim = new SimEtcd(time, new Random(1));
  const node = new SimNode("n", time);
  const writer = new RecordWriter(sim.client(node), node);
  const keys = Array.from({ length: PARTITIONS }, (_, i) => KEYS.partition("t", i));
  for (const [i, key] of keys.entries()) sim.store.txn([], [{ put: key, value: SHAPE.write(recordOf(i + 1, A, 1)) }], []);
  const outcomes = new Map<number, (StoredRecord | undefined)[]>();
  const takeOver = (i: number) => {
    const entry = sim.store.entries.get(keys[i]);
    const stored = { value: recordOf(i + 1, A, 1), modRevision: entry?.modRevision ?? 0, lease: "" };
    outcomes.set(i, outcomes.get(i) ?? []);
    writer.change(keys[i], stored, recordOf(i + 1, B, 2), (result) => outcomes.get(i)?.push(result));
  };
  const leaderOf = (i: number) => (JSON.parse(sim.store.entries.get(keys[i])?.value ?? "{}") as PartitionRecord).leader;
  return { time, sim, keys, outcomes, takeOver, leaderOf };
}

test("partitions that change leader in one turn go in few transactions", () => {
  const { time, sim, outcomes, takeOver, leaderOf } = setUp();
  const before = sim.store.revision;
  for (let i = 0; i < PARTITIONS; i++) takeOver(i);
  time.until(() => [...outcomes.values()].every((all) => all.length === 1), 1_000, "all outcomes");
  expect(sim.store.revision - before).toBe(Math.ceil(PARTITIONS / MAX_TXN_OPERATIONS));
  expect(leaderOf(0) + leaderOf(PARTITIONS - 1)).toBe(B + B);
  expect(outcomes.get(7)?.[0]?.value).toEqual(recordOf(8, B, 2));
});

test("a change that somebody else was quicker with fails alone, and gets the other's record", () => {
  const { time, sim, keys, outcomes, takeOver, leaderOf } = setUp();
  for (let i = 0; i < 100; i++) takeOver(i);
  for (const i of [3, 60]) sim.store.txn([], [{ put: keys[i], value: SHAPE.write(recordOf(i + 1, A, 9)) }], []);
  time.until(() => [...outcomes.values()].every((all) => all.length === 1), 1_000, "all outcomes");
  expect(outcomes.get(60)?.[0]?.value.epoch).toBe(9);
  expect([3, 60, 59, 61].map(leaderOf)).toEqual([A, A, B, B]);
});

test("a change whose outcome is not known is tried until it is, and made once", () => {
  const { time, sim, outcomes, takeOver, leaderOf } = setUp();
  sim.faults = { ...NO_FAULTS, answerLost: 1 };
  takeOver(5);
  time.advance(5_000);
  expect(leaderOf(5)).toBe(B);
  expect(outcomes.get(5)).toEqual([]);
  const { revision } = sim.store;
  sim.faults = NO_FAULTS;
  time.until(() => outcomes.get(5)?.length === 1, 5_000, "the outcome");
  expect(outcomes.get(5)?.[0]).toEqual({ value: recordOf(6, B, 2), modRevision: revision, lease: "" });
  expect(sim.store.revision).toBe(revision);
});

test("two changes of one partition in a turn do not hold each other up", () => {
  const { time, outcomes, takeOver } = setUp();
  takeOver(5);
  takeOver(5);
  time.until(() => outcomes.get(5)?.length === 2, 1_000, "both outcomes");
  expect(outcomes.get(5)?.map((stored) => stored?.value.leader)).toEqual([B, B]);
});

test("a change that etcd surely did not make is given up", () => {
  const { time, sim, outcomes, takeOver, leaderOf } = setUp();
  sim.setDown(true);
  sim.random.chance = () => true;
  takeOver(5);
  time.until(() => outcomes.get(5)?.length === 1, 10_000, "the outcome");
  expect(outcomes.get(5)).toEqual([undefined]);
  expect(leaderOf(5)).toBe(A);
});

test("who asks again at once for a change that etcd did not take does not keep the process busy", () => {
  const time = new SimTime();
  const node = new SimNode("n", time);
  let calls = 0;
  const refused = new EtcdError("unreachable", "none", "nobody listens there");
  const txn = () => {
    calls++;
    return Promise.resolve(refused);
  };
  const etcd = { ...new SimEtcd(time, new Random(1)).client(node), txn };
  const writer = new RecordWriter(etcd, node);
  const stored = { value: recordOf(1, A, 1), modRevision: 1, lease: "" };
  const change = () => writer.change(KEYS.partition("t", 0), stored, recordOf(1, B, 2), () => (calls < 1_000 ? change() : undefined));
  change();
  time.advance(1_000);
  expect(calls).toBeGreaterThan(1);
  expect(calls).toBeLessThan(10);
});
