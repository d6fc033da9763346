import { expect, test } from "bun:test";
import { isWithin, parseBalanceHours } from "../../../src/cluster/placement/balance-hours.ts";
import { Controller } from "../../../src/cluster/placement/controller.ts";
import { SHAPES } from "../../../src/cluster/state/records.ts";
import { breakIt } from "../simulator/broken-variants.ts";
import type { PlacementChecks } from "../simulator/placement-checks.ts";
import { SimLookup } from "../simulator/sim-lookup.ts";
import { KEYS } from "../simulator/sim-world.ts";
import { MINUTE_MS, PlacedCluster } from "./support/placed-cluster.ts";

test("a removed broker is drained, one move at a time, and its record says how far that is", () => {
  const cluster = new PlacedCluster(1, 4);
  cluster.create("t", 8, 2);
  const { world, lookup, brokers } = cluster;
  const [{ uid }] = brokers;
  expect(cluster.kept[0]).toBe(4);
  expect(world.time.settle(lookup.requests.removeBroker("00000000000000aa"))?.reason).toBe("no-such-broker");
  expect(world.time.settle(lookup.requests.removeBroker(uid))).toBeUndefined();
  const left = new Set<number>();
  world.time.until(
    () => {
      left.add(cluster.removal(uid)?.left ?? 4);
      return cluster.removal(uid)?.state === "drained";
    },
    5 * MINUTE_MS,
    "it is drained",
  );
  expect([...left]).toEqual([4, 3, 2, 1, 0]);
  const [gone, ...others] = cluster.kept;
  expect([gone, Math.max(...others) - Math.min(...others) <= 2]).toEqual([0, true]);
  cluster.checks.throwIfViolated();
  cluster.create("u", 6, 3);
  expect(cluster.kept[0]).toBe(0);
  expect(world.time.settle(lookup.requests.keepBroker(uid))).toBeUndefined();
  world.time.advance(1_000);
  cluster.create("v", 4, 2);
  expect(cluster.kept[0]).toBeGreaterThan(0);
});

test("a removal says what holds it up", () => {
  const cluster = new PlacedCluster(2, 2);
  cluster.create("t", 2, 2);
  const { world, lookup, brokers } = cluster;
  world.time.settle(lookup.requests.removeBroker(brokers[0].uid));
  world.time.advance(10_000);
  expect(cluster.removal(brokers[0].uid)).toMatchObject({ left: 2, problem: "no other broker is left for some of its partitions" });
  cluster.addBroker();
  world.time.until(() => cluster.removal(brokers[0].uid)?.state === "drained", MINUTE_MS, "it is drained");
  expect([cluster.removal(brokers[0].uid)?.problem, cluster.kept]).toEqual(["", [0, 2, 2]]);
});

test("a replica that is away is not asked to lead, in sync or not", () => {
  const cluster = new PlacedCluster(7, 2);
  cluster.create("t", 1, 2);
  const { world, lookup, brokers } = cluster;
  const stored = () => lookup.view.partitions.get("t/0")?.value;
  const other = brokers.find(({ uid }) => uid !== stored()?.leader)?.uid ?? "";
  for (const broker of brokers) broker.stop();
  world.time.until(() => lookup.view.brokers.size === 0, MINUTE_MS, "both are away");
  expect(stored()?.inSync).toContain(other);
  expect(world.time.settle(lookup.requests.lead("t", 0, other))?.message).toBe(`broker ${other} is away`);
});

test("a broker that comes back with an emptied disk gets the replicas again, without an operator", () => {
  const cluster = new PlacedCluster(4, 3);
  cluster.create("t", 5, 3);
  const { world, lookup, brokers } = cluster;
  world.time.advance(10_000);
  brokers[0].stop();
  world.time.advance(10_000);
  const { uid } = cluster.addBroker("h1:1");
  // It may be a mistake that is mended soon.
  world.time.advance(15_000);
  expect([cluster.kept, lookup.view.removals.size]).toEqual([[5, 5, 5, 0], 0]);
  world.time.until(() => cluster.kept[0] === 0 && lookup.view.removals.size === 0, 5 * MINUTE_MS, "nothing is left of the old one");
  expect(cluster.kept).toEqual([0, 5, 5, 5]);
  expect([...lookup.view.partitions.values()].every(({ value }) => value.inSync.includes(uid))).toBeTrue();
  cluster.checks.throwIfViolated();
});

