const TICK_MS = 20;
const REMEMBERED_MS = 3_000;

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
