import { type EntryHeader, KIND_REQUEUE } from "../../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { InFlight } from "./in-flight.ts";
import type { ChannelSignals } from "./signals.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY } from "./window.ts";

/** A requeue with a longer delay goes to the deferred store; a shorter one is not worth the write. */
const SHORT_DELAY_MS = 250;
/** Due messages of the deferred store in memory. Beyond this the rest stays on the disk until some are finished. */
const MOST_DETACHED = 50_000;
/** Stragglers moved to the deferred store in one turn. */
const STRAGGLERS_PER_TURN = 256;

/** Owner of a deferred message in the window while its entry is being written, and once nothing is. */
const LEAVING = -1;
const NOBODY = 0;

/** What a channel's deferrals are told of it. */
export interface DeferralsOf {
  readonly id: number;
  readonly topicId: number;
  /** Its messages outlive the process; others are never written to the deferred store's files. */
  readonly persistent: boolean;
  readonly log: TopicLog;
}

/**
 * A channel's messages on their way into the deferred store, in it, and back: those requeued with a delay, and stragglers,
 * which would keep the window's floor and old segments in place.
 *
 * A message stays where it is until its entry is written, and may be finished or requeued meanwhile: stored() sees which.
 */
export class Deferrals implements EntryOwner {
  /** Messages in the deferred store that are not due yet. */
  storedCount = 0;
  /** Of the topic's deferred publishes, those that were emptied away here. */
  voidedPublishes = 0;
  /** Entries of the deferred store with a lower number were emptied away. */
  voidBefore = 0;
  /** Entries of the channel's own with a lower number were discarded by a seek, which leaves the topic's deferred publishes alone. */
  requeuesVoidBefore = 0;

  /**
   * Sequences whose entries are being written. A deferred message in the window is not among them: its owner there is
   * LEAVING instead, so that a flood of requeues costs no set.
   */
  private readonly leaving = new Set<number>();
  /** What the deferred store is told of a message: one object for all. */
  private readonly entry: EntryHeader;

  constructor(
    private readonly channel: DeferralsOf,
    private readonly parts: TopicParts,
    private readonly inFlight: InFlight,
    private readonly signals: ChannelSignals,
  ) {
    this.entry = { kind: KIND_REQUEUE, attempts: 0, topicId: channel.topicId, channelId: channel.id, dueMs: 0, sequence: 0 };
  }

  // ---- on the way in

  /** Defers a message that nobody has in flight any more. */
  defer(sequence: number, dueMs: number, delayMs: number): void {
    this.inFlight.defer(sequence, dueMs);
    // An ephemeral channel's messages need not survive: its window keeps them whatever the delay.
    if (delayMs > SHORT_DELAY_MS && this.channel.persistent) this.stage(sequence, dueMs);
  }

  /**
   * The window is (nearly) full. If most of it is unfinished it grows; if a few old messages stretch it, these are moved to
   * the deferred store, so that the floor can move on and old segments be freed.
   */
  makeRoom(): boolean {
    if (this.inFlight.window.grow()) return true;
    this.moveStragglers();
    return false;
  }

