import { NumberQueue } from "../../../base/number-queue.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import { DETAIL_DISCONNECTED } from "../../trace/record.ts";
import type { ChannelTrace } from "../../trace/topic-trace.ts";
import type { Turn } from "../turn.ts";
import type { Consumer } from "./consumer.ts";
import type { LeftMessage } from "./selective/left-behind.ts";
import type { Selection } from "./selective/selection.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY, type Window } from "./window.ts";

const MOST_ATTEMPTS = 0xffff;
/**
 * In a channel with an order, a message that timed out is not delivered again before this: a FIN that was on its way then would
 * otherwise finish the newer delivery, if both went to one connection.
 */
const LATE_FIN_MS = 250;

const NOBODY = 0;

/** Why a client's FIN, REQ or TOUCH failed, in nsqd's words. */
export const NOT_IN_FLIGHT = new Error("ID not in flight");
export const NOT_OWNER = new Error("client does not own message");

/** The state of one message: in the window, or in a StoredMessage if the message left the window. */
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

/** The state of a message in the window. One object serves the whole channel, and is valid until the next call of slotOf(). */
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
 * The messages of a channel that were delivered and are not finished: in flight, ready to be delivered again, or deferred.
 *
 * Most have their state in the window. Some leave the window unfinished for the deferred store (deferrals.ts). Of these, the
 * ones that are due or in flight are detached: they have their state in a StoredMessage, and count as done in the window.
 */
