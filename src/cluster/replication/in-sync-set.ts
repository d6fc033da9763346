import type { RecordWriter } from "./record-writer.ts";
import type { StoredRecord } from "./replica-parts.ts";

/**
 * The in-sync set of a partition, as its leader has to count with it. A change counts when etcd has it; while that is not known, everybody
 * counts who is in the set before or after it. So nothing rests on a shrink that is not in etcd, and nobody can become the leader who was
 * not counted.
 */
export class InSyncSet {
  private changing: readonly string[] | undefined;

  constructor(
    private readonly key: string,
    private stored: StoredRecord,
    private readonly writer: RecordWriter,
    /** Called when a change is known to be made or not; with the record, if that is known. */
    private readonly onChanged: (stored: StoredRecord | undefined) => void,
  ) {}

  /** As etcd had it last. */
  get known(): readonly string[] {
    return this.stored.value.inSync;
  }

  /** Whose ends bound the high watermark. */
  get members(): readonly string[] {
    if (this.changing === undefined) return this.known;
    return [...new Set([...this.known, ...this.changing])];
  }

  get isChanging(): boolean {
    return this.changing !== undefined;
  }

  has(uid: string): boolean {
    return this.known.includes(uid);
  }

  /** @param additions which additions of replicas it knows of: where it has not heard of its own, it is about to drop what it has */
  mayJoin({ uid, additions }: { readonly uid: string; readonly additions: number }): boolean {
    return !this.isChanging && !this.has(uid) && additions >= (this.stored.value.additions ?? 0);
  }

  /** To be called with each newer record. */
  update(stored: StoredRecord): void {
    this.stored = stored;
  }

  /** Changes the set. Not to be called while a change is under way. */
  change(inSync: readonly string[]): void {
    this.propose({ inSync });
  }

  /** Another member is to lead from now on, in the epoch that follows. */
  handTo(leader: string, inSync: readonly string[], onEnd: () => void): void {
    this.propose({ leader, epoch: this.stored.value.epoch + 1, inSync }, onEnd);
  }

  private propose(changes: Partial<StoredRecord["value"]>, onEnd = () => {}): void {
    const record = { ...this.stored.value, ...changes };
    this.changing = record.inSync;
    this.writer.change(this.key, this.stored, record, (stored) => {
      this.changing = undefined;
      this.onChanged(stored);
      onEnd();
    });
  }
}
