import type { LatencySketch } from "../../latency/latency-window.ts";
import type { ChannelRow } from "../../storage/metadata/metadata-store.ts";
import { type State, standingOf } from "../inspect/message-status.ts";
import type { Consumer } from "./consumer.ts";
import { ChannelDelivery } from "./delivery.ts";
import { encodeProgress, type Progress, readProgress } from "./progress.ts";
import { DEFERRED, IN_FLIGHT, READY } from "./window.ts";

/** A requeue with a longer delay goes to the deferred store; a shorter one is not worth the write. */
const SHORT_DELAY_MS = 250;

/** What a seek made a channel forget. */
export interface Forgotten {
  inFlight: number;
  /** Waiting to be delivered again. */
  requeued: number;
  /** Requeued with a delay. */
  deferred: number;
}

export const NOT_IN_FLIGHT = "ID not in flight";
export const NOT_OWNER = "client does not own message";

/**
 * One group of consumers that shares a topic's messages. It stores none: it has a cursor into the topic's log,
 * a floor below which all is finished, and a window of states between the two (window.ts).
 */
export class Channel extends ChannelDelivery {
  /** Takes up what an earlier run left: what is finished above the floor is not delivered again, what was tried counts on. */
  restore(progress: Progress, paused: boolean, voidBefore: number, requeuesVoidBefore: number): void {
    for (const { from, to } of progress.finished) this.skip(from, to);
    this.tried = progress.tried;
    this.paused = paused;
    this.voidBefore = voidBefore;
    this.requeuesVoidBefore = requeuesVoidBefore;
    this.messageCountBase = this.topic.released;
  }

  /** @returns why it may not join, as nsqd says it */
  addConsumer(consumer: Consumer): string | undefined {
    const limit = this.parts.options.maxChannelConsumers;
    if (limit !== 0 && this.consumers.length >= limit) {
      return `consumers for ${this.topic.name}:${this.name} exceeds limit of ${limit}`;
    }
    this.consumers.push(consumer);
    this.consumersById.set(consumer.id, consumer);
    return undefined;
  }

