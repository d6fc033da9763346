import { CommitRunError } from "../../broker/storage/log/commit-run.ts";
import type { PartitionRepair } from "../repair/partition-repair.ts";
import type { Skip } from "../repair/repair-frames.ts";
import type { PartitionRecord } from "../state/records.ts";
import type { PartitionParts, ReplicationParts } from "./replica-parts.ts";
import { StateFollower } from "./state/state-follower.ts";
import type { Append, Part } from "./wire.ts";

/** How long to wait before the leader is asked again after something went wrong here. */
const AGAIN_MS = 500;
/** With fsync, the leader hears of no less than this before it is on the disk. */
const TOLD_UNSYNCED_BYTES = 1024 * 1024;

export interface FollowerEvents {
  /** The log has all that was acknowledged before this run of the broker was counted with. */
  onWhole(): void;
  /** Messages are gone that somebody needs. @returns whether nobody relies on this log any more */
  onLost(): boolean;
}

/**
 * This broker follows the leader of one epoch: it tells what it has, cuts what the leader does not have, and takes commits. It answers
 * only what its own log has: in the file, and on the disk.
 */
export class Follower {
  /** What the leader said last, or an earlier one. */
  highWatermark: number;
  readonly state: StateFollower;
  private ask = 0;
  /** The leader has answered the newest ask: its commits follow on the log. */
  isFollowing = false;
  private askAtMs: number | undefined;
  /** With this it has all that was acknowledged before the leader counted with this run of it; undefined: it is not known, or told. */
  private wholeAt: number | undefined;
  /** What came since the leader was told of the end. */
  private untoldBytes = 0;

  constructor(
    readonly epoch: number,
    readonly leader: string,
    highWatermark: number,
    private additions: number,
    private readonly parts: ReplicationParts,
    private readonly partition: PartitionParts,
    private readonly repair: PartitionRepair,
    private readonly events: FollowerEvents,
  ) {
    this.highWatermark = highWatermark;
    this.state = new StateFollower(
      epoch,
      parts,
      partition,
      () => this.peer,
      () => {
        if (this.isFollowing) this.tellEnd();
      },
    );
    this.begin();
  }

  /** Asks the leader for what is missing here: whatever was under way before is lost. */
  begin(): void {
    this.follow();
    this.state.begin();
  }

  /** This broker follows no more, or another leader: what is stored only now is not told. */
  stop(): void {
    this.isFollowing = false;
    this.askAtMs = undefined;
    this.state.stop();
  }

  /** Asks the leader for what this log lacks. */
  private follow(): void {
    this.isFollowing = false;
    this.askAtMs = this.wholeAt = undefined;
    const { log, number } = this.partition;
    this.peer?.dropEnd(number);
    const { start, end } = log;
    const { epoch, additions } = this;
    this.ask = this.parts.nextAsk();
    this.peer?.send({ kind: "follow", partition: number, epoch, ask: this.ask, additions, start, end, epochs: log.epochs() });
  }

  /** The record is another one. To join the in-sync set, this broker has to tell that it knows of the newest addition of a replica. */
  update({ inSync, additions = 0 }: PartitionRecord): void {
    if (additions <= this.additions || inSync.includes(this.parts.uid)) return;
    this.additions = additions;
    this.begin();
  }

  /**
   * The leader says that it leads, which it says before it answers any ask. It has lost what this one asked before, or has forgotten it, as
   * this replica was removed in its eyes and came back.
   */
  announced(): void {
    this.begin();
  }

  onPart({ ask, to, restarts, end, start, needed }: Part): void {
    if (ask !== this.ask) return;
    const { log } = this.partition;
    this.attempt(() => {
      if (!restarts && log.start > needed && log.end > log.start) return this.copy(start);
      // Some channel has still to get what is given up here.
      if (restarts && log.end > Math.max(log.start, needed)) this.leaveInSyncSet();
      if (to < Math.min(this.highWatermark, log.end))
        this.parts.errors.error(
          `PARTITION(${this.partition.name}): messages ${to} to ${this.highWatermark - 1} are removed: they were acknowledged, and the leader has lost them`,
        );
      if (restarts) log.restartAt(to);
      else if (to < log.end) log.truncateTo(to);
      if (log.end !== to) throw new CommitRunError(`the log ends at ${log.end}, and the leader goes on at ${to}`);
      this.highWatermark = Math.min(this.highWatermark, to);
      this.isFollowing = true;
      this.wholeAt = end;
      this.repair.begin();
      this.tellEnd();
    });
  }

