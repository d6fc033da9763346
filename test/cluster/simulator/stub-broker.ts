import type { Etcd, EtcdEntry } from "../../../src/cluster/etcd/etcd.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import type { SimNode } from "./sim-node.ts";
import { KEYS, type SimWorld } from "./sim-world.ts";

/** A key of a broker that has gone stays at most this long. */
const LEASE_MS = 3_000;

/** A broker without messages: it takes part in partitions as their records say, and copies by letting some time pass. */
export class StubBroker {
  readonly uid: string;
  /** By their uids, itself included. */
  readonly others = new Map<string, StubBroker>();
  isUp = false;
  /** It does not hand over. Drawn at each start. */
  isStubborn = false;
  /** What the load in its key says. */
  storedBytes = 0;
  private node: SimNode | undefined;
  private etcd: Etcd | undefined;
  private lease = "";
  private readonly changing = new Set<string>();
  /** When a replica will have copied everything: by `PREFIX UID`, in true time. */
  private readonly copiedMs = new Map<string, number>();

  constructor(
    private readonly world: SimWorld,
    private readonly joined: Set<string>,
    readonly name: string,
    readonly zone: string,
    /** Where other brokers reach it. */
    private readonly address = "",
  ) {
    this.uid = name.slice(1).padStart(16, "0");
  }

  start(): void {
    if (this.isUp) return;
    const { world } = this;
    this.isUp = true;
    this.isStubborn = world.random.chance(0.2);
    this.node = world.node(this.name);
    this.etcd = world.etcd.client(this.node);
    this.changing.clear();
    this.copiedMs.clear();
    this.putKey();
    this.pulse(this.node);
  }

  stop(): void {
    if (!this.isUp) return;
    const { world, lease } = this;
    this.isUp = false;
    this.node?.end();
    world.time.after(world.random.int(0, LEASE_MS), () => {
      world.etcd.store.endLease(lease);
      world.etcd.changed();
    });
  }

  private putKey(): void {
    const { etcd } = this.world;
    this.lease = etcd.store.grant(LEASE_MS).lease;
    const value = SHAPES.brokers.write({
      uid: this.uid,
      run: this.lease,
      tcp: "",
      http: "",
      replication: this.address,
      region: "",
      zone: this.zone,
      version: "1",
      disk: { sizeBytes: 0, freeBytes: 0 },
      load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: this.storedBytes },
    });
    etcd.store.txn([], [{ put: KEYS.member("brokers", this.name), value, lease: this.lease }], []);
    etcd.changed();
  }

  private pulse(node: SimNode): void {
    const { random, etcd } = this.world;
    node.callAfter(random.int(100, 400), () => {
      for (const entry of etcd.store.range(`${KEYS.prefix}partitions/`)) this.look(entry);
      this.pulse(node);
    });
  }

  private look(entry: EtcdEntry): void {
    const record = SHAPES.partitions.read(entry.value);
    if (record instanceof Error || !record.replicas.includes(this.uid) || this.changing.has(entry.key)) return;
    if (record.leader === this.uid) this.lead(entry, record);
    else if ((record.leader === "" || !this.isOtherUp(record.leader)) && record.inSync.includes(this.uid)) {
      const inSync = record.inSync.filter((uid) => this.isOtherUp(uid));
      this.change(entry, { ...record, leader: this.uid, epoch: record.epoch + 1, inSync });
    }
  }

  private lead(entry: EtcdEntry, record: PartitionRecord): void {
    const { replicas, inSync, successor, epoch, prefix } = record;
    const staying = inSync.filter((uid) => this.isOtherUp(uid));
    if (staying.length < inSync.length) return this.change(entry, { ...record, inSync: staying });
    const joiner = replicas.find((uid) => !inSync.includes(uid) && this.hasCopied(prefix, uid));
    if (joiner !== undefined) {
      this.joined.add(`${prefix} ${joiner}`);
      return this.change(entry, { ...record, inSync: [...inSync, joiner] });
    }
    const mayHandOver = successor !== undefined && successor !== this.uid && inSync.includes(successor) && !this.isStubborn;
    if (mayHandOver) this.change(entry, { ...record, leader: successor, epoch: epoch + 1 });
  }

  private hasCopied(prefix: number, uid: string): boolean {
    const { time, random } = this.world;
    const name = `${prefix} ${uid}`;
    if (!this.isOtherUp(uid)) this.copiedMs.delete(name);
    else if (!this.copiedMs.has(name)) this.copiedMs.set(name, time.nowMs + random.int(100, random.pick([500, 5_000])));
    const isCopied = (this.copiedMs.get(name) ?? Number.POSITIVE_INFINITY) <= time.nowMs;
    if (isCopied) this.copiedMs.delete(name);
    return isCopied;
  }

  private isOtherUp(uid: string): boolean {
    return this.others.get(uid)?.isUp === true;
  }

  private change({ key, modRevision }: EtcdEntry, record: PartitionRecord): void {
    this.changing.add(key);
    const done = () => this.changing.delete(key);
    void this.etcd?.txn([{ key, modRevision }], [{ put: key, value: SHAPES.partitions.write(record) }]).then(done);
  }
}