  /** A consumer is gone: what it had in flight goes to the others at once. */
  removeConsumer(consumer: Consumer): void {
    const index = this.consumers.indexOf(consumer);
    if (index < 0) return;
    this.consumers.splice(index, 1);
    this.consumersById.delete(consumer.id);
    if (consumer.inFlightCount > 0) this.takeBack(consumer);
    if (this.deleted) return;
    if (this.consumers.length === 0 && this.ephemeral) this.topic.deleteChannel(this.name);
    else this.markDirty();
  }

  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.parts.turn.queueDispatch(this);
  }

  /**
   * Finishes a message, on its consumer's word. This and finishRun() are all the ways there are to do so: a measured
   * channel (latency/measured-channel.ts) adds to both.
   *
   * @returns why not, as nsqd says it
   */
  finish(consumer: Consumer, sequence: number): string | undefined {
    const { window } = this;
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      if (!window.has(sequence)) return NOT_IN_FLIGHT;
      const i = sequence & window.mask;
      if (window.state[i] !== IN_FLIGHT) return NOT_IN_FLIGHT;
      if (window.owner[i] !== consumer.id) return NOT_OWNER;
      window.finish(sequence);
    } else {
      if (message.state !== IN_FLIGHT) return NOT_IN_FLIGHT;
      if (message.owner !== consumer.id) return NOT_OWNER;
      this.detached.delete(sequence);
      this.parts.deferred.finish(message);
      this.parts.turn.schedule();
    }
    this.inFlightCount--;
    consumer.inFlightCount--;
    this.settled();
    return undefined;
  }

  /**
   * Finishes up to `count` messages in a row.
   *
   * @returns how many were; finish() tells what is the matter with the next
   */
  finishRun(consumer: Consumer, first: number, count: number): number {
    // One that was moved to the deferred store would be taken for finished.
    if (this.detached.size > 0) return 0;
    const finished = this.window.finishRun(first, count, consumer.id);
    if (finished === 0) return 0;
    this.inFlightCount -= finished;
    consumer.inFlightCount -= finished;
    this.settled();
    return finished;
  }

  /** Puts a message back, to be delivered again after `delayMs`. @returns why not, as nsqd says it */
  requeue(consumer: Consumer, sequence: number, delayMs: number): string | undefined {
    const { window } = this;
    const i = sequence & window.mask;
    const message = this.detachedAt(sequence);
    const inFlight = message === undefined ? window.has(sequence) && window.state[i] === IN_FLIGHT : message.state === IN_FLIGHT;
    if (!inFlight) return NOT_IN_FLIGHT;
    if ((message === undefined ? window.owner[i] : message.owner) !== consumer.id) return NOT_OWNER;
    this.inFlightCount--;
    consumer.inFlightCount--;
    this.putBack(sequence, delayMs, this.parts.turn.nowMs);
    return undefined;
  }

  /**
   * Finishes a message whoever has it, or nobody: an operator's word.
   *
   * @returns how it stood; nothing is done with one that stands as finished, which the deferred store may have
   */
  finishAnyway(sequence: number): State {
    const { state, owner, stored } = standingOf(this, sequence);
    if (state === "finished") return state;
    if (state === "waiting") {
      this.skip(sequence, sequence + 1);
    } else {
      this.takeOut(state, sequence, owner);
      if (stored === undefined) {
        this.window.finish(sequence);
      } else {
        this.detached.delete(sequence);
        this.parts.deferred.finish(stored);
        this.parts.turn.schedule();
      }
    }
    this.settled();
    this.parts.checkpointer.saveChannel(this);
    return state;
  }

  /** Requeues a message that was delivered before, whoever has it, or nobody. @returns how it stood; else nothing is done with it */
  requeueAnyway(sequence: number, delayMs: number): State {
    const { state, owner } = standingOf(this, sequence);
    if (state === "finished" || state === "waiting") return state;
    this.takeOut(state, sequence, owner);
    this.putBack(sequence, delayMs, this.parts.turn.currentMs);
    return state;
  }

  /** Gives a message in flight more time. @returns why not, as nsqd says it */
  touch(consumer: Consumer, sequence: number, timeoutMs: number): string | undefined {
    const { window } = this;
    const now = this.parts.turn.currentMs;
    const longest = this.parts.options.maxMsgTimeoutMs;
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      if (!window.has(sequence)) return NOT_IN_FLIGHT;
      const i = sequence & window.mask;
      if (window.state[i] !== IN_FLIGHT) return NOT_IN_FLIGHT;
      if (window.owner[i] !== consumer.id) return NOT_OWNER;
      window.deadlineMs[i] = Math.min(now + timeoutMs, window.deliveredAtMs[i] + longest);
      this.expectDeadline(window.deadlineMs[i]);
      return undefined;
    }
    if (message.state !== IN_FLIGHT) return NOT_IN_FLIGHT;
    if (message.owner !== consumer.id) return NOT_OWNER;
    message.deadlineMs = Math.min(now + timeoutMs, message.deliveredAtMs + longest);
    this.expectDeadline(message.deadlineMs);
    return undefined;
  }

  /** Times out what is overdue, and makes ready what was deferred for a moment. */
  expire(nowMs: number): void {
    if (nowMs < this.nextDeadlineMs) return;
    const { window } = this;
    const { state, deadlineMs, mask } = window;
    let next = Number.POSITIVE_INFINITY;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT && state[i] !== DEFERRED) continue;
      if (deadlineMs[i] > nowMs) {
        if (deadlineMs[i] < next) next = deadlineMs[i];
      } else if (state[i] === DEFERRED) {
        this.deferredShort--;
        this.makeReady(sequence);
      } else {
        this.timeOut(window.owner[i]);
        this.makeReady(sequence);
      }
    }
    for (const [sequence, message] of this.detached) {
      if (message.state === READY) continue;
      if (message.deadlineMs > nowMs) {
        if (message.deadlineMs < next) next = message.deadlineMs;
      } else {
        if (message.state === DEFERRED) this.deferredShort--;
        else this.timeOut(message.owner);
        this.makeReady(sequence);
      }
    }
    this.nextDeadlineMs = next;
    this.settled();
  }

  pause(): void {
    this.setPaused(true);
  }

  unpause(): void {
    this.setPaused(false);
  }

  /** Drops every message it has, in flight and deferred ones too. */
  empty(): void {
    this.restartAt(this.topic.released, this.topic.releasedPosition);
    this.messageCountBase -= this.topic.deferredPublishes - this.voidedPublishes;
    this.voidedPublishes = this.topic.deferredPublishes;
    this.voidBefore = this.parts.deferred.nextNumber;
    this.parts.checkpointer.saveChannel(this);
  }

  /**
   * Moves the channel to a place in its topic's log: from here on it has exactly the messages from `sequence` on. What it
   * had in flight, requeued or deferred is forgotten, so a FIN for it fails; what of that is at or behind the place comes
   * from the log, as if for the first time. Publishes that are deferred (DPUB) still join when they are due.
   *
   * @param sequence within what the log has
   * @returns what was forgotten, and whether the new place is in the store
   */
  seek(sequence: number): Forgotten & { saved: boolean } {
    const forgotten = {
      inFlight: this.inFlightCount,
      requeued: this.ready.length,
      deferred: this.deferredShort + this.deferredStored,
    };
    const { log, released, releasedPosition } = this.topic;
    if (sequence < released) {
      this.restartAt(sequence, log.locate(sequence));
    } else {
      this.restartAt(released, releasedPosition);
      // What a paused topic holds back is passed over when it comes.
      if (sequence > released) this.skipUncounted(released, sequence);
    }
    this.markDirty();
    return { ...forgotten, saved: this.parts.checkpointer.saveChannel(this) };
  }

  /** Forgets all that was delivered, and goes on at a record. */
  private restartAt(sequence: number, position: number): void {
    const { deferred } = this.parts;
    this.window.reset(sequence);
    this.cursorPosition = position;
    this.ready.clear();
    this.forgetMoving();
    for (const message of this.detached.values()) deferred.finish(message);
    this.detached.clear();
    this.skips = [];
    this.skippedCount = 0;
    this.tried = [];
    this.inFlightCount = this.deferredShort = this.deferredStored = 0;
    this.requeuesVoidBefore = deferred.nextNumber;
    this.nextDeadlineMs = Number.POSITIVE_INFINITY;
    for (const consumer of this.consumers) consumer.inFlightCount = 0;
    this.topic.markReleasable();
    this.parts.turn.schedule();
  }

  /** Hangs up all consumers and forgets everything. */
  delete(): void {
    this.deleted = true;
    for (const message of this.detached.values()) this.parts.deferred.finish(message);
    this.detached.clear();
    this.inFlightCount = 0;
    this.consumersById.clear();
    for (const consumer of this.consumers.splice(0)) consumer.closeGracefully();
  }

  toRow(): ChannelRow {
    const progress = readProgress(this.window, this.skips);
    progress.tried.push(...this.tried);
    return {
      id: this.id,
      topicId: this.topic.id,
      name: this.name,
      paused: this.paused,
      voidBefore: this.voidBefore,
      requeuesVoidBefore: this.requeuesVoidBefore,
      floor: this.window.floor,
      progress: encodeProgress(progress, this.window.floor),
    };
  }

  markUnsaved(): void {
    if (!this.unsaved && this.persistent) this.parts.checkpointer.addUnsaved(this);
  }

  /** Called now and then: gives memory of a past burst back. */
  shrink(): void {
    this.window.shrink();
  }

  /** Adds how long its messages took to a sketch; a plain channel does not measure (latency/measured-channel.ts). */
  addLatencies(_sketch: LatencySketch): void {}

  private setPaused(paused: boolean): void {
    this.paused = paused;
    this.parts.checkpointer.saveChannel(this);
    this.markDirty();
  }

  private takeBack(consumer: Consumer): void {
    const { window } = this;
    const { state, owner, mask } = window;
    for (let sequence = window.floor; sequence < window.cursor && consumer.inFlightCount > 0; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT || owner[i] !== consumer.id) continue;
      consumer.inFlightCount--;
      this.inFlightCount--;
      this.makeReady(sequence);
    }
    for (const [sequence, message] of this.detached) {
      if (message.state !== IN_FLIGHT || message.owner !== consumer.id) continue;
      consumer.inFlightCount--;
      this.inFlightCount--;
      this.makeReady(sequence);
    }
  }

  /** One that nobody has any more is delivered again after `delayMs`. */
  private putBack(sequence: number, delayMs: number, nowMs: number): void {
    this.requeueCount++;
    if (delayMs === 0) this.makeReady(sequence);
    else this.defer(sequence, nowMs + delayMs, delayMs > SHORT_DELAY_MS);
    this.settled();
  }

  private timeOut(owner: number): void {
    this.timeoutCount++;
    this.disown(owner);
  }

  private disown(owner: number): void {
    this.inFlightCount--;
    const consumer = this.consumersById.get(owner);
    if (consumer !== undefined) consumer.inFlightCount--;
  }

  /** From the list that it is in by its state. */
  private takeOut(state: State, sequence: number, owner: number): void {
    if (state === "in_flight") this.disown(owner);
    else if (state === "requeued") this.ready.remove(sequence);
    else this.deferredShort--;
  }

  protected override save(): void {
    this.parts.checkpointer.saveChannel(this);
  }
}
