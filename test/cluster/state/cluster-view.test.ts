import { expect, test } from "bun:test";
import { ClusterView, type ViewChange } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { type Kind, SHAPES, type TopicRecord } from "../../../src/cluster/state/records.ts";
import { playSchedules } from "../simulator/schedules.ts";
import { NO_FAULTS } from "../simulator/sim-etcd.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const keys = new ClusterKeys("main");
const UID = "00112233445566ff";
const topic = (partitions: number): string =>
  SHAPES.topics.write({
    uid: UID,
    partitions,
    replicas: 1,
    minInSync: 1,
    ordered: false,
    durability: "write",
    retentionMs: 0,
    retentionBytes: 0,
    channels: [],
    paused: false,
  });
const partition = (epoch: number): string =>
  SHAPES.partitions.write({ uid: UID, prefix: 1, replicas: [UID], leader: UID, epoch, inSync: [UID] });

class Viewer {
  readonly view: ClusterView;
  readonly changes: ViewChange[] = [];
  readonly revisions: number[] = [];
  constructor(readonly world: SimWorld) {
    const node = world.node("viewer");
    this.view = new ClusterView(world.etcd.client(node), keys, node, world.logger);
    this.view.listen((changes, revision) => {
      this.changes.push(...changes);
      this.revisions.push(revision);
    });
    void this.view.start();
  }
  get told(): string[] {
    return this.changes.map(({ kind, name, after }) => `${kind} ${name} ${after === undefined ? "removed" : after.modRevision}`);
  }
  do(puts: Record<string, string | undefined>): void {
    const operations = Object.entries(puts).map(([key, value]) => (value === undefined ? { remove: key } : { put: key, value }));
    this.world.etcd.store.txn([], operations, []);
    this.world.etcd.changed();
    this.world.time.advance(100);
  }
}

test("what is there is read, and what changes follows in order", () => {
  const world = new SimWorld(1);
  world.etcd.store.txn([], [{ put: keys.topic("t"), value: topic(1) }], []);
  const viewer = new Viewer(world);
  world.time.advance(100);
  viewer.do({ [keys.partition("t", 0)]: partition(1), "/bunsq/other/topics/x": topic(1) });
  viewer.do({ [keys.topic("t")]: topic(2), [keys.partition("t", 0)]: partition(2) });
  viewer.do({ [keys.topic("t")]: undefined });
  expect(viewer.told).toEqual(["topics t 2", "partitions t/0 3", "topics t 4", "partitions t/0 4", "topics t removed"]);
  expect(viewer.revisions).toEqual([2, 3, 4, 5]);
  expect(viewer.changes[3]?.before?.modRevision).toBe(3);
  expect(viewer.view.topics.size).toBe(0);
  expect(viewer.view.partitions.get("t/0")).toMatchObject({ value: { epoch: 2 }, modRevision: 4 });
});

test("a value that cannot be read is not taken for removed, and is told when it is mended", () => {
  const world = new SimWorld(2);
  const viewer = new Viewer(world);
  world.time.advance(100);
  viewer.do({ [keys.topic("t")]: topic(1), [keys.topic("u")]: "{}" });
  viewer.do({ [keys.topic("t")]: '{"partitions":0}' });
  expect(viewer.view.topics.get("t")?.value.partitions).toBe(1);
  expect([...viewer.view.unreadable.keys()]).toEqual([keys.topic("u"), keys.topic("t")]);
  expect(world.logger.lines.filter((line) => line.includes("cannot be read")).length).toBe(2);
  viewer.do({ [keys.topic("t")]: topic(3), [keys.topic("u")]: undefined });
  expect(viewer.told).toEqual(["topics t 2", "topics t 4"]);
  expect(viewer.view.unreadable.size).toBe(0);
});

