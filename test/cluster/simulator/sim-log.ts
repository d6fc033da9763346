import type { Gap } from "../../../src/broker/storage/log/chunk.ts";
import { type Commit, type CommitRun, CommitRunError } from "../../../src/broker/storage/log/commit-run.ts";
import type { Epoch } from "../../../src/broker/storage/log/epochs.ts";
import { type Mender, RecordsAreMended } from "../../../src/broker/storage/log/mender.ts";
import type { ReplicaLog, ReplicaMemory } from "../../../src/cluster/replication/replica-log.ts";
import type { Random } from "../../support/random.ts";
import type { DiskFaults } from "./data-path.ts";
import { from, MESSAGE_BYTES, type SimDisk, type StoredCommit } from "./sim-disk.ts";
import type { SimNode } from "./sim-node.ts";
import { SimRepair } from "./sim-repair.ts";

/** The log on a SimDisk, in one process. A message is a number. */
export class SimLog implements ReplicaLog {
  /** What else the broker keeps of its part. */
  readonly memory: ReplicaMemory;
  mender: Mender | undefined;
  readonly repair: ReplicaLog["repair"];
  private isSyncing = false;
  /** How far the log was cut since a sync began. */
  private lowestEnd = Number.POSITIVE_INFINITY;

  constructor(
    readonly disk: SimDisk,
    private readonly node: SimNode,
    private readonly random: Random,
    private readonly faults: DiskFaults,
    private readonly onSynced: () => void,
  ) {
    this.repair = new SimRepair(disk, () => this.maybeFail()).repair;
    this.memory = {
      epoch: disk.epoch,
      isWhole: disk.isWhole,
      saveEpoch: (epoch) => {
        this.maybeFail();
        disk.saveEpoch(epoch);
      },
      becameWhole: () => {
        disk.isWhole = true;
        disk.isOld = false;
      },
      ceasedToBeWhole: () => {
        this.maybeFail();
        disk.isWhole = false;
      },
    };
  }

  get start(): number {
    return this.disk.start;
  }

  get end(): number {
    return this.disk.end;
  }

  get synced(): number {
    return this.disk.synced;
  }

  /** What is removed is finished, and a broker does not know of all that is. */
  get finished(): number {
    return Number.MAX_SAFE_INTEGER;
  }

  get bytes(): number {
    return (this.end - this.start) * MESSAGE_BYTES;
  }

  get epoch(): number {
    return this.disk.epochs.at(-1)?.epoch ?? 0;
  }

  epochs(): readonly Epoch[] {
    return this.disk.epochs;
  }

  /** A publish of some messages. @throws Error if the disk fails */
  publish(messages: readonly number[]): void {
    this.maybeFail();
    const bytes = Buffer.alloc(messages.length * MESSAGE_BYTES);
    for (const [i, message] of messages.entries()) bytes.writeDoubleBE(message, i * MESSAGE_BYTES);
    const { length } = bytes;
    const commit = { firstSequence: this.end, count: messages.length, length, timeMs: this.node.wallMs(), crc: Bun.hash.crc32(bytes) };
    this.write({ commit, epoch: this.epoch, bytes });
  }

  commitsFrom(sequence: number, maxBytes: number): CommitRun | Gap | undefined {
    if (sequence < this.start) return { isGap: true, nextPosition: 0, nextSequence: this.start };
    const skippedTo = this.disk.skippedTo(sequence);
    if (skippedTo !== undefined) return { isGap: true, nextPosition: 0, nextSequence: skippedTo };
    const first = this.disk.commits.findIndex(({ commit }) => sequence < commit.firstSequence + commit.count);
    if (first < 0) return undefined;
    const { commit, bytes: stored } = this.disk.commits[first];
    if (this.disk.isDamaged(commit, stored)) return this.damagedAt(commit);
    const found = [from(this.disk.commits[first], Math.max(sequence, commit.firstSequence))];
    let { length: bytes } = found[0].bytes;
    let end = commit.firstSequence + commit.count;
    for (const next of this.disk.commits.slice(first + 1)) {
      bytes += next.bytes.length;
      if (next.epoch !== found[0].epoch || next.commit.firstSequence !== end || bytes > maxBytes) break;
      if (this.disk.isDamaged(next.commit, next.bytes)) break;
      found.push(next);
      end += next.commit.count;
    }
    const startsSegment = this.disk.epochs.some(({ firstSequence }) => firstSequence === sequence);
    return {
      isGap: false,
      epoch: found[0].epoch,
      startsSegment,
      commits: found.map(({ commit }) => commit),
      bytes: Buffer.concat(found.map((one) => one.bytes)),
    };
  }

