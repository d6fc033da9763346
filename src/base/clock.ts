/** A call that a Clock will make; only good for taking it back. */
export type Timer = object;

/**
 * Where a server gets the time and its wake-ups from. Each broker is given one: tests put a clock in its place that they
 * move by hand, so that a run depends on nothing but its seed.
 */
export interface Clock {
  /** The wall clock, ms since 1970; somebody may set it at any moment. */
  wallMs(): number;
  /** A clock that nobody sets, ms since some moment before the server began. */
  steadyMs(): number;
  /** Calls back once, when `delayMs` have passed. It keeps the process alive until then. */
  callAfter(delayMs: number, callback: () => void): Timer;
  /** Takes a call back that was not made yet. */
  cancel(timer: Timer): void;
  /** Calls back once the sockets that are ready in this turn of the event loop have been served. */
  callAfterTurn(callback: () => void): void;
}

/** The machine's own clocks. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  steadyMs: () => performance.now(),
  callAfter: (delayMs, callback) => setTimeout(callback, delayMs),
  cancel: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  callAfterTurn: setImmediate,
};
