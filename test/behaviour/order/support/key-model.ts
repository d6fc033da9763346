import type { KeyedConsumer } from "./keyed-consumer.ts";
import { MSG_TIMEOUT_MS } from "./ordered-broker.ts";

/** A cursor is saved within this: a kill takes back what was finished, or deferred, later. */
const UNSAVED_MS = 250;

/** A message of one key that a consumer has. */
interface Held {
  number: number;
  consumer: KeyedConsumer;
  untilMs: number;
}

/** What is known of one key. Its messages have the numbers 0, 1, … */
export class KeyModel {
  published = 0;
  /** All below are finished. */
  next = 0;
  held: Held | undefined;
  /** It is not delivered before this, because of a requeue. */
  dueMs = 0;
  /** When which message was finished. */
  readonly finishedAt: number[] = [];
  /** It may be a dead letter by now: it was delivered as often as it may be, and not finished. -1: none. */
  dying = -1;
  private requeuedAtMs = 0;
  /** After a kill: the lowest message that may come again. */
  private lowest: number | undefined;

  onDelivered(number: number, consumer: KeyedConsumer, nowMs: number): void {
    const { held } = this;
    if (held !== undefined && nowMs < held.untilMs) throw new Error(`${number} is delivered while ${held.number} is in flight`);
    if (nowMs < this.dueMs) throw new Error(`${number} is delivered ${this.dueMs - nowMs} ms too early`);
    if (this.lowest !== undefined && number < this.next && number >= this.lowest) this.next = number;
    if (this.dying >= 0 && this.dying === this.next && number === this.next + 1) this.finishedAt[this.next++] = nowMs;
    if (number !== this.next) throw new Error(`${number} is delivered, and ${this.next} is next`);
    this.held = { number, consumer, untilMs: nowMs + MSG_TIMEOUT_MS };
    this.lowest = undefined;
    this.dying = -1;
  }

  /** Whether all is finished, or is a dead letter. */
  get isDone(): boolean {
    return this.next + (this.dying === this.next ? 1 : 0) === this.published;
  }

  onFinished(nowMs: number): void {
    this.finishedAt[this.next++] = nowMs;
    this.held = undefined;
  }

  onRequeued(nowMs: number, delayMs: number): void {
    this.held = undefined;
    this.requeuedAtMs = nowMs;
    this.dueMs = nowMs + delayMs;
  }

  onDisconnected(consumer: KeyedConsumer): void {
    if (this.held?.consumer === consumer) this.held = undefined;
  }

  onKilled(nowMs: number): void {
    this.held = undefined;
    // What came again of none since the kill before may still come.
    this.lowest = Math.min(this.lowest ?? this.next, this.next);
    while (this.lowest > 0 && this.finishedAt[this.lowest - 1] > nowMs - UNSAVED_MS) this.lowest--;
    if (this.requeuedAtMs > nowMs - UNSAVED_MS) this.dueMs = 0;
  }
}