test("a data path that is put back stays where it was", () => {
  const cluster = new PlacedCluster(5, 3);
  cluster.create("t", 5, 3);
  const { world, lookup, brokers } = cluster;
  world.time.advance(10_000);
  brokers[0].stop();
  const wrong = cluster.addBroker("h1:1");
  world.time.until(() => lookup.view.removals.size === 1, MINUTE_MS, "the old one is to be replaced");
  wrong.stop();
  brokers[0].start();
  world.time.until(() => lookup.view.removals.size === 0, MINUTE_MS, "it is not any more");
  cluster.rest();
  expect(cluster.kept[0]).toBeGreaterThan(0);
});

test("a broker that is away is not replaced by one that is elsewhere", () => {
  const cluster = new PlacedCluster(6, 4);
  cluster.create("t", 4, 3);
  const { world, lookup, brokers, kept } = cluster;
  world.time.advance(10_000);
  brokers[0].stop();
  cluster.addBroker();
  world.time.advance(5 * MINUTE_MS);
  expect([cluster.kept.slice(0, 4), lookup.view.removals.size]).toEqual([kept, 0]);
});

test("a move goes on after an end of the controller at each of its transactions", () => {
  for (let at = 1; at < 12; at++) {
    const cluster = new PlacedCluster(3, 3);
    cluster.create("t", 1, 2);
    const { world, lookup, brokers } = cluster;
    const [leader] = lookup.view.partitions.get("t/0")?.value.replicas ?? [];
    const free = brokers.find(({ uid }) => !lookup.view.partitions.get("t/0")?.value.replicas.includes(uid))?.uid ?? "";
    const { revision } = world.etcd.store;
    expect(world.time.settle(lookup.requests.move("t", 0, leader, free))).toBeUndefined();
    const isOver = () => cluster.checks.ended > 0;
    world.time.until(() => isOver() || world.etcd.store.revision >= revision + at, MINUTE_MS, "the next transaction");
    lookup.node.end();
    cluster.lookup = new SimLookup(world, "l2");
    world.time.until(isOver, MINUTE_MS, `the move ends although the controller did after ${at} revisions`);
    world.time.advance(1_000);
    cluster.checks.throwIfViolated();
    const { replicas, inSync, successor } = cluster.lookup.view.partitions.get("t/0")?.value ?? {};
    expect([replicas?.includes(free), replicas?.includes(leader), inSync?.length, successor]).toEqual([true, false, 2, undefined]);
  }
});

test("a replica that was to go takes the place of another one that is lost", () => {
  const cluster = new PlacedCluster(4, 3);
  cluster.create("t", 1, 2, 2);
  const { world, lookup, brokers } = cluster;
  const record = () => lookup.view.partitions.get("t/0")?.value;
  const { replicas = [], leader = "" } = record() ?? {};
  const lost = brokers.find(({ uid }) => replicas.includes(uid) && uid !== leader);
  const free = brokers.find(({ uid }) => !replicas.includes(uid));
  if (lost === undefined || free === undefined) throw new Error("t/0 is elsewhere");
  expect(world.time.settle(lookup.requests.move("t", 0, leader, free.uid))).toBeUndefined();
  world.time.until(() => lookup.view.moves.get(String(record()?.prefix))?.value.state === "copying", MINUTE_MS, "it is copied");
  lost.stop();
  expect(world.time.settle(lookup.requests.removeBroker(lost.uid))).toBeUndefined();
  world.time.until(() => cluster.removal(lost.uid)?.state === "drained", 5 * MINUTE_MS, "the lost one is removed");
  cluster.rest();
  expect([...(record()?.replicas ?? [])].sort()).toEqual([leader, free.uid].sort());
});

