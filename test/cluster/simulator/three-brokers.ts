import type { StoredRecord } from "../../../src/cluster/replication/replica-parts.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { SimDataPath } from "./data-path.ts";
import { type BrokerWatch, SimBroker, type SimSite } from "./sim-broker.ts";
import { SETTINGS } from "./sim-lookup.ts";
import type { SimPartition } from "./sim-partition.ts";
import { KEYS, SimWorld } from "./sim-world.ts";

export const UIDS = [1, 2, 3].map((number) => `${number}`.repeat(16));
const TOPIC_UID = "f".repeat(16);
export const PREFIX = 77;
export const PARTITION_KEY = KEYS.partition("t", 0);

/** Three brokers that have one partition, and nothing that fails by itself. */
export class ThreeBrokers implements BrokerWatch {
  readonly world = new SimWorld(1);
  readonly network = this.world.network;
  readonly brokers: SimBroker[];
  readonly acked: number[] = [];
  private published = 0;

  /** @param onMade called before they have anything */
  constructor(onMade: (cluster: ThreeBrokers) => void = () => {}, durability: "write" | "fsync" = "write", minInSync = 2) {
    const { world, network } = this;
    const topic = { ...SETTINGS, durability, uid: TOPIC_UID, partitions: 1, replicas: 3, minInSync };
    const record = { uid: TOPIC_UID, prefix: PREFIX, replicas: UIDS, leader: "", epoch: 0, inSync: UIDS };
    const puts = [
      { put: KEYS.topic("t"), value: SHAPES.topics.write(topic) },
      { put: PARTITION_KEY, value: SHAPES.partitions.write(record) },
    ];
    const site: SimSite = {
      world,
      network,
      watch: this,
      brokerOf: (uid) => this.brokers.find((broker) => broker.uid === uid),
      deliver: (_partition, _sequence, finish) => finish(),
    };
    const dataPath = (uid: string) => new SimDataPath(uid, { failure: 0, syncMs: 5, isFull: false });
    this.brokers = UIDS.map((uid, i) => new SimBroker(site, world.node(`n${i}`), dataPath(uid), "run"));
    onMade(this);
    world.etcd.store.txn([], puts, []);
    world.etcd.changed();
    const up = () => this.brokers.filter(({ node }) => node.isAlive).length;
    this.until("all are in sync", () => this.leader !== undefined && this.inSync.length === up());
    world.time.advance(1_000);
  }

  get leader(): SimBroker | undefined {
    return this.brokers.find((broker) => broker.node.isAlive && broker.partitions.get(PREFIX)?.role.name === "leader");
  }

  get inSync(): readonly string[] {
    const record = SHAPES.partitions.read(this.world.etcd.store.entries.get(PARTITION_KEY)?.value ?? "");
    return record instanceof Error ? [] : record.inSync;
  }

  /** The partition's record, as an answer of etcd has it. */
  get stored(): StoredRecord {
    const { value = "", modRevision = 0 } = this.world.etcd.store.entries.get(PARTITION_KEY) ?? {};
    const record = SHAPES.partitions.read(value);
    if (record instanceof Error) throw record;
    return { value: record, modRevision, lease: "" };
  }

  /** An operator changes the partition's record. */
  changeRecord(change: (record: PartitionRecord) => Partial<PartitionRecord>): void {
    const { etcd } = this.world;
    const { value } = this.stored;
    etcd.store.txn([], [{ put: PARTITION_KEY, value: SHAPES.partitions.write({ ...value, ...change(value) }) }], []);
    etcd.changed();
  }

  /** A broker is no replica any more. */
  take(uid: string): void {
    const without = (uids: readonly string[]) => uids.filter((one) => one !== uid);
    this.changeRecord(({ replicas, inSync }) => ({ replicas: without(replicas), inSync: without(inSync) }));
  }

  until(what: string, condition: () => boolean): void {
    this.world.time.until(condition, 10_000, what);
  }

  /** @returns how long it takes until a message is acknowledged that clients try to publish again and again, ms */
  publishMs(): number {
    const { time } = this.world;
    const [startMs, before] = [time.nowMs, this.acked.length];
    while (this.acked.length === before) {
      this.leader?.publish("t/0", [++this.published], () => {});
      time.advance(1);
      if (time.nowMs > startMs + 3_000) throw new Error("nothing is acknowledged");
    }
    return time.nowMs - startMs;
  }

  isRemoved(): boolean {
    return false;
  }

  onAck(_partition: SimPartition, messages: readonly number[]): void {
    this.acked.push(...messages);
  }

  onRole(): void {}
  onHighWatermark(): void {}
  onStateAck(): void {}
  onDelivery(): void {}
  onFinished(): void {}
}

/** What a broker has of the partition. */
export function partitionOf(broker: SimBroker): SimPartition {
  const partition = broker.partitions.get(PREFIX);
  if (partition === undefined) throw new Error(`${broker.uid} does not have the partition`);
  return partition;
}
