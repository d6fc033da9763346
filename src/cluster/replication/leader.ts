import { type CommitFrame, CommitFrames } from "./commit-frames.ts";
import { FollowerProgress } from "./follower-progress.ts";
import { HandOver } from "./hand-over.ts";
import { InSyncSet } from "./in-sync-set.ts";
import { Joiner } from "./joiner.ts";
import { OrderRight } from "./order-right.ts";
import { OwnDisk } from "./own-disk.ts";
import { partAt } from "./parting.ts";
import type { Peer } from "./peer.ts";
import { bytesPerMessage } from "./replica-log.ts";
import type { PartitionParts, ReplicationParts, StoredRecord } from "./replica-parts.ts";
import { type FollowerStatus, followerStatus } from "./replica-status.ts";
import { Stall } from "./stall.ts";
import { type Counted, StateLeader } from "./state/state-leader.ts";
import type { Follow, ReplicaEnd } from "./wire.ts";

/** The most bytes of commits in one frame, but for a single commit that has more. */
const RUN_BYTES = 1024 * 1024;
/** The least that is sent at once to a follower that catches up. */
const CATCH_UP_RUN_BYTES = 64 * 1024;
/** How much may be under way to one follower: to one that catches up a frame, so that a connection is not full of old messages. */
const WINDOW_BYTES = 8 * 1024 * 1024;
const CATCH_UP_WINDOW_BYTES = 1;

/**
 * This broker leads a partition in one epoch: it sends its commits to the followers, knows what each of them has, and says up to where
 * messages may be acknowledged and delivered.
 *
 * The high watermark is the lowest end in the in-sync set, which has to have enough members. So a publish that is acknowledged is on all
 * who may lead next.
 */
export class Leader implements Counted {
  readonly state: StateLeader;
  /** Tells whether messages of an ordered partition may be handed out. */
  readonly order: OrderRight;
  private readonly inSync: InSyncSet;
  private readonly followers = new Map<string, FollowerProgress>();
  /** What is below this was written in earlier epochs, and may have been acknowledged: the high watermark may be known too low at first. */
  private readonly firstSequence: number;
  private toldMark = 0;
  /** The log's end when it was last told to have grown. */
  private grownTo: number;
  private isOver = false;
  private readonly handOver: HandOver;
  private readonly joiner = new Joiner();
  private readonly frames: CommitFrames;
  private readonly stall: Stall;
  private readonly own: OwnDisk;
  /** Alone in sync, this broker acknowledges nothing from here on: nobody has these messages any more. */
  private lostFrom = Number.POSITIVE_INFINITY;

  /**
   * @param highWatermark below it everything was acknowledged in earlier epochs; there may be more
   * @param former who may still hand out messages; "": nobody, undefined: it is not known
   * @param onRecord gets newer records than this leader has seen
   */
  constructor(
    readonly epoch: number,
    public highWatermark: number,
    stored: StoredRecord,
    private readonly parts: ReplicationParts,
    private readonly partition: PartitionParts,
    former: string | undefined,
    onRecord: (stored: StoredRecord) => void,
  ) {
    this.order = new OrderRight(parts.clock, former);
    this.frames = new CommitFrames(parts, partition, epoch);
    this.own = new OwnDisk(partition, parts.uid, this.nowMs);
    this.stall = new Stall(parts.settings.lagMs, partition.host);
    this.firstSequence = this.grownTo = partition.log.end;
    this.inSync = new InSyncSet(partition.key, stored, parts.writer, (newer) => {
      if (newer !== undefined) onRecord(newer);
      if (!this.isOver) this.review();
    });
    this.handOver = new HandOver(this.inSync, parts.counts);
    for (const uid of stored.value.replicas) if (uid !== parts.uid) this.followers.set(uid, new FollowerProgress(uid, this.nowMs));
    this.state = new StateLeader(epoch, parts, partition, this);
    this.state.setFollowers(this.followers.keys());
    partition.host.onHighWatermark(highWatermark);
    for (const uid of this.followers.keys()) this.announceTo(parts.peers.get(uid));
    this.advance();
  }

