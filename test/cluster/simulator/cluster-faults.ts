import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { ClusterOperators } from "./cluster-operators.ts";
import type { ClusterRun } from "./cluster-run.ts";
import type { Machine } from "./machines.ts";
import { cursorOf } from "./sim-channel.ts";
import { NO_FAULTS } from "./sim-etcd.ts";
import type { SimPartition } from "./sim-partition.ts";
import { KEYS } from "./sim-world.ts";

/** No fault lasts longer than this. */
const LONGEST_FAULT_MS = 4_000;
/** A call to etcd may still have its effect after this. */
const LONGEST_CALL_MS = 4_000;
/** A broker hears at most this much later that it has a replica again. */
const LONGEST_RETURN_MS = 3_000;
/** A move away and back may take this long. */
const LONGEST_MOVES_MS = 8_000;
/** How often somebody asks for a move that has not ended. */
const ASK_MS = 100;
const DAY_MS = 86_400_000;
const nothing = () => {};
/** More than any clock drifts, and less than a lease allows for. */
const MAX_DRIFT = 0.01;

/** What goes wrong in a schedule. */
export class ClusterFaults {
  private isEnding = false;
  /** What ends the faults that there are. */
  private readonly undos = new Set<() => void>();
  private lossMs = Number.NEGATIVE_INFINITY;
  /** A replica is being moved away and back. */
  private isMovingBack = false;
  readonly operators: ClusterOperators;

  constructor(private readonly run: ClusterRun) {
    const { time } = run.world;
    const mayResize = () => time.nowMs > this.lossMs + 2 * LONGEST_FAULT_MS && this.areReliable;
    this.operators = new ClusterOperators(run, mayResize);
  }

  /** Faults that last. */
  begin(): void {
    const { world, machines } = this.run;
    const { random, etcd, network } = world;
    if (random.chance(0.5)) etcd.faults = world.randomEtcdFaults();
    if (random.chance(0.5)) {
      network.faults = {
        ...network.faults,
        delayMs: random.pick([1, 5, 30]),
        slow: random.pick([0, 0.01, 0.05]),
        slowMs: random.pick([50, 500, 2_000]),
        reset: random.pick([0, 0, 0.005]),
      };
    }
    network.faults = { ...network.faults, reset: Math.max(network.faults.reset, this.run.odds.reset) };
    if (random.chance(0.3)) for (const { dataPath } of machines.all) dataPath.faults.failure = 0.01;
  }

  /** One more fault. */
  strike(): void {
    const { machines, world } = this.run;
    const { random } = world;
    const machine = random.chance(0.5) ? (this.leading() ?? random.pick(machines.all)) : random.pick(machines.all);
    random.pick(this.kinds)(machine);
  }

  /** Ends all faults, and has operators replace what is lost. */
  end(): void {
    const { world, machines, site, lookups } = this.run;
    const { time, etcd, network } = world;
    this.isEnding = true;
    world.note("healing");
    for (const undo of this.undos) undo();
    this.undos.clear();
    time.advance(0);
    network.healAll();
    etcd.setDown(false);
    etcd.faults = NO_FAULTS;
    network.faults = { ...network.faults, reset: 0, slow: 0 };
    for (const dataPath of machines.dataPaths.values()) Object.assign(dataPath.faults, { failure: 0, isFull: false, syncMs: 20 });
    for (const machine of machines.all) {
      etcd.heal(machine.name);
      machines.boot(machine, site);
    }
    for (const { node } of lookups) {
      etcd.heal(node.name);
      node.resume();
    }
    this.operators.removeLost();
  }

  // ---- faults

  private readonly kinds: readonly ((machine: Machine) => void)[] = [
    (machine) => this.kill(machine),
    (machine) => this.kill(machine),
    (machine) => this.killTwo(machine),
    (machine) => this.cutPower(machine),
    (machine) => this.pause(machine),
    (machine) => this.cutFromOne(machine),
    (machine) => this.cutFromOne(machine),
    (machine) => this.cutFromAll(machine),
    (machine) => this.cutFromEtcd(machine),
    () => this.etcd(),
    (machine) => this.trim(machine),
    (machine) => this.handOver(machine),
    (machine) => this.loseDisk(machine),
    (machine) => this.damage(machine),
    (machine) => this.setBack(machine),
    (machine) => this.setBack(machine),
    (machine) => this.slowOrFull(machine),
    (machine) => this.clocks(machine),
    () => this.lookup(),
  ];

