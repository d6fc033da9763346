import type { Commit } from "../../../src/broker/storage/log/commit-run.ts";
import type { Epoch } from "../../../src/broker/storage/log/epochs.ts";
import type { Random } from "../../support/random.ts";
import { SimStateDisk } from "./sim-state.ts";

export const MESSAGE_BYTES = 8;

export interface StoredCommit {
  readonly commit: Commit;
  readonly epoch: number;
  readonly bytes: Buffer;
  /** What was written, if that is damaged. */
  readonly was?: Buffer;
}

/** What a data path has of one partition. It outlives processes. */
export class SimDisk {
  epoch = 0;
  isWhole = true;
  /** It is as it was some time ago, which its broker has to find out. */
  isOld = false;
  start = 0;
  /** Below it, others had finished messages that this log has skipped: where they are damaged, nobody mends them. */
  skippedBelow = 0;
  synced = 0;
  commits: StoredCommit[] = [];
  epochs: Epoch[] = [];

  constructor(
    readonly durability: "write" | "fsync",
    readonly state = new SimStateDisk(),
  ) {}

  /** As a disk is after it was set back to what this one has now. */
  copy(): SimDisk {
    const { durability, state, epoch, isWhole, start, skippedBelow, synced, base } = this;
    const log = { start, skippedBelow, synced, base, commits: [...this.commits], epochs: [...this.epochs] };
    return Object.assign(new SimDisk(durability, state.copy()), { epoch, isWhole, isOld: true, ...log });
  }

  /** Whether others may rely on it. */
  get isReliable(): boolean {
    return this.isWhole && !this.isOld;
  }

  /** Whether they may also when its broker has been started again: a start finds damage that nobody needs, too. */
  get isSound(): boolean {
    return this.isReliable && !this.hasDamageFrom(0);
  }

  get end(): number {
    return Math.max(this.base, this.recordedEnd);
  }

  /** Where the log ends if it has no commits, or skips something behind the last one. */
  base = 0;

  private get recordedEnd(): number {
    const last = this.commits.at(-1)?.commit;
    return last === undefined ? 0 : last.firstSequence + last.count;
  }

  /** Where the commits go on, if the log has skipped a sequence; undefined: it has not. */
  skippedTo(sequence: number): number | undefined {
    if (sequence < this.start || sequence >= this.end || this.messageAt(sequence) !== undefined) return undefined;
    return this.commits.find(({ commit }) => commit.firstSequence > sequence)?.commit.firstSequence ?? this.end;
  }

  saveEpoch(epoch: number): void {
    this.epoch = epoch;
  }

  /** The message at a sequence, as it is read without a check; undefined if there is none. */
  messageAt(sequence: number): number | undefined {
    return this.find(sequence, ({ bytes }) => bytes);
  }

  /** The message at a sequence before it was damaged. */
  writtenAt(sequence: number): number | undefined {
    return this.find(sequence, ({ bytes, was = bytes }) => was);
  }

