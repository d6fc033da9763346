import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import type { PartitionRecord } from "../../../src/cluster/state/records.ts";
import type { SimDataPath } from "./data-path.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimPartition } from "./sim-partition.ts";
import { StateChecks, versionsOf } from "./state-checks.ts";
import { Violation } from "./violation.ts";

/** What has happened to one partition, and what must hold of it. Methods return what is violated. */
export class PartitionHistory {
  /** Who led each epoch: a run of a broker. */
  private readonly leaders = new Map<number, SimPartition>();
  /** What was below a high watermark, by sequence. */
  readonly released: number[] = [];
  private readonly releasedBy = new Map<SimPartition, number>();
  private readonly epochs = new Map<SimDisk, number>();
  /** Acknowledged messages, and where they are. */
  readonly acked = new Map<number, number>();
  private readonly delivered = new Set<number>();
  private readonly finished = new Set<number>();
  readonly state = new StateChecks();
  /** Everything below is finished. */
  finishedFloor = 0;
  private lastDelivered = -1;
  /** Some replica has removed everything below, which is finished. */
  private removed = 0;

  constructor(
    readonly name: string,
    readonly prefix: number,
    private readonly dataPaths: ReadonlyMap<string, SimDataPath>,
  ) {}

  onRole(partition: SimPartition, role: Role): string | undefined {
    const { disk, broker, replica } = partition;
    const newest = this.epochs.get(disk) ?? 0;
    const { name } = broker.node;
    if (disk.isOld && disk.isWhole) return `${name} trusts an older copy of its disk`;
    if (role.epoch < newest) return `${name} is in epoch ${role.epoch} after ${newest}`;
    this.epochs.set(disk, role.epoch);
    const seen = replica?.stored?.value.epoch ?? 0;
    if (role.name !== "out" && role.epoch < seen) return `${name} is in epoch ${role.epoch}, and has seen ${seen}`;
    if (role.name !== "leader") return undefined;
    const other = this.leaders.get(role.epoch);
    if (other !== undefined) return `epoch ${role.epoch} has two leaders: ${other.broker.node.name} and ${name}`;
    this.leaders.set(role.epoch, partition);
    // It hears late that it was the leader in an epoch which is over: what was answered since then is not there.
    if (Math.max(...this.leaders.keys()) > role.epoch) return undefined;
    const lacks = this.state.lackOf(disk.state.now);
    return lacks === undefined ? undefined : `${name} leads, and ${lacks}`;
  }

  onStateAck({ broker }: SimPartition, versions: readonly StateKey[], record: PartitionRecord | undefined): string | undefined {
    this.state.acked(versions);
    for (const member of record?.inSync ?? []) {
      const disk = this.dataPaths.get(member)?.partitions.get(this.prefix);
      if (disk?.isReliable !== true || this.dataPaths.get(member)?.isLost === true) continue;
      const lacks = this.state.lackOfKeys(disk.state.durable(disk.durability), versions);
      if (lacks !== undefined) return `${broker.node.name} answered, and ${member}, which is in sync, has not: ${lacks}`;
    }
    return undefined;
  }

  onHighWatermark(partition: SimPartition, sequence: number): string | undefined {
    const { disk, broker } = partition;
    const { name } = broker.node;
    const from = Math.max(disk.start, this.removedBelow, this.releasedBy.get(partition) ?? 0);
    this.releasedBy.set(partition, sequence);
    for (let i = from; i < sequence; i++) {
      const message = disk.writtenAt(i);
      if (message === undefined) return `${name} released ${i}, which it does not have`;
      if (this.released[i] !== undefined && this.released[i] !== message)
        return `${name} has ${message} at ${i}, where ${this.released[i]} was released before`;
      this.released[i] = message;
    }
    return undefined;
  }

  /** @param record undefined: the partition was removed meanwhile */
  onAck(
    { broker, log }: SimPartition,
    messages: readonly number[],
    end: number,
    record: PartitionRecord | undefined,
    minInSync: number,
    hasLease: boolean,
  ): string | undefined {
    const { name } = broker.node;
    const first = end - messages.length;
    for (const [i, message] of messages.entries()) {
      if (this.released[first + i] !== message) return `${name} acknowledged ${message}, which is not at ${first + i}`;
      this.acked.set(message, first + i);
    }
    if (record === undefined) return undefined;
    const having = [...this.dataPaths.values()].filter((dataPath) =>
      this.disksOf(dataPath).some((disk) => this.counts(disk, first, messages)),
    );
    if (having.length < minInSync) return `${name} acknowledged what is on ${having.length} replicas`;
    if (having.length === 1 && having[0].uid === broker.uid && !hasLease) return `${name} acknowledged alone, and its lease has ended`;
    for (const member of record.inSync) {
      const dataPath = this.dataPaths.get(member);
      if (dataPath === undefined || dataPath.isLost || having.includes(dataPath)) continue;
      const ends = dataPath.partitions.get(this.prefix)?.end;
      return `${name} acknowledged ${first} to ${end} of ${log.end}, and ${member}, which is in sync, ends at ${ends}`;
    }
    return undefined;
  }

