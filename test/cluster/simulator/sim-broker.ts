import type { InSyncSet } from "../../../src/cluster/replication/in-sync-set.ts";
import type { Replica } from "../../../src/cluster/replication/replica.ts";
import type { ReplicaHost, Role } from "../../../src/cluster/replication/replica-log.ts";
import { Replication } from "../../../src/cluster/replication/replication.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import { WIRE_VERSION } from "../../../src/cluster/replication/wire.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { Membership } from "../../../src/cluster/state/membership.ts";
import { type BrokerRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { type DiskFaults, type SimDisk, SimLog } from "./sim-log.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import { SimState } from "./sim-state.ts";
import type { SimWorld } from "./sim-world.ts";

const KEYS = new ClusterKeys("sim");
const TOPIC = "t";
export const PARTITION_KEY = KEYS.partition(TOPIC, 0);
export const PREFIX = 77;
const PARTITION_NAME = `${TOPIC}/0`;
const LEASE_MS = 3_000;
const HAND_OVER_MS = 1_000;
const SETTINGS = { lagMs: 2_000, suspectMs: 1_000, catchUpBytesPerSecond: 2_000_000 };

/** What the checks hear of a broker. */
export interface BrokerWatch {
  onRole(broker: SimBroker, role: Role): void;
  onHighWatermark(broker: SimBroker, sequence: number): void;
  /** @param end the sequence after the last of the messages */
  onAck(broker: SimBroker, messages: readonly number[], end: number): void;
  /** Changes of the state count: keys, and the versions that they have got. */
  onStateAck(broker: SimBroker, versions: readonly StateKey[]): void;
}

/** What every broker of a simulation needs. */
export interface SimSite {
  readonly world: SimWorld;
  readonly network: SimNetwork;
  readonly watch: BrokerWatch;
  readonly minInSync: number;
  readonly disk: DiskFaults;
}

interface Publish {
  readonly messages: readonly number[];
  readonly end: number;
}

/** One run of a broker that has one partition. */
export class SimBroker implements ReplicaHost {
  readonly minInSync: number;
  role: Role = { name: "out", epoch: 0 };
  readonly log: SimLog;
  readonly replica: Replica;
  readonly view: ClusterView;
  readonly membership: Membership<BrokerRecord>;
  readonly replication: Replication;
  private pending: Publish[] = [];
  /** How often it has handed over all that it led. */
  drained = 0;

  constructor(
    readonly site: SimSite,
    readonly node: SimNode,
    readonly uid: string,
    readonly disk: SimDisk,
    run: string,
  ) {
    const { world, network, minInSync } = site;
    this.minInSync = minInSync;
    const etcd = world.etcd.client(node);
    const address = `${node.name}:1`;
    this.view = new ClusterView(etcd, KEYS, node, world.logger);
    const { brokers: shape } = SHAPES;
    const record = { uid, run, tcp: "", http: "", replication: address, region: "", zone: "", version: "0" };
    const load = { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 };
    this.membership = new Membership(
      etcd,
      node,
      KEYS.member("brokers", uid),
      shape,
      { ...record, disk: { sizeBytes: 0, freeBytes: 0 }, load },
      LEASE_MS,
      {
        onJoined: () => {},
        onLapsed: () => {},
        onRenewed: () => {},
        onLost: () => {},
        onRefused: (error) => {
          throw error;
        },
        onTrouble: () => {},
      },
    );
    this.replication = new Replication({
      clock: node,
      etcd,
      network: network.of(node),
      random: () => world.random.next(),
      hello: { kind: "hello", version: WIRE_VERSION, cluster: "sim", uid, run },
      address,
      settings: SETTINGS,
      lease: this.membership.lease,
      isAlive: (other) => this.view.brokers.has(other),
      logger: world.logger,
    });
    disk.recover();
    this.log = new SimLog(disk, node, world.random, site.disk, () => this.replica.logGrew());
    this.replica = this.replication.add({
      key: PARTITION_KEY,
      name: PARTITION_NAME,
      number: PREFIX,
      log: this.log,
      state: new SimState(disk.state, node, world.random, site.disk, disk.durability),
      memory: this.log.memory,
      host: this,
    });
    this.view.listen((changes) => {
      for (const { kind, after } of changes) {
        if (after === undefined) continue;
        if (kind === "brokers") this.replication.peers.know(after.value.uid, after.value.replication);
        if (kind === "partitions") this.replica.onRecord(after);
      }
    });
    this.membership.start();
    this.replication.start();
    void this.view.start();
  }

  get durability(): "write" | "fsync" {
    return this.disk.durability;
  }

  get lease(): string {
    return this.membership.lease.id;
  }

  get highWatermark(): number {
    return this.replica.leading?.highWatermark ?? 0;
  }

  /** A change of the partition's record is under way. */
  get isChanging(): boolean {
    const { leading } = this.replica;
    const inSync: InSyncSet | undefined = leading === undefined ? undefined : Reflect.get(leading, "inSync");
    return Reflect.get(this.replica, "isChanging") === true || inSync?.isChanging === true;
  }

  /** A client publishes. What comes of it, the watch hears. */
  publish(messages: readonly number[]): void {
    if (this.replica.refusal !== undefined) return;
    try {
      this.log.publish(messages);
    } catch {
      return;
    }
    this.pending.push({ messages, end: this.log.end });
    this.replica.logGrew();
  }

  /** A client changes the state. What comes of it, the watch hears. @returns the versions that the keys get */
  changeState(changes: readonly { readonly key: string; readonly value: Buffer | undefined }[]): StateKey[] {
    const leading = this.replica.leading;
    if (leading === undefined) return [];
    const { state, epoch } = leading;
    const versions = changes.map(({ key, value }): StateKey => {
      state.change(key, value);
      return { key, epoch, number: state.number };
    });
    state.whenReplicated((failure) => {
      if (failure === undefined) this.site.watch.onStateAck(this, versions);
    });
    return versions;
  }

  /** It stops, and says so to nobody but etcd. */
  close(): void {
    this.replication.close();
    this.view.close();
    void this.membership.leave();
  }

  /** The broker is to stop: another one leads. */
  drain(): void {
    this.replication.drain(HAND_OVER_MS, (failures) => {
      if (failures.size === 0) this.drained++;
    });
  }

  onRole(role: Role): void {
    this.role = role;
    this.pending = [];
    this.site.watch.onRole(this, role);
  }

  onHighWatermark(sequence: number): void {
    this.site.watch.onHighWatermark(this, sequence);
    while (this.pending.length > 0 && this.pending[0].end <= sequence) {
      const { messages, end } = this.pending.shift() as Publish;
      this.site.watch.onAck(this, messages, end);
    }
  }
}
