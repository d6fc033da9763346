import type { Clock, Timer } from "../../base/clock.ts";
import type { Etcd, EtcdEntry } from "../etcd/etcd.ts";
import { MAX_TXN_OPERATIONS } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { Stored } from "../state/cluster-view.ts";
import { type PartitionRecord, SHAPES } from "../state/records.ts";
import { BadValue } from "../state/shape.ts";

/**
 * How long to wait before a change is tried again whose outcome is not known. As long those wait whose change was not made: most would ask
 * for it again at once, and etcd may refuse at once.
 */
const AGAIN_MS = 200;

/** As many of those hear in one turn that a transaction has changed their records. */
const TOLD_PER_TURN = 8;

const SHAPE = SHAPES.partitions;

/**
 * What came of a change: `stored` is the record now, changed by us or by somebody else. Undefined: the change was surely not made and will
 * not be, as etcd did not take it or the partition is gone.
 */
export type OnChanged = (stored: Stored<PartitionRecord> | undefined) => void;

interface Change {
  readonly key: string;
  readonly modRevision: number;
  readonly value: string;
  readonly epoch: number;
  readonly onChanged: OnChanged;
  /** An attempt may have been made, or may yet be. */
  isUncertain: boolean;
}

/**
 * Changes records of partitions, each on the condition that it is as it was known. The changes of one turn go as one transaction, up to 128
 * of them. If one of them is overtaken by somebody else's change, the others are tried again without it. A change whose outcome
 * is unknown is tried again until it is known: it is made once at most, as it rests on the revision.
 */
export class RecordWriter {
  private waiting: Change[] = [];
  private isAsked = false;
  private isClosed = false;
  private readonly timers = new Set<Timer>();

  /** @param onWritten called with what one transaction has changed, before those hear of it who asked */
  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Clock,
    private readonly onWritten: (epochs: ReadonlyMap<string, number>) => void = () => {},
  ) {}

  close(): void {
    this.isClosed = true;
    for (const timer of this.timers) this.clock.cancel(timer);
  }

  /** @param stored what the change rests on */
  change(key: string, stored: Stored<PartitionRecord>, record: PartitionRecord, onChanged: OnChanged): void {
    this.add([{ key, modRevision: stored.modRevision, value: SHAPE.write(record), epoch: record.epoch, onChanged, isUncertain: false }]);
  }

  private add(changes: readonly Change[]): void {
    this.waiting.push(...changes);
    if (this.isAsked || this.waiting.length === 0) return;
    this.isAsked = true;
    this.clock.callAfterTurn(() => {
      this.isAsked = false;
      while (this.waiting.length > 0 && !this.isClosed) void this.write(this.nextBatch());
    });
  }

  /** As many changes as one transaction takes. etcd refuses one that has a key twice. */
  private nextBatch(): Change[] {
    const batch = new Map<string, Change>();
    const rest: Change[] = [];
    for (const change of this.waiting) {
      if (batch.has(change.key) || batch.size === MAX_TXN_OPERATIONS) rest.push(change);
      else batch.set(change.key, change);
    }
    this.waiting = rest;
    return [...batch.values()];
  }

  private async write(changes: readonly Change[]): Promise<void> {
    const result = await this.etcd.txn(
      changes.map(({ key, modRevision }) => ({ key, modRevision })),
      changes.map(({ key, value }) => ({ put: key, value })),
      changes.map(({ key }) => ({ get: key })),
    );
    if (this.isClosed) return;
    if (result instanceof EtcdError) return this.failed(changes, result);
    const { succeeded, revision, entries } = result;
    if (!succeeded) return this.overtaken(changes, entries);
    this.onWritten(new Map(changes.map(({ key, epoch }) => [key, epoch])));
    this.tellWritten(changes, revision);
  }

  /** Some in each turn: to begin to lead takes a while, and others must not take this broker for dead. */
  private tellWritten(changes: readonly Change[], revision: number): void {
    if (this.isClosed) return;
    for (const { value, onChanged } of changes.slice(0, TOLD_PER_TURN)) onChanged(storedOf({ value, modRevision: revision, lease: "" }));
    const rest = changes.slice(TOLD_PER_TURN);
    if (rest.length > 0) this.clock.callAfterTurn(() => this.tellWritten(rest, revision));
  }

  private overtaken(changes: readonly Change[], entries: readonly (EtcdEntry | undefined)[]): void {
    this.add(changes.filter(({ modRevision }, i) => entries[i]?.modRevision === modRevision));
    for (const [i, change] of changes.entries()) {
      const entry = entries[i];
      if (entry?.modRevision === change.modRevision) continue;
      const stored = entry === undefined ? undefined : storedOf(entry);
      if (stored === undefined) this.later(() => change.onChanged(undefined));
      else change.onChanged(stored);
    }
  }

  private failed(changes: readonly Change[], { outcome }: EtcdError): void {
    if (outcome === "unknown") for (const change of changes) change.isUncertain = true;
    this.later(() => {
      this.add(changes.filter(({ isUncertain }) => isUncertain));
      for (const { isUncertain, onChanged } of changes) if (!isUncertain) onChanged(undefined);
    });
  }

  private later(action: () => void): void {
    const timer = this.clock.callAfter(AGAIN_MS, () => {
      this.timers.delete(timer);
      action();
    });
    this.timers.add(timer);
  }
}

/** @returns undefined for a value that cannot be read */
function storedOf({ value, modRevision, lease }: Pick<EtcdEntry, "value" | "modRevision" | "lease">): Stored<PartitionRecord> | undefined {
  const record = SHAPE.read(value);
  return record instanceof BadValue ? undefined : { value: record, modRevision, lease };
}
