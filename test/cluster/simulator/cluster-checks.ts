import type { EtcdEntry } from "../../../src/cluster/etcd/etcd.ts";
import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import type { SimDataPath } from "./data-path.ts";
import { PartitionHistory } from "./partition-history.ts";
import { PlacementChecks } from "./placement-checks.ts";
import type { BrokerWatch } from "./sim-broker.ts";
import type { SimPartition } from "./sim-partition.ts";
import { KEYS, type SimWorld } from "./sim-world.ts";
import { Violation } from "./violation.ts";

/**
 * Sees everything, and checks what must hold of replicated partitions while it happens. It is called from within brokers, so it keeps the
 * first violation for throwIfViolated().
 */
export class ClusterChecks implements BrokerWatch {
  private violation: Violation | undefined;
  /** By prefix. */
  readonly histories = new Map<number, PartitionHistory>();
  /** Leases that were taken away: etcd does so for nobody else. */
  readonly revoked = new Set<string>();
  acked = 0;
  answered = 0;
  private readonly records = new WeakMap<EtcdEntry, PartitionRecord>();
  readonly placement: PlacementChecks;

  constructor(
    private readonly world: SimWorld,
    private readonly dataPaths: ReadonlyMap<string, SimDataPath>,
  ) {
    this.placement = new PlacementChecks(world, (prefix, uid) => this.histories.get(prefix)?.mayNotJoin(uid));
  }

  /** The record of a partition, as etcd has it. */
  recordOf(name: string): PartitionRecord | undefined {
    const entry = this.world.etcd.store.entries.get(`${KEYS.prefix}partitions/${name}`);
    if (entry === undefined) return undefined;
    const known = this.records.get(entry);
    if (known !== undefined) return known;
    const record = SHAPES.partitions.read(entry.value);
    if (record instanceof Error) throw new Violation(`the record in etcd is not valid: ${record.message}`);
    this.records.set(entry, record);
    return record;
  }

  history(prefix: number, name: string): PartitionHistory {
    let history = this.histories.get(prefix);
    if (history === undefined) {
      history = new PartitionHistory(name, prefix, this.dataPaths);
      this.histories.set(prefix, history);
    }
    return history;
  }

  /** @throws Violation */
  throwIfViolated(): void {
    this.placement.throwIfViolated();
    if (this.violation !== undefined) throw this.violation;
  }

  private found(partition: SimPartition, what: string | undefined): void {
    if (what === undefined || this.violation !== undefined) return;
    this.world.note(`VIOLATION ${partition.name}: ${what}`);
    this.violation = new Violation(`at ${this.world.time.nowMs.toFixed(3)}: ${partition.name} (${partition.prefix}): ${what}`);
  }

  onRole(partition: SimPartition, role: Role): void {
    const leader = role.name === "follower" ? ` of ${role.leader}` : "";
    this.world.note(
      `${partition.broker.node.name} ${partition.name}: ${role.name}${leader}, epoch ${role.epoch}, ends at ${partition.disk.end}`,
    );
    this.found(partition, this.of(partition).onRole(partition, role));
  }

  onHighWatermark(partition: SimPartition, sequence: number): void {
    this.found(partition, this.of(partition).onHighWatermark(partition, sequence));
  }

  onAck(partition: SimPartition, messages: readonly number[], end: number): void {
    this.acked += messages.length;
    const { lease } = partition.broker;
    const hasLease = this.world.etcd.store.leases.has(lease) || this.revoked.has(lease);
    const own = this.ownRecordOf(partition);
    const minInSync = this.placement.lowestMinInSync.get(own?.uid ?? "") ?? 1;
    this.found(partition, this.of(partition).onAck(partition, messages, end, own, minInSync, hasLease));
  }

  isRemoved(partition: SimPartition, message: number): boolean {
    return this.of(partition).isRemoved(message);
  }

  onStateAck(partition: SimPartition, versions: readonly StateKey[]): void {
    this.answered++;
    this.found(partition, this.of(partition).onStateAck(partition, versions, this.ownRecordOf(partition)));
  }

  onDelivery(partition: SimPartition, sequence: number, message: number | undefined): void {
    this.found(partition, this.of(partition).onDelivery(partition, sequence, message));
  }

  onFinished(partition: SimPartition, sequence: number): void {
    this.of(partition).onFinished(sequence);
  }

  private ownRecordOf({ name, prefix }: SimPartition): PartitionRecord | undefined {
    const record = this.recordOf(name);
    return record?.prefix === prefix ? record : undefined;
  }

  private of({ prefix, name }: SimPartition): PartitionHistory {
    return this.history(prefix, name);
  }
}
