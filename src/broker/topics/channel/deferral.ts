import { type EntryHeader, KIND_REQUEUE } from "../../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import { ChannelState } from "./state.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY } from "./window.ts";

/** Stragglers moved to the deferred store in one turn. */
const STRAGGLERS_PER_TURN = 256;

/** Owner of a deferred message in the window: it is on its way into the deferred store, or on none. */
const LEAVING = -1;
const NOBODY = 0;

/** What leaves a channel's window for the deferred store, and comes back from there. */
export abstract class ChannelDeferral extends ChannelState implements EntryOwner {
  /** Sequences whose way into the deferred store is not committed yet, but for what was requeued in the window: that is marked there, as LEAVING. */
  private readonly moving = new Set<number>();
  /** What the deferred store is told of a message: one object for all. */
  private readonly entry: EntryHeader = {
    kind: KIND_REQUEUE,
    attempts: 0,
    topicId: this.topic.id,
    channelId: this.id,
    dueMs: 0,
    sequence: 0,
  };

  /** A message that was waiting for its first delivery stands in the deferred store now. */
  deferFresh(message: StoredMessage): void {
    this.skip(message.sequence, message.sequence + 1);
    this.deferredStored++;
    this.requeueCount++;
    this.awaitAgain(message);
    this.settled();
    this.save();
  }

  /** The entry of a message in the deferred store was exchanged for one with another due time. */
  awaitAgain(message: StoredMessage): void {
    this.parts.deferred.deliverWhenDue(message);
    this.parts.turn.wakeAt(message.dueMs);
  }

  /** A message in the deferred store was finished there. */
  finishedInStore(): void {
    this.deferredStored--;
    this.parts.turn.schedule();
  }

  /** Messages requeued with a delay that are in the deferred store. */
  get storedCount(): number {
    return this.deferredStored;
  }

  /** A stored message of this channel has fallen due. */
  due(message: StoredMessage): void {
    const { sequence } = message;
    this.deferredStored--;
    if (this.detached.has(sequence) || (this.window.has(sequence) && this.window.state[sequence & this.window.mask] !== DONE)) {
      // Stored twice, by a crash between a requeue and the word that the entry before it is done with.
      this.parts.deferred.finish(message);
      return;
    }
    message.state = READY;
    this.detached.set(sequence, message);
    this.ready.push(sequence);
    this.markDirty();
  }

  /** Whether an entry of the deferred store is in memory here: a straggler, in flight or ready. */
  holds(sequence: number, entryNumber: number): boolean {
    return this.detached.get(sequence)?.number === entryNumber;
  }

  /** So many entries of an earlier run stand in the deferred store. */
  restoreStored(count: number): void {
    this.deferredStored += count;
  }

  restoreVoided(): void {
    this.voidedPublishes++;
  }

  /** A staged requeue or straggler was written, or could not be. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    const sequence = staged.sequence[at];
    const { deferred } = this.parts;
    if (staged.number[at] < this.requeuesVoidBefore) {
      // Staged before a seek: that message is forgotten, and what stands at its sequence now is another delivery.
      if (error === undefined) deferred.finish(staged.message(at));
      return;
    }
    if (this.moving.size > 0) this.moving.delete(sequence);
    const replaces = staged.replaces(at);
    const { window } = this;
    const i = sequence & window.mask;
    const state = window.has(sequence) ? window.state[i] : DONE;
    const leaving = state === DEFERRED && window.owner[i] === LEAVING;
    if (leaving) window.owner[i] = NOBODY;
    if (error !== undefined) return;
    if (replaces !== undefined) {
      if (this.detached.get(sequence) !== replaces || replaces.state !== DEFERRED) return deferred.finish(staged.message(at));
      this.detached.delete(sequence);
      deferred.finish(replaces);
      this.awaitDue(staged, at);
      return;
    }
    if (state !== IN_FLIGHT && state !== READY && state !== DEFERRED) return deferred.finish(staged.message(at));
    if (state === DEFERRED) {
      if (window.deadlineMs[i] !== staged.dueMs[at]) {
        // Requeued after it was staged as a straggler, or timed out and requeued again while the disk was slow.
        deferred.finish(staged.message(at));
        return this.store(sequence, window.deadlineMs[i]);
      }
      this.awaitDue(staged, at);
    } else {
      const message = staged.message(at);
      message.state = state;
      message.owner = window.owner[i];
      message.deadlineMs = window.deadlineMs[i];
      message.deliveredAtMs = window.deliveredAtMs[i];
      message.attempts = window.attempts[i];
      this.detached.set(sequence, message);
    }
    window.finish(sequence);
    this.settled();
  }

  /** A publish that was deferred joins the log at `sequence`. */
  joined(entryNumber: number, sequence: number): void {
    if (entryNumber >= this.voidBefore) return;
    this.voidedPublishes--;
    this.messageCountBase++;
    this.skip(sequence, sequence + 1);
  }

