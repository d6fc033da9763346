type Done = (failure: Error | undefined) => void;

/** Waits for several syncs. When all have ended, `done` is called once, with the first failure if there was one. */
export class SyncGroup {
  private failure: Error | undefined;
  /** Syncs under way, and one more until seal(). */
  private left = 1;
  private readonly waiting: Done[];

  constructor(done: Done) {
    this.waiting = [done];
  }

  /** Adds a sync. @returns a function to be called when the sync ends, with the error if it failed */
  add(): (error?: Error | null) => void {
    this.left++;
    return this.ended;
  }

  /** To be called after the last add(). If all syncs have ended already, this calls `done`. */
  seal(): void {
    this.ended();
  }

  /** Adds another `done`, which is called after the earlier ones. To be called before the group has ended. */
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