  private kill(machine: Machine): void {
    this.run.machines.stop(machine, this.run.site, false);
    this.bootLater(machine);
  }

  /** The one that leads, and a while later one that may have taken over. */
  private killTwo(machine: Machine): void {
    const { time, random } = this.run.world;
    this.kill(machine);
    time.after(random.int(0, 1_500), () => {
      const next = this.leading();
      if (next !== undefined && !this.isEnding) this.kill(next);
    });
  }

  private cutPower(machine: Machine): void {
    // With the durability `write`, messages are lost when all replicas in sync lose power.
    const isRisky = [...machine.dataPath.partitions.values()].some(({ durability }) => durability === "write");
    if (isRisky && !this.isSpare(machine)) return;
    if (isRisky) this.lossMs = this.run.world.time.nowMs;
    this.run.machines.stop(machine, this.run.site, true);
    this.bootLater(machine);
  }

  private pause(machine: Machine): void {
    const { node, name } = machine;
    this.run.world.note(`${name} stands still`);
    node.pause();
    this.later(() => node.resume());
  }

  private cutFromOne({ name }: Machine): void {
    const { machines, world } = this.run;
    const { random, network } = world;
    const other = random.pick(machines.all).name;
    world.note(`${name} is cut off from ${other}`);
    network.cut(name, other);
    if (random.chance(0.5)) network.cut(other, name);
    this.later(() => {
      network.heal(name, other);
      network.heal(other, name);
    });
  }

  private cutFromAll({ name }: Machine): void {
    const { machines, world } = this.run;
    const { random, network, etcd } = world;
    world.note(`${name} is cut off from all others`);
    for (const other of machines.all) {
      network.cut(name, other.name);
      if (random.chance(0.8)) network.cut(other.name, name);
    }
    if (random.chance(0.5)) etcd.cutOff(name);
    this.later(() => {
      network.healAll();
      etcd.heal(name);
    });
  }

  private cutFromEtcd({ name }: Machine): void {
    const { etcd } = this.run.world;
    this.run.world.note(`${name} is cut off from etcd`);
    etcd.cutOff(name);
    this.later(() => etcd.heal(name));
  }

  private etcd(): void {
    const { world, machines, checks } = this.run;
    const { random, etcd } = world;
    const what = random.next();
    if (what < 0.4) {
      world.note("etcd is away");
      etcd.setDown(true);
      this.later(() => etcd.setDown(false));
    } else if (what < 0.6) etcd.compact();
    else if (what < 0.8) etcd.electLeader();
    else {
      const lease = random.pick(machines.all).broker?.lease ?? "";
      if (lease === "") return;
      world.note(`the lease ${lease} is revoked`);
      checks.revoked.add(lease);
      etcd.store.endLease(lease);
      etcd.changed();
    }
  }

  /** Segments go that all channels have finished. */
  private trim({ dataPath }: Machine): void {
    const { checks, world, clients } = this.run;
    for (const [prefix, disk] of dataPath.partitions) {
      const finished = Math.min(cursorOf(disk), checks.histories.get(prefix)?.trimmableTo(clients.open) ?? 0);
      disk.trimTo(world.random.int(0, finished));
      checks.histories.get(prefix)?.onRemoved(disk.start);
    }
  }

  private handOver({ broker, node, name }: Machine): void {
    this.run.world.note(`${name} hands over`);
    node.run(() => broker?.drain());
  }

  /** The disk is gone for good, or the folder of a partition. */
  private loseDisk(machine: Machine): void {
    const { world, machines, site } = this.run;
    const { random } = world;
    if (random.chance(0.3) || !this.isSpare(machine)) return;
    this.lossMs = world.time.nowMs;
    if (random.chance(0.5)) machines.replaceDisk(machine, site);
    else {
      machines.stop(machine, site, false);
      const { partitions } = machine.dataPath;
      if (partitions.size > 0) machine.dataPath.loseFiles(random.pick([...partitions.keys()]));
      world.note(`${machine.name} has lost the files of a partition`);
    }
    this.bootLater(machine);
  }

  /** Somebody puts back an older copy of the disk. The others may be away when its broker comes back. */
  private setBack(machine: Machine): void {
    const { world, machines, site } = this.run;
    if (!this.isSpare(machine)) return;
    const { setBack } = machine;
    if (world.random.chance(0.5)) for (const other of machines.all) if (other !== machine) this.kill(other);
    machines.stop(machine, site, false);
    if (setBack()) {
      this.lossMs = world.time.nowMs;
      world.note(`${machine.name} has an older copy of its disk`);
    }
    this.bootLater(machine);
  }

