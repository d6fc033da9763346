import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { ReplicationChecks, Violation, versionsOf } from "./replication-checks.ts";
import { PARTITION_KEY, PREFIX, SimBroker, type SimSite } from "./sim-broker.ts";
import { SimDisk } from "./sim-log.ts";
import { SimNetwork } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import { SimWorld } from "./sim-world.ts";

/** How long faults go on, and within which time everything is as it should be afterwards, ms of simulated time. */
const FAULTS_MS = 12_000;
const HEALING_MS = 60_000;
/** When everything is in order and the last leases of ended processes are gone, nothing is written to etcd. */
const SETTLING_MS = 6_000;
const RESTING_MS = 1_000;
/** No fault lasts longer than this. */
const LONGEST_FAULT_MS = 4_000;
/** A call to etcd may still have its effect after this. */
const LONGEST_CALL_MS = 4_000;
const TOPIC_UID = "00000000000000ff";

function uidOf(number: number): string {
  return number.toString(16).padStart(16, "0");
}

/** A machine: what is left when its process ends. */
interface Machine {
  readonly name: string;
  uid: string;
  disk: SimDisk;
  runs: number;
  startedMs: number;
  node: SimNode;
  broker: SimBroker | undefined;
}

/** One schedule: brokers with one partition, clients that publish, and faults of all kinds, from one seed. */
export class ReplicationRun {
  readonly world: SimWorld;
  readonly checks: ReplicationChecks;
  private readonly network: SimNetwork;
  private readonly site: SimSite;
  private readonly machines: Machine[];
  private readonly disks: Map<string, SimDisk>;
  private nextMessage = 1;
  private isHealing = false;

  constructor(seed: number) {
    this.world = new SimWorld(seed);
    const { time, random } = this.world;
    this.network = new SimNetwork(time, random);
    const replicas = random.pick([2, 3, 3, 3, 4, 5]);
    const durability = random.pick(["write", "fsync"] as const);
    this.machines = Array.from({ length: replicas }, (_, i): Machine => {
      const name = `n${i}`;
      return {
        name,
        uid: uidOf(i + 1),
        disk: new SimDisk(durability),
        runs: 0,
        startedMs: 0,
        node: this.world.node(name),
        broker: undefined,
      };
    });
    const minInSync = random.pick([Math.floor(replicas / 2) + 1, Math.floor(replicas / 2) + 1, 1]);
    this.disks = new Map(this.machines.map(({ uid, disk }) => [uid, disk]));
    this.checks = new ReplicationChecks(this.world, this.disks, minInSync);
    const disk = { failure: 0, syncMs: random.pick([1, 20, 300]) };
    this.site = { world: this.world, network: this.network, watch: this.checks, minInSync, disk };
  }

  /** @throws Violation */
  play(): void {
    const { time, random, etcd } = this.world;
    const replicas = this.machines.map(({ uid }) => uid);
    this.putRecord({ uid: TOPIC_UID, prefix: PREFIX, replicas, leader: "", epoch: 0, inSync: replicas });
    for (const machine of this.machines) this.boot(machine);
    time.advance(random.int(0, 3_000));
    etcd.faults = random.chance(0.5) ? this.world.randomEtcdFaults() : etcd.faults;
    if (random.chance(0.5)) {
      this.network.faults = {
        ...this.network.faults,
        delayMs: random.pick([1, 5, 30]),
        slow: random.pick([0, 0.01, 0.05]),
        slowMs: random.pick([50, 500, 2_000]),
        reset: random.pick([0, 0, 0.005]),
      };
    }
    if (random.chance(0.3)) Object.assign(this.site.disk, { failure: 0.01 });
    this.publishForEver();
    const untilMs = time.nowMs + FAULTS_MS;
    while (time.nowMs < untilMs) {
      time.advance(random.int(10, random.pick([100, 1_500])));
      this.checks.throwIfViolated();
      this.fault();
    }
    this.heal();
  }

  /** What the controller does. */
  private putRecord(record: PartitionRecord): void {
    this.world.etcd.store.txn([], [{ put: PARTITION_KEY, value: SHAPES.partitions.write(record) }], []);
    this.world.etcd.changed();
    this.world.note(JSON.stringify(record));
  }

