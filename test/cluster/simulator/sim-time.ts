import { drainMicrotasks } from "bun:jsc";
import { DeadlineHeap } from "../../../src/base/deadline-heap.ts";

/** Something that is to happen, and may be taken back. */
export interface SimEvent {
  run: (() => void) | undefined;
}

/** All events of one moment, in the order in which they were asked for. */
class Moment {
  deadlineMs = 0;
  deadlineIndex = -1;
  readonly events: SimEvent[] = [];
}

/**
 * True time, which only the simulator knows: one queue of events, made one after the other. After each, all promises that are settled
 * go on, so nothing is left that depends on the machine.
 */
export class SimTime {
  nowMs = 0;
  /** How many events were made. */
  count = 0;
  private readonly heap = new DeadlineHeap<Moment>();
  private readonly moments = new Map<number, Moment>();

  after(delayMs: number, run: () => void): SimEvent {
    const atMs = this.nowMs + Math.max(0, delayMs);
    let moment = this.moments.get(atMs);
    if (moment === undefined) {
      moment = new Moment();
      this.moments.set(atMs, moment);
      this.heap.set(moment, atMs);
    }
    const event: SimEvent = { run };
    moment.events.push(event);
    return event;
  }

  cancel(event: SimEvent): void {
    event.run = undefined;
  }

  /** Makes all events of the next ms, and lets the time pass. */
  advance(ms: number): void {
    const untilMs = this.nowMs + ms;
    drainMicrotasks();
    while (this.heap.nextMs <= untilMs) this.nextMoment();
    this.nowMs = untilMs;
  }

  /** Makes events until a condition holds. @throws Error if it does not within that time, or nothing can happen any more */
  until(condition: () => boolean, withinMs: number, what: string): void {
    const untilMs = this.nowMs + withinMs;
    drainMicrotasks();
    while (!condition()) {
      if (this.heap.nextMs > untilMs) throw new Error(`not within ${withinMs} ms of simulated time: ${what}`);
      this.nextMoment();
    }
  }

  /** What a promise resolves to, which happens at once or by events to come. */
  settle<T>(promise: Promise<T>, withinMs = 600_000): T {
    let result: { value: T } | { error: unknown } | undefined;
    promise.then(
      (value) => {
        result = { value };
      },
      (error) => {
        result = { error };
      },
    );
    this.until(() => result !== undefined, withinMs, "a promise");
    if (result !== undefined && "value" in result) return result.value;
    throw result?.error;
  }

  private nextMoment(): void {
    const moment = this.heap.takeDue(Number.POSITIVE_INFINITY);
    if (moment === undefined) return;
    this.nowMs = Math.max(this.nowMs, moment.deadlineMs);
    this.moments.delete(moment.deadlineMs);
    for (const { run } of moment.events) {
      if (run === undefined) continue;
      this.count++;
      run();
      drainMicrotasks();
    }
  }
}
