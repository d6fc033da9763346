import { expect, test } from "bun:test";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";
import { checkBodies, copyRuns, partingOf, ReplicaLog } from "../../../support/replica-log.ts";

const RUNS = 20;
const STEPS = 250;
const REPLICAS = 3;

const seed = seedFromEnvironment();

/** Logs of which one leads, one after the other. What all of them have is never truncated. */
class Model {
  readonly replicas: ReplicaLog[];
  leader = 0;
  epoch = 1;
  /** What all replicas had at some time. */
  readonly agreed = new Map<number, string>();
  highWatermark = 0;
  floor = 0;
  truncations = 0;
  /** Those that have truncated what the leader does not have. */
  readonly following = new Set<number>();

  constructor(private readonly random: Random) {
    this.replicas = Array.from({ length: REPLICAS }, () => new ReplicaLog(new FaultDisk(), { synced: 0, floor: 0 }));
    this.replicas[0]?.files.beginEpoch(1);
  }

  private at(number: number): ReplicaLog {
    return this.replicas[number] as ReplicaLog;
  }

  step(timeMs: number): void {
    const { random } = this;
    const leader = this.at(this.leader);
    const other = random.int(0, REPLICAS - 1);
    const what = random.next();
    if (what < 0.35) leader.commit(random, timeMs);
    else if (what < 0.75) this.follow(other, random.pick([1, 500, 2000, 100_000]), random.int(1, 4));
    else if (what < 0.82) this.trim(timeMs);
    else if (what < 0.9) this.restart(other, random.chance(0.5));
    else if (what < 0.96) this.lead(other);
    else leader.log.shrink();
    for (const { disk } of this.replicas) while ((disk as FaultDisk).waiting > 0) (disk as FaultDisk).endSync();
  }

  private follow(number: number, maxBytes: number, most: number): void {
    if (number === this.leader) return;
    const [leader, follower] = [this.at(this.leader), this.at(number)];
    if (!this.following.has(number)) {
      const parting = partingOf(leader, follower);
      if (parting < follower.log.next) this.truncations++;
      expect(parting).toBeGreaterThanOrEqual(this.highWatermark);
      follower.log.truncateTo(parting);
      expect(follower.log.next).toBe(parting);
    }
    this.following.add(number);
    copyRuns(leader, follower, maxBytes, most);
    this.release();
  }

  /** What all have that follow the leader is agreed upon. */
  private release(): void {
    const all = this.replicas.every((_, i) => i === this.leader || this.following.has(i));
    if (!all) return;
    const to = Math.min(...this.replicas.map(({ log }) => log.next));
    if (to <= this.highWatermark) return;
    const bodies = this.at(this.leader).bodies();
    for (let sequence = this.highWatermark; sequence < to; sequence++) this.agreed.set(sequence, bodies.get(sequence) as string);
    this.highWatermark = to;
  }

  private trim(timeMs: number): void {
    // One of them is kept: a follower that has none would have to begin with what the leader begins with.
    this.floor = this.random.int(this.floor, Math.max(this.floor, this.highWatermark - 1));
    for (const { log } of this.replicas) log.trim(log.committedEnd, this.floor, timeMs);
  }

  private restart(number: number, killed: boolean): void {
    const { disk, files } = this.at(number);
    const synced = files.takeSyncedSequence();
    if (!killed) {
      files.closeIdle();
      while ((disk as FaultDisk).waiting > 0) (disk as FaultDisk).endSync();
    }
    this.replicas[number] = new ReplicaLog((disk as FaultDisk).afterKill(), {
      synced,
      floor: this.floor,
      lastRun: killed ? "killed" : "clean",
    });
    this.following.delete(number);
    // A leader that was restarted leads in a new epoch.
    if (number === this.leader) this.lead(number);
  }

  private lead(number: number): void {
    this.leader = number;
    this.epoch += this.random.int(1, 3);
    this.at(number).files.beginEpoch(this.epoch);
    this.following.clear();
  }

  check(): void {
    for (const replica of this.replicas) {
      const bodies = replica.bodies();
      checkBodies(replica, bodies);
      for (const [sequence, body] of this.agreed) {
        if (sequence >= replica.log.startSequence && bodies.get(sequence) !== body) throw new Error(`${sequence} was changed or lost`);
      }
      expect(replica.log.startSequence).toBeLessThanOrEqual(Math.max(this.floor, 0));
      expect(replica.logger.matching(/ERROR|WARNING/)).toEqual([]);
    }
  }

  /** Everybody gets everything: segments of the same name have the same bytes then. */
  checkFiles(): void {
    this.at(this.leader).commit(this.random, 1000 + STEPS);
    for (const number of this.replicas.keys()) this.follow(number, 1000, Number.POSITIVE_INFINITY);
    const leader = this.at(this.leader);
    const ofLeader = leader.segmentFiles();
    const ends = new Map([...ofLeader].filter(([name]) => name.endsWith(".idx")).map(([name, hex]) => [name, lengthIn(hex)]));
    for (const replica of this.replicas) {
      expect(replica.log.next).toBe(leader.log.next);
      expect(replica.files.epoch).toBe(leader.files.epoch);
      let compared = 0;
      for (const [name, hex] of replica.segmentFiles()) {
        const other = ofLeader.get(name);
        if (other === undefined) continue;
        compared++;
        // A log file may have older bytes behind those that its index covers.
        const bytes = name.endsWith(".log") ? 2 * (ends.get(name.replace(".log", ".idx")) ?? 0) : hex.length;
        if (hex.slice(0, bytes) !== other.slice(0, name.endsWith(".log") ? bytes : other.length)) throw new Error(`${name} differs`);
      }
      expect(compared).toBeGreaterThan(0);
    }
  }
}

/** How many bytes of records an index covers. */
function lengthIn(hex: string): number {
  const bytes = Buffer.from(hex, "hex");
  const last = bytes.length - 40;
  return last < 40 ? 0 : bytes.readDoubleLE(last) + bytes.readUInt32LE(last + 16);
}

test("replicas keep what all of them had, over changes of leader, truncations, trims and restarts, and have equal files at the end", () => {
  let truncations = 0;
  for (let run = 0; run < RUNS; run++) {
    const model = new Model(Random.forPart(seed, run));
    try {
      for (let step = 0; step < STEPS; step++) {
        model.step(1000 + step);
        if (step % 10 === 0) model.check();
      }
      model.checkFiles();
      model.check();
    } catch (error) {
      throw new Error(`BUNSQ_SEED=${seed}, run ${run}: ${(error as Error).stack}`);
    }
    truncations += model.truncations;
  }
  console.log(`truncations: ${truncations}, BUNSQ_SEED=${seed}`);
  expect(truncations).toBeGreaterThan(RUNS);
}, 120_000);