test("a move that was asked for before its target got a replica another way ends, and no replica goes", () => {
  const cluster = new PlacedCluster(4, 3);
  cluster.create("t", 1, 2, 2);
  const { world, lookup } = cluster;
  const record = () => lookup.view.partitions.get("t/0")?.value;
  const { replicas = [], uid = "", prefix = 0 } = record() ?? {};
  const [from = "", to = ""] = replicas;
  const late = { state: "waiting", what: "replace", why: "asked", topic: "t", partition: 0, uid, from, to, inSync: 0 } as const;
  world.etcd.store.txn([], [{ put: KEYS.move(prefix), value: SHAPES.moves.write(late) }], []);
  world.etcd.changed();
  world.time.until(() => cluster.checks.ended > 0, MINUTE_MS, "it ends");
  cluster.rest();
  expect([record()?.replicas, record()?.inSync.length, record()?.successor]).toEqual([replicas, 2, undefined]);
});

test("brokers that join get their part, and then nothing moves any more", () => {
  const cluster = new PlacedCluster(4, 2);
  cluster.create("t", 9, 2);
  cluster.addBroker();
  const { world } = cluster;
  world.time.advance(20 * MINUTE_MS);
  cluster.rest();
  expect(Math.max(...cluster.kept) - Math.min(...cluster.kept)).toBeLessThanOrEqual(2);
  const { ended } = cluster.checks;
  expect(ended).toBeGreaterThan(3);
  world.time.advance(15 * MINUTE_MS);
  cluster.rest();
  expect(cluster.checks.ended).toBe(ended);
});

test("it is balanced within its hours only", () => {
  const cluster = new PlacedCluster(5, 2, "22-4");
  cluster.create("t", 9, 2);
  const { world, lookup } = cluster;
  const dayMs = 24 * 60 * MINUTE_MS;
  lookup.node.setWallClock(21 * 60 * MINUTE_MS - (lookup.node.wallMs() % dayMs) + 50 * MINUTE_MS);
  cluster.addBroker();
  world.time.advance(9 * MINUTE_MS);
  expect(cluster.kept).toEqual([9, 9, 0]);
  world.time.advance(10 * MINUTE_MS);
  expect(cluster.kept[2]).toBeGreaterThan(3);
});

test("two lookup servers ask for one partition: one of them is told that something is under way", () => {
  const cluster = new PlacedCluster(6, 4);
  cluster.create("t", 1, 2);
  const { world, lookup, brokers } = cluster;
  const { replicas = [] } = lookup.view.partitions.get("t/0")?.value ?? {};
  const free = brokers.flatMap(({ uid }) => (replicas.includes(uid) ? [] : uid));
  const asked = Promise.all(free.map((to) => lookup.requests.move("t", 0, replicas[0], to)));
  const reasons = world.time.settle(asked).map((refusal) => refusal?.reason ?? "done");
  expect(reasons.sort()).toEqual(["changing", "done"]);
  expect(world.time.settle(lookup.requests.move("t", 0, free[0], free[1]))?.message).toBe(`${free[0]} has no replica of t/0`);
  expect(world.time.settle(lookup.requests.move("t", 3, free[0], free[1]))?.reason).toBe("no-such-partition");
  cluster.rest();
  expect(lookup.view.partitions.get("t/0")?.value.replicas).not.toContain(replicas[0]);
  expect(world.etcd.store.range(KEYS.prefix).some(({ key }) => key.includes("/moves/"))).toBe(false);
});

test("another replica leads when asked, also if the leader does not hand over", () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
    const cluster = new PlacedCluster(seed, 3);
    cluster.create("t", 1, 3);
    const { world, lookup } = cluster;
    const { replicas = [], leader } = lookup.view.partitions.get("t/0")?.value ?? {};
    const to = replicas.find((uid) => uid !== leader) ?? "";
    expect(world.time.settle(lookup.requests.lead("t", 0, to))).toBeUndefined();
    world.time.until(() => cluster.checks.ended === 1, MINUTE_MS, "it leads");
    world.time.advance(100);
    expect(lookup.view.partitions.get("t/0")?.value).toMatchObject({ leader: to, successor: undefined });
    cluster.checks.throwIfViolated();
  }
});

/**
 * The first controller knows of a move that waits, and stands still. Meanwhile another move to the same broker begins, and a second controller
 * takes the place. Then the first one goes on with what it knew.
 */
