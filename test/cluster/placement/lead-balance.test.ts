import { expect, test } from "bun:test";
import { Steadiness } from "../../../src/cluster/placement/steadiness.ts";
import { KEYS } from "../simulator/sim-world.ts";
import { HOUR_MS, MINUTE_MS, PlacedCluster } from "./support/placed-cluster.ts";

/** Waits until a broker is in sync of all that it has. */
function untilWhole({ world, lookup }: PlacedCluster, uid: string): void {
  const isWhole = () => [...lookup.view.partitions.values()].every(({ value }) => value.leader !== "" && value.inSync.includes(uid));
  world.time.until(isWhole, MINUTE_MS, "it is in sync of all");
}

/** Has a broker go away until others lead all, and come back until it is in sync. */
function restart(cluster: PlacedCluster, at: number): void {
  const { world, brokers } = cluster;
  const { uid } = brokers[at];
  brokers[at].stop();
  world.time.until(() => cluster.led[at] === 0, MINUTE_MS, "others lead");
  brokers[at].start();
  untilWhole(cluster, uid);
}

/** @returns how long it takes, ms */
function untilLed(cluster: PlacedCluster, leaders: readonly number[], limitMs: number): number {
  const { time } = cluster.world;
  const fromMs = time.nowMs;
  time.until(() => cluster.led.join() === leaders.join() && cluster.lookup.view.moves.size === 0, limitMs, `leaders are ${leaders}`);
  return time.nowMs - fromMs;
}

test("a broker that comes back leads again what it led, all within five seconds", () => {
  const cluster = new PlacedCluster(11, 3);
  cluster.create("t", 120, 3, 2);
  untilLed(cluster, [40, 40, 40], MINUTE_MS);
  cluster.world.time.advance(MINUTE_MS);
  for (const broker of cluster.brokers) broker.isStubborn = false;
  restart(cluster, 1);
  const { revision } = cluster.world.etcd.store;
  const { ended } = cluster.checks;
  expect(untilLed(cluster, [40, 40, 40], MINUTE_MS)).toBeLessThan(5_000);
  cluster.rest();
  const moved = cluster.checks.ended - ended;
  expect([moved >= 40, moved < 80]).toEqual([true, true]);
  // Each hand-over is one write of a broker; all else goes together.
  expect(cluster.world.etcd.store.revision - revision).toBeLessThan(moved + 20);
});

test("leaders that do not hand over are replaced", () => {
  const cluster = new PlacedCluster(12, 3);
  cluster.create("t", 30, 3, 2);
  untilLed(cluster, [10, 10, 10], MINUTE_MS);
  restart(cluster, 0);
  for (const broker of cluster.brokers) broker.isStubborn = true;
  untilLed(cluster, [10, 10, 10], MINUTE_MS);
  cluster.rest();
});

test("a broker that goes away again and again waits longer each time", () => {
  const cluster = new PlacedCluster(13, 3);
  cluster.create("t", 6, 3, 2);
  untilLed(cluster, [2, 2, 2], MINUTE_MS);
  for (const leastMs of [2_000, 4_000, 8_000, 16_000]) {
    restart(cluster, 2);
    const tookMs = untilLed(cluster, [2, 2, 2], MINUTE_MS);
    expect([tookMs > leastMs - 500, tookMs < leastMs + 10_000]).toEqual([true, true]);
  }
  cluster.rest();
});

test("how long a broker must have been at work", () => {
  const [uid, other] = ["00000000000000aa", "00000000000000bb"];
  const view = { brokers: new Map(), partitions: new Map(), moves: new Map() };
  const steadiness = new Steadiness(view);
  let nowMs = 0;
  const pass = (ms: number) => {
    nowMs += ms;
    steadiness.look(nowMs);
    return steadiness.isSteady(uid, nowMs);
  };
  const runAs = (run: string) => view.brokers.set("b", { value: { uid, run } });
  const inSync = (...inSync: string[]) => view.partitions.set("t/0", { value: { replicas: [uid, other], inSync, prefix: 7 } });
  inSync(uid, other);
  expect(pass(0)).toBe(false);
  runAs("1");
  expect([pass(1), pass(1_999), pass(1)]).toEqual([false, false, true]);
  // Another one lacks something, then this one does, and then a move copies it to this one.
  inSync(uid);
  expect(pass(1)).toBe(true);
  inSync(other);
  expect(pass(1)).toBe(false);
  view.moves.set("7", { value: { to: uid } });
  expect([pass(1), pass(2_000)]).toEqual([false, true]);
  inSync(uid, other);
  // It was restarted, which was not seen.
  runAs("2");
  expect([pass(1), pass(1_999), pass(1)]).toEqual([false, false, true]);
  view.brokers.clear();
  expect(pass(1)).toBe(false);
  runAs("3");
  expect([pass(1), pass(3_999), pass(1)]).toEqual([false, false, true]);
  for (let run = 4; run < 20; run++) {
    runAs(String(run));
    pass(1);
  }
  expect([pass(599_000), pass(1_000)]).toEqual([false, true]);
  pass(3_600_000);
  runAs("20");
  expect([pass(1), pass(2_000)]).toEqual([false, true]);
});

