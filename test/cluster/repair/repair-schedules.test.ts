import { expect, test } from "bun:test";
import { PartitionRepair } from "../../../src/cluster/repair/partition-repair.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { SimBroker } from "../simulator/sim-broker.ts";
import type { SimDisk, StoredCommit } from "../simulator/sim-disk.ts";
import type { SimPartition } from "../simulator/sim-partition.ts";
import { PREFIX, partitionOf, ThreeBrokers } from "../simulator/three-brokers.ts";

const SCHEDULES = 20;
const STEPS = 40;
const LIMIT_MS = 120_000;

/** Three brokers whose disks flip bits of what was written long ago, while they run. One of the three has each message whole. */
class FlippingBrokers extends ThreeBrokers {
  /** What was acknowledged, by sequence. */
  readonly truth = new Map<number, number>();
  readonly delivered = new Map<number, number>();
  violation: string | undefined;
  flips = 0;
  runs = 0;
  mended = 0;

  constructor(private readonly random: Random) {
    super();
  }

  override onAck(partition: SimPartition, messages: readonly number[], end = 0): void {
    super.onAck(partition, messages);
    for (const [i, message] of messages.entries()) this.truth.set(end - messages.length + i, message);
  }

  override onDelivery(_partition?: SimPartition, sequence = 0, message = 0): void {
    const expected = this.truth.get(sequence) ?? this.delivered.get(sequence);
    if (expected !== undefined && expected !== message)
      this.violation ??= `${message} was delivered at ${sequence} in place of ${expected}`;
    this.delivered.set(sequence, message);
  }

  get disks(): SimDisk[] {
    return this.brokers.map((broker) => partitionOf(broker).disk);
  }

  get isWhole(): boolean {
    return this.disks.every((disk) => disk.commits.every((one) => !isDamaged(disk, one)));
  }

  /** Flips a bit at one broker or two, once everything is whole. */
  flip(): void {
    const { random } = this;
    this.untilWhole();
    const spared = random.pick(this.disks);
    const damaged = this.disks.filter((disk) => disk !== spared);
    const below = Math.min(...this.disks.map(({ synced }) => synced));
    for (const disk of damaged.slice(0, random.int(1, 2))) {
      const old = disk.commits.filter(({ commit }) => commit.firstSequence + commit.count <= below);
      if (old.length === 0) continue;
      const at = disk.commits.indexOf(random.pick(old));
      const bytes = Buffer.from((disk.commits[at] as StoredCommit).bytes);
      bytes[random.int(0, bytes.length - 1)] = (bytes[0] as number) ^ random.int(1, 255) ^ 1;
      disk.commits[at] = { ...(disk.commits[at] as StoredCommit), bytes };
      if (isDamaged(disk, disk.commits[at])) this.flips++;
    }
  }

  /** A broker is killed, and starts again. */
  restart(broker: SimBroker): void {
    const { site, node, dataPath } = broker;
    this.mended += broker.replication.counts.repairedRegions;
    this.network.end(node);
    this.world.time.advance(this.random.int(1, 500));
    const again = new SimBroker(site, this.world.node(node.name), dataPath, `run${++this.runs}`);
    this.brokers[this.brokers.indexOf(broker)] = again;
    this.until("it has opened the partition", () => again.partitions.has(PREFIX));
  }

  private untilWhole(): void {
    this.world.time.until(() => this.isWhole && this.inSync.length === this.brokers.length, 60_000, "everything is whole");
  }

  step(): void {
    const { random, world } = this;
    const what = random.next();
    if (what < 0.5) this.publishMs();
    else if (what < 0.7) this.flip();
    else if (what < 0.85) world.time.advance(random.int(1, 300));
    else this.restart(random.pick(this.brokers));
  }

  play(): void {
    for (let step = 0; step < STEPS; step++) this.step();
    const { time } = this.world;
    this.untilWhole();
    time.until(() => [...this.truth.keys()].every((sequence) => this.delivered.has(sequence)), 60_000, "everything is delivered");
    if (this.violation !== undefined) throw new Error(this.violation);
  }
}

function isDamaged(disk: SimDisk, one: StoredCommit | undefined): boolean {
  return one !== undefined && disk.isDamaged(one.commit, one.bytes);
}

test(
  "whatever is damaged while brokers run and are killed is mended, and nothing is skipped or delivered damaged",
  () => {
    const seed = seedFromEnvironment();
    console.log(`seed ${seed}`);
    let flips = 0;
    for (let i = 0; i < SCHEDULES; i++) {
      const run = new FlippingBrokers(Random.forPart(seed, i));
      run.play();
      flips += run.flips;
      const counts = run.brokers.map(({ replication }) => replication.counts);
      const mended = counts.reduce((sum, { repairedRegions }) => sum + repairedRegions, run.mended);
      expect(counts.every(({ failedRepairs }) => failedRepairs === 0)).toBeTrue();
      if (run.runs === 0) expect(mended).toBe(run.flips);
    }
    expect(flips).toBeGreaterThan(SCHEDULES);
  },
  LIMIT_MS,
);

test(
  "damage that is skipped is noticed",
  () => {
    const { need } = PartitionRepair.prototype;
    PartitionRepair.prototype.need = () => false;
    try {
      const seed = seedFromEnvironment();
      expect(() => {
        for (let i = 0; i < SCHEDULES; i++) new FlippingBrokers(Random.forPart(seed, i)).play();
      }).toThrow();
    } finally {
      PartitionRepair.prototype.need = need;
    }
  },
  LIMIT_MS,
);