function playTwoControllers(): PlacementChecks {
  const cluster = new PlacedCluster(7, 3);
  cluster.create("t", 2, 1);
  const { world, lookup: first, brokers, checks } = cluster;
  const { store } = world.etcd;
  const second = new SimLookup(world, "l2");
  world.time.advance(1_000);
  const [one, other] = ["t/0", "t/1"].flatMap((name) => first.view.partitions.get(name)?.value ?? []);
  const to = brokers.find(({ uid }) => !one.replicas.includes(uid) && !other.replicas.includes(uid))?.uid ?? "";
  const asked = { topic: "t", uid: one.uid, what: "replace", why: "asked", to } as const;
  const waiting = { ...asked, state: "waiting", partition: 1, from: other.replicas[0], inSync: 0 } as const;
  store.txn([], [{ put: KEYS.move(other.prefix), value: SHAPES.moves.write(waiting) }], []);
  world.etcd.changed();
  world.time.until(() => first.view.moves.size === 1, 200, "it knows of the second partition's move");
  first.view.close();
  first.node.pause();
  const begun = { ...asked, state: "waiting", partition: 0, from: one.replicas[0], inSync: 0 } as const;
  store.txn([], [{ put: KEYS.move(one.prefix), value: SHAPES.moves.write(begun) }], []);
  const copying = SHAPES.moves.write({ ...begun, state: "copying", inSync: 1 });
  const partition = SHAPES.partitions.write({ ...one, replicas: [...one.replicas, to], additions: 1 });
  store.txn(
    [],
    [
      { put: KEYS.move(one.prefix), value: copying },
      { put: KEYS.partition("t", 0), value: partition },
    ],
    [],
  );
  store.txn([], [{ remove: KEYS.controller }], []);
  world.etcd.changed();
  world.time.until(() => second.view.controller?.value.run === "l2", 1_000, "the second one is the controller");
  first.node.resume();
  world.time.advance(MINUTE_MS);
  return checks;
}

test("a controller that does not know that another one took over changes nothing", () => {
  const checks = playTwoControllers();
  checks.throwIfViolated();
  expect(checks.ended).toBeGreaterThanOrEqual(2);
});

test("it would begin a second move of a broker, if its transactions did not rest on its key", () => {
  const unfenced = { value: (_seat: never, conditions: never) => conditions, configurable: true, writable: true };
  using _broken = breakIt({ what: "", prototype: Controller.prototype, member: "allOf", descriptor: unfenced });
  expect(playTwoControllers().violation?.message).toContain("has two moves");
});

test("hours of the day", () => {
  const at = (hour: number) => Date.UTC(2026, 0, 1, hour, 30);
  expect(parseBalanceHours("2-4")).toEqual({ from: 2, to: 4 });
  expect(parseBalanceHours("22-24")).toEqual({ from: 22, to: 0 });
  for (const text of ["", "2", "25-3", "2-25", "a-b", "2-4 "]) expect(parseBalanceHours(text)).toBeUndefined();
  const within = (text: string) => [1, 2, 3, 4, 22, 23].filter((hour) => isWithin(parseBalanceHours(text), at(hour)));
  expect(within("2-4")).toEqual([2, 3]);
  expect(within("22-3")).toEqual([1, 2, 22, 23]);
  expect(within("3-3")).toEqual([1, 2, 3, 4, 22, 23]);
  expect(isWithin(undefined, at(1))).toBe(true);
});

test("of the topics that were deleted the oldest are forgotten when there are many", () => {
  const cluster = new PlacedCluster(6, 1);
  const { world, lookup } = cluster;
  const uidOf = (i: number) => i.toString(16).padStart(16, "0");
  for (let i = 0; i < 2_150; i++) {
    const put = { put: KEYS.member("deleted", uidOf(i)), value: SHAPES.deleted.write({ topic: "t" }) };
    world.etcd.store.txn([], [put], []);
  }
  world.etcd.changed();
  world.time.until(() => lookup.view.deleted.size === 2_000, MINUTE_MS, "some are forgotten");
  expect([lookup.view.deleted.has(uidOf(149)), lookup.view.deleted.has(uidOf(150))]).toEqual([false, true]);
});