  private find(sequence: number, bytesOf: (found: StoredCommit) => Buffer): number | undefined {
    let [low, high] = [0, this.commits.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.commits[middle].commit.firstSequence <= sequence) low = middle;
      else high = middle - 1;
    }
    const found = this.commits[low];
    if (found === undefined) return undefined;
    const at = sequence - found.commit.firstSequence;
    return at < 0 || at >= found.commit.count ? undefined : bytesOf(found).readDoubleBE(at * MESSAGE_BYTES);
  }

  /** What was published at once, by its first message, also where that is damaged: brokers keep the keys of messages beside their logs. */
  *publishes(): Generator<{ first: number; end: number }> {
    for (const { commit, bytes, was = bytes } of this.commits)
      yield { first: was.readDoubleBE(0), end: commit.firstSequence + commit.count };
  }

  /** The power goes: of what was not synced, any part may be gone, and the last commit that is left may be torn. */
  cutPower(random: Random): void {
    const before = this.end;
    // What was removed as finished is remembered by the segment that follows.
    const lowest = Math.max(this.synced, this.start);
    const end = this.boundaryAt(random.pick([lowest, before, random.int(lowest, before)]));
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

  /** Where the commit begins that has a sequence: a commit is there as a whole or not at all. */
  private boundaryAt(sequence: number): number {
    if (sequence >= this.end) return this.end;
    return this.commits.find(({ commit }) => isIn(commit, sequence))?.commit.firstSequence ?? sequence;
  }

  /** A bit of something that was written before is another one. @param below of something that is on the disk, and below this */
  flipBit(random: Random, below?: number): void {
    const end = below === undefined ? this.end : Math.min(this.synced, below);
    const count = this.commits.filter(({ commit }) => commit.firstSequence + commit.count <= end).length;
    if (count === 0) return;
    const at = random.int(0, count - 1);
    const bytes = Buffer.from(this.commits[at].bytes);
    bytes[random.int(0, bytes.length - 1)] ^= 1 << random.int(0, 7);
    this.commits[at] = { was: this.commits[at].bytes, ...this.commits[at], bytes };
    // The next start finds it. Until then nobody counts on this disk.
    if (this.reliesOn(this.commits[at].commit)) this.isWhole = false;
  }

  /** Whether others may rely on it that this disk has a commit. */
  private reliesOn({ firstSequence }: Commit): boolean {
    return this.durability === "write" || firstSequence < this.synced;
  }

  /** What a start does: a torn commit does not count, nor what follows. What is damaged and was on the disk is to be mended. */
  recover(): void {
    this.state.cut();
    const damaged = this.commits.filter(({ commit, bytes }) => this.isDamaged(commit, bytes)).map(({ commit }) => commit);
    if (damaged.some((commit) => this.reliesOn(commit))) this.isWhole = false;
    const torn = damaged.find(({ firstSequence }) => firstSequence >= this.synced);
    if (torn !== undefined) this.cutTo(torn.firstSequence);
    // What it skips is forgotten if nothing came behind it.
    if (this.commits.length > 0) this.base = 0;
    this.synced = this.end;
    // Its headers may be from before the power cut.
    this.epochs = this.epochs.filter(({ firstSequence }) => firstSequence <= this.end);
  }

  isDamagedAt(sequence: number): boolean {
    const found = this.commits.find(({ commit }) => isIn(commit, sequence));
    return found !== undefined && this.isDamaged(found.commit, found.bytes);
  }

  hasDamageFrom(sequence: number): boolean {
    return this.commits.some(({ commit, bytes }) => commit.firstSequence + commit.count > sequence && this.isDamaged(commit, bytes));
  }

  isDamaged({ crc }: Commit, bytes: Buffer): boolean {
    return Bun.hash.crc32(bytes) !== crc;
  }

  /** Removes the commits, and parts of one, from a sequence on, and epochs that begin there. */
  cutTo(sequence: number): void {
    const kept = this.commits.filter(({ commit }) => commit.firstSequence < sequence);
    const last = kept.at(-1);
    if (last !== undefined && last.commit.firstSequence + last.commit.count > sequence) kept[kept.length - 1] = upTo(last, sequence);
    this.base = kept.length === 0 ? sequence : Math.min(this.base, sequence);
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

function isIn({ firstSequence, count }: Commit, sequence: number): boolean {
  return firstSequence <= sequence && sequence < firstSequence + count;
}

function upTo({ commit, epoch, bytes }: StoredCommit, sequence: number): StoredCommit {
  const count = sequence - commit.firstSequence;
  const kept = bytes.subarray(0, count * MESSAGE_BYTES);
  return { commit: { ...commit, count, length: kept.length, crc: Bun.hash.crc32(kept) }, epoch, bytes: kept };
}

export function from({ commit, epoch, bytes }: StoredCommit, sequence: number): StoredCommit {
  const kept = bytes.subarray((sequence - commit.firstSequence) * MESSAGE_BYTES);
  const count = commit.firstSequence + commit.count - sequence;
  return { commit: { ...commit, firstSequence: sequence, count, length: kept.length, crc: Bun.hash.crc32(kept) }, epoch, bytes: kept };
}
