import { shortUid } from "../data-path-uid.ts";
import { PartitionRepair, type RepairedReplica } from "../repair/partition-repair.ts";
import { Follower } from "./follower.ts";
import { Leader } from "./leader.ts";
import { RIGHTS_END_MS } from "./order-right.ts";
import type { Peer } from "./peer.ts";
import type { PartitionParts, ReplicationParts, StoredRecord } from "./replica-parts.ts";
import type { ReplicaStatus } from "./replica-status.ts";
import type { Append, Mark, PartitionFrame, ReplicaEnd } from "./wire.ts";

/** How long others have time to lead after this broker's disk failed. */
const REST_MS = 1_000;

/**
 * One partition on this broker. Its record in etcd says who leads, and a leader says so itself: whichever has the newest epoch counts.
 * Nothing of an older epoch than the newest one known is accepted, after restarts neither.
 */
export class Replica {
  /** The newest record that is known. */
  stored: StoredRecord | undefined;
  private role: Leader | Follower | undefined;
  /** The newest epoch that is known. */
  private epoch: number;
  /** It may lead: see ReplicaMemory.isWhole. */
  private isWhole: boolean;
  /** A change of the record is under way that makes this broker leader, or takes it out of the in-sync set. */
  private isChanging = false;
  private isClosed = false;
  /** Its disk failed when it was to lead: it does not try before this, by the steady clock. */
  private restUntilMs = Number.NEGATIVE_INFINITY;
  private highWatermark = 0;
  /** Since when the epoch of the record is known, by the steady clock, and who alone may have handed out messages before: see OrderRight. */
  private ledSinceMs = Number.POSITIVE_INFINITY;
  private former: string | undefined;
  /** Whom it could not follow, as the epoch could not be saved. */
  private unsaved: { leader: string; epoch: number } | undefined;
  readonly repair: PartitionRepair;

  constructor(
    private readonly parts: ReplicationParts,
    readonly partition: PartitionParts,
  ) {
    this.epoch = partition.memory.epoch;
    this.isWhole = partition.memory.isWhole;
    this.repair = new PartitionRepair(parts, partition, this.repaired());
    partition.log.mender = this.repair;
  }

  private repaired(): RepairedReplica {
    const replica = this;
    return {
      get epoch() {
        return replica.epoch;
      },
      get isLeading() {
        return replica.leading !== undefined;
      },
      get isAgreed() {
        return replica.role instanceof Leader || replica.role?.isFollowing === true;
      },
      get highWatermark() {
        return replica.role?.highWatermark ?? 0;
      },
      get sources() {
        return replica.sources;
      },
      onMended: () => this.logGrew(),
      onMisplaced: (sequence) => {
        if (this.role instanceof Follower) this.role.cutAt(sequence);
      },
      onRemoved: (start) => {
        if (this.role instanceof Follower) this.role.beginAnew(start);
      },
    };
  }

  /** Who may have what this log has lost. */
  private get sources(): string[] {
    if (this.role instanceof Follower) return [this.role.leader];
    const { replicas = [], inSync = [] } = this.stored?.value ?? {};
    const others = replicas.filter((uid) => uid !== this.parts.uid && !this.parts.isGone(uid));
    return [...others.filter((uid) => inSync.includes(uid)), ...others.filter((uid) => !inSync.includes(uid))];
  }

  get leading(): Leader | undefined {
    return this.role instanceof Leader ? this.role : undefined;
  }

  /** Why nothing may be published here; undefined: it may. */
  get refusal(): string | undefined {
    return this.role instanceof Leader ? this.role.refusal : "this broker does not lead the partition";
  }

  get status(): ReplicaStatus {
    const { role, epoch, isWhole, partition, stored } = this;
    const { name, number, log } = partition;
    const leading = this.leading;
    return {
      name,
      number,
      role: leading !== undefined ? "leader" : role instanceof Follower ? "follower" : "out",
      epoch,
      leader: leading !== undefined ? this.parts.uid : role instanceof Follower ? role.leader : "",
      record: stored?.value,
      start: log.start,
      end: log.end,
      synced: log.synced,
      highWatermark: role?.highWatermark ?? this.highWatermark,
      isWhole,
      isRepairing: this.repair.isBusy,
      refusal: leading?.refusal,
      followers: leading?.followerStatuses(),
    };
  }

