import type { Clock } from "../../base/clock.ts";
import { newDurations } from "../../base/histogram.ts";
import type { Etcd, EtcdCompare, EtcdOperation, EtcdWatch, EtcdWatcher } from "./etcd.ts";
import { EtcdError } from "./etcd-error.ts";

/** The calls that are counted: all but watches, which last. */
export const ETCD_CALLS = ["get", "range", "put", "remove", "txn", "grant", "keepAlive"] as const;
export type EtcdCall = (typeof ETCD_CALLS)[number];

/** An etcd whose calls are counted and measured. */
export class MeteredEtcd implements Etcd {
  /** How long calls took, failed ones included, ms. */
  readonly durations = newDurations();
  readonly calls = counts();
  readonly failures = counts();
  /** How often a watch said that it does not get through. */
  watchTroubles = 0;

  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Pick<Clock, "steadyMs">,
  ) {}

  get(key: string, limitMs?: number) {
    return this.meter("get", this.etcd.get(key, limitMs));
  }

  range(prefix: string, limitMs?: number) {
    return this.meter("range", this.etcd.range(prefix, limitMs));
  }

  put(key: string, value: string, lease?: string, limitMs?: number) {
    return this.meter("put", this.etcd.put(key, value, lease, limitMs));
  }

  remove(key: string, limitMs?: number) {
    return this.meter("remove", this.etcd.remove(key, limitMs));
  }

  txn(conditions: readonly EtcdCompare[], then: readonly EtcdOperation[], otherwise?: readonly EtcdOperation[], limitMs?: number) {
    return this.meter("txn", this.etcd.txn(conditions, then, otherwise, limitMs));
  }

  grant(ttlMs: number, limitMs?: number) {
    return this.meter("grant", this.etcd.grant(ttlMs, limitMs));
  }

  keepAlive(lease: string, limitMs?: number) {
    return this.meter("keepAlive", this.etcd.keepAlive(lease, limitMs));
  }

  watch(prefix: string, fromRevision: number, watcher: EtcdWatcher): EtcdWatch {
    return this.etcd.watch(prefix, fromRevision, {
      onEvents: (revision, events) => watcher.onEvents(revision, events),
      onCompacted: () => watcher.onCompacted(),
      onTrouble: (error) => {
        this.watchTroubles++;
        watcher.onTrouble(error);
      },
    });
  }

  private async meter<T>(call: EtcdCall, answer: Promise<T | EtcdError>): Promise<T | EtcdError> {
    const sentMs = this.clock.steadyMs();
    const result = await answer;
    this.calls[call]++;
    if (result instanceof EtcdError) this.failures[call]++;
    this.durations.recordOne(Math.max(0, this.clock.steadyMs() - sentMs));
    return result;
  }
}

function counts(): Record<EtcdCall, number> {
  return { get: 0, range: 0, put: 0, remove: 0, txn: 0, grant: 0, keepAlive: 0 };
}
