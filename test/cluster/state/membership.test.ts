import { expect, test } from "bun:test";
import type { Etcd } from "../../../src/cluster/etcd/etcd.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { Membership } from "../../../src/cluster/state/membership.ts";
import { type BrokerRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { playSchedules } from "../simulator/schedules.ts";
import { NO_FAULTS } from "../simulator/sim-etcd.ts";
import type { SimNode } from "../simulator/sim-node.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const LEASE_MS = 3_000;
const UID = "00112233445566ff";
const OTHER_UID = "ffeeddccbbaa9900";
const keys = new ClusterKeys("main");
const KEY = keys.member("brokers", "b1");

/** One run of a broker with the id b1. */
class Run {
  readonly told: string[] = [];
  readonly membership: Membership<BrokerRecord>;
  isMember = false;
  refusal: Error | undefined;

  constructor(
    readonly world: SimWorld,
    readonly node: SimNode,
    readonly uid: string,
    readonly run: string,
    etcd: Etcd = world.etcd.client(node),
  ) {
    const record: BrokerRecord = {
      uid,
      run,
      tcp: "h:1",
      http: "h:2",
      replication: "h:3",
      region: "",
      zone: "",
      version: "1",
      disk: { sizeBytes: 0, freeBytes: 0 },
      load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 },
    };
    const tell = (word: string) => {
      this.told.push(word);
      world.note(`${run} ${word}`);
    };
    this.membership = new Membership(etcd, node, KEY, SHAPES.brokers, record, LEASE_MS, {
      onJoined: () => {
        this.isMember = true;
        tell("joined");
      },
      onLapsed: () => tell("lapsed"),
      onRenewed: () => tell("renewed"),
      onLost: () => {
        this.isMember = false;
        tell("lost");
      },
      onRefused: (error) => {
        this.refusal = error;
        tell("refused");
      },
      onTrouble: () => {},
    });
    this.membership.start();
  }
}

function owner(world: SimWorld): string | undefined {
  const entry = world.etcd.store.entries.get(KEY);
  return entry === undefined ? undefined : (JSON.parse(entry.value) as BrokerRecord).run;
}

test("a broker's key is there while it runs, says what the broker says last, and goes when it leaves", () => {
  const world = new SimWorld(1);
  const one = new Run(world, world.node("a"), UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  expect(world.etcd.store.entries.get(KEY)?.lease).toBe(one.membership.lease.id);
  world.time.advance(60_000);
  for (let storedBytes = 1; storedBytes <= 9; storedBytes++)
    one.membership.update({ load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes } });
  world.time.advance(100);
  expect(SHAPES.brokers.read(world.etcd.store.entries.get(KEY)?.value ?? "")).toMatchObject({ load: { storedBytes: 9 } });
  world.time.settle(one.membership.leave());
  expect(owner(world)).toBeUndefined();
  world.time.advance(60_000);
  expect(one.told).toEqual(["joined"]);
});

