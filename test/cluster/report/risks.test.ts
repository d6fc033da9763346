import { expect, test } from "bun:test";
import { ClusterRefusal } from "../../../src/cluster/placement/cluster-refusal.ts";
import { BrokerNames } from "../../../src/cluster/report/broker-names.ts";
import { clusterStatus } from "../../../src/cluster/report/cluster-status.ts";
import { Sightings } from "../../../src/cluster/report/sightings.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { type BrokerRecord, type MoveRecord, type PartitionRecord, SHAPES, type TopicRecord } from "../../../src/cluster/state/records.ts";
import { KEYS, SimWorld } from "../simulator/sim-world.ts";

const [A, B, C] = ["aaaa000000000001", "bbbb000000000002", "bbbb000000000003"] as const;
const MINUTE_MS = 60_000;

/** A cluster that consists of what is put into etcd by hand, and a lookup server's view of it. */
class Site {
  readonly world = new SimWorld(1);
  readonly view: ClusterView;
  readonly names: BrokerNames;
  readonly sightings: Sightings;
  /** The flag. */
  minInSync = 0;

  constructor() {
    const node = this.world.node("l1");
    this.view = new ClusterView(this.world.etcd.client(node), KEYS, node, this.world.logger);
    this.names = new BrokerNames(this.view);
    this.sightings = new Sightings(this.view, node);
    void this.view.start();
    this.put(KEYS.controller, SHAPES.controller.write({ lookup: "l1", run: "r" }));
  }

  put(key: string, value: string | undefined): void {
    this.world.etcd.store.txn([], [value === undefined ? { remove: key } : { put: key, value }], []);
    this.world.etcd.changed();
    this.world.time.advance(100);
  }

  broker(uid: string, host: string, changes: Partial<BrokerRecord> = {}): void {
    const load = { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 };
    const record = {
      uid,
      run: "r",
      tcp: `${host}:4150`,
      http: `${host}:4151`,
      replication: `${host}:4152`,
      region: "",
      zone: "",
      version: "1",
    };
    const value = SHAPES.brokers.write({ ...record, disk: { sizeBytes: 0, freeBytes: 0 }, load, ...changes });
    this.put(KEYS.member("brokers", uid), value);
  }

  away(uid: string): void {
    this.put(KEYS.member("brokers", uid), undefined);
  }

  topic(name: string, changes: Partial<TopicRecord> = {}): void {
    const rest = { ordered: false, durability: "write", retentionMs: 0, retentionBytes: 0, channels: [], paused: false } as const;
    this.put(KEYS.topic(name), SHAPES.topics.write({ uid: A, partitions: 1, replicas: 3, minInSync: 1, ...rest, ...changes }));
  }

  partition(topic: string, partition: number, changes: Partial<PartitionRecord> = {}): void {
    const all = [A, B, C];
    const record = { uid: A, prefix: partition + 1, replicas: all, leader: A, epoch: 1, inSync: all, ...changes };
    this.put(KEYS.partition(topic, partition), SHAPES.partitions.write(record));
  }

  get status() {
    const { view, names, sightings, minInSync } = this;
    return clusterStatus("main", { view, names, sightings, isCurrent: true, withoutControllerMs: 0, minInSync });
  }

  get risks(): string[] {
    return this.status.risks.map(({ kind, severity, partitions, text }) => `${severity} ${kind} [${partitions.join(" ")}] ${text}`);
  }
}

/** Three brokers, and a topic with all replicas in sync. */
function wholeSite(): Site {
  const site = new Site();
  site.broker(A, "10.0.0.1");
  site.broker(B, "10.0.0.2");
  site.broker(C, "10.0.0.3");
  site.topic("t");
  site.partition("t", 0);
  return site;
}

test("a whole cluster has no risks, and its brokers are counted", () => {
  const site = wholeSite();
  expect(site.risks).toEqual([]);
  expect(site.status).toMatchObject({ healthy: true, controller: "l1", topics: 1, partitions: 1, without_leader: 0, under_replicated: 0 });
  expect(site.status.brokers.map(({ uid, state, leaders, replicas, in_sync }) => [uid, state, leaders, replicas, in_sync])).toEqual([
    [A, "alive", 1, 1, 1],
    [B, "alive", 0, 1, 1],
    [C, "alive", 0, 1, 1],
  ]);
});

