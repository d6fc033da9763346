import type { Logger } from "./logger.ts";

/** The same complaint is not logged again before this. */
const AGAIN_AFTER_MS = 10_000;
/** More different complaints than this are not told apart. */
const MOST_KINDS = 100;

/** Logs errors that would else come many times a second, as long as a disk is full: each text once in ten seconds. */
export class Trouble {
  private readonly lastMs = new Map<string, number>();

  constructor(private readonly logger: Logger) {}

  error(text: string): void {
    const nowMs = performance.now();
    if (nowMs - (this.lastMs.get(text) ?? Number.NEGATIVE_INFINITY) < AGAIN_AFTER_MS) return;
    if (this.lastMs.size >= MOST_KINDS) this.lastMs.clear();
    this.lastMs.set(text, nowMs);
    this.logger.error(text);
  }
}
