import type { Epoch } from "../../broker/storage/log/epochs.ts";

/** What a log says of itself, so that another replica can find where the two part. */
export interface LogOutline {
  /** Its first sequence. */
  readonly start: number;
  readonly end: number;
  /** Oldest first. */
  readonly epochs: readonly Epoch[];
}

export interface Parting {
  /** Below this, the follower has what the leader has. */
  readonly to: number;
  /** The follower has nothing that is of use: it begins anew at `to`. */
  readonly restarts: boolean;
}

/**
 * Finds where a follower's log parts from its leader's. One leader wrote each epoch, in order, and begins it at its log's end. So two logs
 * that have an epoch are equal up to where the shorter one's epoch ends. In the newest epoch that both have, that is where they part.
 */
export function partAt(leader: LogOutline, follower: LogOutline): Parting {
  for (let i = follower.epochs.length - 1; i >= 0; i--) {
    const { epoch } = follower.epochs[i];
    const at = leader.epochs.findIndex((one) => one.epoch === epoch);
    if (at < 0) continue;
    const to = Math.min(endOf(follower, i), endOf(leader, at));
    return to < follower.start || to < leader.start ? { to: leader.start, restarts: true } : { to, restarts: false };
  }
  const isEmpty = follower.start === follower.end;
  return { to: leader.start, restarts: !(isEmpty && follower.end === leader.start) };
}

/** Where an epoch of a log ends. */
function endOf({ epochs, end }: LogOutline, at: number): number {
  return epochs[at + 1]?.firstSequence ?? end;
}
