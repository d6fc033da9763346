import { expect, test } from "bun:test";
import { TopicChanges, type TopicSettings } from "../../../src/cluster/placement/topic-changes.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys, topicAndPartition } from "../../../src/cluster/state/keys.ts";
import { type PartitionRecord, SHAPES, type TopicRecord } from "../../../src/cluster/state/records.ts";
import { playSchedules } from "../simulator/schedules.ts";
import { NO_FAULTS } from "../simulator/sim-etcd.ts";
import type { SimNode } from "../simulator/sim-node.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const keys = new ClusterKeys("main");

function settings(partitions: number, replicas: number): TopicSettings {
  return {
    partitions,
    replicas,
    minInSync: Math.floor(replicas / 2) + 1,
    ordered: false,
    durability: "write",
    retentionMs: 0,
    retentionBytes: 0,
    channels: [],
    paused: false,
  };
}

function putBroker(world: SimWorld, i: number): void {
  const load = { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 };
  const value = SHAPES.brokers.write({
    uid: String(i).repeat(16),
    run: "r",
    tcp: "",
    http: "",
    replication: "",
    region: "",
    zone: `z${i % 2}`,
    version: "1",
    disk: { sizeBytes: 0, freeBytes: 0 },
    load,
  });
  world.etcd.store.txn([], [{ put: keys.member("brokers", `b${i}`), value }], []);
  world.etcd.changed();
}

class Lookup {
  readonly node: SimNode;
  readonly view: ClusterView;
  readonly changes: TopicChanges;
  constructor(world: SimWorld, name: string) {
    this.node = world.node(name);
    const etcd = world.etcd.client(this.node);
    this.view = new ClusterView(etcd, keys, this.node, world.logger);
    this.changes = new TopicChanges(etcd, keys, this.view, this.node, () => world.random.next());
    void this.view.start();
  }
}

function worldOf(seed: number, brokers: number): { world: SimWorld; lookup: Lookup } {
  const world = new SimWorld(seed);
  for (let i = 1; i <= brokers; i++) putBroker(world, i);
  const lookup = new Lookup(world, "l0");
  world.time.until(() => lookup.view.revision > 0, 1_000, "the view is read");
  return { world, lookup };
}

/** Goes over everything that etcd ever had. @returns how many revisions */
function checkHistory(world: SimWorld): number {
  const topics = new Map<string, TopicRecord>();
  const partitions = new Map<string, PartitionRecord>();
  const prefixes = new Map<number, string>();
  const history = world.etcd.store.historyFrom(0);
  for (const { revision, events } of history) {
    const touched = new Set<string>();
    for (const { key, entry } of events) {
      const place = keys.placeOf(key);
      if (place?.kind === "topics") {
        touched.add(place.name);
        if (entry === undefined) topics.delete(place.name);
        else topics.set(place.name, SHAPES.topics.read(entry.value) as TopicRecord);
      } else if (place?.kind === "partitions") {
        touched.add(topicAndPartition(place.name).topic);
        if (entry === undefined) partitions.delete(place.name);
        else {
          const record = SHAPES.partitions.read(entry.value) as PartitionRecord;
          partitions.set(place.name, record);
          const owner = `${record.uid} ${place.name}`;
          if ((prefixes.get(record.prefix) ?? owner) !== owner) throw new Error(`prefix ${record.prefix} was given twice`);
          prefixes.set(record.prefix, owner);
        }
      }
    }
    for (const name of touched) {
      const topic = topics.get(name);
      const own = [...partitions].filter(([key]) => key.startsWith(`${name}/`));
      if (own.some(([, { uid }]) => uid !== topic?.uid)) throw new Error(`revision ${revision}: ${name} has partitions of another topic`);
      if (topic === undefined || topic.change !== undefined) continue;
      if (own.length !== topic.partitions) throw new Error(`revision ${revision}: ${name} has ${own.length} of ${topic.partitions}`);
      if (own.some(([key]) => topicAndPartition(key).partition >= topic.partitions)) throw new Error(`${name} has others`);
    }
  }
  return history.length;
}

