const TICK_MS = 20;
const REMEMBERED_MS = 3_000;
const AGAIN = 2;
/** A stall that may have changed what a server did. */
const STALL_MS = 150;

/** Knows how long this process itself could lately not look at its sockets, so that its delays are not blamed on others. */
export class StallMonitor {
  private tickMs = performance.now();
  private worstMs = 0;
  private worstAtMs = 0;
  private worstOfAllMs = 0;
  private readonly timer = setInterval(() => this.tick(), TICK_MS);

  /** The longest stall of the last seconds, one that is going on included, in ms. */
  ms(): number {
    return Math.max(this.worstMs, performance.now() - this.tickMs - TICK_MS);
  }

  /** The longest stall since the beginning, in ms. */
  worst(): number {
    return Math.max(this.worstOfAllMs, this.ms());
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private tick(): void {
    const now = performance.now();
    const stalledMs = now - this.tickMs - TICK_MS;
    this.worstOfAllMs = Math.max(this.worstOfAllMs, stalledMs);
    if (stalledMs >= this.worstMs || now - this.worstAtMs > REMEMBERED_MS) {
      this.worstMs = Math.max(0, stalledMs);
      this.worstAtMs = now;
    }
    this.tickMs = now;
  }
}

/**
 * Plays something that has to do with servers in processes of their own, whose time no test can stop. Where it fails and this process stood
 * still meanwhile, it is played again, at most twice: what the servers did then depends on when they were answered.
 */
export async function againAfterStalls(play: () => Promise<void>): Promise<void> {
  for (let again = AGAIN; ; again--) {
    const monitor = new StallMonitor();
    try {
      return await play();
    } catch (error) {
      if (again === 0 || monitor.worst() < STALL_MS) throw error;
      console.log(`played again after a stall of ${monitor.worst().toFixed(0)} ms: ${(error as Error).message}`);
    } finally {
      monitor.stop();
    }
  }
}
