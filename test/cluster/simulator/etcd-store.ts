import {
  type EtcdCompare,
  type EtcdEntry,
  type EtcdEvent,
  type EtcdLease,
  type EtcdOperation,
  type EtcdTransaction,
  MAX_TXN_OPERATIONS,
} from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";

/** etcd gives no shorter lease: one and a half times the time in which it elects a leader. */
const MIN_TTL_SECONDS = 2;

interface Change {
  readonly revision: number;
  readonly events: readonly EtcdEvent[];
}

/** What etcd keeps, and what its calls do with it: keys at revisions, their history down to the last compaction, leases. */
export class EtcdStore {
  revision = 1;
  compactedRevision = 0;
  readonly entries = new Map<string, EtcdEntry>();
  readonly leases = new Map<string, { ttlMs: number; expiresAtMs: number }>();
  private history: Change[] = [];
  private nextLease = 7_587_848_390_000_000_001n;

  range(prefix: string): EtcdEntry[] {
    const found = [...this.entries.values()].filter(({ key }) => key.startsWith(prefix));
    return found.sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  historyFrom(revision: number): Change[] {
    return this.history.filter((change) => change.revision >= revision);
  }

  compact(revision: number): void {
    this.compactedRevision = revision;
    this.history = this.historyFrom(revision);
  }

  txn(
    conditions: readonly EtcdCompare[],
    then: readonly EtcdOperation[],
    otherwise: readonly EtcdOperation[],
  ): EtcdTransaction | EtcdError {
    const refusal = this.refusalOf(conditions, then) ?? this.refusalOf(conditions, otherwise);
    if (refusal !== undefined) return refusal;
    const succeeded = conditions.every(({ key, modRevision }) => (this.entries.get(key)?.modRevision ?? 0) === modRevision);
    const entries: (EtcdEntry | undefined)[] = [];
    const events: EtcdEvent[] = [];
    const chosen = succeeded ? then : otherwise;
    const isLost = chosen.some((operation) => "put" in operation && operation.lease && !this.leases.has(operation.lease));
    if (isLost) return new EtcdError("lease-gone", "none", "etcd: requested lease not found");
    for (const operation of chosen) {
      if ("get" in operation) entries.push(this.entries.get(operation.get));
      else if ("put" in operation) events.push(this.put(operation.put, operation.value, operation.lease ?? ""));
      else if (this.entries.delete(operation.remove)) events.push({ key: operation.remove, entry: undefined });
    }
    this.commit(events);
    return { succeeded, revision: this.revision, entries };
  }

  grant(ttlMs: number): EtcdLease {
    const ttl = 1000 * Math.max(MIN_TTL_SECONDS, Math.ceil(ttlMs / 1000));
    const lease = String(this.nextLease++);
    this.leases.set(lease, { ttlMs: ttl, expiresAtMs: Number.POSITIVE_INFINITY });
    return { lease, ttlMs: ttl };
  }

  endLease(id: string): void {
    this.leases.delete(id);
    const events: EtcdEvent[] = [];
    for (const { key, lease } of this.range("")) {
      if (lease !== id) continue;
      this.entries.delete(key);
      events.push({ key, entry: undefined });
    }
    this.commit(events);
  }

  /** etcd checks both branches before it does one. */
  private refusalOf(conditions: readonly EtcdCompare[], operations: readonly EtcdOperation[]): EtcdError | undefined {
    if (Math.max(conditions.length, operations.length) > MAX_TXN_OPERATIONS)
      return new EtcdError("refused", "none", "etcd: too many operations in txn request");
    const puts = operations.flatMap((operation) => ("put" in operation ? operation.put : []));
    const isTwice =
      new Set(puts).size < puts.length || operations.some((operation) => "remove" in operation && puts.includes(operation.remove));
    if (isTwice) return new EtcdError("refused", "none", "etcd: duplicate key given in txn request");
    return undefined;
  }

  private put(key: string, value: string, lease: string): EtcdEvent {
    const modRevision = this.revision + 1;
    const entry = { key, value, createRevision: this.entries.get(key)?.createRevision ?? modRevision, modRevision, lease };
    this.entries.set(key, entry);
    return { key, entry };
  }

  private commit(events: readonly EtcdEvent[]): void {
    if (events.length === 0) return;
    this.revision++;
    this.history.push({ revision: this.revision, events });
  }
}