  /** Another replica is about to lead. */
  get isHandingOver(): boolean {
    return this.handOver.to !== undefined;
  }

  /** Whether messages of an ordered partition may be handed out. */
  get mayHandOut(): boolean {
    return !this.isOver && this.order.permits(this.handOver.isAsked);
  }

  /** Etcd had this broker as the leader. */
  confirmed(sentMs: number, sentWallMs: number): void {
    if (this.isOver) return;
    this.order.confirmed(sentMs, sentWallMs);
    this.reviewOrder();
  }

  private reviewOrder(): void {
    const { former } = this.order;
    if (former !== undefined && this.parts.peers.get(former)?.isRefused === true) this.order.formerEnded();
    if (this.order.begins(this.handOver.isAsked)) this.partition.host.onMayHandOut?.();
  }

  /** Why nothing may be published; undefined: it may. */
  get refusal(): string | undefined {
    if (this.isHandingOver) return "the partition gets another leader";
    if (this.state.isFull) return "the disk of this broker does not take what goes along with messages";
    const { length } = this.inSync.members;
    const { minInSync } = this.partition.host;
    return length < minInSync ? `${length} of ${minInSync} replicas are in sync` : this.stall.reason;
  }

  /** Another broker leads, or none: this one says nothing about the partition any more. */
  stop(): void {
    this.isOver = true;
    this.state.stop();
    this.handOver.end(this.handOver.isAsked ? undefined : new Error("another broker took over"));
  }

  // ---- what happens

  /** The record in etcd is another one, and this broker still leads in this epoch. */
  update(stored: StoredRecord): void {
    const { replicas, inSync } = stored.value;
    this.parts.inSyncLog.changed(this.partition.name, this.inSync.known, inSync);
    this.inSync.update(stored);
    for (const uid of this.followers.keys()) if (!replicas.includes(uid)) this.followers.delete(uid);
    for (const uid of replicas) {
      if (uid === this.parts.uid || this.followers.has(uid)) continue;
      this.followers.set(uid, new FollowerProgress(uid, this.nowMs));
      this.announceTo(this.parts.peers.get(uid));
    }
    this.state.setFollowers(this.followers.keys());
    this.advance();
  }

  /** This broker's log has more, in its file or on its disk. */
  logGrew(): void {
    const { log } = this;
    for (const follower of this.followers.values()) {
      // What is published meanwhile is sent beyond the rate: it would never have everything.
      if (log.end > this.grownTo && follower.isFollowing && !this.inSync.has(follower.uid))
        this.parts.catchUp.give((log.end - this.grownTo) * bytesPerMessage(log));
      // It is waited for from now on, if it had everything.
      follower.waitedMs(this.endOf(follower), log.end, this.nowMs);
      this.sendTo(follower);
    }
    this.grownTo = log.end;
    this.frames.forget();
    this.advance();
  }

  peerUp(peer: Peer): void {
    if (this.followers.has(peer.uid)) this.announceTo(peer);
  }

  peerDown(peer: Peer): void {
    this.followers.get(peer.uid)?.lost();
    this.state.lost(peer.uid);
    this.review();
  }

  /** A follower of this epoch says what it has. */
  onFollow(peer: Peer, { ask, additions, start, end, epochs }: Follow): void {
    const follower = this.followers.get(peer.uid);
    if (follower === undefined) return;
    const { log } = this;
    const { to, restarts } = partAt({ start: log.start, end: log.end, epochs: log.epochs() }, { start, end, epochs });
    follower.asked(ask, additions);
    this.part(peer, follower, to, restarts);
    this.sendTo(follower);
    if (peer.uid === this.order.former) this.order.formerEnded();
    this.review();
  }

  onEnd(peer: Peer, end: ReplicaEnd): void {
    const follower = this.followers.get(peer.uid);
    if (follower?.answered(end) !== true) return;
    this.state.onEnd(peer.uid, end.state);
    this.sendTo(follower);
    this.admit(follower);
    this.advance();
    this.reviewHandOver();
  }