  /** A bit is another one. The next start finds it, or whoever reads it while the broker runs. */
  private damage(machine: Machine): void {
    if (!this.isSpare(machine)) return;
    const { random } = this.run.world;
    const isRunning = random.chance(0.5);
    if (!isRunning) this.run.machines.stop(machine, this.run.site, false);
    this.lossMs = this.run.world.time.nowMs;
    const partitions = [...machine.dataPath.partitions];
    if (partitions.length > 0) {
      const [prefix, disk] = random.pick(partitions);
      disk.flipBit(random, isRunning ? this.endElsewhere(machine, prefix) : undefined);
    }
    this.run.world.note(`${machine.name} has a damaged message${isRunning ? ", and does not know it" : ""}`);
    if (!isRunning) this.bootLater(machine);
  }

  /**
   * Others have what is below. A message that is damaged while nobody else has it is lost with the one disk that it was on, and the broker may
   * not know that when it is alone in sync and acknowledges it.
   */
  private endElsewhere({ dataPath, broker }: Machine, prefix: number): number {
    const { machines, checks } = this.run;
    const partition = broker?.partitions.get(prefix);
    const { inSync = [] } = (partition && checks.recordOf(partition.name)) ?? {};
    const others = inSync.flatMap((uid) => (uid === dataPath.uid ? [] : (machines.dataPaths.get(uid)?.partitions.get(prefix) ?? [])));
    return Math.max(
      0,
      ...others.map(({ isReliable, end, synced, durability }) => (!isReliable ? 0 : durability === "fsync" ? synced : end)),
    );
  }

  private slowOrFull({ dataPath: { faults }, name }: Machine): void {
    const { random } = this.run.world;
    if (random.chance(0.5)) {
      const { syncMs } = faults;
      faults.syncMs = 3_000;
      this.later(() => Object.assign(faults, { syncMs }));
      return;
    }
    this.run.world.note(`the disk of ${name} is full`);
    faults.isFull = true;
    this.later(() => Object.assign(faults, { isFull: false }));
  }

  private clocks({ node }: Machine): void {
    const { random } = this.run.world;
    if (random.chance(0.5)) node.setWallClock(random.int(-DAY_MS, DAY_MS));
    else node.setRate(1 + (random.next() * 2 - 1) * MAX_DRIFT);
  }

  /** A replica is moved away and back while its broker hears late of etcd, and may lead then. */
  toAndFro(): void {
    const { world, machines, lookups } = this.run;
    const { random, etcd, time } = world;
    if (this.isMovingBack) return;
    const { requests, view } = random.pick(lookups);
    // A leader that does not hear that it is to hand over stays where it is.
    const choices = [...view.partitions].flatMap(([name, stored]) => {
      const { replicas, leader } = stored.value;
      const others = machines.all.filter(({ dataPath }) => !replicas.includes(dataPath.uid));
      const followers = machines.all.filter(({ dataPath: { uid } }) => uid !== leader && replicas.includes(uid));
      return others.length === 0 ? [] : followers.map((machine) => ({ name, machine, others }));
    });
    if (choices.length === 0) return;
    const { name, machine, others } = random.pick(choices);
    const [topic, partition] = [name.split("/")[0], Number(name.split("/")[1])];
    const [from, to] = [machine.dataPath.uid, random.pick(others).dataPath.uid];
    world.note(`${machine.name} hears late of etcd, and ${name} moves to ${to} and back`);
    etcd.deafen(machine.name);
    this.isMovingBack = true;
    const heal = this.undo(() => {
      this.isMovingBack = false;
      etcd.heal(machine.name);
    });
    const untilMs = time.nowMs + LONGEST_MOVES_MS;
    time.after(LONGEST_MOVES_MS, heal);
    const record = () => this.run.checks.recordOf(name);
    const has = (uid: string) => record()?.replicas.includes(uid) === true;
    const move = (one: string, other: string) => () => void requests.move(topic, partition, one, other);
    const moveBack = () => this.askUntil(() => has(from), move(to, from), untilMs, haveItLead);
    const haveItLead = () => {
      time.after(random.int(0, LONGEST_RETURN_MS), heal);
      const isInSync = () => record()?.inSync.includes(from) === true;
      const lead = () => void requests.lead(topic, partition, from);
      if (random.chance(0.5)) this.askUntil(() => !this.isMovingBack, lead, untilMs, nothing);
      else this.askUntil(isInSync, nothing, untilMs, () => this.killLeader(name));
    };
    this.askUntil(() => has(to) && !has(from), move(from, to), untilMs, moveBack);
  }