  /** Whether what goes along with its messages is all here that its leader has told so far. */
  get hasState(): boolean {
    return this.role instanceof Leader || (this.role instanceof Follower && this.role.state.number >= 0);
  }

  /** Whether messages of an ordered partition may be handed out here now. */
  get mayHandOut(): boolean {
    return this.leading?.mayHandOut === true;
  }

  /** The leader that this broker would take over from: its uid, or "" for none; undefined: it must not lead now. */
  get replaceable(): string | undefined {
    if (this.stored === undefined || this.isChanging || !this.isWhole || this.leading !== undefined || this.rests) return undefined;
    const { leader, epoch, inSync } = this.stored.value;
    return inSync.includes(this.parts.uid) && epoch === this.epoch ? leader : undefined;
  }

  /** How many others are to try before this one, if they can. */
  place(isDead: (uid: string) => boolean): number {
    const { replicas = [], inSync = [], leader = "" } = this.stored?.value ?? {};
    const candidates = replicas.filter((uid) => uid !== leader && inSync.includes(uid) && !isDead(uid));
    return Math.max(0, candidates.indexOf(this.parts.uid));
  }

  /** This broker has no part in the partition any more. */
  close(): void {
    this.isClosed = true;
    this.endRole();
    this.partition.log.mender = undefined;
  }

  // ---- who leads

  /** Etcd has this record; older ones than the newest do not count. */
  onRecord(stored: StoredRecord): void {
    if (this.isClosed || stored.modRevision <= (this.stored?.modRevision ?? 0)) return;
    this.remember(stored.value);
    this.stored = stored;
    const { leader, epoch } = stored.value;
    if (this.isStale(epoch)) return;
    if (leader === this.parts.uid) return this.onOwnRecord(stored);
    if (!(this.role instanceof Follower && this.role.epoch === epoch && this.role.leader === leader)) return this.follow(leader, epoch);
    this.role.update(stored.value);
    this.leaveUnlessWhole();
  }

  /** Who led before the leader of a newer record. */
  private remember({ epoch }: StoredRecord["value"]): void {
    const before = this.stored?.value;
    if (before?.epoch === epoch) return;
    const nowMs = this.parts.clock.steadyMs();
    // Nobody else may have the right that is told from the leaders before that one.
    const isOnly = before !== undefined && before.leader !== "" && before.epoch + 1 === epoch && nowMs - this.ledSinceMs > RIGHTS_END_MS;
    const isOurs = before?.leader === this.parts.uid;
    this.former = isOnly ? (isOurs ? "" : before.leader) : undefined;
    this.ledSinceMs = nowMs;
  }

  private onOwnRecord(stored: StoredRecord): void {
    const { epoch } = stored.value;
    if (this.leading?.epoch === epoch) return this.leading.update(stored);
    this.leaveUnlessWhole();
    // In an epoch that it led before it was restarted it may have told others what its log does not have any more. It takes a new one.
    if (epoch <= this.epoch) return;
    this.endRole();
    if (this.isWhole && !this.rests) this.lead(stored);
  }

  /** Another broker says that it leads. */
  private onLead(peer: Peer, epoch: number): void {
    const { leader, epoch: recorded } = this.stored?.value ?? {};
    // One broker leads in an epoch at most.
    if (this.leading?.epoch === epoch || (recorded === epoch && leader !== peer.uid)) return;
    const known = this.followed(peer, { epoch });
    if (known === undefined) this.follow(peer.uid, epoch);
    else known.announced();
  }

  private lead(stored: StoredRecord): void {
    const { log, memory, name } = this.partition;
    const { epoch } = stored.value;
    this.endRole();
    try {
      memory.saveEpoch(epoch);
      this.epoch = epoch;
      if (log.epoch < epoch) log.beginEpoch(epoch);
    } catch (error) {
      // The record says that it leads, in an epoch in which it has not told anybody anything.
      this.parts.errors.error(`PARTITION(${name}): cannot lead: ${(error as Error).message}`);
      this.restUntilMs = this.parts.clock.steadyMs() + REST_MS;
      if (stored.value.inSync.length > 1) this.change({ leader: "" });
      return;
    }
    this.parts.logger.info(
      `PARTITION(${name}): leader of epoch ${epoch} at ${log.end}, in sync: ${stored.value.inSync.map(shortUid).join(" ")}`,
    );
    this.parts.counts.leads++;
    this.partition.host.onRole({ name: "leader", epoch });
    const mark = Math.min(this.highWatermark, log.end);
    this.role = new Leader(epoch, mark, stored, this.parts, this.partition, this.former, (newer) => this.onRecord(newer));
    this.repair.begin();
  }

