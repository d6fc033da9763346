import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { Stored } from "../state/cluster-view.ts";
import type { PartitionRecord } from "../state/records.ts";
import type { ByteRate } from "./byte-rate.ts";
import type { InSyncLog } from "./in-sync-log.ts";
import type { Peers } from "./peers.ts";
import type { RecordWriter } from "./record-writer.ts";
import type { ReplicaHost, ReplicaLog, ReplicaMemory } from "./replica-log.ts";
import type { ReplicationCounts } from "./replica-status.ts";
import type { ReplicaState } from "./state/replica-state.ts";

export interface ReplicationSettings {
  /** A follower that has not taken what it was sent for this long leaves the in-sync set. */
  readonly lagMs: number;
  /** A leader that was not heard for this long is taken for dead. */
  readonly suspectMs: number;
}

/** What all replicas of one broker share. */
export interface ReplicationParts {
  /** The data path's. */
  readonly uid: string;
  readonly clock: Clock;
  readonly settings: ReplicationSettings;
  readonly peers: Peers;
  readonly writer: RecordWriter;
  /** This broker's own in etcd. */
  readonly lease: { readonly holds: boolean };
  /** Whether a data path is being removed, and its broker is away for long: it will not come back. */
  readonly isGone: (uid: string) => boolean;
  /**
   * A number for something that is asked of a leader. No other ask of this run has it: a replica that was removed and added again must not
   * take the answers for those of its own that the one before has asked for, over the same connection.
   */
  readonly nextAsk: () => number;
  /** Bounds what followers read that are not in sync. */
  readonly catchUp: ByteRate;
  readonly counts: ReplicationCounts;
  readonly logger: Logger;
  readonly inSyncLog: InSyncLog;
  /** What may repeat many times a second. */
  readonly errors: RateLimitedLog;
}

/** One partition on this broker. */
export interface PartitionParts {
  /** The key of its record. */
  readonly key: string;
  /** `TOPIC/PARTITION`, for log lines. */
  readonly name: string;
  /** The prefix of its message ids, which names it between brokers. */
  readonly number: number;
  readonly log: ReplicaLog;
  readonly state: ReplicaState;
  readonly memory: ReplicaMemory;
  readonly host: ReplicaHost;
}

/** A partition's record as etcd had it. */
export type StoredRecord = Stored<PartitionRecord>;
