import { expect, test } from "bun:test";
import type { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { Lease } from "../../../src/cluster/state/lease.ts";
import { playSchedules } from "../simulator/schedules.ts";
import { NO_FAULTS } from "../simulator/sim-etcd.ts";
import type { SimNode } from "../simulator/sim-node.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const LEASE_MS = 3_000;

/** A node that has a lease, and notes what becomes known of it. */
function leased(world: SimWorld, node: SimNode): { lease: Lease; told: string[] } {
  const told: string[] = [];
  const tell = (word: string) => {
    told.push(word);
    world.note(`${node.name} ${word}`);
  };
  const lease = new Lease(world.etcd.client(node), node, LEASE_MS, {
    onGranted: (id) => tell(`granted ${id}`),
    onLapsed: () => tell("lapsed"),
    onRenewed: () => tell("renewed"),
    onGone: () => tell("gone"),
    onTrouble: (_error: EtcdError) => {},
  });
  lease.start();
  return { lease, told };
}

function kinds(told: readonly string[]): string[] {
  return told.map((word) => word.split(" ")[0] as string);
}

test("a lease is renewed as long as etcd answers", () => {
  const world = new SimWorld(1);
  const { lease, told } = leased(world, world.node("a"));
  world.time.advance(100);
  const { id } = lease;
  for (let i = 0; i < 600; i++) {
    world.time.advance(100);
    expect(lease.holds).toBe(true);
  }
  expect(lease.id).toBe(id);
  expect(kinds(told)).toEqual(["granted"]);
});

test("it lapses before etcd ends it, and another one is granted when etcd is back", () => {
  const world = new SimWorld(2);
  const { lease, told } = leased(world, world.node("a"));
  world.time.advance(1_000);
  const { id } = lease;
  world.etcd.cutOff("a");
  world.time.until(() => told.includes("lapsed"), LEASE_MS, "it lapses");
  expect(lease.holds).toBe(false);
  expect(world.etcd.store.leases.has(id)).toBe(true);
  world.time.until(() => !world.etcd.store.leases.has(id), LEASE_MS, "it ends in etcd");
  world.etcd.heal("a");
  world.time.until(() => lease.holds, 2 * LEASE_MS, "it has another one");
  expect(lease.id).not.toBe(id);
  expect(kinds(told)).toEqual(["granted", "lapsed", "gone", "granted"]);
});

test("one that etcd still has after it lapsed is renewed", () => {
  const world = new SimWorld(3);
  const { lease, told } = leased(world, world.node("a"));
  world.time.advance(1_000);
  const { id } = lease;
  world.etcd.setDown(true);
  world.time.advance(60_000);
  expect(lease.holds).toBe(false);
  // etcd's next leader gives each lease its whole time again.
  world.etcd.setDown(false);
  world.time.until(() => lease.holds, LEASE_MS, "it holds");
  expect(lease.id).toBe(id);
  expect(kinds(told)).toEqual(["granted", "lapsed", "renewed"]);
});

test("the time of a lease counts from when its renewal was sent, however late the answer comes", () => {
  const world = new SimWorld(4);
  const node = world.node("a");
  const startMs = node.steadyMs();
  const { lease } = leased(world, node);
  world.time.advance(500);
  world.etcd.faults = { ...NO_FAULTS, delayMs: 300 };
  world.time.advance(LEASE_MS / 3 - 500 + 50);
  // The first renewal is under way.
  node.pause();
  world.time.advance(2_000);
  node.resume();
  world.time.advance(1);
  expect(lease.holdsUntilMs - startMs).toBeGreaterThan(3_900);
  expect(lease.holdsUntilMs - startMs).toBeLessThan(4_000);
  world.time.advance(50);
  node.pause();
  world.time.advance(2 * LEASE_MS);
  node.resume();
  world.time.advance(1);
  expect(lease.holds).toBe(false);
});

test("a wall clock that jumped ahead puts an end to it until the next renewal: the machine may have been suspended", () => {
  const world = new SimWorld(5);
  const node = world.node("a");
  const { lease, told } = leased(world, node);
  world.time.advance(1_000);
  node.setWallClock(-3_600_000);
  expect(lease.holds).toBe(true);
  node.setWallClock(2 * 3_600_000);
  expect(lease.holds).toBe(false);
  world.time.advance(LEASE_MS / 3 + 100);
  expect(lease.holds).toBe(true);
  expect(kinds(told)).toEqual(["granted"]);
});

test("whatever fails: who believes to have a lease has it", () => {
  const play = (seed: number): string[] => {
    const world = new SimWorld(seed);
    const { time, random, etcd } = world;
    etcd.faults = world.randomEtcdFaults();
    const nodes = ["a", "b", "c"].map((name) => world.node(name));
    const leases = nodes.map((node) => leased(world, node).lease);
    for (let step = 0; step < 60; step++) {
      const node = random.pick(nodes);
      const what = random.next();
      if (what < 0.1) etcd.cutOff(node.name);
      else if (what < 0.25) etcd.heal(node.name);
      else if (what < 0.3) node.pause();
      else if (what < 0.4) node.resume();
      else if (what < 0.43) etcd.setDown(!etcd.isDown);
      else if (what < 0.46) node.setWallClock(random.int(-10_000, 10_000));
      else if (what < 0.48) etcd.electLeader();
      for (let ms = random.int(0, 1_000); ms > 0; ms -= 7) {
        time.advance(7);
        for (const lease of leases) {
          const isThere = etcd.store.leases.has(lease.id);
          if (lease.holds && !isThere) throw new Error(`lease ${lease.id} is believed to hold, and has ended`);
        }
      }
    }
    etcd.faults = NO_FAULTS;
    etcd.setDown(false);
    for (const node of nodes) {
      etcd.heal(node.name);
      node.resume();
    }
    time.until(() => leases.every((lease) => lease.holds), 10_000, "all have a lease again");
    return world.trace;
  };
  playSchedules(100, play);
  expect(play(7)).toEqual(play(7));
});