  onAppend({ highWatermark, run }: Append): void {
    // After something went wrong, what was under way does not follow on the log.
    if (!this.isFollowing) return;
    const { log, host } = this.partition;
    this.attempt(() => {
      if (run.epoch > log.epoch) log.beginEpoch(run.epoch);
      // An epoch that begins at the end has no messages yet, and is one that the leader does not know.
      else if (run.epoch < log.epoch && log.epochs().at(-1)?.firstSequence === log.end) this.forgetEmptyEpochs(run.epoch);
      log.appendCommits(run);
      this.onMark(highWatermark);
      this.untoldBytes += run.bytes.length;
      // What is not on the disk does not count, and a sync is under way. One that catches up is sent more when it has told.
      if (host.durability !== "fsync" || this.wholeAt !== undefined || this.untoldBytes >= TOLD_UNSYNCED_BYTES) this.tellEnd();
    });
  }

  private forgetEmptyEpochs(epoch: number): void {
    const { log } = this.partition;
    log.truncateTo(log.end);
    if (epoch > log.epoch) log.beginEpoch(epoch);
  }

  /** The leader has told which messages nobody has any more. */
  onSkip({ from, to }: Skip): void {
    if (!this.isFollowing) return;
    const { log } = this.partition;
    this.attempt(() => {
      if (log.end !== from) throw new CommitRunError(`the log ends at ${log.end}, and the leader skips what is behind ${from}`);
      log.skipTo(to);
      this.tellEnd();
    });
  }

  /** The beginning of the log is gone or damaged: all of it is read from the leader again. @param start of the leader's log */
  beginAnew(start: number): void {
    this.attempt(() => this.copy(start));
  }

  private copy(start: number): void {
    const { log, name } = this.partition;
    this.parts.errors.error(`PARTITION(${name}): messages from ${start} on are gone; the log is read anew from its leader`);
    this.leaveInSyncSet();
    log.restartAt(start);
    this.parts.counts.repairedRegions++;
    this.follow();
  }

  /** @throws Error as long as others rely on this log */
  private leaveInSyncSet(): void {
    if (!this.events.onLost()) throw new Error("it is in sync as long as etcd does not know of that");
  }

  /** The log cannot be mended where it is: what follows is read from the leader again. */
  cutAt(sequence: number): void {
    if (!this.events.onLost()) return;
    this.attempt(() => {
      this.partition.log.truncateTo(sequence);
      this.follow();
    });
  }

  /** Before the leader's answer to the newest ask, this log may have other messages below it. */
  onMark(highWatermark: number): void {
    if (this.isFollowing) this.highWatermark = Math.max(this.highWatermark, highWatermark);
  }

  /** More of the log is on the disk. */
  logSynced(): void {
    if (this.isFollowing) this.tellEnd();
  }

  /** To be called several times a second. */
  review(nowMs: number): void {
    if (this.askAtMs !== undefined && nowMs >= this.askAtMs) this.follow();
    this.state.review(nowMs);
  }

  private tellEnd(): void {
    const { log, number, host } = this.partition;
    // Others would rely on what is damaged.
    if (this.repair.holdsBack) return;
    const synced = Math.min(log.synced, log.end);
    this.untoldBytes = 0;
    this.peer?.sendEnd({ partition: number, epoch: this.epoch, end: log.end, synced, state: this.state.number });
    if (this.wholeAt === undefined || this.state.number < 0 || (host.durability === "fsync" ? synced : log.end) < this.wholeAt) return;
    this.wholeAt = undefined;
    this.events.onWhole();
  }

  /** Whatever fails, the leader is told nothing, and asked again later: what the log has then is found out anew. */
  private attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.parts.errors.error(`PARTITION(${this.partition.name}): cannot follow: ${(error as Error).message}`);
      this.isFollowing = false;
      this.askAtMs = this.parts.clock.steadyMs() + AGAIN_MS;
    }
  }

  private get peer() {
    return this.parts.peers.get(this.leader);
  }
}
