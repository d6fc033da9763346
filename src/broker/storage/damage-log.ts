import type { Logger } from "../../base/logger.ts";

/** What was damaged, for the counters in /stats. Damage to a topic's log counts for the topic. */
export type DamagedPart = "journal" | "deferred" | "keys" | "metadata" | "other";

/** Logs damage to files that no single topic owns, and counts it. */
export class DamageLog {
  /** Damaged files and regions since the broker started, by what they belong to. */
  readonly counts = new Map<DamagedPart, number>();

  constructor(private readonly logger: Logger) {}

  report(part: DamagedPart, line: string): void {
    this.counts.set(part, (this.counts.get(part) ?? 0) + 1);
    this.logger.error(line);
  }

  /** Logs an error that says nothing of damage. */
  error(line: string): void {
    this.logger.error(line);
  }

  warn(line: string): void {
    this.logger.warn(line);
  }
}