test("keys that this release does not know change nothing", () => {
  const world = new SimWorld(3);
  const viewer = new Viewer(world);
  world.time.advance(100);
  viewer.do({ [`${keys.prefix}later/x`]: "?", [`${keys.prefix}topics/a b`]: "?" });
  viewer.do({ [`${keys.prefix}later/x`]: undefined });
  expect([viewer.told, viewer.view.revision]).toEqual([[], 3]);
});

test("after a compaction that it missed everything is read again, and the differences are told", () => {
  const world = new SimWorld(4);
  const viewer = new Viewer(world);
  world.time.advance(100);
  viewer.do({ [keys.topic("a")]: topic(1), [keys.topic("b")]: topic(1), [keys.topic("c")]: topic(1) });
  world.etcd.cutOff("viewer");
  viewer.do({ [keys.topic("d")]: topic(1) });
  viewer.do({ [keys.topic("a")]: topic(2), [keys.topic("b")]: undefined });
  viewer.do({ [keys.topic("e")]: topic(1), [keys.topic("d")]: undefined });
  world.etcd.compact();
  expect(viewer.changes.length).toBe(3);
  world.etcd.heal("viewer");
  world.time.advance(1_000);
  expect(viewer.told.slice(3)).toEqual(["topics b removed", "topics a 4", "topics e 5"]);
  expect(viewer.revisions).toEqual([2, 5]);
  viewer.do({ [keys.topic("c")]: topic(7) });
  expect(viewer.told.slice(6)).toEqual(["topics c 6"]);
});

test("whatever fails: what is told adds up to what the view has, and that becomes what etcd has", () => {
  const play = (seed: number): string[] => {
    const world = new SimWorld(seed);
    const { random, etcd, time } = world;
    etcd.faults = world.randomEtcdFaults();
    const viewer = new Viewer(world);
    const told = new Map<string, number>();
    let revision = 0;
    viewer.view.listen((changes, upTo) => {
      if (upTo < revision) throw new Error(`revision ${upTo} after ${revision}`);
      revision = upTo;
      for (const { kind, name, before, after } of changes) {
        const key = `${kind} ${name}`;
        if (told.get(key) !== before?.modRevision) throw new Error(`${key} was ${told.get(key)} and not ${before?.modRevision}`);
        if (after === undefined) told.delete(key);
        else told.set(key, after.modRevision);
        world.note(`${key} ${after?.modRevision}`);
      }
    });
    for (let step = 0; step < 80; step++) {
      const what = random.next();
      const key = random.chance(0.5) ? keys.topic(`t${random.int(0, 5)}`) : keys.partition("p", random.int(0, 5));
      if (what < 0.1) etcd.cutOff("viewer");
      else if (what < 0.25) etcd.heal("viewer");
      else if (what < 0.3) etcd.compact();
      else if (what < 0.4) etcd.store.txn([], [{ remove: key }], []);
      else etcd.store.txn([], [{ put: key, value: key.includes("/topics/") ? topic(random.int(1, 9)) : partition(step) }], []);
      etcd.changed();
      time.advance(random.int(0, 200));
    }
    etcd.faults = NO_FAULTS;
    etcd.heal("viewer");
    time.until(() => viewer.view.revision === etcd.store.revision, 20_000, "the view is up to date");
    const expected = etcd.store.range(keys.prefix).map((entry): [string, number] => {
      const place = keys.placeOf(entry.key) as { kind: Kind; name: string };
      return [`${place.kind} ${place.name}`, entry.modRevision];
    });
    expect(new Map(told)).toEqual(new Map(expected));
    const { topics, partitions } = viewer.view;
    expect(topics.size + partitions.size).toBe(expected.length);
    for (const [name, { value, modRevision }] of topics) {
      const entry = etcd.store.entries.get(keys.topic(name));
      expect([SHAPES.topics.write(value as TopicRecord), modRevision]).toEqual([entry?.value ?? "", entry?.modRevision ?? 0]);
    }
    return world.trace;
  };
  playSchedules(100, play);
  expect(play(7)).toEqual(play(7));
});
