import type { Gap } from "../../broker/storage/log/chunk.ts";
import type { CommitRun } from "../../broker/storage/log/commit-run.ts";
import type { Epoch } from "../../broker/storage/log/epochs.ts";
import type { LogRepair } from "../../broker/storage/log/log-repair.ts";
import type { Mender } from "../../broker/storage/log/mender.ts";

/** The log of one partition on this broker, as its replication sees it. */
export interface ReplicaLog {
  /** The first sequence that can still be read. */
  readonly start: number;
  /** The sequence after the last record in its file. */
  readonly end: number;
  /** The sequence after the last record that a power cut leaves. A log whose topic has the durability `fsync` brings it on by itself. */
  readonly synced: number;
  /** About how many bytes its records have. */
  readonly bytes: number;
  /** Below it nobody has still to get a message. */
  readonly finished: number;
  /** That of the messages to come; 0: it was never replicated. */
  readonly epoch: number;
  /** Readers of damaged records wait for it; undefined: they skip them. */
  mender: Mender | undefined;
  readonly repair: Pick<LogRepair, "damageAt" | "known" | "begin" | "scrub">;
  epochs(): readonly Epoch[];
  /** What TopicLog.commitsFrom() returns. */
  commitsFrom(sequence: number, maxBytes: number): CommitRun | Gap | undefined;
  /** @throws CommitRunError for commits that do not follow or are damaged; the kernel's error */
  appendCommits(run: CommitRun): void;
  /** The next messages are of this epoch, which is higher than those before. It may be forgotten until there are any. @throws the kernel's error */
  beginEpoch(epoch: number): void;
  /** The next record has this sequence: nobody has what is missing before it. */
  skipTo(sequence: number): void;
  /** Removes the records from a sequence on. @throws the kernel's error */
  truncateTo(sequence: number): void;
  /** Removes all records. The next one has this sequence. @throws the kernel's error */
  restartAt(sequence: number): void;
}

/** What this broker keeps of its part in a partition, over restarts. */
export interface ReplicaMemory {
  /** The newest epoch that it led or followed. */
  readonly epoch: number;
  /**
   * Whether the log surely has all that others may rely on. False after a power cut, if the durability is `write`, and after damage: such a
   * replica must not lead before it has caught up. It stays false over restarts.
   */
  readonly isWhole: boolean;
  /** It has caught up with a leader, or nobody has more. */
  becameWhole(): void;
  /** The log may lack what others rely on. That is on the disk when this returns. @throws the kernel's error */
  ceasedToBeWhole(): void;
  /** It is on the disk when this returns. @throws the kernel's error */
  saveEpoch(epoch: number): void;
}

/** What this broker is for a partition. */
export type Role =
  | { readonly name: "leader"; readonly epoch: number }
  | { readonly name: "follower"; readonly epoch: number; readonly leader: string }
  /** It knows of no leader, or must not have one. */
  | { readonly name: "out"; readonly epoch: number };

/** The part of the broker that a replica tells what it may do. */
export interface ReplicaHost {
  /** How many replicas must have a publish before it is acknowledged, the leader included. */
  readonly minInSync: number;
  readonly durability: "write" | "fsync";
  /** Its messages may be handed out only while Replica.mayHandOut is true. */
  readonly isOrdered?: boolean;
  /** It takes publishes as the leader only. What a former leader did not acknowledge will not be. */
  onRole(role: Role): void;
  /** What is below this sequence may be acknowledged and delivered. It only grows, but for a new leader it may begin lower. */
  onHighWatermark(sequence: number): void;
  /**
   * Publishes wait for something that does not come: those that wait are to be refused, though they may be there later.
   *
   * @param reason undefined: it goes on
   */
  onStall?(reason: string | undefined): void;
  /** Another replica is to lead: what it needs of the state is to be changed now. */
  onHandOver?(): void;
  /** More changes of the state are on all replicas that count. */
  onStateMark?(): void;
  /** Messages of an ordered partition may be handed out now. */
  onMayHandOut?(): void;
}

/** What a message takes on average; 0: there is none. */
export function bytesPerMessage({ start, end, bytes }: ReplicaLog): number {
  return end > start ? bytes / (end - start) : 0;
}
