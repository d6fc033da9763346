/** Timers that are late by less than this are the business of a loaded machine. */
const STALL_MS = 1000;

/**
 * Notices that the process stood still: it was stopped, its machine was paused, or something held the event loop. What clients
 * sent meanwhile is still to be read, so their silence means nothing.
 */
export class StallWatch {
  private lastMs: number | undefined;

  /** @param intervalMs how often check() is called at least */
  constructor(private readonly intervalMs: number) {}

  /** To be called by a timer. @returns for how long nothing ran before this call, ms; 0: the call is about in time */
  check(nowMs: number): number {
    const lateMs = this.lastMs === undefined ? 0 : nowMs - this.lastMs - this.intervalMs;
    this.lastMs = nowMs;
    return lateMs < STALL_MS ? 0 : lateMs;
  }
}
