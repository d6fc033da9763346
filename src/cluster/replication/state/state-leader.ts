import type { Peer } from "../peer.ts";
import type { PartitionParts, ReplicationParts } from "../replica-parts.ts";
import type { StateChange } from "./replica-state.ts";
import { STATE_BYTES, type StateFrame, type StateKeys } from "./state-frames.ts";
import { StateProgress } from "./state-progress.ts";

/** No publish is taken while more than this is not stored: of it comes more state. Where nothing can be stored at all it is less. */
const MOST_UNSTORED_BYTES = 64 * 1024 * 1024;
const MOST_FAILED_BYTES = 1024 * 1024;

/** Which replicas count, as the leader knows it. */
export interface Counted {
  readonly members: readonly string[];
  /** Whether something may be answered that all members have. */
  readonly mayAdvance: boolean;
  isInSync(uid: string): boolean;
}

/**
 * The state of a partition that this broker leads in one epoch. It numbers the changes, keeps them, and sends them to the followers: of each
 * key the newest value. A change counts when every member of the in-sync set has it.
 */
export class StateLeader {
  /** The last change has this number. The first one of an epoch is 1. */
  number = 0;
  /**
   * All changes up to this one are on every member of the in-sync set. Below 0: what this leader has from earlier epochs is not, as the one
   * before may not have got it to all of them.
   */
  mark = -1;
  private readonly followers = new Map<string, StateProgress>();
  /** This broker has stored everything up to this change. Below 0: it may lose what it got as a follower, if the power goes. */
  private stored = -1;
  /** Since when nothing could be stored, by the steady clock. */
  private failingSinceMs: number | undefined;
  /** What it has not stored yet. */
  private readonly unstored = new Map<string, StateChange>();
  private unstoredBytes = 0;
  private isStoring = false;
  private isAsked = false;
  private isOver = false;

  constructor(
    private readonly epoch: number,
    private readonly parts: ReplicationParts,
    private readonly partition: PartitionParts,
    private readonly counted: Counted,
  ) {
    this.askWork();
  }

  /** Sets a key, or removes it. Changes of one turn go together. */
  change(key: string, value: Buffer | undefined): void {
    if (this.isOver) return;
    this.number++;
    const change = { key, epoch: this.epoch, number: this.number, value };
    this.unstoredBytes += bytesOf(change) - bytesOf(this.unstored.get(key));
    this.unstored.set(key, change);
    for (const follower of this.followers.values()) {
      follower.waitedMs(this.number - 1, this.nowMs);
      follower.changed(key, value === undefined);
    }
    this.askWork();
  }

  get(key: string): Buffer | undefined {
    const unstored = this.unstored.get(key);
    return unstored === undefined ? this.partition.state.get(key)?.value : unstored.value;
  }

  /** Another broker leads, or none. */
  stop(): void {
    this.isOver = true;
  }

  // ---- followers

  /** Who has the partition, but for this broker. */
  setFollowers(uids: Iterable<string>): void {
    const known = new Set(uids);
    for (const uid of this.followers.keys()) if (!known.has(uid)) this.followers.delete(uid);
    for (const uid of known) if (!this.followers.has(uid)) this.followers.set(uid, new StateProgress(this.nowMs));
  }

  lost(uid: string): void {
    this.followers.get(uid)?.forget();
  }

  onKeys(peer: Peer, frame: StateKeys): void {
    const follower = this.followers.get(peer.uid);
    if (follower === undefined) return;
    follower.onKeys(frame, this.nowMs);
    for (const { key, value } of this.unstored.values()) follower.changed(key, value === undefined);
    this.sendTo(peer.uid);
  }

  /** A follower says up to which change it has everything. */
  onEnd(uid: string, number: number): void {
    if (this.followers.get(uid)?.answered(number) === true) this.advance();
  }

  /** Whether a follower has all that may have been answered. */
  mayJoin(uid: string): boolean {
    return this.hasOf(uid) >= Math.max(this.mark, 0);
  }

  /** Whether a follower has everything. */
  isComplete(uid: string): boolean {
    return this.hasOf(uid) === this.number;
  }

  /** Whether a follower has no less than this broker has stored. */
  hasStored(uid: string): boolean {
    return this.hasOf(uid) >= Math.max(this.stored, 0);
  }

  /** The change up to which a follower has everything. */
  hasOf(uid: string): number {
    return this.followers.get(uid)?.has ?? -1;
  }

  /** How long a follower has been waited for, ms. */
  waitedMs(uid: string): number {
    return this.followers.get(uid)?.waitedMs(this.number, this.nowMs) ?? 0;
  }

  /** It has so much that is not stored that nothing should come that makes more of it. */
  get isFull(): boolean {
    return this.unstoredBytes > (this.failingSinceMs === undefined ? MOST_UNSTORED_BYTES : MOST_FAILED_BYTES);
  }

  /** For how long this broker could store nothing of what it has to, ms. */
  get failingMs(): number {
    return this.failingSinceMs === undefined ? 0 : this.nowMs - this.failingSinceMs;
  }