test("a topic is made, expanded, set and removed; keys stay on the partitions that it was made with", () => {
  const { world, lookup } = worldOf(1, 3);
  const { changes, view } = lookup;
  const settle = (promise: Promise<Error | undefined>) => {
    const result = world.time.settle(promise)?.message;
    world.time.advance(100);
    return result;
  };
  expect(settle(changes.create("t", settings(3, 2)))).toBeUndefined();
  expect(view.topics.get("t")?.value).toMatchObject({ partitions: 3, keyPartitions: 3 });
  const before = [...view.partitions.values()].map(({ value }) => value);
  expect(before.map(({ prefix, epoch, leader }) => [prefix, epoch, leader])).toEqual([
    [1, 0, ""],
    [2, 0, ""],
    [3, 0, ""],
  ]);
  for (const { replicas, inSync } of before) expect([replicas.length, inSync]).toEqual([2, replicas]);
  expect(settle(changes.create("t", settings(3, 2)))).toBe("topic t exists");
  expect(settle(changes.expand("t", 5))).toBeUndefined();
  expect(view.topics.get("t")?.value).toMatchObject({ partitions: 5, keyPartitions: 3 });
  expect([...view.partitions.values()].slice(0, 3).map(({ value }) => value)).toEqual(before);
  expect(settle(changes.expand("t", 4))).toBe("topic t has 5 partitions; they cannot be made fewer");
  expect(settle(changes.change("t", { paused: true, channels: ["c"] }))).toBeUndefined();
  expect(view.topics.get("t")?.value).toMatchObject({ paused: true, channels: ["c"], partitions: 5 });
  expect(settle(changes.change("t", { replicas: 1 }))).toBe("minInSync is more than replicas");
  expect(settle(changes.change("x", { paused: true }))).toBe("there is no topic x");
  expect(settle(changes.create("u", settings(1, 4)))).toBe("4 replicas need as many brokers that are alive and not being removed");
  expect(settle(changes.create("u v", settings(1, 1)))).toBe('invalid topic name "u v"');
  expect(settle(changes.remove("t"))).toBeUndefined();
  expect([view.topics.size, view.partitions.size]).toEqual([0, 0]);
  expect([...view.deleted.values()].map(({ value }) => value.topic)).toEqual(["t"]);
  expect(settle(changes.remove("t"))).toBe("there is no topic t");
  checkHistory(world);
});

test("what etcd refuses until the time is over is told with etcd's reason", () => {
  const { world, lookup } = worldOf(6, 3);
  world.time.settle(lookup.changes.create("t", settings(1, 1)));
  world.etcd.setDown(true);
  for (const call of [
    lookup.changes.create("u", settings(1, 1)),
    lookup.changes.change("t", { paused: true }),
    lookup.changes.remove("t"),
  ]) {
    const refusal = world.time.settle(call);
    expect([refusal?.reason, refusal?.message]).toEqual([
      "unknown-outcome",
      expect.stringMatching(/^it was not done within 10 s, and may yet happen: etcd/),
    ]);
  }
});

test("a topic of a thousand partitions takes nine transactions, and nobody takes it for whole before the last", () => {
  const { world, lookup } = worldOf(2, 5);
  expect(world.time.settle(lookup.changes.create("t", settings(1_000, 3)))).toBeUndefined();
  expect(world.time.settle(lookup.changes.expand("t", 1_024))).toBeUndefined();
  expect(world.etcd.store.range(keys.partitionsOf("t")).length).toBe(1_024);
  expect(world.time.settle(lookup.changes.remove("t"))).toBeUndefined();
  expect(world.etcd.store.range(keys.partitionsOf("t")).length).toBe(0);
  checkHistory(world);
});