test("a follower that is away leaves its partitions with fewer replicas, and says what to do", () => {
  const site = wholeSite();
  site.partition("t", 1);
  site.topic("t", { partitions: 2 });
  site.away(B);
  site.partition("t", 0, { inSync: [A, C] });
  site.partition("t", 1, { inSync: [A, C] });
  site.world.time.advance(5 * MINUTE_MS);
  expect(site.risks).toEqual([
    "warning under-replicated [t/0 t/1] 2 partitions (t/0, t/1) have fewer replicas in sync than wanted: 10.0.0.2:4151 (bbbb0000) is away.",
    "warning broker-away [] Broker 10.0.0.2:4151 (bbbb0000) has been away for 5 min at least. It has a replica of 2 partitions: start it again, or have others take its place with `bunsq cluster remove-node 10.0.0.2:4151`.",
  ]);
  expect(site.status.brokers.find(({ uid }) => uid === B)).toMatchObject({ state: "away", http: "10.0.0.2:4151", in_sync: 0 });
  site.broker(B, "10.0.0.2");
  expect(site.risks).toEqual([
    "warning under-replicated [t/0 t/1] 2 partitions (t/0, t/1) have fewer replicas in sync than wanted: 10.0.0.2:4151 (bbbb0000) is catching up.",
  ]);
});

test("partitions whose last disk in sync is away are the worst, then those that take no publishes, then those on one disk", () => {
  const site = wholeSite();
  site.topic("one");
  site.partition("one", 0, { prefix: 11, inSync: [A] });
  site.topic("closed", { minInSync: 2 });
  site.partition("closed", 0, { prefix: 12, inSync: [A] });
  site.topic("gone");
  site.partition("gone", 0, { prefix: 13, leader: C, inSync: [C] });
  site.away(C);
  expect(site.risks.slice(0, 3)).toEqual([
    "critical no-leader [gone/0] Partition gone/0 has no leader: nothing can be published to it or consumed from it. All that was acknowledged is only at 10.0.0.3:4151 (bbbb0000), which is away: start it again. If its disk is lost for good, `bunsq cluster recover` goes on without what only that had.",
    "critical not-writable [closed/0] Partition closed/0 takes no publishes: 1 of at least 2 replicas are in sync. Consumers go on. Start the brokers that are away, or lower the number with `bunsq cluster min-in-sync`.",
    "critical one-in-sync [one/0] Only one replica of partition one/0 is in sync, at 10.0.0.1:4151 (aaaa0000). If that disk is lost, so is what it has.",
  ]);
  expect(site.status).toMatchObject({ healthy: false, without_leader: 1 });
});

test("a leader that a replica in sync replaces in this moment is told apart", () => {
  const site = wholeSite();
  site.away(A);
  expect(site.risks[0]).toBe(
    "critical no-leader [t/0] Partition t/0 has no leader at this moment. A replica in sync is alive and takes over.",
  );
});

test("moves and removals that stand still say why", () => {
  const site = wholeSite();
  site.broker("dddd000000000004", "10.0.0.4");
  const move: MoveRecord = {
    ...{ state: "copying", what: "replace", why: "asked", topic: "t", partition: 0, uid: A },
    ...{ from: B, to: "dddd000000000004", inSync: 3 },
  };
  site.put(KEYS.move(1), SHAPES.moves.write(move));
  site.put(
    KEYS.member("removals", C),
    SHAPES.removals.write({ state: "draining", partitions: 4, left: 3, problem: "no other broker is left for some of its partitions" }),
  );
  site.world.time.advance(MINUTE_MS);
  expect(site.risks).toEqual([
    "warning removal-stuck [] The removal of broker 10.0.0.3:4151 (bbbb0000) stands still with 3 of 4 partitions left: no other broker is left for some of its partitions.",
  ]);
  const [{ for_ms: forMs, ...moving } = { for_ms: 0 }] = site.status.moves;
  expect([moving, forMs >= MINUTE_MS]).toMatchObject([{ topic: "t", what: "replace", state: "copying" }, true]);
  site.world.time.advance(20 * MINUTE_MS);
  expect(site.risks).toContain(
    "warning move-stuck [t/0] The move of t/0 from 10.0.0.2:4151 (bbbb0000) to 10.0.0.4:4151 (dddd0000) has been copying to 10.0.0.4:4151 (dddd0000) for 21 min.",
  );
});

