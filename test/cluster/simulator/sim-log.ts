import type { Gap } from "../../../src/broker/storage/log/chunk.ts";
import { type Commit, type CommitRun, CommitRunError } from "../../../src/broker/storage/log/commit-run.ts";
import type { Epoch } from "../../../src/broker/storage/log/epochs.ts";
import type { ReplicaLog, ReplicaMemory } from "../../../src/cluster/replication/replica-log.ts";
import type { Random } from "../../support/random.ts";
import type { SimNode } from "./sim-node.ts";
import { SimStateDisk } from "./sim-state.ts";

const MESSAGE_BYTES = 8;

interface StoredCommit {
  readonly commit: Commit;
  readonly epoch: number;
  readonly bytes: Buffer;
}

/** What may go wrong at a disk. */
export interface DiskFaults {
  /** The probability that a write fails. */
  failure: number;
  /** How long a sync takes, at most, ms. */
  syncMs: number;
}

/** The disk of one broker, with the log of one partition. It outlives processes. */
export class SimDisk {
  epoch = 0;
  isWhole = true;
  start = 0;
  synced = 0;
  commits: StoredCommit[] = [];
  epochs: Epoch[] = [];
  readonly state = new SimStateDisk();

  constructor(readonly durability: "write" | "fsync") {}

  get end(): number {
    const last = this.commits.at(-1)?.commit;
    return last === undefined ? this.base : last.firstSequence + last.count;
  }

  /** Where the log ends while it has no commits. */
  base = 0;

  saveEpoch(epoch: number): void {
    this.epoch = epoch;
  }

  /** The message at a sequence; undefined if there is none. */
  messageAt(sequence: number): number | undefined {
    let [low, high] = [0, this.commits.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.commits[middle].commit.firstSequence <= sequence) low = middle;
      else high = middle - 1;
    }
    const found = this.commits[low];
    if (found === undefined) return undefined;
    const at = sequence - found.commit.firstSequence;
    return at < 0 || at >= found.commit.count ? undefined : found.bytes.readDoubleBE(at * MESSAGE_BYTES);
  }

  /** The power goes: of what was not synced, any part may be gone, and the last commit that is left may be torn. */
  cutPower(random: Random): void {
    const before = this.end;
    // What was removed as finished is remembered by the segment that follows.
    const lowest = Math.max(this.synced, this.start);
    const end = random.pick([lowest, before, random.int(lowest, before)]);
    const torn = random.chance(0.5) ? this.commits.find(({ commit }) => commit.firstSequence + commit.count > end) : undefined;
    this.cutTo(end);
    if (torn !== undefined && torn.commit.firstSequence >= this.synced) {
      const bytes = Buffer.from(torn.bytes);
      bytes[random.int(0, bytes.length - 1)] ^= 1 << random.int(0, 7);
      this.commits = [...this.commits.filter(({ commit }) => commit.firstSequence < torn.commit.firstSequence), { ...torn, bytes }];
    }
    this.state.cutPower(random);
    if (this.durability === "write") this.isWhole = false;
  }

  /** A bit of something that was written long ago is another one. */
  flipBit(random: Random): void {
    if (this.commits.length === 0) return;
    const at = random.int(0, this.commits.length - 1);
    const bytes = Buffer.from(this.commits[at].bytes);
    bytes[random.int(0, bytes.length - 1)] ^= 1 << random.int(0, 7);
    this.commits[at] = { ...this.commits[at], bytes };
    // The next start finds it. Until then nobody counts on this disk.
    if (this.reliesOn(this.commits[at].commit)) this.isWhole = false;
  }

  /** Whether others may rely on it that this disk has a commit. */
  private reliesOn({ firstSequence }: Commit): boolean {
    return this.durability === "write" || firstSequence < this.synced;
  }

  /** What a start does: a torn commit does not count, nor what follows. */
  recover(): void {
    this.state.cut();
    const damaged = this.commits.find(({ commit, bytes }) => this.isDamaged(commit, bytes));
    if (damaged !== undefined) {
      if (this.reliesOn(damaged.commit)) this.isWhole = false;
      this.cutTo(damaged.commit.firstSequence);
    }
    this.synced = this.end;
    // Its headers may be from before the power cut.
    this.epochs = this.epochs.filter(({ firstSequence }) => firstSequence <= this.end);
  }

  isDamaged({ crc }: Commit, bytes: Buffer): boolean {
    return Bun.hash.crc32(bytes) !== crc;
  }

  /** Removes the commits, and parts of one, from a sequence on, and epochs that begin there. */
  cutTo(sequence: number): void {
    const kept = this.commits.filter(({ commit }) => commit.firstSequence < sequence);
    const last = kept.at(-1);
    if (last !== undefined && last.commit.firstSequence + last.commit.count > sequence) kept[kept.length - 1] = upTo(last, sequence);
    if (kept.length === 0) this.base = sequence;
    this.commits = kept;
    this.synced = Math.min(this.synced, sequence);
  }

  /** Finished messages are removed. */
  trimTo(sequence: number): void {
    const kept = this.commits.filter(({ commit }) => commit.firstSequence + commit.count > sequence);
    if (kept.length === 0) return;
    this.start = kept[0].commit.firstSequence;
    this.commits = kept;
    const first = this.epochs.findLastIndex(({ firstSequence }) => firstSequence <= this.start);
    this.epochs = this.epochs
      .slice(Math.max(0, first))
      .map(({ epoch, firstSequence }) => ({ epoch, firstSequence: Math.max(firstSequence, this.start) }));
  }
}