  // ---- machines

  private boot(machine: Machine): void {
    if (machine.broker !== undefined) return;
    machine.runs++;
    machine.startedMs = this.world.time.nowMs;
    machine.node = this.world.node(machine.name);
    this.network.lightUp(machine.name);
    this.world.note(`${machine.name} starts with ${machine.disk.end}, whole: ${machine.disk.isWhole}`);
    machine.broker = new SimBroker(this.site, machine.node, machine.uid, machine.disk, `run${machine.runs}`);
  }

  private stop(machine: Machine, losesPower: boolean): void {
    if (machine.broker === undefined) return;
    this.world.note(`${machine.name} ${losesPower ? "loses power" : "is killed"} at ${machine.disk.end}`);
    this.network.end(machine.node, losesPower);
    if (losesPower) machine.disk.cutPower(this.world.random);
    machine.broker = undefined;
  }

  /**
   * Whether a machine's disk may lose something: some other replica in sync has to keep what it has. A transaction of this one that is under
   * way may take the others out of the set, also one of the run before.
   */
  private isSpare({ uid, broker, runs, startedMs }: Machine): boolean {
    if (broker === undefined || broker.isChanging || (runs > 1 && this.world.time.nowMs < startedMs + LONGEST_CALL_MS)) return false;
    const { inSync } = this.checks.record;
    return this.machines.some((other) => other.uid !== uid && inSync.includes(other.uid) && other.disk.isWhole);
  }

  /** The disk is gone for good. Somebody puts a new one in, and a replica there in the place of the one that was lost. */
  private replaceDisk(machine: Machine): void {
    const { random, time } = this.world;
    this.stop(machine, true);
    const lost = machine.uid;
    this.disks.delete(lost);
    this.checks.lostDisks++;
    machine.uid = uidOf(this.nextMessage++ + 100);
    machine.disk = new SimDisk(machine.disk.durability);
    this.disks.set(machine.uid, machine.disk);
    this.world.note(`${machine.name} has lost its disk, and is ${machine.uid} now`);
    time.after(random.int(0, LONGEST_FAULT_MS), () => {
      const { record } = this.checks;
      const replicas = record.replicas.map((uid) => (uid === lost ? machine.uid : uid));
      const inSync = record.inSync.filter((uid) => uid !== lost);
      this.putRecord({ ...record, replicas, inSync, leader: record.leader === lost ? "" : record.leader });
    });
  }

  private later(undo: () => void): void {
    this.world.time.after(this.world.random.int(20, LONGEST_FAULT_MS), undo);
  }

  // ---- clients

  private publishForEver(): void {
    const { time, random } = this.world;
    time.after(random.int(1, random.pick([10, 100, 500])), () => {
      const messages = Array.from({ length: random.pick([1, 1, 1, 3, 20]) }, () => this.nextMessage++);
      const { broker, node } = this.leading() ?? random.pick(this.machines);
      node.run(() => broker?.publish(messages));
      for (let i = random.int(0, 3); i > 0 && broker !== undefined; i--) node.run(() => this.checks.state.propose(broker, random));
      if (!this.isHealing) this.publishForEver();
    });
  }

  /** One that thinks that it leads. */
  private leading(): Machine | undefined {
    const leading = this.machines.filter(({ broker }) => broker?.role.name === "leader");
    return leading.length === 0 ? undefined : this.world.random.pick(leading);
  }

  // ---- faults

