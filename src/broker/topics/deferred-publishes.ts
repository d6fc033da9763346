import { BODY_OFFSET, ID_OFFSET } from "../../frame/frame.ts";
import { writeId } from "../../frame/id.ts";
import { type Committed, PendingPublish, type Replicated, WAITS_FOR_REPLICAS, WAITS_FOR_SYNC } from "../acks/pending-publish.ts";
import { type EntryHeader, KIND_PUBLISH } from "../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import type { Deferrals } from "./channel/deferrals.ts";
import { addRange, cutRanges, type Range } from "./channel/progress.ts";
import type { PartitionState } from "./partition-state.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { TopicParts } from "./topic-parts.ts";

/** After this long a due message joins that could not when the disk was full. */
const JOIN_RETRY_MS = 1000;

/** A deferred publish that was appended to the log and waits for the commit. */
interface Joining {
  message: StoredMessage;
  sequence: number;
}

/**
 * The deferred publishes (DPUB) of one partition: on their way into the deferred store, in the store, and when they are due and join
 * its log. A publish joins in two steps, so that recovery can tell from the files where a crash came between: the
 * deferred store notes the sequence that the message is about to get, then the log is committed.
 */
export class DeferredPublishes implements EntryOwner, Committed {
  /** Publishes that have not joined the log. */
  count = 0;
  /** While the topic holds messages back: those of them that the next channel gets. */
  heldCount = 0;
  /** Every channel gets the publishes whose entries have this number or a higher one. */
  private wantedByAllFrom = 0;
  /** Entries with a lower number are from before another broker led the partition. */
  private forgottenBefore = 0;
  /** Sequences of publishes that joined the log while the topic held messages back, and that the next channel does not get. */
  joinedWhileHolding: Range[] = [];
  /** While the topic holds messages back: number of the first entry that the next channel gets. */
  private holdingFrom = 0;
  /** What the acknowledgement of a publish with a delay waits for. Its commit is the deferred store's, not the log's. */
  readonly pending = new PendingPublish(this, "DPUB");
  /** Publishes that were appended to the log since its last commit. */
  private joining: Joining[] = [];
  /** Header of the entry that is staged. One object serves all publishes. */
  private readonly entry: EntryHeader;

  constructor(
    private readonly partition: TopicPartition,
    private readonly parts: TopicParts,
  ) {
    this.entry = { kind: KIND_PUBLISH, attempts: 0, topicId: partition.id, channelId: 0, dueMs: 0, sequence: 0 };
  }

  /** One that came just before another broker led is in no state that others get. */
  get failure(): Error | undefined {
    return this.parts.deferred.failure ?? this.partition.replicated?.[0].replicaFailure;
  }

  /** Also of those that wait while another broker begins to lead: they are refused then. */
  get waitsFor(): number {
    if (this.partition.replicated !== undefined) return WAITS_FOR_REPLICAS;
    return this.partition.fsync ? WAITS_FOR_SYNC : 0;
  }

  /** What other brokers get of the partition beside its messages. */
  private get state(): PartitionState | undefined {
    return this.partition.replicated?.[0].state;
  }

  get replicated(): readonly Replicated[] | undefined {
    const { state } = this;
    return state === undefined ? undefined : [state];
  }

  get syncFailure(): Error | undefined {
    return this.parts.deferred.syncFailure;
  }

  /** Where an acknowledgement does not wait for the sync, the sync must not take the message back. */
  get waitsForSync(): boolean {
    // Replicas have it, on their disks if the topic has the durability `fsync`.
    return this.partition.fsync && this.partition.replicated === undefined;
  }

  /** How many messages join the log with its next commit. */
  get joiningCount(): number {
    return this.joining.length;
  }

  /** The number that the entry of the next publish gets. */
  get nextNumber(): number {
    return this.parts.deferred.nextNumber;
  }

  /** Stages a message, to join the log at `dueMs`. */
  stage(frame: Buffer, from: number, to: number, dueMs: number): void {
    this.entry.dueMs = dueMs;
    this.parts.deferred.writer.stage(this, this.entry, frame, from, to, this.partition.ephemeral);
    this.parts.turn.schedule();
  }

  /** Called by the store when it has written a publish, or could not. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    if (error !== undefined) return;
    const number = staged.number[at];
    this.count++;
    if (this.holds(number)) this.heldCount++;
    // It was staged before a channel was created or emptied, and is stored only now.
    if (number < this.wantedByAllFrom) this.countVoid(number, 1);
    this.partition.messageCount++;
    this.partition.messageBytes += staged.frameBytes[at] - BODY_OFFSET;
    this.parts.deferred.deliverStagedWhenDue(staged, at);
    this.parts.turn.wakeAt(staged.dueMs[at]);
  }

  /** Appends a publish that has fallen due to the log, where it gets its id. If it cannot be read, it joins the log later. */
  join(message: StoredMessage): void {
    const { deferred, freeSpace, scratch, turn } = this.parts;
    const { log, ephemeral } = this.partition;
    // Where it cannot be noted that it joins, the commit is refused, and with it the publishes that are part of it.
    const mustWait = freeSpace.critical || deferred.statusFailure !== undefined;
    if (mustWait && !ephemeral) return deferred.postpone(message, turn.nowMs + JOIN_RETRY_MS);
    const { page, pageAt, frameBytes } = message;
    const frame = page?.buffer ?? scratch.reserve(frameBytes);
    if (page === undefined && !deferred.readDueFrame(message, frame)) return;
    const from = page === undefined ? 0 : pageAt;
    const sequence = log.next;
    log.appendFrame(frame.subarray(from, from + frameBytes), (view, at) => writeId(view, at + ID_OFFSET, log.prefix, sequence));
    this.joining.push({ message, sequence });
    deferred.markJoining(message, sequence);
    this.state?.joining(message.number, sequence);
    this.partition.markDirty();
  }