  /** @param leader "": there is none */
  private follow(leader: string, epoch: number): void {
    const { memory, name, host } = this.partition;
    this.endRole();
    if (epoch > this.epoch) {
      try {
        memory.saveEpoch(epoch);
      } catch (error) {
        this.unsaved = { leader, epoch };
        return this.parts.errors.error(`PARTITION(${name}): cannot follow epoch ${epoch}: ${(error as Error).message}`);
      }
      this.epoch = epoch;
    }
    this.leaveUnlessWhole();
    if (leader === "") return host.onRole({ name: "out", epoch });
    host.onRole({ name: "follower", epoch, leader });
    const additions = this.stored?.value.additions ?? 0;
    this.role = new Follower(epoch, leader, this.highWatermark, additions, this.parts, this.partition, this.repair, {
      onWhole: () => this.becameWhole(),
      onLost: () => this.lost(),
    });
  }

  /** Ends what this broker was. */
  private endRole(): void {
    this.unsaved = undefined;
    if (this.role === undefined) return;
    this.highWatermark = this.role.highWatermark;
    if (this.role instanceof Leader) this.parts.counts.fencedMessages += Math.max(0, this.partition.log.end - this.role.highWatermark);
    this.role.stop();
    this.role = undefined;
    this.repair.reset();
    this.partition.host.onRole({ name: "out", epoch: this.epoch });
  }

  private get rests(): boolean {
    return this.restUntilMs > 0 && this.parts.clock.steadyMs() < this.restUntilMs;
  }

  /** The one in the record may not have been saved yet. */
  private get newestEpoch(): number {
    return Math.max(this.epoch, this.stored?.value.epoch ?? 0);
  }

  /** Whether an epoch is older than the newest one known. */
  private isStale(epoch: number): boolean {
    return epoch < this.newestEpoch;
  }

  // ---- changes of the record

  /**
   * Has another replica lead, which must be in sync. Publishes wait meanwhile.
   *
   * @param to undefined: the one that needs the least for it
   * @param done gets why it failed; undefined: the other one leads
   */
  handOver(to: string | undefined, limitMs: number, done: (failure: Error | undefined) => void): void {
    const { leading } = this;
    const successor = to ?? leading?.successor();
    if (leading === undefined) done(new Error("this broker does not lead the partition"));
    else if (successor === undefined) done(new Error("no other replica is in sync"));
    else leading.handTo(successor, limitMs, done);
  }

  /** Makes this broker the leader, if nobody changed the record meanwhile. @param isDead who is not to be in the in-sync set */
  takeOver(isDead: (uid: string) => boolean): void {
    if (this.stored === undefined || this.replaceable === undefined) return;
    const { uid } = this.parts;
    const { leader, epoch, inSync } = this.stored.value;
    const changes = { leader: uid, epoch: epoch + 1, inSync: inSync.filter((one) => one === uid || !isDead(one)) };
    this.change(changes, (newer) => {
      if (leader !== "" && newer.value.leader === uid && newer.value.epoch === epoch + 1) this.parts.counts.takeOvers++;
    });
  }

  /** A replica that may lack something leaves the in-sync set, unless nobody has more: then it is the best there is. */
  private leaveUnlessWhole(): void {
    if (this.isWhole || this.stored === undefined || this.isChanging) return;
    const { uid, logger, errors } = this.parts;
    const { memory, name } = this.partition;
    const { leader, epoch, inSync } = this.stored.value;
    if (!inSync.includes(uid)) return;
    const others = inSync.filter((one) => one !== uid);
    if (others.length > 0) return this.change({ leader: leader === uid ? "" : leader, inSync: others });
    try {
      // It may have led in it, and forgotten that with its messages: others have those, so it leads in a newer one.
      if (epoch > this.epoch) memory.saveEpoch(epoch);
    } catch (error) {
      return errors.error(`PARTITION(${name}): cannot go on with what it has: ${(error as Error).message}`);
    }
    this.epoch = Math.max(this.epoch, epoch);
    logger.warn(`PARTITION(${name}): the only replica in sync may have lost messages, and goes on with what it has`);
    this.becameWhole();
  }