  /** To be called several times a second. */
  review(): void {
    this.joiner.review(this.nowMs, (uid) => this.followers.has(uid));
    for (const follower of this.followers.values()) this.sendTo(follower);
    this.frames.forget();
    this.state.review();
    this.advance();
    this.reviewOrder();
    this.reviewHandOver();
    this.stall.look(this.missing, this.nowMs);
    this.leaveToBetter();
    if (this.inSync.isChanging) return;
    const { members } = this.inSync;
    const staying = members.filter((uid) => !this.mustLeave(uid));
    if (staying.length < members.length) this.inSync.change(staying);
    for (const follower of this.followers.values()) this.admit(follower);
  }

  /** Tells followers the watermark with the next beat, if it has changed. */
  markBeat(): void {
    if (this.toldMark === this.highWatermark) return;
    this.toldMark = this.highWatermark;
    const { number } = this.partition;
    for (const { uid, isFollowing } of this.followers.values())
      if (isFollowing) this.parts.peers.get(uid)?.sendMark({ partition: number, epoch: this.epoch, highWatermark: this.highWatermark });
  }

  /** This process stood still. */
  forgiveSilence(nowMs: number): void {
    for (const follower of this.followers.values()) follower.waitAnew(nowMs);
    this.state.forgiveSilence(nowMs);
    this.stall.waitAnew(nowMs);
    this.own.waitAnew(nowMs);
  }

  // ---- handing over

  /** Has another replica lead. It must be in sync. @param limitMs how long publishes may wait until it has everything */
  handTo(to: string, limitMs: number, done: (failure: Error | undefined) => void): void {
    if (this.isHandingOver) return done(new Error("another hand-over is under way"));
    this.handOver.begin(to, this.nowMs + limitMs, done);
    this.partition.host.onHandOver?.();
    this.reviewHandOver();
  }

  /** The follower that would need the least to lead; undefined: none is in sync. @param below it has nothing from there on */
  successor(below = Number.POSITIVE_INFINITY): string | undefined {
    const candidates = this.candidates.filter((one) => this.endOf(one) < below);
    candidates.sort((one, other) => this.endOf(other) - this.endOf(one));
    return candidates[0]?.uid;
  }

  private get candidates(): FollowerProgress[] {
    return [...this.followers.values()].filter(({ uid, isFollowing }) => isFollowing && this.inSync.has(uid));
  }

  /** Has a replica in sync lead whatever it lacks: what is not on all of them is not acknowledged. It may be this one, in another epoch. */
  private resignTo(to: string, why: string, inSync?: readonly string[]): void {
    if (this.isHandingOver || this.inSync.isChanging) return;
    this.parts.errors.error(`PARTITION(${this.partition.name}): ${to === this.parts.uid ? "leads anew" : "leads no more"}: ${why}`);
    this.handOver.begin(to, this.nowMs, () => {});
    this.handOver.ask(inSync);
  }

  /** The disk of this broker holds everything up, and another one's does not. It leads, and waits for this one where it might be alone. */
  private leaveToBetter(): void {
    if (!this.isLate) return;
    const isBetter = (one: FollowerProgress) => this.endOf(one) >= this.own.end && this.state.hasStored(one.uid);
    const better = this.candidates.find((one) => isBetter(one) && !this.mustLeave(one.uid));
    const others = this.inSync.known.filter((uid) => uid !== this.parts.uid);
    const areEnough = others.length >= Math.max(2, this.partition.host.minInSync);
    if (better !== undefined) this.resignTo(better.uid, "its disk takes no more", areEnough ? others : undefined);
  }

  /** This broker's disk has not taken for a while what it has to. */
  private get isLate(): boolean {
    return Math.max(this.own.waitedMs(this.nowMs), this.state.failingMs) > this.parts.settings.lagMs;
  }

