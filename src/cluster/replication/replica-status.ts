import type { PartitionRecord } from "../state/records.ts";
import type { FollowerProgress } from "./follower-progress.ts";
import { bytesPerMessage, type ReplicaLog, type Role } from "./replica-log.ts";

/** What a leader knows of one follower, for operators. */
export interface FollowerStatus {
  /** Its data path uid. */
  readonly uid: string;
  readonly isInSync: boolean;
  /** It is connected, and has asked for what it lacks. */
  readonly isFollowing: boolean;
  /** The sequence after the last message that counts: in its file, or on its disk. Undefined: it has not told it to this leader. */
  readonly end: number | undefined;
  /** What it lacks: messages, and about how many bytes. At least, if it has not told its end. */
  readonly lagMessages: number;
  readonly lagBytes: number;
  /** For how long it has lacked something. */
  readonly lagMs: number;
}

/**
 * @param end what counts of what it has
 * @param leader its log, the log's end when it began to lead, and the time
 */
export function followerStatus(
  follower: FollowerProgress,
  end: number,
  isInSync: boolean,
  leader: { readonly log: ReplicaLog; readonly firstSequence: number; readonly nowMs: number },
): FollowerStatus {
  const { log, firstSequence, nowMs } = leader;
  const { uid, isFollowing, sent, inFlightBytes } = follower;
  const isKnown = end >= 0;
  // One that has told nothing yet lacks at least what came since this leader began.
  const has = isKnown ? end : Math.min(firstSequence, log.end);
  return {
    uid,
    isInSync,
    isFollowing,
    end: isKnown ? end : undefined,
    lagMessages: Math.max(0, log.end - has),
    lagBytes: Math.round(inFlightBytes + bytesPerMessage(log) * Math.max(0, log.end - Math.max(sent, has))),
    lagMs: Math.max(0, follower.behindMs(end, log.end, nowMs)),
  };
}

/** What one partition is on this broker, for operators. */
export interface ReplicaStatus {
  /** `TOPIC/PARTITION` */
  readonly name: string;
  /** The prefix of its message ids. */
  readonly number: number;
  readonly role: Role["name"];
  /** The newest that this broker knows of. */
  readonly epoch: number;
  /** The data path that leads, as far as this broker knows; "": none does. */
  readonly leader: string;
  /** As etcd had it last; undefined: it was not read yet. */
  readonly record: PartitionRecord | undefined;
  /** The first sequence that this broker's log has, and those after its last message: in the file, and on the disk. */
  readonly start: number;
  readonly end: number;
  readonly synced: number;
  /** Below it everything is on all replicas that are in sync. */
  readonly highWatermark: number;
  /** False: it may have lost messages, and must catch up before it may lead. */
  readonly isWhole: boolean;
  /** Something of its log is damaged, and is being read from another replica. */
  readonly isRepairing: boolean;
  /** Why the leader takes no publishes; undefined: it does, or this broker does not lead. */
  readonly refusal: string | undefined;
  /** Undefined: this broker does not lead. */
  readonly followers: readonly FollowerStatus[] | undefined;
}

/** What this broker has counted of its replicas since it started. */
export class ReplicationCounts {
  /** Partitions that it began to lead, and those of them whose leader seemed to be gone. */
  leads = 0;
  takeOvers = 0;
  handOvers = 0;
  failedHandOvers = 0;
  /** Followers that left the in-sync sets of partitions that it leads, and that joined them. */
  inSyncLeft = 0;
  inSyncJoined = 0;
  /** What others sent in an epoch that is over. */
  fencedFrames = 0;
  /** Messages that it had written as the leader and not acknowledged when it led no more. */
  fencedMessages = 0;
  /** What was sent to followers that were not in sync. */
  catchUpBytes = 0;
  /** Damaged regions of logs that were read again from another replica, and those that none could give. */
  repairedRegions = 0;
  failedRepairs = 0;
  /** What was read to find damage before somebody needs it. */
  scrubbedBytes = 0;
}
