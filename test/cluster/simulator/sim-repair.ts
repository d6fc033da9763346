import { type CommitRun, CommitRunError, runBelow } from "../../../src/broker/storage/log/commit-run.ts";
import type { DamagedRange } from "../../../src/broker/storage/log/log-repair.ts";
import type { Mending } from "../../../src/broker/storage/log/mending.ts";
import type { ReplicaLog } from "../../../src/cluster/replication/replica-log.ts";
import type { SimDisk, StoredCommit } from "./sim-disk.ts";

/** Finds and mends the damaged commits of a SimDisk. */
export class SimRepair implements Pick<ReplicaLog, "repair"> {
  constructor(
    private readonly disk: SimDisk,
    private readonly maybeFail: () => void,
  ) {}

  readonly repair = {
    damageAt: (sequence: number) => this.rangeOf(this.damaged().find((one) => sequence < endOf(one))),
    known: () => this.damaged().map((one) => this.rangeOf(one) as DamagedRange),
    scrub: (sequence: number) => {
      if (sequence >= this.disk.end) return undefined;
      const next = this.damaged().find((one) => sequence < endOf(one))?.commit.firstSequence;
      return { next: Math.max(sequence, next ?? this.disk.end), bytes: 1, isDamaged: next !== undefined };
    },
    begin: (sequence: number): Mending | undefined => {
      this.maybeFail();
      const found = this.damaged().find((one) => sequence < endOf(one));
      return found === undefined ? undefined : new SimMending(this.disk, found);
    },
  };

  private damaged(): StoredCommit[] {
    return this.disk.commits.filter(({ commit, bytes }) => this.disk.isDamaged(commit, bytes));
  }

  private rangeOf(one: StoredCommit | undefined): DamagedRange | undefined {
    return one === undefined ? undefined : { from: one.commit.firstSequence, to: endOf(one), problem: "a bit was flipped" };
  }
}

class SimMending implements Mending {
  next: number;
  private readonly parts: Buffer[] = [];

  constructor(
    private readonly disk: SimDisk,
    private readonly damaged: StoredCommit,
  ) {
    this.next = damaged.commit.firstSequence;
  }

  get isComplete(): boolean {
    return this.next >= endOf(this.damaged);
  }

  add(run: CommitRun): void {
    if (run.commits[0].firstSequence !== this.next) throw new CommitRunError(`${run.commits[0].firstSequence} in place of ${this.next}`);
    const { bytes, commits } = runBelow(run, endOf(this.damaged));
    this.parts.push(Buffer.from(bytes));
    this.next = commits.reduce((next, { count }) => next + count, this.next);
  }

  finish(done: (failure: Error | undefined) => void): void {
    const { disk, damaged } = this;
    const bytes = Buffer.concat(this.parts);
    const at = disk.commits.indexOf(damaged);
    if (at < 0) return done(new Error("the log has changed"));
    if (disk.isDamaged(damaged.commit, bytes)) return done(new CommitRunError("it does not match"));
    disk.commits[at] = { ...damaged, bytes };
    done(undefined);
  }

  abandon(): void {}
}

function endOf({ commit }: StoredCommit): number {
  return commit.firstSequence + commit.count;
}
