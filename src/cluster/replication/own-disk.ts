import { FollowerProgress } from "./follower-progress.ts";
import type { PartitionParts } from "./replica-parts.ts";

/** What a leader's own disk has of its log, and whether it keeps others waiting. */
export class OwnDisk {
  private readonly progress: FollowerProgress;
  private readonly firstSequence: number;

  constructor(
    private readonly partition: PartitionParts,
    uid: string,
    nowMs: number,
  ) {
    this.progress = new FollowerProgress(uid, nowMs);
    this.firstSequence = partition.log.end;
  }

  /** The sequence after the last message that counts. */
  get end(): number {
    const { host, log } = this.partition;
    return host.durability === "fsync" ? log.synced : log.end;
  }

  /** For how long it has not taken what was published since this broker leads, ms. To be called several times a second. */
  waitedMs(nowMs: number): number {
    const { end } = this.partition.log;
    const waitedMs = this.progress.waitedMs(this.end, end, nowMs);
    return end > this.firstSequence ? waitedMs : 0;
  }

  /** This process stood still. */
  waitAnew(nowMs: number): void {
    this.progress.waitAnew(nowMs);
  }
}
