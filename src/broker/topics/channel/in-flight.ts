import { NumberQueue } from "../../../base/number-queue.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Turn } from "../turn.ts";
import type { Consumer } from "./consumer.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY, type Window } from "./window.ts";

const MOST_ATTEMPTS = 0xffff;

/** A client's FIN, REQ or TOUCH for a message that it does not have, in nsqd's words. */
export const NOT_IN_FLIGHT = new Error("ID not in flight");
export const NOT_OWNER = new Error("client does not own message");

/** The state of one message, wherever it is kept: in the window, or in a StoredMessage once it left that. */
export interface MessageSlot {
  /** IN_FLIGHT, READY, DEFERRED, or DONE. */
  state: number;
  /** Id of the consumer that has it in flight. */
  owner: number;
  /** Deliveries so far. */
  attempts: number;
  /** When it times out (in flight) or falls due (deferred), ms. */
  deadlineMs: number;
  /** When it was last delivered, ms. */
  deliveredAtMs: number;
}

/** A message's places in the window's arrays. One object serves a channel: it is valid until slotOf() is called again. */
class WindowSlot implements MessageSlot {
  index = 0;

  constructor(private readonly window: Window) {}

  get state(): number {
    return this.window.state[this.index];
  }

  set state(state: number) {
    this.window.state[this.index] = state;
  }

  get owner(): number {
    return this.window.owner[this.index];
  }

  set owner(owner: number) {
    this.window.owner[this.index] = owner;
  }

  get attempts(): number {
    return this.window.attempts[this.index];
  }

  set attempts(attempts: number) {
    this.window.attempts[this.index] = attempts;
  }

  get deadlineMs(): number {
    return this.window.deadlineMs[this.index];
  }

  set deadlineMs(deadlineMs: number) {
    this.window.deadlineMs[this.index] = deadlineMs;
  }

  get deliveredAtMs(): number {
    return this.window.deliveredAtMs[this.index];
  }

  set deliveredAtMs(deliveredAtMs: number) {
    this.window.deliveredAtMs[this.index] = deliveredAtMs;
  }
}

/**
 * A channel's messages that were delivered and are not finished: in flight, ready to be delivered again, or deferred.
 *
 * Most have their state in the window. A message that leaves the window unfinished, because it was requeued with a delay
 * or the cursor left it far behind, goes to the deferred store; once it is due or in flight, its state is in `detached`, and
 * the window counts it as done.
 */
export class InFlight {
  /** Messages that consumers have. */
  count = 0;
  /** Messages that are deferred in memory: with a short delay, or on their way into the deferred store. */
  deferredCount = 0;
  /** Sequences of the messages that are ready, in the order in which they came back. */
  readonly ready = new NumberQueue();
  /** Messages of the deferred store that are in memory, by sequence. */
  readonly detached = new Map<number, StoredMessage>();
  /** No message has an earlier deadline. */
  nextDeadlineMs = Number.POSITIVE_INFINITY;
  private readonly windowSlot: WindowSlot;

  constructor(
    readonly window: Window,
    private readonly turn: Pick<Turn, "wakeAt">,
  ) {
    this.windowSlot = new WindowSlot(window);
  }

  /** The state of a message that is in the window or detached. */
  slotOf(sequence: number): MessageSlot {
    const stored = this.detachedAt(sequence);
    if (stored !== undefined) return stored;
    this.windowSlot.index = sequence & this.window.mask;
    return this.windowSlot;
  }

  /** The state of a message that a consumer has in flight. @returns why not, if it has not */
  slotOwnedBy(consumerId: number, sequence: number): MessageSlot | Error {
    if (!this.has(sequence)) return NOT_IN_FLIGHT;
    const slot = this.slotOf(sequence);
    if (slot.state !== IN_FLIGHT) return NOT_IN_FLIGHT;
    return slot.owner === consumerId ? slot : NOT_OWNER;
  }

  /** The message, if it left the window for the deferred store and is in memory. */
  detachedAt(sequence: number): StoredMessage | undefined {
    return this.detached.size === 0 ? undefined : this.detached.get(sequence);
  }

  isUnfinished(sequence: number): boolean {
    return this.has(sequence) && this.slotOf(sequence).state !== DONE;
  }

  private has(sequence: number): boolean {
    return this.window.has(sequence) || this.detached.has(sequence);
  }

  // ---- messages that come

  /** A run of new messages went to a consumer. The window has their states. */
  addRun(count: number, deadlineMs: number): void {
    this.count += count;
    this.expectDeadline(deadlineMs);
  }

  /** A message of the deferred store has fallen due. */
  addDue(message: StoredMessage): void {
    message.state = READY;
    this.detached.set(message.sequence, message);
    this.ready.push(message.sequence);
  }