function upTo({ commit, epoch, bytes }: StoredCommit, sequence: number): StoredCommit {
  const count = sequence - commit.firstSequence;
  const kept = bytes.subarray(0, count * MESSAGE_BYTES);
  return { commit: { ...commit, count, length: kept.length, crc: Bun.hash.crc32(kept) }, epoch, bytes: kept };
}

function from({ commit, epoch, bytes }: StoredCommit, sequence: number): StoredCommit {
  const kept = bytes.subarray((sequence - commit.firstSequence) * MESSAGE_BYTES);
  const count = commit.firstSequence + commit.count - sequence;
  return { commit: { ...commit, firstSequence: sequence, count, length: kept.length, crc: Bun.hash.crc32(kept) }, epoch, bytes: kept };
}

/** The log on a SimDisk, in one process. A message is a number. */
export class SimLog implements ReplicaLog {
  /** What else the broker keeps of its part. */
  readonly memory: ReplicaMemory;
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
    this.memory = {
      epoch: disk.epoch,
      isWhole: disk.isWhole,
      saveEpoch: (epoch) => {
        this.maybeFail();
        disk.saveEpoch(epoch);
      },
      becameWhole: () => {
        disk.isWhole = true;
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
    const first = this.disk.commits.findIndex(({ commit }) => sequence < commit.firstSequence + commit.count);
    if (first < 0) return undefined;
    const found = [from(this.disk.commits[first], Math.max(sequence, this.disk.commits[first].commit.firstSequence))];
    let { length: bytes } = found[0].bytes;
    for (const next of this.disk.commits.slice(first + 1)) {
      bytes += next.bytes.length;
      if (next.epoch !== found[0].epoch || bytes > maxBytes) break;
      found.push(next);
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
    this.maybeFail();
    if (sequence < this.start || sequence > this.end) throw new RangeError(`${sequence} is not in ${this.start} to ${this.end}`);
    this.disk.cutTo(sequence);
    this.lowestEnd = Math.min(this.lowestEnd, sequence);
    this.disk.epochs = this.disk.epochs.filter(({ firstSequence }) => firstSequence < sequence);
  }

  restartAt(sequence: number): void {
    this.maybeFail();
    const { disk } = this;
    disk.commits = [];
    disk.epochs = [];
    disk.start = disk.base = disk.synced = sequence;
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
    const delayMs = disk.durability === "fsync" ? random.next() * faults.syncMs : random.int(100, 2_000);
    const { end } = this;
    node.callAfter(delayMs, () => {
      this.isSyncing = false;
      // It may have been truncated meanwhile: then only what is left is on the disk.
      disk.synced = Math.max(disk.synced, Math.min(end, this.lowestEnd));
      if (disk.durability === "fsync") this.onSynced();
      if (disk.synced < this.end) this.sync();
    });
  }

  private maybeFail(): void {
    if (this.random.chance(this.faults.failure)) throw new Error("EIO: i/o error");
  }
}