  /** Moves the oldest messages of the window to the deferred store, as it has time to write them. */
  moveStragglers(): void {
    const { window } = this.inFlight;
    const end = Math.min(window.cursor, window.floor + window.capacity / 4);
    let count = 0;
    for (let sequence = window.floor; sequence < end && count < STRAGGLERS_PER_TURN; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DONE || this.leaving.has(sequence)) continue;
      // Due at once: after a restart it is delivered again without delay.
      this.stage(sequence, window.state[i] === DEFERRED ? window.deadlineMs[i] : this.parts.turn.currentMs);
      count++;
    }
  }

  /** Before a clean exit: what only memory knows (short delays, attempts of stored messages) goes to the store. */
  park(): void {
    if (!this.channel.persistent) return;
    const { window, detached } = this.inFlight;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DEFERRED) this.stage(sequence, window.deadlineMs[i]);
    }
    for (const [sequence, stored] of detached) {
      if (this.leaving.has(sequence)) continue;
      const dueMs = stored.state === DEFERRED ? stored.deadlineMs : this.parts.turn.currentMs;
      if (stored.state !== DEFERRED) this.inFlight.deferredCount++;
      stored.state = DEFERRED;
      this.stage(sequence, dueMs);
    }
  }

  /** Stages an entry for an unfinished message. The message stays where it is until stored() hears that the entry is written. */
  private stage(sequence: number, dueMs: number): void {
    const { deferred, freeSpace, turn } = this.parts;
    // With hardly any room left on the disk it stays where it is.
    if (this.leaving.has(sequence) || freeSpace.critical) return;
    const stored = this.inFlight.detachedAt(sequence);
    this.entry.dueMs = dueMs;
    this.entry.sequence = sequence;
    if (stored === undefined) {
      if (!this.stageFromWindow(sequence)) return;
    } else {
      const frame = this.frameOf(stored);
      this.entry.attempts = stored.attempts;
      deferred.writer.stage(this, this.entry, frame, 0, frame.length, !this.channel.persistent, stored);
      this.leaving.add(sequence);
    }
    turn.schedule();
  }

  private stageFromWindow(sequence: number): boolean {
    const { channel, entry } = this;
    const { window } = this.inFlight;
    const i = sequence & window.mask;
    const requeued = window.state[i] === DEFERRED;
    if (requeued && window.owner[i] === LEAVING) return false;
    const position = window.position[i];
    const chunk = channel.log.chunkAt(position, false);
    if (chunk.isGap) return false;
    const at = chunk.offsetOf(position);
    entry.attempts = window.attempts[i];
    this.parts.deferred.writer.stage(this, entry, chunk.buffer, at, at + 4 + chunk.view.getUint32(at), !channel.persistent);
    if (requeued) window.owner[i] = LEAVING;
    else this.leaving.add(sequence);
    return true;
  }

  /** A staged entry was written, or could not be. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    const { deferred } = this.parts;
    const sequence = staged.sequence[at];
    if (staged.number[at] < this.requeuesVoidBefore) {
      // Staged before a seek, which discarded that message: its sequence may be another delivery's by now.
      if (error === undefined) deferred.finish(staged.message(at));
      return;
    }
    if (this.leaving.size > 0) this.leaving.delete(sequence);
    const replaced = staged.replaces(at);
    if (replaced === undefined) this.storedFromWindow(staged, at, error);
    else if (error === undefined) this.exchange(replaced, staged, at);
  }

  /** An entry was written for a message that came out of the store and was deferred again. */
  private exchange(replaced: StoredMessage, staged: StagedEntries, at: number): void {
    const { deferred } = this.parts;
    const sequence = staged.sequence[at];
    if (this.inFlight.detached.get(sequence) !== replaced || replaced.state !== DEFERRED) return deferred.finish(staged.message(at));
    this.inFlight.detached.delete(sequence);
    deferred.finish(replaced);
    this.awaitDue(staged, at);
  }

  private storedFromWindow(staged: StagedEntries, at: number, error: Error | undefined): void {
    const { deferred } = this.parts;
    const { window } = this.inFlight;
    const sequence = staged.sequence[at];
    const i = sequence & window.mask;
    const state = window.has(sequence) ? window.state[i] : DONE;
    if (state === DEFERRED && window.owner[i] === LEAVING) window.owner[i] = NOBODY;
    if (error !== undefined) return;
    if (state !== IN_FLIGHT && state !== READY && state !== DEFERRED) return deferred.finish(staged.message(at));
    if (state === DEFERRED) {
      if (window.deadlineMs[i] !== staged.dueMs[at]) {
        // Requeued after it was staged as a straggler, or timed out and requeued again while the disk was slow.
        deferred.finish(staged.message(at));
        return this.stage(sequence, window.deadlineMs[i]);
      }
      this.awaitDue(staged, at);
      window.finish(sequence);
    } else {
      this.inFlight.detach(staged.message(at));
    }
    this.signals.markProgress();
  }

  // ---- in the store, and back

  private awaitDue(staged: StagedEntries, at: number): void {
    this.inFlight.deferredCount--;
    this.storedCount++;
    this.parts.deferred.deliverStagedWhenDue(staged, at);
    this.parts.turn.wakeAt(staged.dueMs[at]);
  }

  /** A message that was waiting for its first delivery is in the deferred store now. */
  addStored(message: StoredMessage): void {
    this.storedCount++;
    this.awaitAgain(message);
  }

  /** An entry of the deferred store was exchanged for one with another due time. */
  awaitAgain(message: StoredMessage): void {
    this.parts.deferred.deliverWhenDue(message);
    this.parts.turn.wakeAt(message.dueMs);
  }

  /** A message of the deferred store has fallen due. */
  due(message: StoredMessage): void {
    this.storedCount--;
    if (this.inFlight.isUnfinished(message.sequence)) {
      // Stored twice, by a crash between a requeue and the note that the entry before it is done with.
      this.parts.deferred.finish(message);
      return;
    }
    this.inFlight.addDue(message);
    this.signals.markDirty();
  }

  /** A message that came out of the deferred store is finished. */
  finish(stored: StoredMessage): void {
    this.parts.deferred.finish(stored);
    this.parts.turn.schedule();
  }

  /** Finishes all that came out of the deferred store; the caller takes it out of memory. */
  finishDetached(): void {
    for (const stored of this.inFlight.detached.values()) this.parts.deferred.finish(stored);
  }

  /** The frame of a message in the deferred store. */
  frameOf(message: StoredMessage): Buffer {
    const frame = Buffer.allocUnsafe(message.frameBytes);
    this.parts.deferred.readFrame(message, frame, 0);
    return frame;
  }

  /** Whether an entry's message is in memory here: in flight, or ready. */
  hasInMemory(sequence: number, entryNumber: number): boolean {
    return this.inFlight.detached.get(sequence)?.number === entryNumber;
  }

  /** How many more messages may come into memory. */
  get room(): number {
    return MOST_DETACHED - this.inFlight.detached.size;
  }

  /** A message in the store was finished there. */
  finishedInStore(): void {
    this.storedCount--;
    this.parts.turn.schedule();
  }

  // ---- what is void

  /** Whether a deferred publish of the topic was not emptied away. */
  wantsPublish(entryNumber: number): boolean {
    return entryNumber >= this.voidBefore;
  }

  /** Whether an entry of the channel's own was neither emptied away nor discarded by a seek. */
  wantsRequeue(entryNumber: number): boolean {
    return entryNumber >= this.voidBefore && entryNumber >= this.requeuesVoidBefore;
  }

  /** Discards everything of the channel's own, what is being written too. */
  restart(): void {
    this.leaving.clear();
    this.finishDetached();
    this.storedCount = 0;
    this.requeuesVoidBefore = this.parts.deferred.nextNumber;
  }

  /** Makes void all entries so far, the topic's deferred publishes too. @returns how many of these were not void before */
  voidAll(deferredPublishes: number): number {
    const voided = deferredPublishes - this.voidedPublishes;
    this.voidedPublishes = deferredPublishes;
    this.voidBefore = this.parts.deferred.nextNumber;
    return voided;
  }
}
