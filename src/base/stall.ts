/** Timers that are late by less than this are the business of a loaded machine. */
const STALL_MS = 1000;
/** After a stall what has arrived is read for this long before anybody's time is over. */
const CATCH_UP_MS = 500;

/**
 * Notices that the process stood still: it was stopped, its machine was paused, or something held the event loop. What clients
 * sent meanwhile is still to be read, so their silence means nothing.
 */
export class StallWatch {
  /** @param intervalMs how often check() is called at least @param lastMs the time now */
  constructor(
    private readonly intervalMs: number,
    private lastMs: number,
  ) {}

  /** To be called by a timer. @returns for how long nothing ran before this call, ms; 0: the call is about in time */
  check(nowMs: number): number {
    const lateMs = nowMs - this.lastMs - this.intervalMs;
    this.lastMs = nowMs;
    return lateMs < STALL_MS ? 0 : lateMs;
  }
}

/** A callback that is due after a delay. If a stall delayed it further, what has arrived meanwhile is read before it is called. */
export class PatientTimer {
  private timer: ReturnType<typeof setTimeout>;

  constructor(delayMs: number, callback: () => void) {
    const dueMs = performance.now() + delayMs;
    this.timer = setTimeout(() => {
      if (performance.now() - dueMs < STALL_MS) callback();
      else this.timer = setTimeout(callback, CATCH_UP_MS);
    }, delayMs);
  }

  cancel(): void {
    clearTimeout(this.timer);
  }
}
