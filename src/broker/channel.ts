import { isEphemeral } from "../frame/names.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import { type EntryHeader, KIND_REQUEUE } from "./deferred/entry.ts";
import type { StagedEntries, StoreOwner } from "./deferred/staged-entries.ts";
import type { StoredMessage } from "./deferred/stored-message.ts";
import type { LatencySketch } from "./latency/latency-window.ts";
import type { Chunk } from "./log/chunk.ts";
import { NumberQueue } from "./number-queue.ts";
import { addRange, encodeProgress, type Progress, type Range, readProgress, type Tries } from "./progress.ts";
import { type State, standingOf } from "./standing.ts";
import type { ChannelRow } from "./store.ts";
import type { Topic } from "./topic.ts";
import { ELSEWHERE } from "./topology.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY, Window } from "./window.ts";

/** One consumer's run in one turn, at most: longer ones would keep the others waiting. */
const MAX_RUN_BYTES = 1024 * 1024;
/** A requeue with a longer delay goes to the deferred store; a shorter one is not worth the write. */
const SHORT_DELAY_MS = 250;
/** Stragglers moved to the deferred store in one turn. */
const STRAGGLERS_PER_TURN = 256;
/** Tried messages of an earlier run that are taken into the window in one turn. */
const TRIED_PER_TURN = 512;
/** Between floor and cursor of a topic without files. */
const MAX_MEMORY_SPAN_BYTES = 8 * 1024 * 1024;
/** Redeliveries in one turn: each may be a read of its own, and nobody should wait for thousands. */
const AGAIN_PER_TURN = 256;

/** Due messages of the deferred store in memory: of more, the rest stays on the disk until some are finished. */
const MOST_DETACHED = 50_000;

/** Owner of a deferred message in the window: it is on its way into the deferred store, or on none. */
const LEAVING = -1;
const NOBODY = 0;

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
 *
 * Messages that leave the window unfinished — requeued with a delay, or left far behind by the cursor — stand in
 * the deferred store; those of them that are in flight or ready are in `detached`.
 */
export class Channel implements StoreOwner {
  readonly ephemeral: boolean;
  /** It has a row in the store, and its messages outlive the process. */
  readonly persistent: boolean;
  paused = false;
  deleted = false;
  readonly consumers: Connection[] = [];
  inFlightCount = 0;
  requeueCount = 0;
  timeoutCount = 0;
  /** Messages that went to consumers in the broker's zone, in its region, and elsewhere (topology.ts). */
  readonly deliveredBy: [zone: number, region: number, elsewhere: number] = [0, 0, 0];
  /** Entries of the deferred store with a lower number were emptied away. */
  voidBefore = 0;
  /** The same of its own entries only: by a seek, which leaves the topic's deferred publishes alone. */
  requeuesVoidBefore = 0;
  /** Waiting in the broker's list for the next dispatch, or for the next save. */
  dirty = false;
  unsaved = false;

  /** Position of the record at the window's cursor. */
  private cursorPosition: number;
  /** Sequences waiting to be delivered again, in the order they came back. */
  private readonly ready = new NumberQueue();
  /** For who looks, too. */
  readonly detached = new Map<number, StoredMessage>();
  /** Sequences whose way into the deferred store is not committed yet, but for what was requeued in the window: that is marked there, as LEAVING. */
  private readonly moving = new Set<number>();
  /** What the deferred store is told of a message: one object for all. */
  private readonly entry: EntryHeader;
  /** Finished ranges at or above the cursor. */
  skips: Range[] = [];
  private skippedCount = 0;
  /** What an earlier run delivered but did not see finished, above the cursor. */
  private tried: Tries[] = [];
  /** In the window with a short delay. */
  private deferredShort = 0;
  /** In the deferred store, not due yet. */
  private deferredStored = 0;
  /** Of the topic's deferred publishes, those that were emptied away here. */
  private voidedPublishes = 0;
  /** No deadline in this channel is earlier. */
  private nextDeadlineMs = Number.POSITIVE_INFINITY;
  /** Which consumer is served first in the next dispatch. */
  private turn = 0;
  /** Redeliveries that this turn may still make. */
  private againLeft = 0;
  /** Whether the odd place in a run goes to a message that comes again. */
  private againTurn = false;
  private messageCountBase: number;