  private fault(): void {
    const { random, etcd, time } = this.world;
    const machine = random.chance(0.5) ? (this.leading() ?? random.pick(this.machines)) : random.pick(this.machines);
    const other = random.pick(this.machines.filter((one) => one !== machine));
    switch (random.int(0, 14)) {
      case 0:
      case 1:
        this.stop(machine, false);
        return this.later(() => this.boot(machine));
      case 2:
        // With the durability `write`, messages are lost when all replicas in sync lose power.
        if (machine.disk.durability === "write" && !this.isSpare(machine)) return;
        this.stop(machine, true);
        return this.later(() => this.boot(machine));
      case 3: {
        const { node } = machine;
        this.world.note(`${machine.name} stands still`);
        node.pause();
        return this.later(() => node.resume());
      }
      case 4:
      case 5:
        this.world.note(`${machine.name} is cut off from ${other.name}`);
        this.network.cut(machine.name, other.name);
        if (random.chance(0.5)) this.network.cut(other.name, machine.name);
        return this.later(() => {
          this.network.heal(machine.name, other.name);
          this.network.heal(other.name, machine.name);
        });
      case 6:
        this.world.note(`${machine.name} is cut off from all others`);
        for (const { name } of this.machines) {
          this.network.cut(machine.name, name);
          if (random.chance(0.8)) this.network.cut(name, machine.name);
        }
        if (random.chance(0.5)) etcd.cutOff(machine.name);
        return this.later(() => {
          this.network.healAll();
          etcd.heal(machine.name);
        });
      case 7:
        this.world.note(`${machine.name} is cut off from etcd`);
        etcd.cutOff(machine.name);
        return this.later(() => etcd.heal(machine.name));
      case 8:
        this.world.note("etcd is away");
        etcd.setDown(true);
        return this.later(() => etcd.setDown(false));
      case 9:
        if (random.chance(0.5)) etcd.compact();
        else etcd.electLeader();
        return;
      case 10:
        machine.disk.trimTo(random.int(0, machine.broker?.highWatermark ?? 0));
        return;
      case 11:
        this.world.note(`${machine.name} hands over`);
        return machine.node.run(() => machine.broker?.drain());
      case 12:
        if (!this.isSpare(machine) || random.chance(0.5)) return;
        this.replaceDisk(machine);
        return this.later(() => this.boot(machine));
      case 13:
        if (!this.isSpare(machine)) return;
        this.stop(machine, false);
        machine.disk.flipBit(random);
        return this.later(() => this.boot(machine));
      default:
        // Two at once: the one that leads, and a while later the one that takes over.
        this.stop(machine, false);
        time.after(random.int(0, 1_500), () => {
          const next = this.leading();
          if (next !== undefined) this.stop(next, false);
          if (next !== undefined) this.later(() => this.boot(next));
        });
        return this.later(() => this.boot(machine));
    }
  }

  /** Ends all faults, and waits until every replica has everything. */
  private heal(): void {
    const { time, etcd } = this.world;
    this.isHealing = true;
    this.world.note("healing");
    time.advance(LONGEST_FAULT_MS);
    this.network.healAll();
    etcd.setDown(false);
    for (const { name } of this.machines) etcd.heal(name);
    etcd.faults = { ...etcd.faults, slow: 0, answerLost: 0, requestLost: 0 };
    this.network.faults = { ...this.network.faults, reset: 0, slow: 0 };
    Object.assign(this.site.disk, { failure: 0 });
    for (const machine of this.machines) this.boot(machine);
    this.checks.throwIfViolated();
    try {
      time.until(() => this.isHealed(), HEALING_MS, "all replicas are in sync and have everything");
    } catch (error) {
      this.checks.throwIfViolated();
      throw new Violation(`${(error as Error).message}: ${JSON.stringify(this.checks.record)}`);
    }
    this.checks.throwIfViolated();
    this.checks.checkEnd();
    time.advance(SETTLING_MS);
    const { revision } = etcd.store;
    time.advance(RESTING_MS);
    this.checks.throwIfViolated();
    if (etcd.store.revision !== revision) throw new Violation(`etcd is written to at rest: ${JSON.stringify(this.checks.record)}`);
  }

  private isHealed(): boolean {
    const { leader, inSync, replicas } = this.checks.record;
    if (inSync.length < replicas.length) return false;
    const leading = this.machines.find(({ uid }) => uid === leader)?.broker;
    if (leading?.role.name !== "leader" || leading.highWatermark < leading.disk.end) return false;
    const versions = versionsOf(leading.disk.state.now);
    return this.machines.every(({ disk }) => disk.end === leading.disk.end && versionsOf(disk.state.now) === versions);
  }
}