test("a broker with another data path does not get the id while the first one lives", () => {
  const world = new SimWorld(2);
  const one = new Run(world, world.node("a"), UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  const other = new Run(world, world.node("b"), OTHER_UID, "r2");
  world.time.until(() => other.refusal !== undefined, 3 * LEASE_MS, "the other is refused");
  expect(other.refusal?.message).toBe(
    `${KEY} belongs to data path uid ${UID} (http h:2), which is alive; give this one another id, or stop the other`,
  );
  world.time.advance(10_000);
  expect([other.told, one.told, owner(world)]).toEqual([["refused"], ["joined"], "r1"]);
});

test("it gets the id when the first one's lease has ended", () => {
  const world = new SimWorld(3);
  const node = world.node("a");
  const one = new Run(world, node, UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  node.end();
  const other = new Run(world, world.node("b"), OTHER_UID, "r2");
  world.time.until(() => other.isMember, 2 * LEASE_MS, "the other joins");
  expect([other.told, owner(world)]).toEqual([["joined"], "r2"]);
});

test("a broker that was killed joins at once with the same data path, and its old lease does not take the key away", () => {
  const world = new SimWorld(4);
  const node = world.node("a");
  const one = new Run(world, node, UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  node.end();
  const again = new Run(world, world.node("a"), UID, "r2");
  world.time.until(() => again.isMember, 200, "it joins again");
  world.time.advance(4 * LEASE_MS);
  expect([again.told, owner(world)]).toEqual([["joined"], "r2"]);
});

test("a broker whose data path was copied and runs elsewhere is told, and lets the newer one be", () => {
  const world = new SimWorld(5);
  const one = new Run(world, world.node("a"), UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  const copy = new Run(world, world.node("b"), UID, "r2");
  world.time.advance(5_000);
  expect([one.told, copy.told, owner(world)]).toEqual([["joined", "lost", "refused"], ["joined"], "r2"]);
  expect(one.refusal?.message).toContain("taken over by another process with the same data path uid");
});

test("a key that is gone, by its lease or by an operator, is put again", () => {
  const world = new SimWorld(6);
  const one = new Run(world, world.node("a"), UID, "r1");
  world.time.until(() => one.isMember, 1_000, "it joins");
  world.etcd.store.txn([], [{ remove: KEY }], []);
  world.etcd.changed();
  world.time.advance(100);
  expect(owner(world)).toBe("r1");
  world.etcd.cutOff("a");
  world.time.advance(10_000);
  expect(owner(world)).toBeUndefined();
  world.etcd.heal("a");
  world.time.until(() => owner(world) === "r1", 2_000, "it is back");
  world.time.advance(100);
  expect(one.told).toEqual(["joined", "lost", "joined", "lapsed", "lost", "joined"]);
});

test("a value that this release cannot read is not overwritten while its lease lasts", () => {
  const world = new SimWorld(7);
  world.etcd.store.txn([], [{ put: KEY, value: "?" }], []);
  const one = new Run(world, world.node("a"), UID, "r1");
  world.time.until(() => one.refusal !== undefined, 3 * LEASE_MS, "it is refused");
  expect(one.refusal?.message).toContain("belongs to an unreadable value");
});

test("a key is not put without a lease when the lease ends meanwhile, since it would stay for ever", () => {
  const world = new SimWorld(8);
  const node = world.node("a");
  const etcd = world.etcd.client(node);
  const one = new Run(world, node, UID, "r1", etcd);
  world.time.until(() => one.isMember, 1_000, "it joins");
  const get = etcd.get.bind(etcd);
  const answers: (() => void)[] = [];
  etcd.get = (key) => new Promise((resolve) => answers.push(() => resolve(get(key))));
  const grant = etcd.grant.bind(etcd);
  etcd.grant = () => new Promise((resolve) => answers.push(() => resolve(grant(LEASE_MS))));
  one.membership.update({ version: "2" });
  world.etcd.store.endLease(one.membership.lease.id);
  world.time.until(() => one.membership.lease.id === "", LEASE_MS, "it hears that its lease is gone");
  const [answerRead, answerGrant] = answers;
  answerRead?.();
  world.time.advance(100);
  expect(world.etcd.store.entries.get(KEY)).toBeUndefined();
  etcd.get = get;
  answerGrant?.();
  world.time.advance(100);
  expect(world.etcd.store.entries.get(KEY)?.lease).toBe(one.membership.lease.id);
});

test("whatever fails: a broker that is a member and can be reached has its key, and two data paths never share it", () => {
  const play = (seed: number): string[] => {
    const world = new SimWorld(seed);
    const { time, random, etcd } = world;
    etcd.faults = world.randomEtcdFaults();
    let count = 0;
    const start = (name: string, uid: string) => new Run(world, world.node(name), uid, `r${count++}`);
    const runs = [start("a", UID)];
    for (let step = 0; step < 40; step++) {
      const last = runs[runs.length - 1] as Run;
      const what = random.next();
      if (what < 0.1) etcd.cutOff("a");
      else if (what < 0.3) etcd.heal("a");
      else if (what < 0.35) last.node.pause();
      else if (what < 0.5) last.node.resume();
      else if (what < 0.55) {
        last.node.end();
        runs.push(start("a", UID));
      } else if (what < 0.6) etcd.compact();
      else if (what < 0.63) {
        etcd.store.txn([], [{ remove: KEY }], []);
        etcd.changed();
      } else if (what < 0.8) last.membership.update({ load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: step } });
      time.advance(random.int(0, 1_500));
    }
    etcd.faults = NO_FAULTS;
    etcd.heal("a");
    const last = runs[runs.length - 1] as Run;
    last.node.resume();
    time.until(() => last.isMember && owner(world) === last.run, 20_000, "the last run is a member");
    time.advance(20_000);
    expect([owner(world), last.isMember, last.refusal]).toEqual([last.run, true, undefined]);
    const leaving = last.membership.leave();
    time.settle(leaving);
    if (owner(world) !== undefined) throw new Error("its key is still there");
    return world.trace;
  };
  playSchedules(100, play);
  expect(play(7)).toEqual(play(7));
});
