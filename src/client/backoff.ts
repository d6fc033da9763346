import type { Clock, Timer } from "../base/clock.ts";

/** How the pauses grow. */
export type BackoffStrategy = "exponential" | "full-jitter";

/** How a consumer backs off. */
export interface BackoffSettings {
  readonly strategy: BackoffStrategy;
  readonly multiplierMs: number;
  readonly maxMs: number;
  readonly random: () => number;
}

/** What backing off does to a consumer's connections. */
export interface BackoffOwner {
  /** Nothing is to be received. */
  onPause(level: number, durationMs: number): void;
  /** One message is to be received, from any broker. @returns false if there is no broker */
  onProbe(level: number): boolean;
  /** Everything is to be received again. */
  onResume(): void;
}

/** The pause after which a consumer without a connection looks again. */
const NO_BROKER_MS = 1_000;
/** 2 to this power is beyond every maximum. */
const MAX_EXPONENT = 40;

/** The pause at a level: the multiplier times 2^level, or with full jitter a random part of it. */
export function backoffMs({ strategy, multiplierMs, random }: BackoffSettings, level: number): number {
  const pauseMs = multiplierMs * 2 ** Math.min(level, MAX_EXPONENT);
  return strategy === "full-jitter" ? Math.floor(random() * pauseMs) : pauseMs;
}

/**
 * go-nsq's back-off: one level for the whole consumer. A failure raises it, and everything stops for a time that doubles with each
 * level; then one message at a time is let through. Each success lowers the level. What is reported during a pause does not count.
 */
export class Backoff {
  private level = 0;
  private timer: Timer | undefined;

  constructor(
    private readonly settings: BackoffSettings,
    private readonly clock: Clock,
    private readonly owner: BackoffOwner,
  ) {}

  /** Whether a pause is under way. */
  get isPaused(): boolean {
    return this.timer !== undefined;
  }

  /** Whether fewer messages than usual are received. */
  get isActive(): boolean {
    return this.level > 0;
  }

  /** A message was finished. */
  succeeded(): void {
    if (this.isPaused || this.level === 0) return;
    this.level--;
    if (this.level > 0) this.pause();
    else this.owner.onResume();
  }

  /** A message has failed. */
  failed(): void {
    if (this.isPaused) return;
    if (backoffMs(this.settings, this.level + 1) <= this.settings.maxMs) this.level++;
    if (this.level > 0) this.pause();
  }

  /** A message was requeued, which is no failure. */
  unchanged(): void {
    if (!this.isPaused && this.level > 0) this.pause();
  }

  stop(): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
    this.level = 0;
  }

  private pause(): void {
    const durationMs = Math.min(backoffMs(this.settings, this.level), this.settings.maxMs);
    this.plan(durationMs);
    this.owner.onPause(this.level, durationMs);
  }

  private plan(durationMs: number): void {
    this.timer = this.clock.callAfter(durationMs, () => {
      this.timer = undefined;
      if (!this.owner.onProbe(this.level)) this.plan(NO_BROKER_MS);
    });
  }
}