test("all replicas in one of several zones, and more replicas than brokers, are risks", () => {
  const site = new Site();
  site.broker(A, "10.0.0.1", { zone: "z1" });
  site.broker(B, "10.0.0.2", { zone: "z1" });
  site.broker(C, "10.0.0.3", { zone: "z2" });
  site.topic("t", { replicas: 2 });
  site.partition("t", 0, { replicas: [A, B], inSync: [A, B] });
  site.topic("u", { replicas: 4, partitions: 1 });
  site.partition("u", 0, { prefix: 9 });
  expect(site.risks).toEqual([
    "warning under-replicated [u/0] Partition u/0 has fewer replicas in sync than wanted: another replica is to be added.",
    'warning one-zone [t/0] All replicas of partition t/0 are in zone "z1" and fail with it.',
    "warning too-few-brokers [] Topic u is to have 4 replicas, and there are 3 brokers for them.",
  ]);
});

test("a disk that is nearly full is a risk", () => {
  const site = wholeSite();
  site.broker(B, "10.0.0.2", { disk: { sizeBytes: 100 * 2 ** 30, freeBytes: 3.5 * 2 ** 30 } });
  site.broker(C, "10.0.0.3", { disk: { sizeBytes: 2 ** 40, freeBytes: 2 ** 35 } });
  expect(site.risks).toEqual([
    "warning disk-low [] The disk of broker 10.0.0.2:4151 (bbbb0000) has 3.5 GiB (3%) left. When it is full, the broker leaves the in-sync sets of its partitions.",
  ]);
});

test("brokers are found by uid, its beginning, addresses and hosts, those that are away too; what is not one broker is refused", () => {
  const site = wholeSite();
  site.away(C);
  const { names } = site;
  for (const name of [A, "aaaa", "10.0.0.1", "10.0.0.1:4150", "10.0.0.1:4151", "10.0.0.1:4152"]) expect(names.find(name)).toBe(A);
  expect(names.find("10.0.0.3")).toBe(C);
  // Two begin so, and one of them is alive.
  expect(names.find("bbbb")).toBe(B);
  site.broker(C, "10.0.0.3");
  const refusals = ["bbbb", "aa", "10.0.0.9", "aaaa000000000009"].map((name) => {
    const found = names.find(name);
    return found instanceof ClusterRefusal ? `${found.reason}: ${found.message}` : found;
  });
  const known = "known are 10.0.0.1:4151 (aaaa0000), 10.0.0.2:4151 (bbbb0000), 10.0.0.3:4151 (bbbb0000)";
  expect(refusals).toEqual([
    'invalid: "bbbb" may be any of 10.0.0.2:4151 (bbbb0000), 10.0.0.3:4151 (bbbb0000)',
    `no-such-broker: there is no broker "aa"; ${known}`,
    `no-such-broker: there is no broker "10.0.0.9"; ${known}`,
    `no-such-broker: there is no broker "aaaa000000000009"; ${known}`,
  ]);
});

test("topics with fewer replicas than are to acknowledge a publish are named", () => {
  const site = wholeSite();
  site.topic("lone", { replicas: 1 });
  site.partition("lone", 0, { prefix: 21, replicas: [A], inSync: [A] });
  expect(site.risks).toEqual([]);
  site.minInSync = 2;
  // What an operator has set for a topic of enough replicas is no mistake.
  expect(site.risks).toEqual([
    "warning fewer-than-min-in-sync [] Topic lone has fewer replicas than the 2 that -min-in-sync has acknowledge a publish, so fewer do: give more with `bunsq cluster replicas`.",
  ]);
});

test("a broker that was drained and is gone is removed, not away; one that has something left is away", () => {
  const site = wholeSite();
  site.put(KEYS.member("removals", B), SHAPES.removals.write({ state: "draining", partitions: 1, left: 1, problem: "" }));
  const state = () => site.status.brokers.find(({ uid }) => uid === B)?.state;
  expect(state()).toBe("leaving");
  site.away(B);
  expect(state()).toBe("away");
  site.partition("t", 0, { replicas: [A, C], inSync: [A, C] });
  site.put(KEYS.member("removals", B), SHAPES.removals.write({ state: "drained", partitions: 1, left: 0, problem: "" }));
  expect(state()).toBe("removed");
});

test("replicas in sync that are away are missing, and balance that was asked for is told until it is done", () => {
  const site = wholeSite();
  site.put(KEYS.balanceRequest, SHAPES.requests.write({ what: "balance" }));
  expect(site.status).toMatchObject({ under_replicated: 0, balancing: true });
  for (const uid of [A, B, C]) site.away(uid);
  site.put(KEYS.balanceRequest, undefined);
  expect(site.status).toMatchObject({ under_replicated: 1, without_leader: 1, balancing: false });
  expect(site.status.brokers.map(({ leaders }) => leaders)).toEqual([0, 0, 0]);
});
