import type { FollowerProgress } from "./follower-progress.ts";

/** A follower that is about to join the in-sync set: the watermark waits for it a moment, or it would never come up under load. */
export class Joiner {
  /** Undefined: none is about to join. */
  follower: FollowerProgress | undefined;
  private untilMs = 0;

  /** Waits for a follower, unless another one is waited for, or it was just now. */
  begin(follower: FollowerProgress, nowMs: number): void {
    if (this.follower !== undefined || nowMs < follower.mayJoinMs) return;
    this.follower = follower;
    this.untilMs = nowMs + follower.joinLimitMs;
    follower.beginsToJoin(nowMs);
  }

  /** To be called several times a second. @param isFollower whether a data path still has the partition */
  review(nowMs: number, isFollower: (uid: string) => boolean): void {
    const { follower } = this;
    if (follower === undefined) return;
    const isLate = nowMs > this.untilMs;
    if (isLate) follower.didNotJoin();
    if (isLate || !follower.isFollowing || !isFollower(follower.uid)) this.follower = undefined;
  }
}