  onDelivery({ broker, disk, topic }: SimPartition, sequence: number, message: number | undefined): string | undefined {
    const { name } = broker.node;
    if (message === undefined) return `${name} delivers ${sequence}, and has ${disk.start} to ${disk.end}`;
    if (this.released[sequence] !== message) return `${name} delivers ${message} at ${sequence}, which was not released`;
    this.delivered.add(sequence);
    if (topic?.ordered !== true) return undefined;
    if (sequence > this.finishedFloor) return `${name} delivers ${sequence}, and ${this.finishedFloor} is not finished`;
    if (sequence < this.lastDelivered) return `${name} delivers ${sequence} after ${this.lastDelivered}`;
    this.lastDelivered = sequence;
    return undefined;
  }

  /** A consumer has finished a message. */
  onFinished(sequence: number): void {
    this.finished.add(sequence);
    while (this.finished.delete(this.finishedFloor)) this.finishedFloor++;
  }

  /** What is below may be removed. @param open messages that may be published again: their keys have to be known */
  trimmableTo(open: ReadonlySet<number>): number {
    for (let i = 0; i < this.finishedFloor; i++) if (open.has(this.released[i])) return i;
    return this.finishedFloor;
  }

  /** A replica has removed what is below, as it is finished. */
  onRemoved(below: number): void {
    this.removed = Math.max(this.removed, below);
  }

  /** Whether a message was acknowledged, and some replica has removed it since. */
  isRemoved(message: number): boolean {
    const sequence = this.removed === 0 ? -1 : this.released.indexOf(message);
    return sequence >= 0 && sequence < this.removed;
  }

  /** What is below was removed or skipped by some replica, as it is finished: where others have it, and it is damaged, it stays so. */
  get removedBelow(): number {
    const disks = [...this.dataPaths.values()].flatMap(({ partitions }) => partitions.get(this.prefix) ?? []);
    return Math.max(this.removed, ...disks.map(({ start, skippedBelow }) => Math.max(start, skippedBelow)));
  }

  /** Why a replica must not come to be in sync; undefined: it may. */
  mayNotJoin(uid: string): string | undefined {
    const dataPath = this.dataPaths.get(uid);
    if (dataPath === undefined || dataPath.isLost) return undefined;
    const disk = dataPath.partitions.get(this.prefix);
    // It was lost meanwhile, and leaves again.
    if (disk?.isReliable === false) return undefined;
    if (disk === undefined && dataPath.setBack.has(this.prefix)) return undefined;
    if (disk === undefined) return this.released.length > 0 ? "has nothing" : undefined;
    for (let i = Math.max(disk.start, this.removedBelow); i < this.released.length; i++)
      if (disk.writtenAt(i) !== this.released[i]) return `does not have ${i} of ${this.released.length}`;
    return this.state.lackOf(disk.state.now);
  }

  /** All of a data path's logs of the partition: also those that were removed. */
  private disksOf(dataPath: SimDataPath): SimDisk[] {
    const disk = dataPath.partitions.get(this.prefix);
    const gone = dataPath.gone.filter(({ prefix }) => prefix === this.prefix).map((one) => one.disk);
    return disk === undefined ? gone : [disk, ...gone];
  }

  /** Whether a replica has messages, or had them: one that lost something will not lead. */
  private counts(disk: SimDisk, first: number, messages: readonly number[]): boolean {
    if (!disk.isReliable) return true;
    const end = disk.durability === "fsync" ? disk.synced : disk.end;
    return messages.every((message, i) => first + i < disk.start || (first + i < end && disk.writtenAt(first + i) === message));
  }

  /** After everything was healed: all replicas are equal, and have all that was released; all of that was delivered. @throws Violation */
  checkEnd({ replicas }: PartitionRecord): void {
    const { released } = this;
    const disks = replicas.map((uid) => this.dataPaths.get(uid)?.partitions.get(this.prefix));
    for (const [at, disk] of disks.entries()) {
      if (disk === undefined) throw new Violation(`${this.name}: ${replicas[at]} has nothing`);
      if (disk.end !== released.length)
        throw new Violation(`${this.name}: ${replicas[at]} ends at ${disk.end}, and ${released.length} were released`);
      for (let i = Math.max(disk.start, this.removedBelow); i < disk.end; i++) {
        const message = disk.messageAt(i);
        if (message !== released[i])
          throw new Violation(`${this.name}: ${replicas[at]} has ${message} at ${i}, where ${released[i]} was released`);
      }
    }
    const states = new Set(disks.map((disk) => versionsOf(disk?.state.now ?? new Map())));
    if (states.size > 1) throw new Violation(`${this.name}: replicas have different states: ${[...states].join(" and ")}`);
    for (let i = 0; i < released.length; i++)
      if (!this.delivered.has(i)) throw new Violation(`${this.name}: ${released[i]} at ${i} was not delivered`);
    for (const [message, at] of this.acked)
      if (released[at] !== message) throw new Violation(`${this.name}: ${message} was acknowledged, and is not at ${at}`);
  }
}
