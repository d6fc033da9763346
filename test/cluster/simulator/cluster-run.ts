import { SHAPES } from "../../../src/cluster/state/records.ts";
import { ClusterChecks } from "./cluster-checks.ts";
import { ClusterFaults } from "./cluster-faults.ts";
import { Machines } from "./machines.ts";
import type { SimSite } from "./sim-broker.ts";
import { SimClients } from "./sim-clients.ts";
import { SETTINGS, SimLookup } from "./sim-lookup.ts";
import { KEYS, SimWorld } from "./sim-world.ts";
import { versionsOf } from "./state-checks.ts";
import { Violation } from "./violation.ts";

/** Everything is as it should be within a time that is as many times as long as that of the faults: an ordered partition is consumed slowly. */
const HEALING_TIMES = 24;
/** When everything is in order, nothing is written to etcd for this long, soon. */
const RESTING_MS = 1_000;
const SETTLING_MS = 60_000;
/** How often it is looked whether everything is as it should be, and whether operators have something to do for it. */
const TURN_MS = 50;
const TURNS_PER_REMOVAL = 200;
const TOPICS = ["t", "u"];

/** What a schedule is like: probabilities, and how long it takes. */
export interface Odds {
  /** That a topic is ordered. */
  readonly ordered: number;
  /** That operators ask for something, instead of a fault. */
  readonly request: number;
  /** That a connection is reset when something is sent, at least. */
  readonly reset: number;
  /** That a replica is moved away and back while its broker hears late of etcd, instead of a request or a fault. */
  readonly toAndFro: number;
  /** How long faults go on, ms of simulated time. */
  readonly faultsMs: number;
}

const ODDS: Odds = { ordered: 0.4, request: 0.2, reset: 0, toAndFro: 0.05, faultsMs: 10_000 };

/** One schedule: a whole cluster with its clients and operators, and faults of all kinds, from one seed. */
export class ClusterRun {
  readonly world: SimWorld;
  readonly checks: ClusterChecks;
  readonly machines: Machines;
  readonly site: SimSite;
  readonly clients: SimClients;
  private readonly faults: ClusterFaults;
  lookups: SimLookup[] = [];
  private started = 0;

  readonly odds: Odds;

  /** @param odds those that are not the usual ones */
  constructor(seed: number, odds: Partial<Odds> = {}) {
    this.odds = { ...ODDS, ...odds };
    this.world = new SimWorld(seed);
    const { random, network } = this.world;
    this.machines = new Machines(this.world, random.pick([1, 20, 300]));
    this.checks = new ClusterChecks(this.world, this.machines.dataPaths);
    this.clients = new SimClients(this.world, network, this.checks, () => this.machines.brokers());
    this.site = {
      world: this.world,
      network,
      watch: this.checks,
      brokerOf: (uid) => this.machines.byUid(uid)?.broker,
      deliver: (partition, _sequence, finish) => this.clients.deliver(partition, finish),
    };
    this.faults = new ClusterFaults(this);
  }

  /** @throws Violation */
  play(): void {
    const { time, random } = this.world;
    const machines = random.pick([2, 3, 3, 4, 5]);
    const zones = random.pick([1, 2, 3]);
    for (let i = 0; i < machines; i++) this.machines.boot(this.machines.add(`z${i % zones}`), this.site);
    this.lookups = Array.from({ length: random.pick([1, 2]) }, () => this.newLookup());
    time.advance(1_000);
    for (const topic of TOPICS.slice(0, random.int(1, 2))) this.makeTopic(topic, random.pick([1, 1, 2, 4]));
    time.advance(random.int(0, 3_000));
    this.faults.begin();
    this.clients.publishForEver(() => this.names());
    const untilMs = time.nowMs + this.odds.faultsMs;
    while (time.nowMs < untilMs) {
      time.advance(random.int(10, random.pick([100, 1_500])));
      this.checks.throwIfViolated();
      // Nothing is drawn at 0, so that seeds from before there was this fault make the runs that they made.
      if (this.odds.toAndFro > 0 && random.chance(this.odds.toAndFro)) this.faults.toAndFro();
      else if (random.chance(this.odds.request)) this.faults.operators.operate();
      else this.faults.strike();
    }
    this.heal();
  }

  newLookup(): SimLookup {
    this.started++;
    return new SimLookup(this.world, `l${this.started}`);
  }

