import type { Clock, Timer } from "../../base/clock.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { MetadataStore } from "../../broker/storage/metadata/metadata-store.ts";
import { type ReplicaRow, ReplicaRows } from "../../broker/storage/metadata/replica-rows.ts";
import type { ReplicaMemory } from "../replication/replica-log.ts";

/** How long to wait before rows are saved again that could not be. */
const AGAIN_MS = 1_000;

/** What one partition remembers, in its row of the metadata store. */
export class StoredMemory implements ReplicaMemory {
  constructor(
    private readonly memories: ReplicaMemories,
    readonly topicId: number,
    /** The uid of its topic. */
    readonly uid: string,
    public epoch: number,
    public isWhole: boolean,
  ) {}

  becameWhole(): void {
    this.isWhole = true;
    this.memories.saveSoon(this);
  }

  ceasedToBeWhole(): void {
    if (this.isWhole) this.memories.ceaseToBeWhole([this]);
  }

  saveEpoch(epoch: number): void {
    if (epoch > this.epoch) this.memories.saveEpochs(new Map([[this, epoch]]));
  }

  get row(): ReplicaRow {
    const { topicId, uid, epoch, isWhole } = this;
    return { topicId, uid, epoch, isWhole };
  }
}

/** The memories of all replicas of a data path. Those of many are saved by one transaction, and one sync. */
export class ReplicaMemories {
  private readonly rows: ReplicaRows;
  /** Those of earlier runs, by the ids of their partitions. */
  private readonly stored: ReadonlyMap<number, ReplicaRow>;
  private readonly waiting = new Set<StoredMemory>();
  private again: Timer | undefined;
  private isClosed = false;

  constructor(
    private readonly metadata: MetadataStore,
    private readonly clock: Clock,
    private readonly errors: RateLimitedLog,
  ) {
    this.rows = metadata.part(ReplicaRows);
    this.stored = new Map(this.rows.load().map((row) => [row.topicId, row]));
  }

  /** Saves what waits for it, and nothing by itself from then on. */
  close(): void {
    if (this.waiting.size > 0) this.saveWaiting();
    this.isClosed = true;
    if (this.again !== undefined) this.clock.cancel(this.again);
  }

  /** What an earlier run noted of a partition; undefined: it was no replica. */
  earlier(topicId: number): ReplicaRow | undefined {
    return this.stored.get(topicId);
  }

  of({ topicId, uid, epoch, isWhole }: ReplicaRow): StoredMemory {
    return new StoredMemory(this, topicId, uid, epoch, isWhole);
  }

  /** They are on the disk when this returns. @throws what the metadata store throws */
  save(memories: readonly StoredMemory[]): void {
    if (memories.length > 0) this.metadata.changeAll(() => this.rows.save(memories.map(({ row }) => row)), true);
  }

  /** They are on the disk when this returns. @throws what the metadata store throws; nothing has changed then */
  saveEpochs(epochs: ReadonlyMap<StoredMemory, number>): void {
    const newer = [...epochs].filter(([memory, epoch]) => epoch > memory.epoch);
    if (newer.length === 0) return;
    this.metadata.changeAll(() => this.rows.save(newer.map(([memory, epoch]) => ({ ...memory.row, epoch }))), true);
    for (const [memory, epoch] of newer) memory.epoch = epoch;
  }

  /**
   * What their logs lack was found out once: the next start may see nothing of it.
   *
   * @throws what the metadata store throws; nothing has changed then. Else it is on the disk when this returns
   */
  ceaseToBeWhole(memories: readonly StoredMemory[]): void {
    if (memories.length === 0) return;
    this.metadata.changeAll(() => this.rows.save(memories.map(({ row }) => ({ ...row, isWhole: false }))), true);
    for (const memory of memories) {
      memory.isWhole = false;
      this.waiting.delete(memory);
    }
  }

  /** That one is whole may be forgotten by a power cut: it catches up again then. */
  saveSoon(memory: StoredMemory): void {
    if (this.waiting.size === 0) this.clock.callAfterTurn(() => this.saveWaiting());
    this.waiting.add(memory);
  }

  private saveWaiting(): void {
    if (this.isClosed) return;
    const memories = [...this.waiting];
    this.waiting.clear();
    try {
      this.metadata.changeAll(() => this.rows.save(memories.map(({ row }) => row)));
    } catch (error) {
      this.errors.error(`CLUSTER: cannot save that replicas have caught up: ${(error as Error).message}`);
      this.again = this.clock.callAfter(AGAIN_MS, () => {
        for (const memory of memories) this.saveSoon(memory);
      });
    }
  }
}
