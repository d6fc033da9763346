type Done = (failure: Error | undefined) => void;

/** Several syncs that somebody waits for together. Whoever waits is told once, of the first failure if there was any. */
export class SyncGroup {
  private failure: Error | undefined;
  /** Syncs under way, and one more until seal(). */
  private left = 1;
  private readonly waiting: Done[];

  constructor(done: Done) {
    this.waiting = [done];
  }

  /** Adds a sync. @returns what it must call when it has ended, with what went wrong */
  add(): (error?: Error | null) => void {
    this.left++;
    return this.ended;
  }

  /** No more syncs are added; if all have ended, whoever waits is told now. */
  seal(): void {
    this.ended();
  }

  /** Tells one more, after those who waited before. To be called before the group has ended. */
  whenEnded(done: Done): void {
    this.waiting.push(done);
  }

  private readonly ended = (error?: Error | null): void => {
    this.failure ??= error ?? undefined;
    this.left--;
    if (this.left > 0) return;
    for (const done of this.waiting) done(this.failure);
  };
}