  // ---- which channels get them

  /**
   * A publish belongs to the channels that exist when it is published, as in nsqd. A topic without channels, or one that is paused or
   * withheld, holds its publishes back: those belong to the channels that exist when it releases them. A new channel gets the
   * publishes whose entries have this number or a higher one.
   */
  get heldFrom(): number {
    return this.partition.isHolding ? this.holdingFrom : this.parts.deferred.nextNumber;
  }

  private holds(number: number): boolean {
    return this.partition.isHolding && number >= this.holdingFrom;
  }

  /** Applies what the metadata store says. To be called before the topic's channels are restored. */
  restoreHeld(from: number): void {
    this.holdingFrom = from;
  }

  /** To be called before the topic ceases to release messages. */
  beginHolding(): void {
    if (!this.partition.isHolding) this.restartHolding();
  }

  /** The log has lost its messages from a sequence on. */
  onTruncated(sequence: number): void {
    cutRanges(this.joinedWhileHolding, sequence);
  }

  /** What the topic held back so far belongs to nobody, or to its channels. */
  restartHolding(): void {
    this.holdingFrom = this.parts.deferred.nextNumber;
    this.heldCount = 0;
    this.joinedWhileHolding = [];
  }

  /** Notes a publish that belongs to the channels there were before, and waits in the log among those that the next channel gets. */
  private noteJoined(number: number, sequence: number): void {
    if (this.partition.isHolding && !this.holds(number)) addRange(this.joinedWhileHolding, sequence, sequence + 1);
  }

  /** A new channel gets the publishes whose entries have the number `heldFrom` or a higher one. To be called before the topic has it. */
  addChannel(deferrals: Deferrals, heldFrom: number): void {
    deferrals.voidBefore = heldFrom;
    deferrals.voidedPublishes = this.count - (this.partition.isHolding ? this.heldCount : 0);
    this.noteVoid(heldFrom);
  }

  /** Some channel does not get the publishes whose entries have a lower number. */
  noteVoid(entryNumber: number): void {
    this.wantedByAllFrom = Math.max(this.wantedByAllFrom, entryNumber);
  }

  /** A publish that no channel gets is dropped. */
  dropped(number: number): void {
    if (number < this.forgottenBefore) return;
    this.uncount(number);
    this.countVoid(number, -1);
  }

  private uncount(number: number): void {
    this.count--;
    if (this.holds(number)) this.heldCount--;
  }

  private countVoid(number: number, change: number): void {
    for (const { deferrals } of this.partition.channels.values()) if (!deferrals.wantsPublish(number)) deferrals.voidedPublishes += change;
  }

  /** Whether any channel gets a publish. */
  isWanted(number: number): boolean {
    const { channels } = this.partition;
    if (channels.size > 0 && number >= this.wantedByAllFrom) return true;
    for (const { deferrals } of channels.values()) if (deferrals.wantsPublish(number)) return true;
    return this.holds(number);
  }

  /** Another broker leads the partition: the entries that are here count for nothing from now on. */
  forgetAll(): void {
    this.forgottenBefore = this.wantedByAllFrom = this.holdingFrom = this.parts.deferred.nextNumber;
    this.count = this.heldCount = 0;
    this.joinedWhileHolding = [];
  }

  /** Takes a publish up that an earlier run left in the store. */
  restore(number: number): void {
    this.count++;
    if (this.holds(number)) this.heldCount++;
    this.countVoid(number, 1);
  }

  /**
   * Why the log must not be committed: the store could not note which messages join it. After a crash these would join a second
   * time.
   */
  get commitRefusal(): Error | undefined {
    const { statusFailure, recoveryUnwritten } = this.parts.deferred;
    return this.joining.length > 0 || recoveryUnwritten ? statusFailure : undefined;
  }

  /** The log could not be committed: the publishes join it later. */
  retryJoining(nowMs: number): void {
    for (const { message } of this.joining.splice(0)) {
      this.state?.notJoined(message.number);
      this.parts.deferred.retryJoin(message, nowMs + JOIN_RETRY_MS);
    }
  }

  /** The log was committed: the publishes have joined it. */
  confirmJoined(): void {
    for (const { message, sequence } of this.joining.splice(0)) {
      this.uncount(message.number);
      this.noteJoined(message.number, sequence);
      this.partition.trace?.joined(message.number, sequence);
      this.parts.deferred.markJoined(message);
      this.state?.hasJoined(message.number, sequence);
      for (const channel of this.partition.channels.values()) channel.joined(message.number, sequence);
    }
  }
}