export class InFlight {
  /** Messages that consumers have. */
  count = 0;
  /** Messages that are deferred in memory: those with a short delay, and those that the deferred store has not written yet. */
  deferredCount = 0;
  /** Sequences of the ready messages, in the order in which they came back. */
  readonly ready = new NumberQueue();
  /** The detached messages, by sequence. */
  readonly detached = new Map<number, StoredMessage>();
  /** No deadline is earlier, ms. */
  nextDeadlineMs = Number.POSITIVE_INFINITY;
  /** Undefined: the channel is not traced. */
  trace: ChannelTrace | undefined;
  /** Undefined: the channel delivers its messages as they come. */
  selection: Selection | undefined;
  private readonly windowSlot: WindowSlot;
  private readonly consumers = new Map<number, Consumer>();

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
    const left = this.leftAt(sequence);
    if (left !== undefined) return left;
    this.windowSlot.index = sequence & this.window.mask;
    return this.windowSlot;
  }

  /** The state of a message that a consumer has in flight. @returns an error if it has not */
  slotOwnedBy(consumerId: number, sequence: number): MessageSlot | Error {
    if (!this.has(sequence)) return NOT_IN_FLIGHT;
    const slot = this.slotOf(sequence);
    if (slot.state !== IN_FLIGHT) return NOT_IN_FLIGHT;
    return slot.owner === consumerId ? slot : NOT_OWNER;
  }

  /** The message, if it is detached. */
  detachedAt(sequence: number): StoredMessage | undefined {
    return this.detached.size === 0 ? undefined : this.detached.get(sequence);
  }

  /** The message, if the window has left it behind. */
  leftAt(sequence: number): LeftMessage | undefined {
    const { selection } = this;
    return selection === undefined || sequence >= this.window.floor ? undefined : selection.left.get(sequence);
  }

  /** Whether the window has the state of a message that is not finished. */
  isInWindow(sequence: number): boolean {
    return sequence >= this.window.floor && this.detachedAt(sequence) === undefined;
  }

  /** All messages with a lower sequence are finished. */
  get floor(): number {
    return this.selection === undefined ? this.window.floor : this.selection.floor;
  }

  /** Messages that wait to be delivered, and are not in the backlog any more. */
  get waitingCount(): number {
    return this.selection === undefined ? this.ready.length : this.ready.length + this.selection.waitingCount;
  }

  /** Whether a consumer has it. */
  isInFlight(sequence: number): boolean {
    return this.has(sequence) && this.slotOf(sequence).state === IN_FLIGHT;
  }

  /** Whether it is here, in whatever state but done. */
  isUnfinished(sequence: number): boolean {
    return this.has(sequence) && this.slotOf(sequence).state !== DONE;
  }

  /** How often it was delivered; 0: it is not here. */
  attemptsOf(sequence: number): number {
    return this.has(sequence) ? this.slotOf(sequence).attempts : 0;
  }

  private has(sequence: number): boolean {
    return this.window.has(sequence) || this.detached.has(sequence) || this.leftAt(sequence) !== undefined;
  }

  // ---- consumers come and go

  addConsumer(consumer: Consumer): void {
    this.consumers.set(consumer.id, consumer);
  }

  /** Makes the messages ready that the consumer has in flight. */
  removeConsumer(consumer: Consumer): void {
    this.consumers.delete(consumer.id);
    if (consumer.inFlightCount > 0) this.reclaim(consumer);
  }

  private reclaim(consumer: Consumer): void {
    const { window } = this;
    const { state, owner, mask } = window;
    for (let sequence = window.floor; sequence < window.cursor && consumer.inFlightCount > 0; sequence++) {
      const i = sequence & mask;
      if (state[i] === IN_FLIGHT && owner[i] === consumer.id) this.reclaimOne(consumer, sequence);
    }
    for (const { sequence, state, owner } of this.outsideWindow()) {
      if (state === IN_FLIGHT && owner === consumer.id) this.reclaimOne(consumer, sequence);
    }
  }

  /** The messages that the window has not. */
  private *outsideWindow(): Generator<StoredMessage | LeftMessage> {
    yield* this.detached.values();
    if (this.selection !== undefined) yield* this.selection.left.values();
  }

  private reclaimOne(consumer: Consumer, sequence: number): void {
    this.uncount(consumer, 1);
    this.makeReady(sequence);
    this.trace?.requeued(consumer.traceName, sequence, this.slotOf(sequence).attempts, 0, DETAIL_DISCONNECTED);
  }

  // ---- messages are added

  /** Counts messages that go to a consumer. The caller has set their state. */
  addRun(count: number, deadlineMs: number): void {
    this.count += count;
    this.expectDeadline(deadlineMs);
  }

  /** Adds a message of the deferred store that has fallen due. */
  addDue(message: StoredMessage): void {
    message.state = READY;
    this.detached.set(message.sequence, message);
    this.ready.push(message.sequence);
  }

  /** Detaches a message of the window, which the deferred store has written. */
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

  // ---- their state changes

  /** Marks a ready message as in flight again. @returns its attempts, this delivery included */
  redeliver(sequence: number, consumer: Consumer, nowMs: number, deadlineMs: number): number {
    const slot = this.slotOf(sequence);
    slot.state = IN_FLIGHT;
    slot.owner = consumer.id;
    slot.deadlineMs = deadlineMs;
    slot.deliveredAtMs = nowMs;
    if (slot.attempts < MOST_ATTEMPTS) slot.attempts++;
    this.addRun(1, deadlineMs);
    this.trace?.delivered(consumer.traceName, sequence, 1, slot.attempts);
    return slot.attempts;
  }

  /** Queues a message to be delivered again. */
  makeReady(sequence: number): void {
    const slot = this.slotOf(sequence);
    slot.state = READY;
    const { selection } = this;
    if (selection === undefined || selection.isFirst(sequence) || this.detachedAt(sequence) !== undefined) this.ready.push(sequence);
    else selection.blocked++;
  }

  /** Defers a message: it is ready again at `dueMs`. */
  defer(sequence: number, dueMs: number): void {
    const slot = this.slotOf(sequence);
    slot.state = DEFERRED;
    slot.deadlineMs = dueMs;
    this.deferredCount++;
    this.expectDeadline(dueMs);
  }

  /** Gives a message that the consumer has in flight another deadline. */
  extend(consumer: Consumer, sequence: number, slot: MessageSlot, deadlineMs: number): void {
    slot.deadlineMs = deadlineMs;
    this.expectDeadline(deadlineMs);
    this.trace?.touched(consumer.traceName, sequence, slot.attempts);
  }

  /** Removes a message that is finished. @returns the message if it was detached: the deferred store has an entry of it */
  remove(sequence: number): StoredMessage | undefined {
    const stored = this.detachedAt(sequence);
    const left = this.leftAt(sequence);
    if (stored !== undefined) {
      this.detached.delete(sequence);
    } else if (left !== undefined) {
      this.selection?.leaveBelow(left);
    } else {
      this.window.finish(sequence);
      this.selection?.leaveRun(sequence, 1);
    }
    return stored;
  }

  /** The consumer has finished a message. The caller removes it. */
  finishedBy(consumer: Consumer, sequence: number, slot: MessageSlot): void {
    this.trace?.finished(consumer.traceName, sequence, 1, slot.attempts);
    this.uncount(consumer, 1);
  }

  /** The consumer has requeued a message. The caller sets its state. */
  requeuedBy(consumer: Consumer, sequence: number, slot: MessageSlot, delayMs: number): void {
    this.trace?.requeued(consumer.traceName, sequence, slot.attempts, delayMs);
    this.uncount(consumer, 1);
    // Only one that timed out rather goes to another consumer.
    if (this.selection !== undefined) slot.owner = NOBODY;
  }

  /** Counts messages of a consumer as not in flight any more. The caller sets their state. */
  uncount(consumer: Consumer, messages: number): void {
    this.count -= messages;
    consumer.inFlightCount -= messages;
  }

  /** Takes a message out of the count or queue that its state puts it in. The caller sets another state, or removes the message. */
  withdraw(sequence: number): void {
    const { state, owner } = this.slotOf(sequence);
    if (state === IN_FLIGHT) this.disown(owner);
    else if (state === READY) this.withdrawReady(sequence);
    else if (state === DEFERRED) this.deferredCount--;
  }

  private withdrawReady(sequence: number): void {
    if (this.selection === undefined || this.detachedAt(sequence) !== undefined) this.ready.remove(sequence);
    else this.selection.withdrawReady(sequence);
  }

  private disown(owner: number): void {
    this.count--;
    const consumer = this.consumers.get(owner);
    if (consumer !== undefined) consumer.inFlightCount--;
  }

  /** Finishes up to `count` messages in a row, as long as they are in flight with the consumer. @returns how many were finished */
  finishRun(consumer: Consumer, first: number, count: number): number {
    // Detached messages count as done in the window: it cannot tell whether these are in flight.
    if (this.detached.size > 0) return 0;
    const finished = this.window.finishRun(first, count, consumer.id);
    this.uncount(consumer, finished);
    if (this.selection !== undefined && finished > 0) this.selection.leaveRun(first, finished);
    // The attempts of each are not looked at: its last delivery tells them.
    if (this.trace !== undefined && finished > 0) this.trace.finished(consumer.traceName, first, finished, 0);
    return finished;
  }

  /** Makes the messages ready whose deadline has passed: timed out, or deferred and due. @returns how many timed out */
  expire(nowMs: number): number {
    const { window } = this;
    const { state, deadlineMs, owner, attempts, mask } = window;
    let next = Number.POSITIVE_INFINITY;
    let timedOut = 0;
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT && state[i] !== DEFERRED) continue;
      if (deadlineMs[i] > nowMs) {
        if (deadlineMs[i] < next) next = deadlineMs[i];
      } else {
        if (state[i] === IN_FLIGHT) timedOut++;
        next = Math.min(next, this.expireOne(sequence, state[i], owner[i], attempts[i], nowMs));
      }
    }
    for (const message of this.outsideWindow()) {
      if (message.state === READY) continue;
      if (message.deadlineMs > nowMs) {
        if (message.deadlineMs < next) next = message.deadlineMs;
      } else {
        if (message.state === IN_FLIGHT) timedOut++;
        next = Math.min(next, this.expireOne(message.sequence, message.state, message.owner, message.attempts, nowMs));
      }
    }
    this.nextDeadlineMs = next;
    return timedOut;
  }

  /** @returns when it is looked at again, ms; Infinity: it is ready */
  private expireOne(sequence: number, state: number, owner: number, attempts: number, nowMs: number): number {
    if (state === IN_FLIGHT) this.trace?.timedOut(this.consumers.get(owner)?.traceName, sequence, attempts);
    this.withdraw(sequence);
    if (state === IN_FLIGHT && this.selection?.isOrdered === true) {
      this.defer(sequence, nowMs + LATE_FIN_MS);
      return nowMs + LATE_FIN_MS;
    }
    this.makeReady(sequence);
    return Number.POSITIVE_INFINITY;
  }

  /**
   * Goes back to `sequence` with an empty window, and leaves the detached messages as they are. No consumer has any message. The caller
   * has the progress, which has the others.
   */
  rewind(sequence: number): void {
    this.window.reset(sequence);
    this.ready.clear();
    this.selection?.clear();
    this.deferredCount = 0;
    this.nextDeadlineMs = Number.POSITIVE_INFINITY;
    for (const stored of this.detached.values()) {
      if (stored.state === READY) this.ready.push(stored.sequence);
      else if (stored.state === DEFERRED) this.deferredCount++;
      if (stored.state !== READY) this.expectDeadline(stored.deadlineMs);
    }
  }

  /**
   * Discards all messages, and goes on at `sequence`.
   *
   * @param target where the channel goes on in the end
   */
  restartAt(sequence: number, isEmptied: boolean, target: number): void {
    this.trace?.restarted(isEmptied, target, this.floor);
    this.disownAll();
    this.window.reset(sequence);
    this.ready.clear();
    this.selection?.clear();
    this.detached.clear();
    this.count = this.deferredCount = 0;
    this.nextDeadlineMs = Number.POSITIVE_INFINITY;
  }

  /** Counts all messages as not in flight any more. A consumer may have others, of other partitions. */
  private disownAll(): void {
    const { state, owner, mask, floor, cursor } = this.window;
    for (let sequence = floor; sequence < cursor && this.count > 0; sequence++) {
      if (state[sequence & mask] === IN_FLIGHT) this.disown(owner[sequence & mask]);
    }
    for (const { state, owner } of this.outsideWindow()) if (state === IN_FLIGHT) this.disown(owner);
  }

  /** Discards all messages and consumers for good. @param end behind the last of its messages */
  clear(end: number): void {
    this.trace?.deleted(end, this.floor);
    this.detached.clear();
    this.consumers.clear();
    this.count = 0;
  }

  private expectDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.nextDeadlineMs) return;
    this.nextDeadlineMs = deadlineMs;
    this.turn.wakeAt(deadlineMs);
  }
}