  /** This process stood still. */
  forgiveSilence(nowMs: number): void {
    for (const follower of this.followers.values()) follower.waitAnew(nowMs);
  }

  /** To be called several times a second. */
  review(): void {
    this.work();
    this.advance();
  }

  /** To be called when other replicas count than before. */
  advance(): void {
    const { counted, parts } = this;
    if (this.isOver || !counted.mayAdvance) return;
    const mark = counted.members.reduce((low, uid) => Math.min(low, uid === parts.uid ? this.stored : this.hasOf(uid)), this.number);
    if (mark <= this.mark) return;
    this.mark = mark;
    this.partition.host.onStateMark?.();
  }

  // ---- work at the end of a turn

  private askWork(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    this.parts.clock.callAfterTurn(() => {
      this.isAsked = false;
      this.goOn();
    });
  }

  private readonly goOn = (): void => {
    if (!this.isOver) this.work();
  };

  private work(): void {
    this.store();
    for (const uid of this.followers.keys()) this.sendTo(uid);
  }

  /** Stores what is not stored, at first nothing: then all that came before is. Where that fails, review() tries again. */
  private store(): void {
    if (this.isStoring || (this.unstored.size === 0 && this.stored >= 0)) return;
    this.isStoring = true;
    const { number } = this;
    const changes = [...this.unstored.values()];
    this.partition.state.apply(changes, (failure) => {
      this.isStoring = false;
      if (failure !== undefined) this.failingSinceMs ??= this.nowMs;
      else this.failingSinceMs = undefined;
      if (failure !== undefined)
        return this.parts.errors.error(`PARTITION(${this.partition.name}): cannot store its channels: ${failure.message}`);
      for (const change of changes) {
        if (this.unstored.get(change.key) !== change) continue;
        this.unstored.delete(change.key);
        this.unstoredBytes -= bytesOf(change);
      }
      if (this.isOver) return;
      this.stored = number;
      if (this.unstored.size > 0) this.askWork();
      this.advance();
    });
  }

  /** Sends a follower what it lacks, as far as that is known, and the connection takes it. */
  private sendTo(uid: string): void {
    const follower = this.followers.get(uid);
    if (follower?.isWaiting && (!follower.isDone || follower.sent === this.number)) return;
    this.send(uid, (peer, lacking) => this.sendLacking(peer, lacking));
  }

  /** Sends a follower the values that have changed so far in this turn. Those of channels, and what is removed, are of use with all of them. */
  sendValues(uid: string): void {
    const changed = this.followers.get(uid)?.changedValues;
    if (changed === undefined || changed.size === 0) return;
    this.send(uid, (peer, follower) => {
      while (!peer.isFull && changed.size > 0) peer.send(this.frameOf(follower, changed).frame);
    });
  }

  private send(uid: string, action: (peer: Peer, follower: StateProgress) => void): void {
    const [peer, follower] = [this.parts.peers.get(uid), this.followers.get(uid)];
    if (peer?.isUp !== true || follower === undefined) return;
    try {
      action(peer, follower);
    } catch (error) {
      // It is tried again at the next review.
      this.parts.errors.error(`PARTITION(${this.partition.name}): cannot read its channels: ${(error as Error).message}`);
    }
  }

  private sendLacking(peer: Peer, follower: StateProgress): void {
    const isInSync = this.counted.isInSync(peer.uid);
    const { catchUp } = this.parts;
    const tellMore = (after: string) =>
      peer.send({ kind: "state-more", partition: this.partition.number, epoch: this.epoch, ask: follower.ask, after });
    while (!peer.isFull) {
      if (!isInSync && !catchUp.hasLeft) return catchUp.callWhenLeft(this.goOn);
      const keys = follower.next(this.partition.state, tellMore);
      if (keys === undefined && (!follower.isDone || follower.sent === this.number)) return;
      const { frame, bytes } = this.frameOf(follower, keys ?? []);
      if (!isInSync) catchUp.take(bytes);
      peer.send(frame);
    }
  }

  private frameOf(follower: StateProgress, keys: Iterable<string>): { frame: StateFrame; bytes: number } {
    const changes: StateChange[] = [];
    let bytes = 0;
    for (const key of keys) {
      const change = this.changeOf(key);
      const size = key.length + (change.value?.length ?? 0);
      if (bytes > 0 && bytes + size > STATE_BYTES) break;
      bytes += size;
      changes.push(change);
      follower.took(key);
    }
    if (follower.isDone) follower.sent = this.number;
    const number = follower.isDone ? this.number : undefined;
    return { frame: { kind: "state", partition: this.partition.number, epoch: this.epoch, ask: follower.ask, number, changes }, bytes };
  }

  private changeOf(key: string): StateChange {
    return this.unstored.get(key) ?? this.partition.state.get(key) ?? { key, epoch: this.epoch, number: this.number, value: undefined };
  }

  private get nowMs(): number {
    return this.parts.clock.steadyMs();
  }
}

function bytesOf(change: StateChange | undefined): number {
  return change === undefined ? 0 : change.key.length + (change.value?.length ?? 0);
}