  private reviewHandOver(): void {
    const { handOver } = this;
    if (handOver.to === undefined || handOver.isAsked || this.inSync.isChanging) return;
    const follower = this.followers.get(handOver.to);
    if (follower === undefined || !this.inSync.has(handOver.to)) return handOver.end(new Error("it is not in sync"));
    const hasAll = this.endOf(follower) === this.log.end && this.state.isComplete(follower.uid);
    if (hasAll && this.highWatermark === this.log.end) handOver.ask();
    else if (this.nowMs > handOver.untilMs) handOver.end(new Error("it did not catch up in time"));
  }

  // ---- the watermark

  /** Brings the high watermark on, if it may. */
  private advance(): void {
    if (!this.mayAdvance) return;
    this.state.advance();
    const { follower } = this.joiner;
    const counted = follower === undefined ? Number.POSITIVE_INFINITY : this.endOf(follower);
    const lowest = this.inSync.members.reduce((low, uid) => Math.min(low, this.endOfMember(uid)), counted);
    if (lowest <= this.highWatermark) return;
    this.highWatermark = lowest;
    this.partition.host.onHighWatermark(lowest);
  }

  /** Whether there are members enough to answer anything. */
  get mayAdvance(): boolean {
    return this.inSync.members.length >= this.partition.host.minInSync && this.mayGoAlone;
  }

  /** Who has to have a change of the state. */
  get members(): readonly string[] {
    const { follower } = this.joiner;
    return follower === undefined ? this.inSync.members : [...this.inSync.members, follower.uid];
  }

  isInSync(uid: string): boolean {
    return this.inSync.has(uid);
  }

  /** A leader alone in its set is not held up by anybody who would know of another leader: its lease has to hold. */
  private get mayGoAlone(): boolean {
    return this.inSync.members.length > 1 || this.parts.lease.holds;
  }

  /** What publishes wait for that should have come; undefined: nothing. */
  private get missing(): string | undefined {
    if (!this.mayGoAlone) return "etcd does not answer, and no other replica is in sync";
    if (this.isLate) return "the disk of the leader fails, and no other replica in sync can lead";
    const isHeldUp = this.inSync.members.some((uid) => this.mustLeave(uid));
    return isHeldUp ? "a replica in sync does not answer, and etcd has not agreed to go on without it" : undefined;
  }

  private endOfMember(uid: string): number {
    if (uid === this.parts.uid) return Math.min(this.lostFrom, this.own.end);
    const follower = this.followers.get(uid);
    return follower === undefined ? -1 : this.endOf(follower);
  }

  /** What counts of what a follower has. */
  private endOf({ end, synced }: FollowerProgress): number {
    return this.isSynced ? synced : end;
  }

  // ---- the in-sync set

  /** It is gone, keeps the others waiting, or has lost what it had. */
  private mustLeave(uid: string): boolean {
    if (uid === this.parts.uid) return false;
    const follower = this.followers.get(uid);
    if (follower === undefined || follower.isGone || this.parts.peers.get(uid)?.isRefused) return true;
    // What is not synced yet is not lost: a topic may have been acknowledged without that before.
    if (follower.end >= 0 && follower.end < this.highWatermark) return true;
    const waitedMs = follower.waitedMs(this.endOf(follower), this.log.end, this.nowMs);
    return Math.max(waitedMs, this.state.waitedMs(uid)) > this.parts.settings.lagMs;
  }

  /** Takes a follower into the set that has all that may have been acknowledged, and to which everything else is under way. */
  private admit(follower: FollowerProgress): void {
    if (!this.inSync.mayJoin(follower) || !follower.isFollowing || follower.sent < this.log.end) return;
    if (this.endOf(follower) >= Math.max(this.highWatermark, this.firstSequence) && this.state.mayJoin(follower.uid)) {
      this.joiner.follower = undefined;
      this.inSync.change([...this.inSync.members, follower.uid]);
    } else this.joiner.begin(follower, this.nowMs);
  }