  private killLeader(name: string): void {
    const { machines, checks } = this.run;
    const machine = machines.byUid(checks.recordOf(name)?.leader ?? "");
    if (machine !== undefined) this.kill(machine);
  }

  private lookup(): void {
    const { world, lookups } = this.run;
    const { random, etcd } = world;
    const at = random.int(0, lookups.length - 1);
    const { node } = lookups[at];
    const what = random.next();
    if (what < 0.4) {
      world.note(`${node.name} is killed`);
      node.end();
      lookups[at] = this.run.newLookup();
    } else if (what < 0.7) {
      node.pause();
      this.later(() => node.resume());
    } else {
      etcd.cutOff(node.name);
      this.later(() => etcd.heal(node.name));
    }
  }

  // ---- who, and when

  /** One that thinks that it leads. */
  private leading(): Machine | undefined {
    const { machines, world } = this.run;
    const leading = machines.all.filter(({ broker }) =>
      [...(broker?.partitions.values() ?? [])].some(({ role }) => role.name === "leader"),
    );
    return leading.length === 0 ? undefined : world.random.pick(leading);
  }

  private bootLater(machine: Machine): void {
    const { machines, site } = this.run;
    this.later(() => machines.boot(machine, site));
  }

  /** Asks for something again and again until it is so, and goes on then. */
  private askUntil(isDone: () => boolean, ask: () => void, untilMs: number, goOn: () => void): void {
    const { time } = this.run.world;
    if (this.isEnding || time.nowMs > untilMs) return;
    if (isDone()) return goOn();
    ask();
    time.after(ASK_MS, () => this.askUntil(isDone, ask, untilMs, goOn));
  }

  private later(undo: () => void): void {
    const end = this.undo(undo);
    this.run.world.time.after(this.run.world.random.int(20, LONGEST_FAULT_MS), end);
  }

  /** @returns what ends a fault, once */
  private undo(undo: () => void): () => void {
    this.undos.add(undo);
    return () => {
      if (this.undos.delete(undo)) undo();
    };
  }

  /**
   * Whether a machine's disk may lose something: of each of its partitions all other replicas in sync have to keep what they have. A transaction
   * that is under way may take the others out of the set, also one of the run before, or of a move.
   */
  private isSpare({ dataPath, broker, runs, startedMs }: Machine): boolean {
    const { world, checks } = this.run;
    if (broker === undefined || (runs > 1 && world.time.nowMs < startedMs + LONGEST_CALL_MS)) return false;
    if (world.etcd.store.range(`${KEYS.prefix}moves/`).length > 0) return false;
    // Etcd may not have heard of it.
    if (world.time.nowMs < this.operators.resizedMs + LONGEST_CALL_MS) return false;
    for (const prefix of dataPath.partitions.keys()) {
      const partition = broker.partitions.get(prefix);
      const record = partition === undefined ? undefined : checks.recordOf(partition.name);
      // It is about to be removed here, or was not seen yet.
      if (partition === undefined || record?.prefix !== prefix) return false;
      if (!this.isReplaceable(partition, record)) return false;
    }
    return true;
  }

  private isReplaceable(partition: SimPartition, { inSync, replicas, prefix }: PartitionRecord): boolean {
    const { machines } = this.run;
    const { uid } = partition.broker;
    // One of them is about to be dropped.
    const topic = SHAPES.topics.read(this.run.world.etcd.store.entries.get(KEYS.topic(partition.name.split("/")[0]))?.value ?? "");
    if (partition.isChanging || topic instanceof Error || replicas.length > topic.replicas) return false;
    const others = inSync.filter((other) => other !== uid);
    // Any of them may be the only one in sync a moment later.
    return (
      others.length > 0 &&
      others.every((other) => {
        const dataPath = machines.dataPaths.get(other);
        return dataPath?.isLost === false && dataPath.partitions.get(prefix)?.isSound === true;
      })
    );
  }

  /** Whether each disk has what its broker takes it to have. */
  private get areReliable(): boolean {
    return this.run.machines.all.every(({ dataPath }) => [...dataPath.partitions.values()].every(({ isSound }) => isSound));
  }
}
