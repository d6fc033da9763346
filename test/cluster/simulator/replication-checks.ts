import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { type BrokerWatch, PARTITION_KEY, type SimBroker } from "./sim-broker.ts";
import type { SimDisk } from "./sim-log.ts";
import type { SimWorld } from "./sim-world.ts";
import { StateChecks } from "./state-checks.ts";

/** What must hold does not. */
export class Violation extends Error {
  override name = "Violation";
}

/**
 * Sees everything, and checks what must hold of a replicated partition while it happens. It is called from within brokers, so it keeps the
 * first violation for throwIfViolated().
 */
export class ReplicationChecks implements BrokerWatch {
  private violation: Violation | undefined;
  /** Who led each epoch: a run of a broker. */
  private readonly leaders = new Map<number, SimBroker>();
  /** What was below a high watermark, by sequence. */
  private readonly released: number[] = [];
  private readonly releasedBy = new Map<SimBroker, number>();
  private readonly epochs = new Map<SimDisk, number>();
  acked = 0;
  readonly state = new StateChecks();
  /** How many disks are gone: what these had is not known. */
  lostDisks = 0;

  constructor(
    private readonly world: SimWorld,
    private readonly disks: ReadonlyMap<string, SimDisk>,
    private readonly minInSync: number,
  ) {}

  get record(): PartitionRecord {
    const entry = this.world.etcd.store.entries.get(PARTITION_KEY);
    const record = SHAPES.partitions.read(entry?.value ?? "");
    if (record instanceof Error) throw new Violation(`the record in etcd is not valid: ${record.message}`);
    return record;
  }

  /** @throws Violation */
  throwIfViolated(): void {
    if (this.violation !== undefined) throw this.violation;
  }

  private violated(what: string): void {
    this.violation ??= new Violation(`at ${this.world.time.nowMs.toFixed(3)}: ${what}`);
  }

  onRole(broker: SimBroker, role: Role): void {
    this.world.note(`${broker.node.name} ${JSON.stringify(role)}`);
    const newest = this.epochs.get(broker.disk) ?? 0;
    if (role.epoch < newest) return this.violated(`${broker.node.name} is in epoch ${role.epoch} after ${newest}`);
    this.epochs.set(broker.disk, role.epoch);
    const seen = broker.replica?.stored?.value.epoch ?? 0;
    if (role.name !== "out" && role.epoch < seen)
      return this.violated(`${broker.node.name} is in epoch ${role.epoch}, and has seen ${seen}`);
    if (role.name !== "leader") return;
    const other = this.leaders.get(role.epoch);
    if (other !== undefined) return this.violated(`epoch ${role.epoch} has two leaders: ${other.node.name} and ${broker.node.name}`);
    this.leaders.set(role.epoch, broker);
    const lacks = this.state.lackOf(broker.disk.state.now);
    if (lacks !== undefined) this.violated(`${broker.node.name} leads, and ${lacks}`);
  }

  onStateAck(broker: SimBroker, versions: readonly StateKey[]): void {
    this.state.acked(versions);
    for (const member of this.record.inSync) {
      const disk = this.disks.get(member);
      if (disk?.isWhole !== true) continue;
      const lacks = this.state.lackOfKeys(disk.state.durable(disk.durability), versions);
      if (lacks !== undefined) this.violated(`${broker.node.name} answered, and ${member}, which is in sync, has not: ${lacks}`);
    }
  }

  onHighWatermark(broker: SimBroker, sequence: number): void {
    const { disk, node } = broker;
    const from = Math.max(disk.start, this.releasedBy.get(broker) ?? 0);
    this.releasedBy.set(broker, sequence);
    for (let i = from; i < sequence; i++) {
      const message = disk.messageAt(i);
      if (message === undefined) return this.violated(`${node.name} released ${i}, which it does not have`);
      if (this.released[i] !== undefined && this.released[i] !== message)
        return this.violated(`${node.name} has ${message} at ${i}, where ${this.released[i]} was released before`);
      this.released[i] = message;
    }
  }

  onAck(broker: SimBroker, messages: readonly number[], end: number): void {
    const { node, log, uid } = broker;
    this.acked += messages.length;
    const first = end - messages.length;
    for (const [i, message] of messages.entries())
      if (this.released[first + i] !== message) return this.violated(`${node.name} acknowledged ${message}, which is not at ${first + i}`);
    const { inSync } = this.record;
    // A replica that lost what it had, in a power cut, had it before and will not lead.
    const having = [...this.disks].filter(([, disk]) => !disk.isWhole || this.has(disk, first, messages)).map(([uid]) => uid);
    if (having.length + this.lostDisks < this.minInSync)
      return this.violated(`${node.name} acknowledged what is on ${having.length} replicas`);
    if (having.length === 1 && having[0] === uid && !this.world.etcd.store.leases.has(broker.lease))
      return this.violated(`${node.name} acknowledged alone, and its lease has ended`);
    for (const member of inSync) {
      const disk = this.disks.get(member);
      // Its disk is gone, and it with it.
      if (disk === undefined || having.includes(member)) continue;
      return this.violated(
        `${node.name} acknowledged ${first} to ${end} of ${log.end}, and ${member}, which is in sync, ends at ${disk.end}`,
      );
    }
  }

  private has(disk: SimDisk, first: number, messages: readonly number[]): boolean {
    const end = disk.durability === "fsync" ? disk.synced : disk.end;
    return messages.every((message, i) => first + i < disk.start || (first + i < end && disk.messageAt(first + i) === message));
  }

  /** After everything was healed: all replicas are equal, and have all that was released. */
  checkEnd(): void {
    const all = [...this.disks.values()];
    const end = Math.max(...all.map((disk) => disk.end));
    const states = new Set(all.map(({ state }) => versionsOf(state.now)));
    if (states.size > 1) throw new Violation(`replicas have different states: ${[...states].join(" and ")}`);
    for (const [uid, disk] of this.disks) {
      if (disk.end !== end) throw new Violation(`${uid} ends at ${disk.end}, and another one at ${end}`);
      for (let i = disk.start; i < end; i++) {
        const message = disk.messageAt(i);
        if (this.released[i] !== message) throw new Violation(`${uid} has ${message} at ${i}, where ${this.released[i]} was released`);
      }
    }
    if (this.released.length > end) throw new Violation(`${this.released.length - end} released messages are gone`);
  }
}

export function versionsOf(state: ReadonlyMap<string, StateKey>): string {
  return [...state.values()]
    .map(({ key, epoch, number }) => `${key}=${epoch}.${number}`)
    .sort()
    .join(" ");
}