  /**
   * @param id of its row in the store; for one without, a number that no row has
   * @param floor sequence of its first message, whose record is at `position`
   */
  constructor(
    protected readonly broker: Broker,
    readonly topic: Topic,
    readonly id: number,
    readonly name: string,
    floor: number,
    position: number,
    /** For who looks (standing.ts); nobody else changes it. */
    readonly window = new Window(floor),
  ) {
    this.ephemeral = isEphemeral(name);
    this.persistent = !this.ephemeral && !topic.ephemeral;
    this.cursorPosition = position;
    this.messageCountBase = floor;
    this.entry = { kind: KIND_REQUEUE, attempts: 0, topicId: topic.id, channelId: id, dueMs: 0, sequence: 0 };
  }

  /** Takes up what an earlier run left: what is finished above the floor is not delivered again, what was tried counts on. */
  restore(progress: Progress, paused: boolean, voidBefore: number, requeuesVoidBefore: number): void {
    for (const { from, to } of progress.finished) this.skip(from, to);
    this.tried = progress.tried;
    this.paused = paused;
    this.voidBefore = voidBefore;
    this.requeuesVoidBefore = requeuesVoidBefore;
    this.messageCountBase = this.topic.released;
  }

  /** Everything below is finished here. */
  get floor(): number {
    return this.window.floor;
  }

  get position(): number {
    return this.cursorPosition;
  }

  get depth(): number {
    return this.ready.length + this.freshCount;
  }

  /** Messages of the depth that are on disk only. */
  get backendDepth(): number {
    return Math.max(0, Math.min(this.freshCount, this.topic.log.cachedSequence - this.window.cursor));
  }

  get deferredCount(): number {
    return this.deferredShort + this.deferredStored + this.topic.deferredPublishes - this.voidedPublishes;
  }

  /** Messages that entered the channel since the broker started. */
  get messageCount(): number {
    return this.topic.released - this.messageCountBase + this.topic.deferredPublishes - this.voidedPublishes;
  }

  /** How many more messages of the deferred store may come into memory here. */
  get storedRoom(): number {
    return MOST_DETACHED - this.detached.size;
  }

  get nextDeadline(): number {
    return this.nextDeadlineMs;
  }

  /** Not delivered yet, and released by the topic. */
  private get freshCount(): number {
    return Math.max(0, this.topic.released - this.window.cursor - this.skippedCount);
  }

  /** @returns why it may not join, as nsqd says it */
  addConsumer(connection: Connection): string | undefined {
    const limit = this.broker.options.maxChannelConsumers;
    if (limit !== 0 && this.consumers.length >= limit) {
      return `consumers for ${this.topic.name}:${this.name} exceeds limit of ${limit}`;
    }
    this.consumers.push(connection);
    return undefined;
  }

  /** A consumer is gone: what it had in flight goes to the others at once. */
  removeConsumer(connection: Connection): void {
    const index = this.consumers.indexOf(connection);
    if (index < 0) return;
    this.consumers.splice(index, 1);
    if (connection.inFlightCount > 0) this.takeBack(connection);
    if (this.deleted) return;
    if (this.consumers.length === 0 && this.ephemeral) this.topic.deleteChannel(this.name);
    else this.markDirty();
  }

  markDirty(): void {
    if (!this.dirty) this.broker.addDirtyChannel(this);
  }

