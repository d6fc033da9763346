import type { LogAbout, Logger } from "./logger.ts";

/** The shortest time between two equal lines. */
const AGAIN_AFTER_MS = 10_000;
/** The most different lines within that time. What is beyond them is counted only. */
const MOST_LINES = 100;

/**
 * Logs errors that would otherwise repeat many times a second, for instance while a disk is full or no file can be opened: each
 * text once in ten seconds, and no more than MOST_LINES texts, since each of a thousand topics may fail in its own words.
 */
export class RateLimitedLog {
  private readonly lastMs = new Map<string, number>();
  private leftOut = 0;
  private toldMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly logger: Logger,
    /** A clock that nobody sets, ms. */
    private readonly clock: () => number = () => performance.now(),
  ) {}

  error(text: string, about?: LogAbout): void {
    const nowMs = this.clock();
    if (nowMs - (this.lastMs.get(text) ?? Number.NEGATIVE_INFINITY) < AGAIN_AFTER_MS) return;
    this.lastMs.delete(text);
    if (this.lastMs.size >= MOST_LINES && !this.forgetOld(nowMs)) return this.leaveOut(nowMs);
    // At the end of the map: its texts are in the order in which they were logged.
    this.lastMs.set(text, nowMs);
    this.logger.error(text, about);
  }

  /** @returns false if all texts were logged within AGAIN_AFTER_MS */
  private forgetOld(nowMs: number): boolean {
    for (const [text, lastMs] of this.lastMs) {
      if (nowMs - lastMs < AGAIN_AFTER_MS) break;
      this.lastMs.delete(text);
    }
    return this.lastMs.size < MOST_LINES;
  }

  private leaveOut(nowMs: number): void {
    this.leftOut++;
    if (nowMs - this.toldMs < AGAIN_AFTER_MS) return;
    this.toldMs = nowMs;
    this.logger.error(`more than ${MOST_LINES} different errors within ${AGAIN_AFTER_MS / 1000} s: ${this.leftOut} are left out so far`);
  }
}
