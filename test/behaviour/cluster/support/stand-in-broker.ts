import { systemClock } from "../../../../src/base/clock.ts";
import { EtcdHttp } from "../../../../src/cluster/etcd/etcd-http.ts";
import { ClusterView } from "../../../../src/cluster/state/cluster-view.ts";
import type { ClusterKeys } from "../../../../src/cluster/state/keys.ts";
import { type BrokerRecord, SHAPES } from "../../../../src/cluster/state/records.ts";
import { MemoryLogger } from "../../../support/in-process.ts";

/** In the place of brokers in etcd: it has their keys, and leads what has no leader. It has no messages and no listeners. */
export class StandInBrokers {
  private readonly etcd: EtcdHttp;
  private readonly view: ClusterView;
  /** Whether the first replica of each partition without a leader begins to lead. */
  leads = true;

  constructor(
    endpoints: readonly string[],
    private readonly keys: ClusterKeys,
  ) {
    this.etcd = new EtcdHttp({ endpoints, callLimitMs: 5_000 });
    this.view = new ClusterView(this.etcd, keys, systemClock, new MemoryLogger());
    this.view.listen((changes) => {
      for (const change of changes) if (change.kind === "partitions" && change.after !== undefined) this.lead(change.name, change.after);
    });
  }

  start(): Promise<void> {
    return this.view.start();
  }

  close(): void {
    this.view.close();
  }

  put(uid: string, host: string, changes: Partial<BrokerRecord> = {}): Promise<unknown> {
    const nothing = { disk: { sizeBytes: 0, freeBytes: 0 }, load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 } };
    const at = { tcp: `${host}:4150`, http: `${host}:4151`, replication: `${host}:4152` };
    const record: BrokerRecord = { uid, run: "r", ...at, region: "", zone: "", version: "1.3.0", ...nothing, ...changes };
    return this.etcd.put(this.keys.member("brokers", uid), SHAPES.brokers.write(record));
  }

  remove(uid: string): Promise<unknown> {
    return this.etcd.remove(this.keys.member("brokers", uid));
  }

  /** Puts what etcd is to have, as one change. */
  set(values: Readonly<Record<string, string>>): Promise<unknown> {
    return this.etcd.txn(
      [],
      Object.entries(values).map(([key, value]) => ({ put: key, value })),
    );
  }

  private lead(name: string, { value, modRevision }: { value: ReturnType<typeof SHAPES.partitions.read>; modRevision: number }): void {
    if (!this.leads || value instanceof Error || value.leader !== "") return;
    const [leader = ""] = value.inSync;
    const key = `${this.keys.prefix}partitions/${name}`;
    const next = SHAPES.partitions.write({ ...value, leader, epoch: value.epoch + 1 });
    void this.etcd.txn([{ key, modRevision }], [{ put: key, value: next }]);
  }
}