test("many topics are made at several brokers at the same time, each by one write", () => {
  const { world, lookup } = worldOf(5, 3);
  const others = ["l1", "l2"].map((name) => new Lookup(world, name));
  world.time.until(() => others.every(({ view }) => view.revision > 0), 1_000, "the views are read");
  const revision = world.etcd.store.revision;
  const making = [lookup, ...others].flatMap(({ changes }, i) =>
    Array.from({ length: 20 }, (_, n) => changes.create(`t${i}-${n}`, settings(2, 3))),
  );
  expect(world.time.settle(Promise.all(making)).filter((refusal) => refusal !== undefined)).toEqual([]);
  expect(world.etcd.store.revision - revision).toBe(60);
  expect(world.etcd.store.range(keys.partitionsOf("t0-0")).length).toBe(2);
  checkHistory(world);
});

test("prefixes are not given twice although the counter was removed", () => {
  const { world, lookup } = worldOf(3, 1);
  world.time.settle(lookup.changes.create("t", settings(3, 1)));
  world.etcd.store.txn([], [{ remove: keys.prefixes }], []);
  world.time.advance(100);
  world.time.settle(lookup.changes.create("u", settings(3, 1)));
  checkHistory(world);
});

test("what cannot be finished, as brokers are gone, is removed by whoever sees it", () => {
  const { world, lookup } = worldOf(4, 2);
  const making = lookup.changes.create("t", settings(300, 2));
  world.time.until(() => world.etcd.store.entries.has(keys.topic("t")), 1_000, "it has begun");
  lookup.node.end();
  void making;
  world.etcd.store.txn([], [{ remove: keys.member("brokers", "b1") }], []);
  const other = new Lookup(world, "l1");
  world.time.until(() => other.view.revision > 0, 1_000, "the view is read");
  expect(world.time.settle(other.changes.finish("t"))).toBeUndefined();
  expect(world.etcd.store.range(`${keys.prefix}topics/`).concat(world.etcd.store.range(keys.partitionsOf("t")))).toEqual([]);
});

test("whatever fails: topics are whole or say that they are not, and are finished by others", () => {
  let revisions = 0;
  playSchedules(40, (seed) => {
    const { world } = worldOf(seed, 4);
    const { time, random, etcd } = world;
    etcd.faults = world.randomEtcdFaults();
    const lookups = [new Lookup(world, "l1"), new Lookup(world, "l2"), new Lookup(world, "l3")];
    time.advance(1_000);
    for (let step = 0; step < 30; step++) {
      const { changes, node } = random.pick(lookups);
      const topic = random.pick(["t", "u"]);
      const what = random.next();
      if (what < 0.3) void changes.create(topic, settings(random.pick([1, 3, 126, 127, 300]), random.pick([1, 3])));
      else if (what < 0.5) void changes.remove(topic);
      else if (what < 0.65) void changes.expand(topic, random.pick([2, 4, 200, 500]));
      else if (what < 0.75) void changes.change(topic, { paused: random.chance(0.5) });
      else if (what < 0.85) void changes.finish(topic);
      else if (what < 0.95) {
        node.end();
        lookups[random.int(0, 2)] = new Lookup(world, `l${step + 4}`);
      } else random.chance(0.5) ? node.pause() : node.resume();
      time.advance(random.int(0, random.pick([5, 50, 2_000])));
    }
    for (const { node } of lookups) node.end();
    etcd.faults = NO_FAULTS;
    time.advance(10_000);
    const last = new Lookup(world, "last");
    time.until(() => last.view.revision > 0, 1_000, "the view is read");
    for (const topic of ["t", "u"]) time.settle(last.changes.finish(topic));
    for (const topic of ["t", "u"]) {
      const entry = etcd.store.entries.get(keys.topic(topic));
      const record = entry === undefined ? undefined : (SHAPES.topics.read(entry.value) as TopicRecord);
      expect(record?.change).toBeUndefined();
      expect(etcd.store.range(keys.partitionsOf(topic)).length).toBe(record?.partitions ?? 0);
    }
    revisions += checkHistory(world);
  });
  expect(revisions).toBeGreaterThan(100);
}, 600_000);