  /** Before a clean exit: what only memory knows (short delays, tries of stored messages) goes to the store. */
  park(): void {
    if (!this.persistent) return;
    const { window } = this;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      if (window.state[sequence & window.mask] === DEFERRED) this.store(sequence, window.deadlineMs[sequence & window.mask]);
    }
    for (const [sequence, message] of this.detached) {
      if (this.moving.has(sequence)) continue;
      const dueMs = message.state === DEFERRED ? message.deadlineMs : this.parts.turn.currentMs;
      if (message.state !== DEFERRED) this.deferredShort++;
      message.state = DEFERRED;
      this.store(sequence, dueMs);
    }
  }

  /** The frame of one of its messages that stands in the deferred store. */
  readStored(message: StoredMessage): Buffer {
    const frame = Buffer.allocUnsafe(message.frameBytes);
    this.parts.deferred.readFrame(message, frame, 0);
    return frame;
  }

  protected defer(sequence: number, dueMs: number, long: boolean): void {
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      const i = sequence & this.window.mask;
      this.window.state[i] = DEFERRED;
      this.window.deadlineMs[i] = dueMs;
    } else {
      message.state = DEFERRED;
      message.deadlineMs = dueMs;
    }
    this.deferredShort++;
    this.expectDeadline(dueMs);
    // An ephemeral channel's messages need not survive: its window keeps them whatever the delay.
    if (long && this.persistent) this.store(sequence, dueMs);
  }

  /** Stages an unfinished message for the deferred store. It stays where it is until stored() hears that it is written. */
  protected store(sequence: number, dueMs: number): void {
    // With hardly any room left it stays where it is.
    if (this.moving.has(sequence) || this.parts.freeSpace.critical) return;
    const replaces = this.detachedAt(sequence);
    const { window, entry } = this;
    const { deferred } = this.parts;
    const i = sequence & window.mask;
    entry.dueMs = dueMs;
    entry.sequence = sequence;
    entry.attempts = replaces?.attempts ?? window.attempts[i];
    const memoryOnly = !this.persistent;
    if (replaces !== undefined) {
      const frame = Buffer.allocUnsafe(replaces.frameBytes);
      deferred.readFrame(replaces, frame, 0);
      deferred.writer.stage(this, entry, frame, 0, frame.length, memoryOnly, replaces);
      this.moving.add(sequence);
    } else {
      const requeued = window.state[i] === DEFERRED;
      if (requeued && window.owner[i] === LEAVING) return;
      const position = window.position[i];
      const chunk = this.topic.log.chunkAt(position, false);
      if (chunk.isGap) return;
      const at = chunk.offsetOf(position);
      deferred.writer.stage(this, entry, chunk.buffer, at, at + 4 + chunk.view.getUint32(at), memoryOnly);
      if (requeued) window.owner[i] = LEAVING;
      else this.moving.add(sequence);
    }
    this.parts.turn.schedule();
  }

  protected awaitDue(staged: StagedEntries, at: number): void {
    this.deferredShort--;
    this.deferredStored++;
    this.parts.deferred.deliverStagedWhenDue(staged, at);
    this.parts.turn.wakeAt(staged.dueMs[at]);
  }

  /**
   * The window is (nearly) full. If most of it is unfinished it grows; else a few old messages stretch it, and
   * those go to the deferred store, so that the floor can move on and old segments be freed.
   *
   * @returns whether there is room at once
   */
  protected makeRoom(): boolean {
    const { window } = this;
    if (window.grow()) return true;
    this.moveStragglers();
    return false;
  }

  protected moveStragglers(): void {
    const { window } = this;
    const end = Math.min(window.cursor, window.floor + window.capacity / 4);
    let count = 0;
    for (let sequence = window.floor; sequence < end && count < STRAGGLERS_PER_TURN; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DONE || this.moving.has(sequence)) continue;
      // Due at once: after a restart it is delivered again without delay.
      this.store(sequence, window.state[i] === DEFERRED ? window.deadlineMs[i] : this.parts.turn.currentMs);
      count++;
    }
  }

  /** What is on its way into the deferred store comes for nobody. */
  protected forgetMoving(): void {
    this.moving.clear();
  }

  protected abstract save(): void;
}
