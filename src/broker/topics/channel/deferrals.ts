import { type EntryHeader, KIND_REQUEUE } from "../../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { ReadRetry } from "../../storage/disk/read-failures.ts";
import { UnreadableFile } from "../../storage/disk/unreadable-file.ts";
import { peekAt } from "../../storage/log/records.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { InFlight } from "./in-flight.ts";
import type { ChannelSignals } from "./signals.ts";
import { UnsyncedMoves } from "./unsynced-moves.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY } from "./window.ts";

/** A requeue with a longer delay goes to the deferred store; a shorter one is not worth the write. */
const SHORT_DELAY_MS = 250;
/** How many due messages of the deferred store a channel has in memory. The rest stays on the disk until some are finished. */
const MOST_DETACHED = 50_000;
/** How many stragglers are moved to the deferred store in one turn. */
const STRAGGLERS_PER_TURN = 256;

/** Owner of a deferred message in the window: LEAVING while its entry is being written, NOBODY otherwise. */
const LEAVING = -1;
const NOBODY = 0;

/** The channel that deferrals belong to. */
export interface DeferralsOf {
  readonly id: number;
  /** Its messages outlive the process. Those of other channels are never written to the deferred store's files. */
  readonly persistent: boolean;
  readonly log: TopicLog;
  /** What log lines call it. */
  readonly who: string;
}

/**
 * The messages of a channel that go to the deferred store and come back from it. There are two kinds: messages that were
 * requeued with a delay, and stragglers. A straggler is a message that stays unfinished while many others pass it; in the
 * window it would hold back the floor, and with it old segments.
 *
 * A message stays where it is until its entry is written, and may be finished or requeued meanwhile. stored() finds out.
 */
export class Deferrals implements EntryOwner {
  /** Messages in the deferred store that are not due yet. */
  storedCount = 0;
  /** How many of the topic's deferred publishes the channel will not get: it was created or emptied after they were published. */
  voidedPublishes = 0;
  /** Entries of the deferred store with a lower number are void: the channel was created or emptied after they were stored. */
  voidBefore = 0;
  /** The channel's own entries with a lower number are void, because of a seek. A seek does not concern the topic's deferred publishes. */
  requeuesVoidBefore = 0;

  /**
   * Sequences of messages whose entries are being written, except deferred messages in the window: these have the owner LEAVING
   * instead, so that a flood of requeues does not fill a set.
   */
  private readonly leaving = new Set<number>();
  /** Header of the entry that is staged. One object serves all messages. */
  private readonly entry: EntryHeader;
  /** Messages whose entries no sync has covered yet. */
  readonly moves: UnsyncedMoves;
  /** The retries of reading messages that are to be written to the deferred store. */
  private readonly retry: ReadRetry;

  constructor(
    private readonly channel: DeferralsOf,
    private readonly parts: TopicParts,
    private readonly inFlight: InFlight,
    private readonly signals: ChannelSignals,
  ) {
    this.entry = { kind: KIND_REQUEUE, attempts: 0, topicId: 0, channelId: channel.id, dueMs: 0, sequence: 0 };
    this.moves = new UnsyncedMoves(channel, inFlight.window, parts.checkpointer, () => signals.markTrimmable());
    this.retry = parts.readFailures.retry(`moving messages of ${channel.who} to the deferred store`, () => signals.markDirty());
  }

  /** Why messages cannot be moved to the deferred store; undefined: they can. */
  get readFailure(): Error | undefined {
    return this.retry.failure;
  }

  /** To be called when what is to be moved was moved: if nothing failed again, all is well. */
  endRetry(): void {
    if (!this.retry.isWaiting) this.retry.succeeded();
  }

  cancelRetry(): void {
    this.retry.cancel();
  }

  // ---- into the deferred store

  /** Defers a message that no consumer has any more. */
  defer(sequence: number, dueMs: number, delayMs: number): void {
    this.inFlight.defer(sequence, dueMs);
    // The messages of an ephemeral channel do not have to outlive the process: they stay in the window, however long the delay.
    if (delayMs > SHORT_DELAY_MS && this.channel.persistent && !this.staysHere(sequence)) this.stage(sequence, dueMs);
  }

  /** Whether a message waits for its due time without the deferred store: there it would not hold back the others of its key. */
  private staysHere(sequence: number): boolean {
    const { selection } = this.inFlight;
    return selection !== undefined && (selection.isOrdered || this.inFlight.leftAt(sequence) !== undefined);
  }

