import type { SequencedKey } from "../../broker/storage/idempotency/unreplicated-keys.ts";
import type { Gap } from "../../broker/storage/log/chunk.ts";
import type { CommitRun } from "../../broker/storage/log/commit-run.ts";
import type { Epoch } from "../../broker/storage/log/epochs.ts";
import type { LogFiles } from "../../broker/storage/log/log-files.ts";
import type { LogRepair } from "../../broker/storage/log/log-repair.ts";
import type { Mender } from "../../broker/storage/log/mender.ts";
import type { TopicLog } from "../../broker/storage/log/topic-log.ts";
import type { ReplicaLog } from "./replica-log.ts";

/** What removes messages of a partition with all that belongs to them: a ReplicatedPartition. */
export interface Truncated {
  truncateTo(sequence: number): void;
  restartAt(sequence: number, position: number): void;
  /** The log has more of the leader's. */
  appended?(): void;
  /** The idempotency keys of its messages, where it has any. */
  keysBetween?(from: number, to: number): readonly SequencedKey[];
  takeKeys?(keys: readonly SequencedKey[]): void;
  dropKeys?(sequence: number): void;
}

/** A partition's log on this broker's disk. */
export class TopicReplicaLog implements ReplicaLog {
  constructor(
    private readonly log: TopicLog,
    private readonly files: LogFiles,
    private readonly partition: Truncated,
  ) {
    files.repair.onReplaced = () => log.freeReadBlocks();
  }

  get start(): number {
    return this.log.startSequence;
  }

  get end(): number {
    return this.log.committedNext;
  }

  get synced(): number {
    return Math.min(this.files.syncs.syncedSequence, this.end);
  }

  get bytes(): number {
    return this.files.extent.bytes;
  }

  get finished(): number {
    return this.files.finishedBelow();
  }

  get mender(): Mender | undefined {
    return this.files.reader.mender;
  }

  set mender(mender: Mender | undefined) {
    this.files.reader.mender = mender;
  }

  get repair(): LogRepair {
    return this.files.repair;
  }

  get epoch(): number {
    return this.files.epoch;
  }

  epochs(): readonly Epoch[] {
    return this.files.epochs().filter(({ epoch }) => epoch > 0);
  }

  commitsFrom(sequence: number, maxBytes: number): CommitRun | Gap | undefined {
    const run = this.log.commitsFrom(sequence, maxBytes);
    if (run === undefined || run.isGap) return run;
    const last = run.commits[run.commits.length - 1];
    const keys = this.partition.keysBetween?.(run.commits[0].firstSequence, last.firstSequence + last.count) ?? [];
    return keys.length === 0 ? run : { ...run, keys };
  }

  appendCommits(run: CommitRun): void {
    const { keys = [] } = run;
    // Before their messages: a start finds a key whose message is not there, and a message without its key would be published again.
    if (keys.length > 0) this.partition.takeKeys?.(keys);
    try {
      this.log.appendCommits(run);
    } catch (error) {
      if (keys.length > 0) this.partition.dropKeys?.(this.end);
      throw error;
    }
    this.partition.appended?.();
  }

  beginEpoch(epoch: number): void {
    // What only the journal has is of the epoch before.
    const failure = this.log.catchUp();
    if (failure !== undefined) throw failure;
    this.files.beginEpoch(epoch);
  }

  skipTo(sequence: number): void {
    this.log.skipTo(sequence);
  }

  truncateTo(sequence: number): void {
    this.partition.truncateTo(sequence);
  }

  restartAt(sequence: number): void {
    this.partition.restartAt(sequence, this.log.end);
  }
}