  /** A message in the window was written to the deferred store, where its state goes too. */
  detach(message: StoredMessage): void {
    const { window } = this;
    const i = message.sequence & window.mask;
    message.state = window.state[i];
    message.owner = window.owner[i];
    message.deadlineMs = window.deadlineMs[i];
    message.deliveredAtMs = window.deliveredAtMs[i];
    message.attempts = window.attempts[i];
    this.detached.set(message.sequence, message);
    window.finish(message.sequence);
  }

  // ---- what becomes of them

  /** A ready message goes to a consumer again. @returns its attempts, this one included */
  redeliver(sequence: number, consumerId: number, nowMs: number, deadlineMs: number): number {
    const slot = this.slotOf(sequence);
    slot.state = IN_FLIGHT;
    slot.owner = consumerId;
    slot.deadlineMs = deadlineMs;
    slot.deliveredAtMs = nowMs;
    if (slot.attempts < MOST_ATTEMPTS) slot.attempts++;
    this.addRun(1, deadlineMs);
    return slot.attempts;
  }

  /** It is delivered again when its turn comes. */
  makeReady(sequence: number): void {
    const slot = this.slotOf(sequence);
    slot.state = READY;
    this.ready.push(sequence);
  }

  /** It is ready again at `dueMs`. */
  defer(sequence: number, dueMs: number): void {
    const slot = this.slotOf(sequence);
    slot.state = DEFERRED;
    slot.deadlineMs = dueMs;
    this.deferredCount++;
    this.expectDeadline(dueMs);
  }

  extend(slot: MessageSlot, deadlineMs: number): void {
    slot.deadlineMs = deadlineMs;
    this.expectDeadline(deadlineMs);
  }

  /** Takes out a message that is finished. @returns its entry in the deferred store, if it has one */
  remove(sequence: number): StoredMessage | undefined {
    const stored = this.detachedAt(sequence);
    if (stored === undefined) this.window.finish(sequence);
    else this.detached.delete(sequence);
    return stored;
  }

  /** Finishes up to `count` messages in a row. @returns how many were in flight with the consumer */
  finishRun(consumer: Consumer, first: number, count: number): number {
    // The window takes a message that is detached for finished.
    if (this.detached.size > 0) return 0;
    const finished = this.window.finishRun(first, count, consumer.id);
    this.count -= finished;
    consumer.inFlightCount -= finished;
    return finished;
  }

  /** Makes ready what a consumer had in flight. */
  reclaim(consumer: Consumer): void {
    const { window } = this;
    const { state, owner, mask } = window;
    for (let sequence = window.floor; sequence < window.cursor && consumer.inFlightCount > 0; sequence++) {
      const i = sequence & mask;
      if (state[i] === IN_FLIGHT && owner[i] === consumer.id) this.reclaimOne(consumer, sequence);
    }
    for (const [sequence, stored] of this.detached) {
      if (stored.state === IN_FLIGHT && stored.owner === consumer.id) this.reclaimOne(consumer, sequence);
    }
  }

  private reclaimOne(consumer: Consumer, sequence: number): void {
    consumer.inFlightCount--;
    this.count--;
    this.makeReady(sequence);
  }

  /**
   * Makes ready what is past its deadline: timed out, or due.
   *
   * @param timedOut told of each message that timed out, by the id of the consumer that had it
   */
  expire(nowMs: number, timedOut: (owner: number) => void): void {
    const { window } = this;
    const { state, deadlineMs, mask } = window;
    let next = Number.POSITIVE_INFINITY;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT && state[i] !== DEFERRED) continue;
      if (deadlineMs[i] <= nowMs) this.expireOne(sequence, state[i], window.owner[i], timedOut);
      else if (deadlineMs[i] < next) next = deadlineMs[i];
    }
    for (const [sequence, stored] of this.detached) {
      if (stored.state === READY) continue;
      if (stored.deadlineMs <= nowMs) this.expireOne(sequence, stored.state, stored.owner, timedOut);
      else if (stored.deadlineMs < next) next = stored.deadlineMs;
    }
    this.nextDeadlineMs = next;
  }

  private expireOne(sequence: number, state: number, owner: number, timedOut: (owner: number) => void): void {
    if (state === DEFERRED) {
      this.deferredCount--;
    } else {
      this.count--;
      timedOut(owner);
    }
    this.makeReady(sequence);
  }

  /** Discards all of them, and goes on at `sequence`. */
  restartAt(sequence: number): void {
    this.window.reset(sequence);
    this.ready.clear();
    this.detached.clear();
    this.count = this.deferredCount = 0;
    this.nextDeadlineMs = Number.POSITIVE_INFINITY;
  }

  private expectDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.nextDeadlineMs) return;
    this.nextDeadlineMs = deadlineMs;
    this.turn.wakeAt(deadlineMs);
  }
}
