import { logLine } from "./tool.ts";

/** With fewer values the percentiles say little. */
const ENOUGH = 100;

/** Logs how long the last requests took, each time that there were so many. */
class TimerMetrics {
  private durations: number[] = [];
  private position = 0;

  /** @param every after how many requests; 0 for never. @param prefix begins the line */
  constructor(
    private readonly every: number,
    private readonly prefix: string,
  ) {
    if (every > 0 && every < ENOUGH) {
      logLine(`Warning: use more than ${ENOUGH} status values for accurate percentiles (configured with ${every})`, "warn");
    }
  }

  /** @param startMs when the request that has ended was begun, on the steady clock */
  add(startMs: number): void {
    if (this.every <= 0) return;
    const isRound = this.position === this.every;
    this.position = isRound ? 1 : this.position + 1;
    this.durations[this.position - 1] = performance.now() - startMs;
    if (isRound) logLine(this.line());
  }

  private line(): string {
    const sorted = this.durations.toSorted((a, b) => a - b);
    const percentile = (percent: number) => sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length + 0.5))] ?? 0;
    const average = sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
    const [p99, p95, avg] = [percentile(99), percentile(95), average].map((ms) => `${ms.toFixed(2)}ms`);
    return `${this.prefix} finished ${sorted.length} - 99th: ${p99} - 95th: ${p95} - avg: ${avg}`;
  }
}

/** Metrics of all requests, and of each address if there are several. */
export class RequestMetrics {
  private readonly all: TimerMetrics;
  private readonly each = new Map<string, TimerMetrics>();

  constructor(every: number, addresses: readonly string[]) {
    if (addresses.length > 1) for (const address of addresses) this.each.set(address, new TimerMetrics(every, `[${address}]:`));
    this.all = new TimerMetrics(every, "[aggregate]:");
  }

  addAt(address: string, startMs: number): void {
    this.each.get(address)?.add(startMs);
  }

  add(startMs: number): void {
    this.all.add(startMs);
  }
}
