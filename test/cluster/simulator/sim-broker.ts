import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import { Replication } from "../../../src/cluster/replication/replication.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import { WIRE_VERSION } from "../../../src/cluster/replication/wire.ts";
import { ClusterView, type Stored, type ViewChange } from "../../../src/cluster/state/cluster-view.ts";
import { topicAndPartition } from "../../../src/cluster/state/keys.ts";
import { Membership } from "../../../src/cluster/state/membership.ts";
import { type BrokerRecord, type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { RunClaim } from "../../../src/cluster/state/run-claim.ts";
import type { SimDataPath } from "./data-path.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import { type Outcome, SimPartition } from "./sim-partition.ts";
import { KEYS, type SimWorld } from "./sim-world.ts";

const LEASE_MS = 3_000;
const HAND_OVER_MS = 1_000;
/** How often it is looked whether the controller wants another leader. */
const SUCCESSOR_MS = 200;
const SETTINGS = { lagMs: 2_000, suspectMs: 1_000, catchUpBytesPerSecond: 2_000_000, scrubMs: 10_000 };

/** What the checks hear of brokers. */
export interface BrokerWatch {
  onRole(partition: SimPartition, role: Role): void;
  onHighWatermark(partition: SimPartition, sequence: number): void;
  /** @param end the sequence after the last of the messages */
  onAck(partition: SimPartition, messages: readonly number[], end: number): void;
  /** Whether a message was acknowledged, and some replica has removed it since. */
  isRemoved(partition: SimPartition, message: number): boolean;
  /** Changes of the state count: keys, and the versions that they have got. */
  onStateAck(partition: SimPartition, versions: readonly StateKey[]): void;
  /** A message goes to a consumer. @param message undefined: the log does not have it */
  onDelivery(partition: SimPartition, sequence: number, message: number | undefined): void;
  /** A leader counts a message as finished. */
  onFinished(partition: SimPartition, sequence: number): void;
}

/** What every broker of a simulation needs. */
export interface SimSite {
  readonly world: SimWorld;
  readonly network: SimNetwork;
  readonly watch: BrokerWatch;
  /** The process that has a data path now. */
  brokerOf(uid: string): SimBroker | undefined;
  /** Brings a message to a consumer. @param finish to be called in the broker's process when the consumer has finished it */
  deliver(partition: SimPartition, sequence: number, finish: () => void): void;
}

/** One run of a broker. */
export class SimBroker {
  readonly view: ClusterView;
  readonly replication: Replication;
  /** By prefix. */
  readonly partitions = new Map<number, SimPartition>();
  readonly membership: Membership<BrokerRecord>;
  private readonly claim: RunClaim;
  private whenJoined: (() => void) | undefined;
  private readonly handingOver = new Set<SimPartition>();
  /** How often it has handed over all that it led. */
  drained = 0;

  constructor(
    readonly site: SimSite,
    readonly node: SimNode,
    readonly dataPath: SimDataPath,
    run: string,
    zone = "",
  ) {
    const { world, network } = site;
    const { uid } = dataPath;
    const etcd = world.etcd.client(node);
    const address = `${node.name}:1`;
    this.view = new ClusterView(etcd, KEYS, node, world.logger);
    const record = { uid, run, tcp: "", http: "", replication: address, region: "", zone, version: "0" };
    const load = { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 };
    this.membership = new Membership(
      etcd,
      node,
      KEYS.member("brokers", uid),
      SHAPES.brokers,
      { ...record, disk: { sizeBytes: 0, freeBytes: 0 }, load },
      LEASE_MS,
      {
        onJoined: () => this.whenJoined?.(),
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
      removalOf: (uid) => this.view.removals.get(uid)?.value,
      logger: world.logger,
    });
    this.view.listen((changes) => {
      for (const change of changes) this.onChange(change);
    });
    this.claim = new RunClaim(etcd, node, KEYS.member("runs", uid), dataPath.runs, run, {
      onCopy: () => this.distrust(),
      onTrouble: () => {},
    });
    void this.join();
  }

  private async join(): Promise<void> {
    const isCopy = await this.claim.claim();
    if (isCopy === undefined) return;
    this.dataPath.uses++;
    if (!isCopy) this.membership.start();
    this.replication.start();
    void this.view.start().then(() => this.removeOthers());
    this.reviewSuccessors();
  }

  private distrust(): Promise<void> {
    this.dataPath.distrust();
    return new Promise((resolve) => {
      this.whenJoined = resolve;
      this.membership.start(true);
    });
  }

  get uid(): string {
    return this.dataPath.uid;
  }

  get lease(): string {
    return this.membership.lease.id;
  }

  keyOf(name: string): string {
    const { topic, partition } = topicAndPartition(name);
    return KEYS.partition(topic, partition);
  }

  /** It stops, and says so to nobody but etcd. */
  close(): void {
    this.claim.close();
    this.replication.close();
    this.view.close();
    void this.membership.leave();
  }

  /** The broker is to stop: others lead. */
  drain(): void {
    this.replication.drain(HAND_OVER_MS, (failures) => {
      if (failures.size === 0) this.drained++;
    });
  }

  /**
   * A client publishes at this broker, which passes it on if it does not lead.
   *
   * @param answer may never be called, or in another process
   */
  publish(name: string, messages: readonly number[], answer: (outcome: Outcome) => void, isForwarded = false): void {
    const record = this.view.partitions.get(name)?.value;
    if (record === undefined) return answer("refused");
    const partition = this.partitions.get(record.prefix);
    if (partition?.role.name === "leader" || isForwarded || record.leader === this.uid)
      return partition === undefined ? answer("refused") : partition.publish(messages, answer);
    this.passOn(record.leader, name, messages, answer);
  }

  private passOn(to: string, name: string, messages: readonly number[], answer: (outcome: Outcome) => void): void {
    const { network } = this.site;
    const leader = this.site.brokerOf(to);
    if (leader === undefined) return answer("refused");
    const back = (outcome: Outcome) =>
      network.send(leader.node.name, this.node.name, network.delay(), () => this.node.run(() => answer(outcome)));
    network.send(this.node.name, leader.node.name, network.delay(), () =>
      leader.node.run(() => leader.publish(name, messages, back, true)),
    );
  }

  // ---- what etcd says

  private onChange(change: ViewChange): void {
    if (change.kind === "brokers" && change.after !== undefined) {
      this.replication.peers.know(change.after.value);
    }
    if (change.kind === "partitions") this.onRecord(change.name, change.before?.value, change.after);
  }

  private onRecord(name: string, before: PartitionRecord | undefined, after: Stored<PartitionRecord> | undefined): void {
    const isOurs = after?.value.replicas.includes(this.uid) === true;
    const known = this.partitions.get(before?.prefix ?? 0)?.replica.stored?.modRevision ?? 0;
    const isNews = after === undefined || known <= after.modRevision;
    if (before !== undefined && isNews && (!isOurs || before.prefix !== after?.value.prefix)) this.remove(before.prefix);
    if (!isOurs || after === undefined) return;
    const { prefix } = after.value;
    let partition = this.partitions.get(prefix);
    if (partition === undefined) {
      const durability = this.view.topics.get(topicAndPartition(name).topic)?.value.durability ?? "write";
      partition = new SimPartition(this, name, prefix, this.dataPath.open(prefix, durability, after.value.epoch === 0));
      this.partitions.set(prefix, partition);
    }
    partition.replica.onRecord(after);
  }

  private remove(prefix: number): void {
    this.partitions.get(prefix)?.close();
    this.partitions.delete(prefix);
    this.dataPath.remove(prefix);
  }

  /** What was taken from this broker while it was away. */
  private removeOthers(): void {
    for (const prefix of [...this.dataPath.partitions.keys()]) if (!this.partitions.has(prefix)) this.remove(prefix);
  }

  private reviewSuccessors(): void {
    this.node.callAfter(SUCCESSOR_MS, () => {
      for (const partition of this.partitions.values()) {
        const { replica } = partition;
        const successor = replica.stored?.value.successor;
        if (replica.leading === undefined || successor === undefined || successor === this.uid || this.handingOver.has(partition)) continue;
        this.handingOver.add(partition);
        replica.handOver(successor, HAND_OVER_MS, () => this.handingOver.delete(partition));
      }
      this.reviewSuccessors();
    });
  }
}
