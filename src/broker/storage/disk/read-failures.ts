import type { Logger } from "../../../base/logger.ts";
import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import { UnreadableFile } from "./unreadable-file.ts";

/** The pause after the first failure. Each further one doubles it. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** What the retries go by. */
export interface RetryTurn {
  /** The broker's time of this turn, ms. */
  readonly nowMs: number;
  /** Asks to be woken at a time. */
  wakeAt(atMs: number): void;
}

/**
 * Everything that waits because a file could not be read. Whoever reads files has a ReadRetry here. While it waits, /ping and
 * /stats say so; when it is time to, it is resumed and reads again.
 */
export class ReadFailures {
  private readonly waiting = new Set<ReadRetry>();

  constructor(
    private readonly turn: RetryTurn,
    private readonly logger: Logger,
    private readonly rateLimitedLog: RateLimitedLog,
  ) {}

  /** Failures that go by a clock and wake nobody: whoever waits is asked to go on anyway. */
  static by(clock: { currentMs(): number }, logger: Logger, rateLimitedLog: RateLimitedLog): ReadFailures {
    const turn = {
      get nowMs() {
        return clock.currentMs();
      },
      wakeAt: () => {},
    };
    return new ReadFailures(turn, logger, rateLimitedLog);
  }

  /** Why the first of those that wait does; undefined when none waits. */
  get failure(): Error | undefined {
    for (const { failure } of this.waiting) return failure;
    return undefined;
  }

  /** Who waits, and why. */
  get list(): { waiting: string; error: string }[] {
    return [...this.waiting].map(({ who, failure }) => ({ waiting: who, error: failure?.message ?? "" }));
  }

  /**
   * Makes the retries of one reader.
   *
   * @param who what log lines call it
   * @param resume called when it is time to read again
   */
  retry(who: string, resume: () => void): ReadRetry {
    return new ReadRetry(this, who, resume);
  }

  /** Resumes those whose time it is. @returns when the next one is to be resumed, ms; Infinity: none waits */
  resumeDue(): number {
    const { nowMs } = this.turn;
    let next = Number.POSITIVE_INFINITY;
    for (const retry of [...this.waiting]) {
      if (retry.retryAtMs <= nowMs) retry.resumeNow();
      else next = Math.min(next, retry.retryAtMs);
    }
    return next;
  }

  get nowMs(): number {
    return this.turn.nowMs;
  }

  /** For ReadRetry. */
  failed(retry: ReadRetry, error: Error): void {
    this.waiting.add(retry);
    this.rateLimitedLog.error(`${retry.who} waits: ${error.message}; trying again`);
    this.turn.wakeAt(retry.retryAtMs);
  }

  /** For ReadRetry. @param healed it was read; false: nobody wants to read it any more */
  ended(retry: ReadRetry, healed: boolean): void {
    this.waiting.delete(retry);
    if (healed) this.logger.info(`${retry.who} goes on: what could not be read was read`);
  }
}

/**
 * The retries of one reader of files, at growing intervals. Where reads fail, it does not read again before retryAtMs, however
 * often it is asked to.
 */
export class ReadRetry {
  /** Why the last read failed; undefined: it did not. */
  failure: Error | undefined;
  /** When to read again, ms. */
  retryAtMs = 0;
  private pauseMs = 0;

  constructor(
    private readonly failures: ReadFailures,
    readonly who: string,
    private readonly resume: () => void,
  ) {}

  /** A read failed, and it is too early to try again. */
  get isWaiting(): boolean {
    return this.failure !== undefined && this.retryAtMs > this.failures.nowMs;
  }

  /** A read failed: waits, twice as long as the last time. */
  failed(error: Error): void {
    if (this.isWaiting) return;
    this.failure = error;
    this.pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * this.pauseMs));
    this.retryAtMs = this.failures.nowMs + this.pauseMs;
    this.failures.failed(this, error);
  }

  /**
   * Reads, unless it is too early to. Any failure to read is noted.
   *
   * @param isExpected which errors are; others are thrown
   * @returns whether it was read
   */
  run(read: () => void, isExpected = isUnreadable): boolean {
    if (this.isWaiting) return false;
    try {
      read();
    } catch (error) {
      if (!isExpected(error)) throw error;
      this.failed(error as Error);
      return false;
    }
    this.succeeded();
    return true;
  }

  /** A read succeeded. */
  succeeded(): void {
    if (this.failure !== undefined) this.end(true);
  }

  /** Nothing is to be read any more. */
  cancel(): void {
    if (this.failure !== undefined) this.end(false);
  }

  /** To be called by ReadFailures when it is time to read again. */
  resumeNow(): void {
    this.resume();
  }

  private end(healed: boolean): void {
    this.failure = undefined;
    this.pauseMs = 0;
    this.failures.ended(this, healed);
  }
}

function isUnreadable(error: unknown): boolean {
  return error instanceof UnreadableFile;
}
