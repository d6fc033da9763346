import { expect, setDefaultTimeout, test } from "bun:test";
import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import { SHAPES } from "../../../src/cluster/state/records.ts";
import { type BrokerWatch, PARTITION_KEY, PREFIX, SimBroker } from "./sim-broker.ts";
import { SimDisk } from "./sim-log.ts";
import { SimNetwork } from "./sim-network.ts";
import { SimWorld } from "./sim-world.ts";

/** How long the machine takes for a simulation says nothing. */
setDefaultTimeout(60_000);

const UIDS = [1, 2, 3].map((number) => `${number}`.repeat(16));

/** Three brokers that have one partition, and nothing that fails by itself. */
class Cluster implements BrokerWatch {
  readonly world = new SimWorld(1);
  readonly network = new SimNetwork(this.world.time, this.world.random);
  readonly brokers: SimBroker[];
  readonly acked: number[] = [];
  private published = 0;

  constructor() {
    const { world, network } = this;
    const record = { uid: "f".repeat(16), prefix: PREFIX, replicas: UIDS, leader: "", epoch: 0, inSync: UIDS };
    world.etcd.store.txn([], [{ put: PARTITION_KEY, value: SHAPES.partitions.write(record) }], []);
    const site = { world, network, watch: this, minInSync: 2, disk: { failure: 0, syncMs: 5 } };
    this.brokers = UIDS.map((uid, i) => new SimBroker(site, world.node(`n${i}`), uid, new SimDisk("write"), "run"));
    this.until("all are in sync", () => this.leader !== undefined && this.inSync.length === UIDS.length);
    world.time.advance(1_000);
  }

  get leader(): SimBroker | undefined {
    return this.brokers.find(({ role, node }) => role.name === "leader" && node.isAlive);
  }

  get inSync(): readonly string[] {
    const record = SHAPES.partitions.read(this.world.etcd.store.entries.get(PARTITION_KEY)?.value ?? "");
    return record instanceof Error ? [] : record.inSync;
  }

  until(what: string, condition: () => boolean): void {
    this.world.time.until(condition, 10_000, what);
  }

  /** @returns how long it takes until a message is acknowledged that clients try to publish again and again, ms */
  publishMs(): number {
    const { time } = this.world;
    const [startMs, before] = [time.nowMs, this.acked.length];
    while (this.acked.length === before) {
      this.leader?.publish([++this.published]);
      time.advance(1);
      if (time.nowMs > startMs + 3_000) throw new Error("nothing is acknowledged");
    }
    return time.nowMs - startMs;
  }

  onRole(_broker: SimBroker, _role: Role): void {}

  onHighWatermark(): void {}

  onAck(_broker: SimBroker, messages: readonly number[]): void {
    this.acked.push(...messages);
  }
}

test("a leader whose process is killed is replaced at once", () => {
  const cluster = new Cluster();
  expect(cluster.publishMs()).toBeLessThan(10);
  const killed = cluster.leader as SimBroker;
  cluster.network.end(killed.node);
  expect(cluster.publishMs()).toBeLessThan(150);
  expect(cluster.inSync).not.toContain(killed.uid);
});

test("a leader whose machine is gone without a word is replaced after a second of silence", () => {
  const cluster = new Cluster();
  cluster.publishMs();
  cluster.network.end((cluster.leader as SimBroker).node, true);
  const goneMs = cluster.publishMs();
  expect(goneMs).toBeGreaterThan(800);
  expect(goneMs).toBeLessThan(1_500);
});

test("a hand-over takes a moment, and nobody leaves the in-sync set", () => {
  const cluster = new Cluster();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.drain();
  expect(before.replica.refusal).toBe("the partition gets another leader");
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== before);
  expect(before.drained).toBe(1);
  expect(cluster.publishMs()).toBeLessThan(20);
  expect(cluster.inSync.length).toBe(UIDS.length);
});

test("without etcd publishing goes on while followers answer, and waits when one does not", () => {
  const cluster = new Cluster();
  cluster.world.etcd.setDown(true);
  cluster.world.time.advance(5_000);
  expect(cluster.publishMs()).toBeLessThan(10);
  const follower = cluster.brokers.find(({ role }) => role.name === "follower") as SimBroker;
  cluster.network.end(follower.node);
  expect(() => cluster.publishMs()).toThrow("nothing is acknowledged");
  cluster.world.etcd.setDown(false);
  expect(cluster.publishMs()).toBeLessThan(2_500);
});

test("a process that stood still does not take the others for dead", () => {
  const cluster = new Cluster();
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  const followers = cluster.brokers.filter((broker) => broker !== leader);
  for (const { node } of followers) node.pause();
  cluster.world.time.advance(1_500);
  for (const { node } of followers) node.resume();
  cluster.world.time.advance(1_000);
  expect(cluster.leader).toBe(leader);
  expect(leader.role.epoch).toBe(1);
});

test("a broker that stops is replaced without a pause, and does not come back by itself", () => {
  const cluster = new Cluster();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.drain();
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== before);
  before.close();
  expect(cluster.publishMs()).toBeLessThan(50);
  cluster.until("it is out of the in-sync set", () => cluster.inSync.length === UIDS.length - 1);
  cluster.world.time.advance(5_000);
  expect(before.role.name).toBe("out");
  expect(cluster.publishMs()).toBeLessThan(50);
});