  /**
   * Makes room in a window that is full or nearly so. If most of it is unfinished, it grows. If a few old messages hold back the
   * floor, these are moved to the deferred store.
   *
   * @returns whether there is room at once
   */
  makeRoom(): boolean {
    const { window, selection } = this.inFlight;
    if (window.grow()) return true;
    this.moveStragglers();
    return selection !== undefined && window.room > 0;
  }

  /** Moves the oldest messages of the window to the deferred store. They leave the window once they are written. */
  moveStragglers(): void {
    const { window, selection } = this.inFlight;
    if (selection !== undefined) return selection.moveOut();
    const end = Math.min(window.cursor, window.floor + window.capacity / 4);
    let count = 0;
    for (let sequence = window.floor; sequence < end && count < STRAGGLERS_PER_TURN; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DONE || this.leaving.has(sequence)) continue;
      // It is due at once, so that it is delivered again without a delay after a restart.
      this.stage(sequence, window.state[i] === DEFERRED ? window.deadlineMs[i] : this.parts.turn.currentMs);
      count++;
    }
  }

  /** Stages what only the memory has: messages with a short delay, and the attempts of detached ones. To be called before the broker shuts down. */
  park(): void {
    if (!this.channel.persistent) return;
    const { window, detached } = this.inFlight;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DEFERRED && !this.staysHere(sequence)) this.tryToStage(sequence, window.deadlineMs[i]);
    }
    for (const [sequence, stored] of detached) {
      if (this.leaving.has(sequence)) continue;
      const dueMs = stored.state === DEFERRED ? stored.deadlineMs : this.parts.turn.currentMs;
      if (stored.state !== DEFERRED) this.inFlight.deferredCount++;
      stored.state = DEFERRED;
      this.tryToStage(sequence, dueMs);
    }
  }

  /**
   * Stages an entry for an unfinished message. The message stays where it is until stored() is called. It also stays if it cannot
   * be read; then no other is read before the next retry.
   */
  private stage(sequence: number, dueMs: number): void {
    if (!this.retry.isWaiting) this.tryToStage(sequence, dueMs);
  }

  private tryToStage(sequence: number, dueMs: number): void {
    try {
      this.readAndStage(sequence, dueMs);
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      this.retry.failed(error);
    }
  }

  private readAndStage(sequence: number, dueMs: number): void {
    const { deferred, freeSpace, turn } = this.parts;
    // With hardly any space left on the disk the message stays where it is.
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

  /** Called by the store when a staged entry was written, or could not be. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    const { deferred } = this.parts;
    const sequence = staged.sequence[at];
    if (staged.number[at] < this.requeuesVoidBefore) {
      // It was staged before a seek, which discarded the message. By now its sequence may be in the window again.
      if (error === undefined) deferred.finish(staged.message(at));
      return;
    }
    if (this.leaving.size > 0) this.leaving.delete(sequence);
    const replaced = staged.replaces(at);
    if (replaced === undefined) this.storedFromWindow(staged, at, error);
    else if (error === undefined) this.exchange(replaced, staged, at);
  }

  /** An entry was written for a detached message that was deferred again. It replaces the one before. */
  private exchange(replaced: StoredMessage, staged: StagedEntries, at: number): void {
    const { deferred } = this.parts;
    const sequence = staged.sequence[at];
    if (this.inFlight.detached.get(sequence) !== replaced || replaced.state !== DEFERRED) return deferred.finish(staged.message(at));
    this.inFlight.detached.delete(sequence);
    deferred.finish(replaced, true);
    this.awaitDue(staged, at);
  }

  /** An entry was written for a message of the window, or could not be. */
  private storedFromWindow(staged: StagedEntries, at: number, error: Error | undefined): void {
    const { deferred } = this.parts;
    const { window } = this.inFlight;
    const sequence = staged.sequence[at];
    const i = sequence & window.mask;
    const state = window.has(sequence) ? window.state[i] : DONE;
    if (state === DEFERRED && window.owner[i] === LEAVING) window.owner[i] = NOBODY;
    if (error !== undefined) return;
    // It was staged before the channel got its order.
    if (this.staysHere(sequence)) return deferred.finish(staged.message(at));
    if (state !== IN_FLIGHT && state !== READY && state !== DEFERRED) return deferred.finish(staged.message(at));
    if (state === DEFERRED) {
      if (window.deadlineMs[i] !== staged.dueMs[at]) {
        // Since it was staged, it was requeued as a straggler, or it timed out and was requeued again.
        deferred.finish(staged.message(at));
        return this.stage(sequence, window.deadlineMs[i]);
      }
      this.awaitDue(staged, at);
      this.noteMove();
      window.finish(sequence);
    } else {
      this.noteMove();
      this.inFlight.detach(staged.message(at));
    }
    this.signals.markProgress();
  }

  /** A message is about to leave the window or the backlog, since the store has just written its entry. */
  private noteMove(): void {
    if (this.parts.deferred.writer.tellsUnsynced) this.moves.note();
  }

  // ---- in the deferred store, and back

  private awaitDue(staged: StagedEntries, at: number): void {
    this.inFlight.deferredCount--;
    this.storedCount++;
    this.parts.deferred.deliverStagedWhenDue(staged, at);
    this.parts.turn.wakeAt(staged.dueMs[at]);
  }

  /** Counts a message of the backlog that the store has written, and that is about to leave the backlog. */
  addStored(message: StoredMessage): void {
    this.noteMove();
    this.storedCount++;
    this.awaitAgain(message);
  }

  /** Waits for the due time of a message that the store has written. */
  awaitAgain(message: StoredMessage): void {
    this.parts.deferred.deliverWhenDue(message);
    this.parts.turn.wakeAt(message.dueMs);
  }

  /** Takes a message of the deferred store that has fallen due. */
  due(message: StoredMessage): void {
    this.storedCount--;
    if (this.inFlight.isUnfinished(message.sequence)) {
      // The store has two entries of it, because of a crash before the older one was marked as done.
      this.parts.deferred.finish(message);
      return;
    }
    this.inFlight.addDue(message);
    this.signals.markDirty();
  }

  /** Marks the entry of a finished message as done. */
  finish(stored: StoredMessage): void {
    this.parts.deferred.finish(stored);
    this.parts.turn.schedule();
  }

  /** The channel is not here any more: the store keeps its messages. */
  putAway(): void {
    this.retry.cancel();
    for (const stored of this.inFlight.detached.values()) this.parts.deferred.postpone(stored, this.parts.turn.nowMs);
  }

  /** Marks the entries of all detached messages as done. */
  finishDetached(): void {
    for (const stored of this.inFlight.detached.values()) this.parts.deferred.finish(stored);
  }

  /** Reads the frame of a message in the deferred store. */
  frameOf(message: StoredMessage): Buffer {
    const frame = Buffer.allocUnsafe(message.frameBytes);
    this.parts.deferred.readFrame(message, frame, 0);
    return frame;
  }

  /** The frame of a message in flight; undefined if it cannot be read. */
  frameInFlight(sequence: number): { buffer: Buffer; from: number } | undefined {
    const { log } = this.channel;
    const { window } = this.inFlight;
    const stored = this.inFlight.detachedAt(sequence);
    try {
      if (stored !== undefined) return { buffer: this.frameOf(stored), from: 0 };
      const position = this.inFlight.leftAt(sequence)?.position ?? window.position[sequence & window.mask];
      const chunk = peekAt(log, position);
      return chunk.isGap ? undefined : { buffer: chunk.buffer, from: chunk.offsetOf(position) };
    } catch {
      return undefined;
    }
  }

  /** Whether the message of an entry is detached. */
  hasInMemory(sequence: number, entryNumber: number): boolean {
    return this.inFlight.detached.get(sequence)?.number === entryNumber;
  }

  /** How many more messages of the deferred store the channel takes into memory. */
  get room(): number {
    return MOST_DETACHED - this.inFlight.detached.size;
  }

  /** A message was finished in the deferred store itself, by an operator. */
  finishedInStore(): void {
    this.storedCount--;
    this.parts.turn.schedule();
  }

  // ---- void entries

  /** Whether the channel gets a deferred publish of its topic, by the number of the entry. */
  wantsPublish(entryNumber: number): boolean {
    return entryNumber >= this.voidBefore;
  }

  /** Whether an entry of the channel's own is not void. */
  wantsRequeue(entryNumber: number): boolean {
    return entryNumber >= this.voidBefore && entryNumber >= this.requeuesVoidBefore;
  }

  /** Discards all messages of the channel's own, including those whose entries are being written. */
  restart(): void {
    this.retry.cancel();
    this.leaving.clear();
    this.finishDetached();
    this.moves.restart();
    this.storedCount = 0;
    this.requeuesVoidBefore = this.parts.deferred.nextNumber;
  }

  /** Makes all entries void, those of the topic's deferred publishes included. @returns how many deferred publishes were not void before */
  voidAll(deferredPublishes: number): number {
    const voided = deferredPublishes - this.voidedPublishes;
    this.voidedPublishes = deferredPublishes;
    this.voidBefore = this.parts.deferred.nextNumber;
    return voided;
  }
}