test("nothing is handed over while partitions lack a replica", () => {
  const cluster = new PlacedCluster(14, 3);
  const { world, brokers } = cluster;
  cluster.create("t", 12, 3, 1);
  untilLed(cluster, [4, 4, 4], MINUTE_MS);
  brokers[0].stop();
  brokers[1].stop();
  world.time.until(() => cluster.led[2] === 12, MINUTE_MS, "the third one leads all");
  brokers[0].start();
  untilWhole(cluster, brokers[0].uid);
  world.time.advance(2 * MINUTE_MS);
  expect(cluster.led).toEqual([0, 0, 12]);
  brokers[1].start();
  untilLed(cluster, [4, 4, 4], MINUTE_MS);
  cluster.rest();
});

test("an operator's choice of a leader stays", () => {
  const cluster = new PlacedCluster(15, 3);
  const { world, lookup, brokers } = cluster;
  cluster.create("t", 3, 3, 2);
  untilLed(cluster, [1, 1, 1], MINUTE_MS);
  const [name, stored] = [...lookup.view.partitions].find(([, { value }]) => value.leader === brokers[0].uid) ?? ["t/-1"];
  expect(stored?.value.epoch).toBeGreaterThan(0);
  expect(world.time.settle(lookup.requests.lead("t", Number(name.slice(2)), brokers[1].uid))).toBeUndefined();
  untilLed(cluster, [0, 2, 1], MINUTE_MS);
  world.time.advance(10 * MINUTE_MS);
  expect(lookup.view.partitions.get(name)?.value.leader).toBe(brokers[1].uid);
  cluster.rest();
});

test("outside of its hours nothing moves until an operator asks for balance", () => {
  const cluster = new PlacedCluster(16, 3, "2-4");
  const { world, lookup } = cluster;
  lookup.node.setWallClock(12 * HOUR_MS - (lookup.node.wallMs() % (24 * HOUR_MS)));
  cluster.create("t", 12, 3, 2);
  restart(cluster, 1);
  world.time.advance(2 * MINUTE_MS);
  expect(cluster.led[1]).toBe(0);
  const balance = () => {
    expect(world.time.settle(lookup.requests.balance())).toBeUndefined();
    world.time.until(() => world.etcd.store.range(KEYS.balanceRequest).length === 0, 30 * MINUTE_MS, "nothing is left to move");
    cluster.rest();
  };
  balance();
  expect(cluster.led).toEqual([4, 4, 4]);
  cluster.addBroker();
  world.time.advance(2 * MINUTE_MS);
  expect(cluster.kept).toEqual([12, 12, 12, 0]);
  balance();
  expect([Math.min(...cluster.kept), Math.max(...cluster.kept)]).toEqual([9, 9]);
  expect(Math.max(...cluster.led) - Math.min(...cluster.led)).toBeLessThanOrEqual(1);
});

test("leaders are spread when that is asked for, also while others are handed over as an operator asked", () => {
  const uneven: string[] = [];
  for (let seed = 100; seed < 130; seed++) {
    const cluster = new PlacedCluster(seed, 3);
    const { world, lookup, brokers } = cluster;
    cluster.create("t", 6, 3, 2);
    untilLed(cluster, [2, 2, 2], MINUTE_MS);
    for (let partition = 0; partition < 6; partition++)
      expect(world.time.settle(lookup.requests.lead("t", partition, brokers[0].uid))).toBeUndefined();
    world.time.advance(world.random.int(0, 1_000));
    expect(world.time.settle(lookup.requests.balance())).toBeUndefined();
    world.time.until(() => world.etcd.store.range(KEYS.balanceRequest).length === 0, MINUTE_MS, "it is balanced");
    cluster.rest();
    if (cluster.led.join() !== "2,2,2") uneven.push(`seed ${seed}: ${cluster.led}`);
  }
  expect(uneven).toEqual([]);
});
