import type { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { PlacementChecks } from "./placement-checks.ts";
import { NO_FAULTS } from "./sim-etcd.ts";
import { SETTINGS, SimLookup } from "./sim-lookup.ts";
import { KEYS, SimWorld } from "./sim-world.ts";
import { StubBroker } from "./stub-broker.ts";
import { Violation } from "./violation.ts";

const HEALING_MS = 600_000;

/** One schedule: brokers that copy in their time, lookup servers of which one moves partitions, operators, and faults, from one seed. */
export class PlacementRun {
  readonly world: SimWorld;
  readonly checks: PlacementChecks;
  readonly brokers: StubBroker[];
  /** Replicas that have been in sync by a leader's word: `PREFIX UID`. */
  readonly joined = new Set<string>();
  lookups: SimLookup[] = [];
  private started = 0;

  constructor(seed: number) {
    this.world = new SimWorld(seed);
    this.checks = new PlacementChecks(this.world, (prefix, uid) => (this.joined.has(`${prefix} ${uid}`) ? undefined : "has not copied"));
    const { random } = this.world;
    const zones = random.pick([1, 2, 3]);
    this.brokers = Array.from(
      { length: random.int(4, 6) },
      (_, i) => new StubBroker(this.world, this.joined, `b${i + 1}`, `z${i % zones}`),
    );
    for (const broker of this.brokers) for (const other of this.brokers) broker.others.set(other.uid, other);
  }

  /** @throws Violation */
  play(): void {
    const { time, random, etcd } = this.world;
    for (const broker of this.brokers) broker.start();
    this.lookups = [this.lookup(), this.lookup()];
    time.advance(1_000);
    for (const topic of ["t", "u"].slice(0, random.int(1, 2))) {
      const replicas = random.int(1, 3);
      const minInSync = random.int(1, replicas);
      time.settle(this.lookups[0].topics.create(topic, { ...SETTINGS, partitions: random.int(1, 4), replicas, minInSync }));
    }
    time.advance(1_000);
    if (random.chance(0.5)) etcd.faults = this.world.randomEtcdFaults();
    const steps = random.int(5, 25);
    for (let step = 0; step < steps; step++) {
      this.operate();
      if (random.chance(0.7)) this.fault();
      time.advance(random.int(10, random.pick([200, 1_000, 4_000])));
      this.checks.throwIfViolated();
    }
    this.heal();
  }

  private lookup(): SimLookup {
    this.started++;
    return new SimLookup(this.world, `l${this.started}`);
  }

  /** What operators ask for. */
  private operate(): void {
    const { random } = this.world;
    const { requests, topics, view } = random.pick(this.lookups);
    const uid = random.pick(this.brokers).uid;
    const partitions = [...view.partitions.values()];
    const partition = partitions.length === 0 ? undefined : random.pick(partitions);
    const what = random.next();
    // As many brokers stay as the most replicas that are asked for.
    if (what < 0.15 && view.removals.size < this.brokers.length - 3) void requests.removeBroker(uid);
    else if (what < 0.2) void requests.keepBroker(uid);
    else if (what < 0.4 && partition !== undefined) {
      const { topic, at } = this.partOf(view, partition.value.prefix);
      if (random.chance(0.4)) void requests.lead(topic, at, random.pick(partition.value.replicas));
      else void requests.move(topic, at, random.pick(partition.value.replicas), uid);
    } else if (what < 0.48) {
      const replicas = random.int(1, 3);
      void topics.change(random.pick(["t", "u"]), { replicas, minInSync: random.int(1, replicas) });
    } else if (what < 0.52) void topics.remove("u");
    else if (what < 0.56) void topics.expand("t", random.int(2, 6));
    else if (what < 0.62) void requests.balance();
  }

  private partOf(view: ClusterView, prefix: number): { topic: string; at: number } {
    for (const [name, { value }] of view.partitions) {
      const [topic, at] = name.split("/");
      if (value.prefix === prefix) return { topic, at: Number(at) };
    }
    return { topic: "", at: 0 };
  }

  private fault(): void {
    const { random, etcd } = this.world;
    const i = random.int(0, this.lookups.length - 1);
    const { node } = this.lookups[i];
    const what = random.next();
    if (what < 0.35) random.pick(this.brokers).stop();
    else if (what < 0.65) random.pick(this.brokers).start();
    else if (what < 0.75) {
      node.end();
      this.lookups[i] = this.lookup();
    } else if (what < 0.8) node.pause();
    else if (what < 0.87) node.resume();
    else if (what < 0.9) etcd.cutOff(node.name);
    else if (what < 0.95) etcd.heal(node.name);
    else etcd.compact();
  }

  /** All that was asked for has to come to its end. */
  private heal(): void {
    const { time, etcd } = this.world;
    etcd.faults = NO_FAULTS;
    for (const { node } of this.lookups) {
      etcd.heal(node.name);
      node.resume();
    }
    for (const broker of this.brokers) broker.start();
    // Requests that were under way have come or are lost.
    time.advance(10_000);
    this.keepEnough();
    try {
      time.until(() => this.checks.violation !== undefined || this.isDone, HEALING_MS, "all moves have ended");
    } catch (error) {
      throw new Violation(`${(error as Error).message}\n${this.state()}`);
    }
    this.checks.throwIfViolated();
  }

  /** Operators that did not know of each other may have asked for the removal of brokers that are needed. */
  private keepEnough(): void {
    const { etcd } = this.world;
    const removals = etcd.store.range(`${KEYS.prefix}removals/`);
    const kept = removals.slice(this.brokers.length - 3);
    etcd.store.txn(
      [],
      kept.map(({ key }) => ({ remove: key })),
      [],
    );
    etcd.changed();
  }

  private get isDone(): boolean {
    const { view } = this.lookups[0];
    if (view.revision < this.world.etcd.store.revision || view.moves.size > 0 || view.balanceRequest !== undefined) return false;
    for (const { value } of view.removals.values()) if (value.state !== "drained") return false;
    for (const [name, { value }] of view.partitions) {
      const topic = view.topics.get(name.split("/")[0])?.value;
      if (topic?.change !== undefined || value.replicas.length !== topic?.replicas) return false;
      if (value.inSync.length !== value.replicas.length || value.replicas.some((uid) => view.removals.has(uid))) return false;
    }
    return true;
  }

  private state(): string {
    return this.world.etcd.store
      .range(KEYS.prefix)
      .map(({ key, value }) => `${key} ${value}`)
      .join("\n");
  }
}
