import type { ReplicaEnd } from "./wire.ts";

/** For how long others wait for one that is to join the in-sync set. Longer each time, as its disk may be slow: but no longer than this. */
const FIRST_JOIN_LIMIT_MS = 50;
const LONGEST_JOIN_LIMIT_MS = 1_000;
const JOIN_LIMIT_GROWTH = 4;
/** How soon they wait again: a small part of the time is waited. */
const JOIN_AGAIN_MS = 2_000;
const JOIN_AGAIN_LIMITS = 10;

/** What one follower has, as its leader knows it. */
export class FollowerProgress {
  /** The sequence after the last record in its file, and on its disk. Below 0: it has not said it to this leader. */
  end = -1;
  synced = -1;
  /** The sequence after the last record that was sent to it. */
  sent = 0;
  /** The number of its last ask, and which additions of replicas it knew of. */
  ask = 0;
  additions = 0;
  /** It has asked for commits on the connection that there is. */
  isFollowing = false;
  /** Its connection was lost. */
  isGone = false;
  /** It is not waited for again before this, by the steady clock, when it is to join the in-sync set, and then for this long. */
  mayJoinMs = 0;
  joinLimitMs = FIRST_JOIN_LIMIT_MS;
  /** It is to have everything below this, and is waited for since then, by the steady clock. */
  private target = 0;
  private sinceMs: number;
  /** What was sent and is not answered: sequences after it, and bytes. */
  private readonly unanswered: { end: number; bytes: number }[] = [];
  inFlightBytes = 0;

  constructor(
    readonly uid: string,
    nowMs: number,
  ) {
    this.sinceMs = nowMs;
  }

  asked(ask: number, additions: number): void {
    this.ask = ask;
    this.additions = additions;
  }

  /** It has asked, and has what is below `from`. */
  followFrom(from: number, nowMs: number): void {
    this.end = this.synced = -1;
    this.sent = from;
    this.unanswered.length = this.inFlightBytes = 0;
    this.isFollowing = true;
    this.isGone = false;
    this.sinceMs = nowMs;
  }

  lost(): void {
    this.isFollowing = false;
    this.isGone = true;
  }

  sentUpTo(end: number, bytes: number): void {
    this.sent = end;
    this.unanswered.push({ end, bytes });
    this.inFlightBytes += bytes;
  }

  /** @returns false for what cannot be: it has more than it was sent */
  answered({ end, synced }: ReplicaEnd): boolean {
    if (!this.isFollowing || end > this.sent || end < this.end || synced < this.synced || synced > end) return false;
    this.end = end;
    this.synced = synced;
    while (this.unanswered.length > 0 && this.unanswered[0].end <= end) this.inFlightBytes -= this.unanswered.shift()?.bytes ?? 0;
    return true;
  }

  /** How long it has been waited for. @param has what counts of it @param end of the leader's log */
  waitedMs(has: number, end: number, nowMs: number): number {
    if (has >= this.target && this.target < end) {
      this.target = end;
      this.sinceMs = nowMs;
    }
    return has >= this.target ? 0 : nowMs - this.sinceMs;
  }

  /** For how long it has lacked something. Nothing changes. @param has what counts of it @param end of the leader's log */
  behindMs(has: number, end: number, nowMs: number): number {
    return has < Math.min(this.target, end) || has < 0 ? nowMs - this.sinceMs : 0;
  }

  /** Others begin to wait for it, or have in vain. */
  beginsToJoin(nowMs: number): void {
    this.mayJoinMs = nowMs + Math.max(JOIN_AGAIN_MS, JOIN_AGAIN_LIMITS * this.joinLimitMs);
  }

  didNotJoin(): void {
    this.joinLimitMs = Math.min(LONGEST_JOIN_LIMIT_MS, JOIN_LIMIT_GROWTH * this.joinLimitMs);
  }

  /** The leader stood still: the answers that came meanwhile have not been read. */
  waitAnew(nowMs: number): void {
    this.sinceMs = nowMs;
  }
}