  private damagedAt({ firstSequence, count }: Commit): Gap {
    const to = firstSequence + count;
    if (this.mender?.need(firstSequence, to, new Error("damaged")) === true) throw new RecordsAreMended("log", firstSequence, to);
    return { isGap: true, nextPosition: 0, nextSequence: to };
  }

  /** Whether a message can be read. What is damaged is mended first, if it can be. */
  canRead(sequence: number): boolean {
    if (!this.disk.isDamagedAt(sequence)) return true;
    const { from, to } = this.repair.damageAt(sequence) ?? { from: sequence, to: sequence + 1 };
    this.mender?.need(from, to, new Error("damaged"));
    return false;
  }

  /** Nobody has any more what is missing before it. */
  skipTo(sequence: number): void {
    const { disk } = this;
    disk.base = Math.max(disk.base, sequence);
    disk.skippedBelow = Math.max(disk.skippedBelow, sequence);
    this.sync();
  }

  appendCommits({ epoch, commits, bytes }: CommitRun): void {
    this.maybeFail();
    if (epoch !== this.epoch) throw new CommitRunError(`commits of epoch ${epoch} in a log of epoch ${this.epoch}`);
    let next = this.end;
    let at = 0;
    const stored: StoredCommit[] = [];
    for (const commit of commits) {
      const part = Buffer.from(bytes.subarray(at, at + commit.length));
      if (commit.firstSequence !== next || commit.length !== commit.count * MESSAGE_BYTES || Bun.hash.crc32(part) !== commit.crc)
        throw new CommitRunError(`a commit at ${commit.firstSequence} does not follow on ${next}`);
      stored.push({ commit, epoch, bytes: part });
      next += commit.count;
      at += commit.length;
    }
    for (const one of stored) this.write(one);
  }

  beginEpoch(epoch: number): void {
    this.maybeFail();
    const { disk } = this;
    if (epoch <= this.epoch) throw new RangeError(`epoch ${epoch} follows ${this.epoch}`);
    disk.epochs = [...disk.epochs.filter(({ firstSequence }) => firstSequence < disk.end), { epoch, firstSequence: disk.end }];
  }

  truncateTo(sequence: number): void {
    this.maybeFail(true);
    if (sequence < this.start || sequence > this.end) throw new RangeError(`${sequence} is not in ${this.start} to ${this.end}`);
    this.disk.cutTo(sequence);
    this.lowestEnd = Math.min(this.lowestEnd, sequence);
    this.disk.epochs = this.disk.epochs.filter(({ firstSequence }) => firstSequence < sequence);
  }

  restartAt(sequence: number): void {
    this.maybeFail(true);
    const { disk } = this;
    disk.commits = [];
    disk.epochs = [];
    disk.start = disk.base = disk.synced = sequence;
    disk.skippedBelow = 0;
    this.lowestEnd = Math.min(this.lowestEnd, sequence);
  }

  private write(one: StoredCommit): void {
    this.disk.commits.push(one);
    this.sync();
  }

  /** Brings all that is written to the disk, a while later. */
  private sync(): void {
    if (this.isSyncing) return;
    this.isSyncing = true;
    this.lowestEnd = Number.POSITIVE_INFINITY;
    const { disk, node, random, faults } = this;
    const delayMs = random.next() * (disk.durability === "fsync" ? faults.syncMs : 2_000);
    const { end } = this;
    node.callAfter(delayMs, () => {
      this.isSyncing = false;
      // It may have been truncated meanwhile: then only what is left is on the disk.
      disk.synced = Math.max(disk.synced, Math.min(end, this.lowestEnd));
      if (disk.durability === "fsync") this.onSynced();
      if (disk.synced < this.end) this.sync();
    });
  }

  private maybeFail(isFreeing = false): void {
    if (this.faults.isFull && !isFreeing) throw new Error("ENOSPC: no space left on device");
    if (this.random.chance(this.faults.failure)) throw new Error("EIO: i/o error");
  }
}
