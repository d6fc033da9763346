import type { Logger } from "./logger.ts";

/** The shortest time between two equal lines. */
const AGAIN_AFTER_MS = 10_000;
/** The most texts that are remembered. Beyond this all are forgotten, and each may be logged again. */
const MOST_KINDS = 100;

/** Logs errors that would otherwise repeat many times a second, for instance while a disk is full: each text once in ten seconds. */
export class RateLimitedLog {
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