  private makeTopic(topic: string, partitions: number): void {
    const { random, time } = this.world;
    const replicas = random.int(1, Math.min(5, this.machines.all.length));
    const minInSync = random.pick([Math.floor(replicas / 2) + 1, Math.floor(replicas / 2) + 1, 1]);
    const durability = random.pick(["write", "fsync"] as const);
    const ordered = random.chance(this.odds.ordered);
    const settings = { ...SETTINGS, partitions, replicas, minInSync, durability, ordered };
    const refusal = time.settle(this.lookups[0].topics.create(topic, settings));
    if (refusal !== undefined) throw refusal;
    this.world.note(
      `${topic} has ${partitions} partitions with ${replicas} replicas, ${minInSync} in sync, ${durability}${ordered ? ", ordered" : ""}`,
    );
  }

  /** All partitions, as producers find them. */
  private names(): string[] {
    const prefix = `${KEYS.prefix}partitions/`;
    return this.world.etcd.store.range(prefix).map(({ key }) => key.slice(prefix.length));
  }

  /** Ends all faults, and waits until every replica has everything. */
  private heal(): void {
    const { time, etcd } = this.world;
    this.faults.end();
    this.checks.throwIfViolated();
    this.clients.isEnding = true;
    this.waitFor("all replicas are in sync and have everything, and consumers, too", HEALING_TIMES * this.odds.faultsMs, () =>
      this.isHealed(),
    );
    for (const [name, history] of this.living()) {
      const record = this.checks.recordOf(name);
      if (record !== undefined) history.checkEnd(record);
    }
    this.clients.checkEnd();
    let quietSinceMs = time.nowMs;
    let { revision } = etcd.store;
    this.waitFor("nothing is written to etcd", SETTLING_MS, () => {
      if (etcd.store.revision !== revision) quietSinceMs = time.nowMs;
      revision = etcd.store.revision;
      return time.nowMs - quietSinceMs > RESTING_MS;
    });
  }

  private waitFor(what: string, withinMs: number, condition: () => boolean): void {
    const { time } = this.world;
    const untilMs = time.nowMs + withinMs;
    for (let turn = 1; !condition(); turn++) {
      // What operators asked for before may have come meanwhile.
      if (turn % TURNS_PER_REMOVAL === 0) this.faults.operators.removeLost();
      time.advance(TURN_MS);
      this.checks.throwIfViolated();
      if (time.nowMs > untilMs) throw new Violation(`not within ${withinMs} ms of simulated time: ${what}\n${this.state()}`);
    }
  }

  /** The histories of the partitions that there are. */
  private living(): Map<string, typeof this.checks.histories extends Map<number, infer H> ? H : never> {
    const living = new Map();
    for (const name of this.names()) {
      const record = this.checks.recordOf(name);
      if (record !== undefined) living.set(name, this.checks.history(record.prefix, name));
    }
    return living;
  }

  private isHealed(): boolean {
    const { store } = this.world.etcd;
    if (!this.clients.isIdle || store.range(`${KEYS.prefix}moves/`).length > 0) return false;
    for (const { key, value } of store.range(`${KEYS.prefix}topics/`)) {
      const topic = SHAPES.topics.read(value);
      if (topic instanceof Error) throw new Violation(`${key} cannot be read: ${topic.message}`);
      if (topic.change !== undefined) return false;
      const name = key.slice(`${KEYS.prefix}topics/`.length);
      for (let i = 0; i < topic.partitions; i++) if (!this.isPartitionHealed(`${name}/${i}`, topic.replicas)) return false;
    }
    return true;
  }

  private isPartitionHealed(name: string, wanted: number): boolean {
    const record = this.checks.recordOf(name);
    if (record === undefined) throw new Violation(`${name} has no record`);
    const { leader, inSync, replicas, prefix } = record;
    if (replicas.length !== wanted || inSync.length < replicas.length) return false;
    const leading = this.site.brokerOf(leader)?.partitions.get(prefix);
    if (leading?.role.name !== "leader" || leading.highWatermark < leading.disk.end) return false;
    const { finishedFloor, released, removedBelow } = this.checks.history(prefix, name);
    if (finishedFloor < released.length) return false;
    const versions = versionsOf(leading.disk.state.now);
    const disks = replicas.map((uid) => this.machines.dataPaths.get(uid)?.partitions.get(prefix));
    return disks.every((disk) => {
      return (
        disk !== undefined && disk.end === leading.disk.end && !disk.hasDamageFrom(removedBelow) && versionsOf(disk.state.now) === versions
      );
    });
  }

  private state(): string {
    const lines = this.world.etcd.store.range(KEYS.prefix).map(({ key, value }) => `${key} ${value}`);
    for (const broker of this.machines.brokers())
      for (const { name, role, disk, highWatermark } of broker.partitions.values())
        lines.push(
          `${broker.node.name} ${broker.uid} ${name}: ${JSON.stringify(role)} ${disk.start} to ${disk.end}, below ${highWatermark}`,
        );
    return lines.join("\n");
  }
}
