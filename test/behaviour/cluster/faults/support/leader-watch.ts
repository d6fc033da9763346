import type { ClusterRecords } from "../../support/cluster-records.ts";
import type { FaultWindow } from "./stream-ledger.ts";

const LOOKS_EACH_MS = 50;
/** What consumers had got from the leader before may be finished so much later, where nobody hears of it any more. */
const HELD_MS = 1_500;

/**
 * Notices when leaders change without a fault: balancing hands partitions over, and what is in flight then comes again, as when a
 * connection ends.
 */
export class LeaderWatch {
  private epochs = new Map<string, number>();
  private lastMs = Date.now();
  private isClosed = false;

  private constructor(
    private readonly records: ClusterRecords,
    private readonly windows: FaultWindow[],
  ) {}

  /** @param windows gets the time around each change */
  static start(records: ClusterRecords, windows: FaultWindow[]): LeaderWatch {
    const watch = new LeaderWatch(records, windows);
    void watch.run();
    return watch;
  }

  close(): void {
    this.isClosed = true;
  }

  private async run(): Promise<void> {
    while (!this.isClosed) {
      await this.look();
      await Bun.sleep(LOOKS_EACH_MS);
    }
  }

  /** Looks once. Without etcd no leader changes. */
  async look(): Promise<void> {
    const nowMs = Date.now();
    const placed = await this.records.partitions().catch(() => undefined);
    if (placed === undefined) return;
    const epochs = new Map(placed.map(({ topic, partition, record }) => [`${topic}/${partition}`, record.epoch]));
    const hasChanged = [...epochs].some(([name, epoch]) => (this.epochs.get(name) ?? epoch) !== epoch);
    if (hasChanged) this.windows.push({ fromMs: this.lastMs, untilMs: Date.now() + HELD_MS });
    this.epochs = epochs;
    this.lastMs = nowMs;
  }
}