  /**
   * Finishes a message, on its consumer's word. This and finishRun() are all the ways there are to do so: a measured
   * channel (latency/measured-channel.ts) adds to both.
   *
   * @returns why not, as nsqd says it
   */
  finish(connection: Connection, sequence: number): string | undefined {
    const { window } = this;
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      if (!window.has(sequence)) return NOT_IN_FLIGHT;
      const i = sequence & window.mask;
      if (window.state[i] !== IN_FLIGHT) return NOT_IN_FLIGHT;
      if (window.owner[i] !== connection.id) return NOT_OWNER;
      window.finish(sequence);
    } else {
      if (!message.inFlight) return NOT_IN_FLIGHT;
      if (message.owner !== connection.id) return NOT_OWNER;
      this.detached.delete(sequence);
      this.broker.deferred.finish(message);
      this.broker.schedule();
    }
    this.inFlightCount--;
    connection.inFlightCount--;
    this.settled();
    return undefined;
  }

  /**
   * Finishes up to `count` messages in a row.
   *
   * @returns how many were; finish() tells what is the matter with the next
   */
  finishRun(connection: Connection, first: number, count: number): number {
    // One that was moved to the deferred store would be taken for finished.
    if (this.detached.size > 0) return 0;
    const finished = this.window.finishRun(first, count, connection.id);
    if (finished === 0) return 0;
    this.inFlightCount -= finished;
    connection.inFlightCount -= finished;
    this.settled();
    return finished;
  }

  /** Puts a message back, to be delivered again after `delayMs`. @returns why not, as nsqd says it */
  requeue(connection: Connection, sequence: number, delayMs: number): string | undefined {
    const { window } = this;
    const i = sequence & window.mask;
    const message = this.detachedAt(sequence);
    const inFlight = message === undefined ? window.has(sequence) && window.state[i] === IN_FLIGHT : message.inFlight;
    if (!inFlight) return NOT_IN_FLIGHT;
    if ((message === undefined ? window.owner[i] : message.owner) !== connection.id) return NOT_OWNER;
    this.inFlightCount--;
    connection.inFlightCount--;
    this.requeueCount++;
    if (delayMs === 0) this.makeReady(sequence);
    else this.defer(sequence, this.broker.nowMs + delayMs, delayMs > SHORT_DELAY_MS);
    this.settled();
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
        this.broker.deferred.finish(stored);
        this.broker.schedule();
      }
    }
    this.settled();
    this.broker.saveChannel(this);
    return state;
  }

  /** Requeues a message that was delivered before, whoever has it, or nobody. @returns how it stood; else nothing is done with it */
  requeueAnyway(sequence: number, delayMs: number): State {
    const { state, owner } = standingOf(this, sequence);
    if (state === "finished" || state === "waiting") return state;
    this.takeOut(state, sequence, owner);
    this.requeueCount++;
    if (delayMs === 0) this.makeReady(sequence);
    else this.defer(sequence, this.broker.currentMs + delayMs, delayMs > SHORT_DELAY_MS);
    this.settled();
    return state;
  }

  /** A message that was waiting for its first delivery stands in the deferred store now. */
  deferFresh(message: StoredMessage): void {
    this.skip(message.sequence, message.sequence + 1);
    this.deferredStored++;
    this.requeueCount++;
    this.awaitAgain(message);
    this.settled();
    this.broker.saveChannel(this);
  }

  /** The entry of a message in the deferred store was exchanged for one with another due time. */
  awaitAgain(message: StoredMessage): void {
    this.broker.deferred.await(message);
    this.broker.wakeAt(message.dueMs);
  }

  /** A message in the deferred store was finished there. */
  finishedInStore(): void {
    this.deferredStored--;
    this.broker.schedule();
  }

  /** Messages requeued with a delay that are in the deferred store. */
  get storedCount(): number {
    return this.deferredStored;
  }

  /** From the list that it is in by its state. */
  private takeOut(state: State, sequence: number, owner: number): void {
    if (state === "in_flight") this.disown(owner);
    else if (state === "requeued") this.ready.remove(sequence);
    else this.deferredShort--;
  }

  /** Gives a message in flight more time. @returns why not, as nsqd says it */
  touch(connection: Connection, sequence: number, timeoutMs: number): string | undefined {
    const { window } = this;
    const now = this.broker.currentMs;
    const longest = this.broker.options.maxMsgTimeoutMs;
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      if (!window.has(sequence)) return NOT_IN_FLIGHT;
      const i = sequence & window.mask;
      if (window.state[i] !== IN_FLIGHT) return NOT_IN_FLIGHT;
      if (window.owner[i] !== connection.id) return NOT_OWNER;
      window.deadline[i] = Math.min(now + timeoutMs, window.deliveredAt[i] + longest);
      this.expectDeadline(window.deadline[i]);
      return undefined;
    }
    if (!message.inFlight) return NOT_IN_FLIGHT;
    if (message.owner !== connection.id) return NOT_OWNER;
    message.deadline = Math.min(now + timeoutMs, message.deliveredAt + longest);
    this.expectDeadline(message.deadline);
    return undefined;
  }

  /** The sequence an id's low 40 bits mean here. */
  get nearSequence(): number {
    return this.window.cursor;
  }

  /** Hands messages to the consumers that are ready for some, until the one or the other runs out. */
  dispatch(nowMs: number): void {
    if (this.deleted) return;
    this.boundLag();
    if (this.paused) return;
    this.againLeft = AGAIN_PER_TURN;
    for (;;) {
      this.takeUp();
      const available = this.ready.length + this.freshCount;
      if (available === 0) return;
      let takers = 0;
      let nearest = ELSEWHERE;
      for (const consumer of this.consumers) {
        if (consumer.nearness > nearest || consumer.capacity === 0) continue;
        if (consumer.nearness < nearest) takers = 0;
        nearest = consumer.nearness;
        takers++;
      }
      if (takers === 0) return;
      // A few messages are spread over all takers; a flood fills each in one run.
      const share = Math.ceil(available / takers);
      let delivered = 0;
      const count = this.consumers.length;
      const first = this.turn % count;
      this.turn = first + 1;
      for (let i = 0; i < count; i++) {
        const consumer = this.consumers[(first + i) % count];
        const want = consumer.nearness > nearest ? 0 : Math.min(consumer.capacity, share);
        if (want > 0) delivered += this.serve(consumer, want, nowMs);
      }
      this.deliveredBy[nearest] += delivered;
      if (delivered === 0) break;
      this.markUnsaved();
    }
    if (this.againLeft === 0) this.markDirty();
  }

  /** Times out what is overdue, and makes ready what was deferred for a moment. */
  expire(nowMs: number): void {
    if (nowMs < this.nextDeadlineMs) return;
    const { window } = this;
    const { state, deadline, mask } = window;
    let next = Number.POSITIVE_INFINITY;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT && state[i] !== DEFERRED) continue;
      if (deadline[i] > nowMs) {
        if (deadline[i] < next) next = deadline[i];
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
      if (message.deadline > nowMs) {
        if (message.deadline < next) next = message.deadline;
      } else {
        if (message.state === DEFERRED) this.deferredShort--;
        else this.timeOut(message.owner);
        this.makeReady(sequence);
      }
    }
    this.nextDeadlineMs = next;
    this.settled();
  }

  /** A stored message of this channel has fallen due. */
  due(message: StoredMessage): void {
    const { sequence } = message;
    this.deferredStored--;
    if (this.detached.has(sequence) || (this.window.has(sequence) && this.window.state[sequence & this.window.mask] !== DONE)) {
      // Stored twice, by a crash between a requeue and the word that the entry before it is done with.
      this.broker.deferred.finish(message);
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
    const { deferred } = this.broker;
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
      if (window.deadline[i] !== staged.dueMs[at]) {
        // Requeued after it was staged as a straggler, or timed out and requeued again while the disk was slow.
        deferred.finish(staged.message(at));
        return this.store(sequence, window.deadline[i]);
      }
      this.awaitDue(staged, at);
    } else {
      const message = staged.message(at);
      message.state = state;
      message.owner = window.owner[i];
      message.deadline = window.deadline[i];
      message.deliveredAt = window.deliveredAt[i];
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

  /** Marks released messages finished without delivering them. */
  skip(from: number, to: number): void {
    this.skippedCount += addRange(this.skips, from, to);
    this.markUnsaved();
  }

  /** Messages that never entered (the topic was emptied while it was paused) do not count. */
  skipUncounted(from: number, to: number): void {
    this.skip(from, to);
    this.messageCountBase += to - from;
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
    this.voidBefore = this.broker.deferred.upcomingNumber;
    this.broker.saveChannel(this);
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
    return { ...forgotten, saved: this.broker.saveChannel(this) };
  }

  /** Forgets all that was delivered, and goes on at a record. */
  private restartAt(sequence: number, position: number): void {
    const { deferred } = this.broker;
    this.window.reset(sequence);
    this.cursorPosition = position;
    this.ready.clear();
    this.moving.clear();
    for (const message of this.detached.values()) deferred.finish(message);
    this.detached.clear();
    this.skips = [];
    this.skippedCount = 0;
    this.tried = [];
    this.inFlightCount = this.deferredShort = this.deferredStored = 0;
    this.requeuesVoidBefore = deferred.upcomingNumber;
    this.nextDeadlineMs = Number.POSITIVE_INFINITY;
    for (const consumer of this.consumers) consumer.inFlightCount = 0;
    this.topic.markReleasable();
    this.broker.schedule();
  }

  /** Hangs up all consumers and forgets everything. */
  delete(): void {
    this.deleted = true;
    for (const message of this.detached.values()) this.broker.deferred.finish(message);
    this.detached.clear();
    this.inFlightCount = 0;
    for (const consumer of this.consumers.splice(0)) consumer.hangUp();
  }

  /** Before a clean exit: what only memory knows (short delays, tries of stored messages) goes to the store. */
  park(): void {
    if (!this.persistent) return;
    const { window } = this;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      if (window.state[sequence & window.mask] === DEFERRED) this.store(sequence, window.deadline[sequence & window.mask]);
    }
    for (const [sequence, message] of this.detached) {
      if (this.moving.has(sequence)) continue;
      const dueMs = message.state === DEFERRED ? message.deadline : this.broker.currentMs;
      if (message.state !== DEFERRED) this.deferredShort++;
      message.state = DEFERRED;
      this.store(sequence, dueMs);
    }
  }

  /** The frame of one of its messages that stands in the deferred store. */
  readStored(message: StoredMessage): Buffer {
    const frame = Buffer.allocUnsafe(message.frameBytes);
    this.broker.deferred.readFrame(message, frame, 0);
    return frame;
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
    if (!this.unsaved && this.persistent) this.broker.addUnsavedChannel(this);
  }

  /** Called now and then: gives memory of a past burst back. */
  shrink(): void {
    this.window.shrink();
  }

  /** Adds how long its messages took to a sketch; a plain channel does not measure (latency/measured-channel.ts). */
  addLatencies(_sketch: LatencySketch): void {}

  /** A message that left the window unfinished; its state in the window, if it is still in there, is DONE. */
  protected detachedAt(sequence: number): StoredMessage | undefined {
    return this.detached.size === 0 ? undefined : this.detached.get(sequence);
  }

  private setPaused(paused: boolean): void {
    this.paused = paused;
    this.broker.saveChannel(this);
    this.markDirty();
  }

  /** Something was finished or came back: floors may have moved, consumers may take more. */
  private settled(): void {
    this.topic.markReleasable();
    this.markUnsaved();
    this.markDirty();
  }

  private timeOut(owner: number): void {
    this.timeoutCount++;
    this.disown(owner);
  }

  private disown(owner: number): void {
    this.inFlightCount--;
    const connection = this.broker.connectionsById.get(owner);
    if (connection !== undefined && connection.channel === this) connection.inFlightCount--;
  }

  private makeReady(sequence: number): void {
    const message = this.detachedAt(sequence);
    if (message === undefined) this.window.state[sequence & this.window.mask] = READY;
    else message.state = READY;
    this.ready.push(sequence);
    this.markDirty();
  }

  private defer(sequence: number, dueMs: number, long: boolean): void {
    const message = this.detachedAt(sequence);
    if (message === undefined) {
      const i = sequence & this.window.mask;
      this.window.state[i] = DEFERRED;
      this.window.deadline[i] = dueMs;
    } else {
      message.state = DEFERRED;
      message.deadline = dueMs;
    }
    this.deferredShort++;
    this.expectDeadline(dueMs);
    // An ephemeral channel's messages need not survive: its window keeps them whatever the delay.
    if (long && this.persistent) this.store(sequence, dueMs);
  }

  /** Stages an unfinished message for the deferred store. It stays where it is until stored() hears that it is written. */
  private store(sequence: number, dueMs: number): void {
    // With hardly any room left it stays where it is.
    if (this.moving.has(sequence) || this.broker.space.critical) return;
    const replaces = this.detachedAt(sequence);
    const { window, entry } = this;
    const { deferred } = this.broker;
    const i = sequence & window.mask;
    entry.dueMs = dueMs;
    entry.sequence = sequence;
    entry.attempts = replaces?.attempts ?? window.attempts[i];
    const memoryOnly = !this.persistent;
    if (replaces !== undefined) {
      const frame = Buffer.allocUnsafe(replaces.frameBytes);
      deferred.readFrame(replaces, frame, 0);
      deferred.stage(this, entry, frame, 0, frame.length, memoryOnly, replaces);
      this.moving.add(sequence);
    } else {
      const requeued = window.state[i] === DEFERRED;
      if (requeued && window.owner[i] === LEAVING) return;
      const position = window.position[i];
      const chunk = this.topic.log.chunkAt(position, false);
      if (!("buffer" in chunk)) return;
      const at = chunk.offsetOf(position);
      deferred.stage(this, entry, chunk.buffer, at, at + 4 + chunk.view.getUint32(at), memoryOnly);
      if (requeued) window.owner[i] = LEAVING;
      else this.moving.add(sequence);
    }
    this.broker.schedule();
  }

  private awaitDue(staged: StagedEntries, at: number): void {
    this.deferredShort--;
    this.deferredStored++;
    this.broker.deferred.awaitStaged(staged, at);
    this.broker.wakeAt(staged.dueMs[at]);
  }

  private takeBack(connection: Connection): void {
    const { window } = this;
    const { state, owner, mask } = window;
    for (let sequence = window.floor; sequence < window.cursor && connection.inFlightCount > 0; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT || owner[i] !== connection.id) continue;
      connection.inFlightCount--;
      this.inFlightCount--;
      this.makeReady(sequence);
    }
    for (const [sequence, message] of this.detached) {
      if (!message.inFlight || message.owner !== connection.id) continue;
      connection.inFlightCount--;
      this.inFlightCount--;
      this.makeReady(sequence);
    }
  }

  private expectDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.nextDeadlineMs) return;
    this.nextDeadlineMs = deadlineMs;
    this.broker.wakeAt(deadlineMs);
  }

  /** An ephemeral topic or channel keeps the newest messages, up to --mem-queue-size; a slow reader loses the oldest. */
  private boundLag(): void {
    if (this.persistent) return;
    const excess = this.depth - this.broker.options.memQueueSize;
    if (excess <= 0) return;
    const to = Math.min(this.topic.released, this.window.cursor + excess);
    if (to <= this.window.cursor) return;
    this.skip(this.window.cursor, to);
    this.takeUp();
    this.topic.markReleasable();
  }

  /** Moves the cursor over what is finished already, and takes what an earlier run tried into the window as ready. */
  private takeUp(): void {
    const { window } = this;
    for (;;) {
      const skip = this.skips[0];
      const tries = this.tried[0];
      if (skip !== undefined && window.cursor >= skip.from) {
        const to = window.unfinished === 0 ? skip.to : Math.min(skip.to, window.cursor + window.room);
        this.skippedCount -= Math.max(0, to - Math.max(window.cursor, skip.from));
        if (to > window.cursor) {
          window.skipTo(to);
          this.cursorPosition = this.topic.log.locate(window.cursor);
        }
        if (to < skip.to) {
          skip.from = to;
          if (!this.makeRoom()) return;
          continue;
        }
        this.skips.shift();
      } else if (tries !== undefined && window.cursor >= tries.from) {
        if (window.cursor >= tries.to) {
          this.tried.shift();
          continue;
        }
        if (this.ready.length >= TRIED_PER_TURN) return;
        const end = Math.min(tries.to, this.topic.released, skip?.from ?? Number.POSITIVE_INFINITY);
        if (window.cursor >= end || !this.takeTried(end, tries.attempts)) return;
        tries.from = window.cursor;
      } else {
        return;
      }
    }
  }

  private takeTried(end: number, attempts: number): boolean {
    const { window } = this;
    const chunk = this.freshChunk();
    if (chunk === undefined) return true;
    const limit = Math.min(end - window.cursor, window.room, TRIED_PER_TURN);
    if (limit <= 0) return this.makeRoom();
    const from = window.cursor;
    const taken = window.takeRun(
      chunk.view,
      chunk.start,
      chunk.offsetOf(this.cursorPosition),
      chunk.end - chunk.start,
      limit,
      MAX_RUN_BYTES,
      0,
      0,
      0,
    );
    this.cursorPosition = chunk.start + window.runEnd;
    for (let sequence = from; sequence < from + taken; sequence++) {
      window.attempts[sequence & window.mask] = attempts;
      this.makeReady(sequence);
    }
    return true;
  }

  /** Gives a consumer up to `want` messages. @returns how many it got */
  private serve(consumer: Connection, want: number, nowMs: number): number {
    // Messages that keep coming back must not shut the new ones out, nor the other way round: half and half,
    // the odd one in turn.
    const again = this.freshCount > 0 ? (want + (this.againTurn ? 1 : 0)) >> 1 : want;
    if (want & 1) this.againTurn = !this.againTurn;
    let given = this.redeliver(consumer, Math.min(again, this.ready.length), nowMs);
    while (given < want && consumer.capacity > 0) {
      const fresh = this.deliverRun(consumer, want - given, nowMs);
      if (fresh === 0) break;
      given += fresh;
    }
    if (given < want && consumer.capacity > 0) given += this.redeliver(consumer, Math.min(want - given, this.ready.length), nowMs);
    return given;
  }

  /** One contiguous run of new messages to one consumer: one write, no copy. @returns how many were used up */
  private deliverRun(consumer: Connection, want: number, nowMs: number): number {
    const { window } = this;
    if (this.skips.length > 0 || this.tried.length > 0) this.takeUp();
    const bound = Math.min(this.skips[0]?.from ?? Number.POSITIVE_INFINITY, this.tried[0]?.from ?? Number.POSITIVE_INFINITY);
    let limit = Math.min(want, this.topic.released - window.cursor, bound - window.cursor);
    if (limit <= 0) return 0;
    if (window.room < limit || window.room < window.capacity / 8) this.makeRoom();
    else if (this.spansTooMuchMemory()) this.moveStragglers();
    limit = Math.min(limit, window.room);
    if (limit <= 0) return 0;
    const chunk = this.freshChunk();
    if (chunk === undefined) return 0;
    if (consumer.sampleRate > 0) return this.deliverSampled(consumer, chunk, nowMs);
    const from = chunk.offsetOf(this.cursorPosition);
    const deadline = nowMs + consumer.msgTimeoutMs;
    const count = window.takeRun(
      chunk.view,
      chunk.start,
      from,
      chunk.end - chunk.start,
      limit,
      MAX_RUN_BYTES,
      consumer.id,
      nowMs,
      deadline,
    );
    this.cursorPosition = chunk.start + window.runEnd;
    this.inFlightCount += count;
    this.expectDeadline(deadline);
    consumer.sendRun(chunk, from, window.runEnd, count);
    return count;
  }

  /** One new message to a consumer that asked for a sample; one that the dice leave out is finished, as in nsqd. */
  private deliverSampled(consumer: Connection, chunk: Chunk, nowMs: number): number {
    const { window } = this;
    const from = chunk.offsetOf(this.cursorPosition);
    const sequence = window.cursor;
    const deadline = nowMs + consumer.msgTimeoutMs;
    window.takeRun(chunk.view, chunk.start, from, chunk.end - chunk.start, 1, MAX_RUN_BYTES, consumer.id, nowMs, deadline);
    this.cursorPosition = chunk.start + window.runEnd;
    if (Math.floor(Math.random() * 100) > consumer.sampleRate) {
      window.finish(sequence);
      this.topic.markReleasable();
    } else {
      this.inFlightCount++;
      this.expectDeadline(deadline);
      consumer.sendRun(chunk, from, window.runEnd, 1);
    }
    return 1;
  }

  /** The chunk at the cursor; records that are damaged are skipped, loudly (the log said so). */
  private freshChunk(): Chunk | undefined {
    const chunk = this.topic.log.chunkAt(this.cursorPosition, true);
    if ("buffer" in chunk) return chunk;
    this.skip(this.window.cursor, chunk.nextSequence);
    this.markDirty();
    return undefined;
  }

  private redeliver(consumer: Connection, count: number, nowMs: number): number {
    const { window } = this;
    const deadline = nowMs + consumer.msgTimeoutMs;
    let given = 0;
    for (; given < count && consumer.capacity > 0 && this.againLeft > 0; given++) {
      this.againLeft--;
      const sequence = this.ready.shift();
      const message = this.detachedAt(sequence);
      if (message === undefined) {
        const i = sequence & window.mask;
        const chunk = this.topic.log.chunkAt(window.position[i], false);
        if (!("buffer" in chunk)) {
          window.finish(sequence);
          this.settled();
          continue;
        }
        const at = chunk.offsetOf(window.position[i]);
        window.state[i] = IN_FLIGHT;
        window.owner[i] = consumer.id;
        window.deadline[i] = deadline;
        window.deliveredAt[i] = nowMs;
        if (window.attempts[i] < 0xffff) window.attempts[i]++;
        consumer.sendAgain(chunk.buffer, at, at + 4 + chunk.view.getUint32(at), window.attempts[i]);
      } else {
        const frame = this.broker.scratch(message.frameBytes);
        this.broker.deferred.readFrame(message, frame, 0);
        message.state = IN_FLIGHT;
        message.owner = consumer.id;
        message.deadline = deadline;
        message.deliveredAt = nowMs;
        if (message.attempts < 0xffff) message.attempts++;
        consumer.sendAgain(frame, 0, message.frameBytes, message.attempts);
      }
      this.inFlightCount++;
      this.expectDeadline(deadline);
    }
    return given;
  }

  /**
   * The window is (nearly) full. If most of it is unfinished it grows; else a few old messages stretch it, and
   * those go to the deferred store, so that the floor can move on and old segments be freed.
   *
   * @returns whether there is room at once
   */
  private makeRoom(): boolean {
    const { window } = this;
    if (window.grow()) return true;
    this.moveStragglers();
    return false;
  }

  /** In a topic that has no files, what lies between floor and cursor is in memory: one held message must not keep much of it there. */
  private spansTooMuchMemory(): boolean {
    const { window } = this;
    if (this.topic.log.files !== undefined || window.floor === window.cursor) return false;
    return this.cursorPosition - window.position[window.floor & window.mask] > MAX_MEMORY_SPAN_BYTES;
  }

  private moveStragglers(): void {
    const { window } = this;
    const end = Math.min(window.cursor, window.floor + window.capacity / 4);
    let count = 0;
    for (let sequence = window.floor; sequence < end && count < STRAGGLERS_PER_TURN; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DONE || this.moving.has(sequence)) continue;
      // Due at once: after a restart it is delivered again without delay.
      this.store(sequence, window.state[i] === DEFERRED ? window.deadline[i] : this.broker.currentMs);
      count++;
    }
  }
}