  /** The log lacks what others may rely on. @returns whether this broker is out of the in-sync set */
  private lost(): boolean {
    const { memory, name } = this.partition;
    this.isWhole = false;
    try {
      memory.ceasedToBeWhole();
    } catch (error) {
      // After a restart it would seem to have everything.
      this.parts.errors.error(`PARTITION(${name}): cannot note that messages are gone: ${(error as Error).message}`);
      return false;
    }
    this.leaveUnlessWhole();
    return this.stored?.value.inSync.includes(this.parts.uid) === false;
  }

  private becameWhole(): void {
    if (this.isWhole) return;
    this.isWhole = true;
    this.partition.memory.becameWhole();
  }

  private change(changes: Partial<StoredRecord["value"]>, onRecord = (_newer: StoredRecord) => {}): void {
    const { stored } = this;
    if (stored === undefined) return;
    this.isChanging = true;
    this.parts.writer.change(this.partition.key, stored, { ...stored.value, ...changes }, (newer) => {
      this.isChanging = false;
      if (newer === undefined) return;
      this.onRecord(newer);
      onRecord(newer);
    });
  }

  // ---- what happens

  /** The log has more, in its file or on its disk. */
  logGrew(): void {
    if (this.role instanceof Leader) this.role.logGrew();
    else this.role?.logSynced();
  }

  /** To be called several times a second. */
  review(nowMs: number): void {
    if (this.role instanceof Leader) this.role.review();
    else this.role?.review(nowMs);
    this.repair.review(nowMs);
    if (this.unsaved !== undefined) this.follow(this.unsaved.leader, this.unsaved.epoch);
    // It could not begin to lead before.
    if (this.leading === undefined && this.stored?.value.leader === this.parts.uid) this.onOwnRecord(this.stored);
    this.leaveUnlessWhole();
  }

  peerUp(peer: Peer): void {
    if (this.role instanceof Leader) this.role.peerUp(peer);
    else if (this.role?.leader === peer.uid) this.role.begin();
  }

  peerDown(peer: Peer): void {
    if (this.role instanceof Leader) this.role.peerDown(peer);
  }

  onFrame(peer: Peer, frame: PartitionFrame): void {
    if (this.isStale(frame.epoch)) return this.reject(peer, frame);
    switch (frame.kind) {
      case "lead":
        return this.onLead(peer, frame.epoch);
      case "reject":
        if (this.role instanceof Leader && frame.epoch > this.role.epoch) this.endRole();
        return;
      case "follow":
        if (this.leading?.epoch === frame.epoch) this.leading.onFollow(peer, frame);
        return;
      case "part":
        return this.followed(peer, frame)?.onPart(frame);
      case "append":
        return this.followed(peer, frame)?.onAppend(frame);
      case "skip":
        return this.followed(peer, frame)?.onSkip(frame);
      case "need":
        if (frame.epoch === this.epoch) this.repair.onNeed(peer, frame);
        return;
      case "have":
        if (frame.epoch === this.epoch) this.repair.onHave(peer, frame);
        return;
      case "state-keys":
        if (this.leading?.epoch === frame.epoch) this.leading.state.onKeys(peer, frame);
        return;
      case "state-more":
        return this.followed(peer, frame)?.state.onMore(frame);
      case "state":
        return this.followed(peer, frame)?.state.onState(frame);
    }
  }

  onEnd(peer: Peer, end: ReplicaEnd): void {
    if (this.leading?.epoch === end.epoch) this.leading.onEnd(peer, end);
  }

  onMark(peer: Peer, mark: Mark): void {
    this.followed(peer, mark)?.onMark(mark.highWatermark);
  }

  private followed(peer: Peer, { epoch }: Pick<Append, "epoch">): Follower | undefined {
    return this.role instanceof Follower && this.role.leader === peer.uid && this.role.epoch === epoch ? this.role : undefined;
  }

  /** The other one does not know the newest epoch yet. If this broker leads in it, it says so. */
  private reject(peer: Peer, { kind, partition }: PartitionFrame): void {
    if (kind === "reject") return;
    this.parts.counts.fencedFrames++;
    const answer = this.leading === undefined ? "reject" : "lead";
    peer.send({ kind: answer, partition, epoch: this.newestEpoch });
  }
}
