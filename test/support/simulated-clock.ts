import type { Clock, Timer } from "../../src/base/clock.ts";

interface Call extends Timer {
  atMs: number;
  /** Calls for the same moment are made in the order in which they were asked for. */
  order: number;
  callback: () => void;
}

/**
 * A clock that stands still until a test moves it: what is to be called when, and in which order, follows from the test
 * alone. Several may run side by side, each with a wall clock of its own.
 */
export class SimulatedClock implements Clock {
  /** Called at the end of each turn, before what was asked for: the sockets that are ready are served. */
  onPoll: () => void = () => {};
  private nowMs = 0;
  private calls: Call[] = [];
  private turn: (() => void)[] = [];
  private order = 0;

  /**
   * @param wallOffsetMs what the wall clock says at the start, ms since 1970
   * @param wallRate how fast the wall clock goes: 1 is right, 1.01 gains 10 ms a second
   */
  constructor(
    private wallOffsetMs: number,
    private readonly wallRate = 1,
  ) {}

  wallMs(): number {
    return this.wallOffsetMs + this.nowMs * this.wallRate;
  }

  steadyMs(): number {
    return this.nowMs;
  }

  callAfter(delayMs: number, callback: () => void): Timer {
    const call: Call = { atMs: this.nowMs + Math.max(0, delayMs), order: this.order++, callback };
    this.calls.push(call);
    return call;
  }

  cancel(timer: Timer): void {
    this.calls = this.calls.filter((call) => call !== timer);
  }

  callAfterTurn(callback: () => void): void {
    this.turn.push(callback);
  }

  /** Somebody sets the wall clock. */
  setWallClock(byMs: number): void {
    this.wallOffsetMs += byMs;
  }

  /** Ends the turn of the event loop that is under way, and those that it makes necessary. */
  endTurn(): void {
    while (this.turn.length > 0) {
      this.onPoll();
      for (const callback of this.turn.splice(0)) callback();
    }
  }

  /** The process is stopped: time passes, and calls that fall due in it are made late, by the next advance(). */
  stall(byMs: number): void {
    this.nowMs += byMs;
  }

  /** Lets time pass, and makes all calls that fall due in it, each in a turn of its own. */
  advance(byMs: number): void {
    const untilMs = this.nowMs + byMs;
    this.endTurn();
    for (;;) {
      const next = this.calls.reduce<Call | undefined>(
        (first, call) => (first === undefined || isBefore(call, first) ? call : first),
        undefined,
      );
      if (next === undefined || next.atMs > untilMs) break;
      this.cancel(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.callback();
      this.endTurn();
    }
    this.nowMs = untilMs;
  }
}

function isBefore(one: Call, other: Call): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}