  followerStatuses(): FollowerStatus[] {
    const { log, inSync, nowMs, firstSequence } = this;
    return [...this.followers.values()].map((one) =>
      followerStatus(one, this.endOf(one), inSync.has(one.uid), { log, firstSequence, nowMs }),
    );
  }

  // ---- sending

  private announceTo(peer: Peer | undefined): void {
    peer?.send({ kind: "lead", partition: this.partition.number, epoch: this.epoch });
  }

  /** Tells a follower what to keep: commits from there follow. */
  private part(peer: Peer, follower: FollowerProgress, to: number, restarts: boolean): void {
    follower.followFrom(to, this.nowMs);
    const { number: partition, log } = this.partition;
    peer.send({
      kind: "part",
      partition,
      epoch: this.epoch,
      ask: follower.ask,
      to,
      restarts,
      end: log.end,
      start: log.start,
      needed: Math.min(Math.max(log.start, log.finished), log.end),
    });
  }

  private sendTo(follower: FollowerProgress): void {
    if (follower.sent >= this.log.end) return;
    const peer = this.parts.peers.get(follower.uid);
    if (peer === undefined || !follower.isFollowing) return;
    // That a deferred publish joins the log goes before the log: for whoever leads next it is in one place.
    this.state.sendValues(follower.uid);
    const { catchUp, counts } = this.parts;
    // One that joins is waited for.
    const catchesUp = !this.inSync.has(follower.uid) && follower !== this.joiner.follower;
    const window = catchesUp ? CATCH_UP_WINDOW_BYTES : WINDOW_BYTES;
    while (follower.sent < this.log.end && follower.inFlightBytes < window && !peer.isFull) {
      const most = catchesUp ? Math.max(CATCH_UP_RUN_BYTES, Math.min(RUN_BYTES, catchUp.leftNow)) : RUN_BYTES;
      if (catchesUp && !catchUp.hasLeft) return catchUp.callWhenLeft(this.goOn);
      // What comes next was removed meanwhile, as it was finished.
      if (follower.sent < this.log.start) this.part(peer, follower, this.log.start, true);
      const next = this.frameFrom(follower.sent, most);
      if (next === undefined) return;
      if (catchesUp) {
        catchUp.take(next.bytes);
        counts.catchUpBytes += next.bytes;
      }
      peer.sendEncoded(next.frame);
      follower.sentUpTo(next.end, next.bytes);
    }
  }

  /** Followers that catch up may get more. */
  private readonly goOn = (): void => {
    if (!this.isOver) for (const follower of this.followers.values()) this.sendTo(follower);
    this.frames.forget();
  };

  /** The next frame of commits for a follower; undefined where the log cannot give one. */
  private frameFrom(from: number, maxBytes: number): CommitFrame | undefined {
    const next = this.frames.from(from, maxBytes, this.highWatermark);
    return next?.isSkip === true && !this.maySkip(next) ? undefined : next;
  }

  /**
   * Nobody has the messages of a frame any more. What is not acknowledged must not be: a replica leads that never had it, and where there is
   * none in sync this one begins anew, so that nobody waits for it any more.
   */
  private maySkip({ from, end }: CommitFrame): boolean {
    const isAlone = this.inSync.members.length === 1;
    if (end <= this.highWatermark || (isAlone && end <= this.firstSequence)) {
      this.parts.errors.error(
        `PARTITION(${this.partition.name}): followers skip messages ${from} to ${end - 1}, which nobody has any more`,
      );
      return true;
    }
    if (isAlone) this.lostFrom = Math.min(this.lostFrom, from);
    const next = isAlone ? this.parts.uid : this.successor(end);
    if (next !== undefined) this.resignTo(next, `messages ${from} to ${end - 1} are damaged, and not on the other replicas`);
    return false;
  }

  private get log() {
    return this.partition.log;
  }

  private get isSynced(): boolean {
    return this.partition.host.durability === "fsync";
  }

  private get nowMs(): number {
    return this.parts.clock.steadyMs();
  }
}
