import type { Role } from "../../../src/cluster/replication/replica-log.ts";
import { SHAPES } from "../../../src/cluster/state/records.ts";
import { type BrokerWatch, PARTITION_KEY, PREFIX, SimBroker } from "./sim-broker.ts";
import { SimDisk } from "./sim-log.ts";
import { SimNetwork } from "./sim-network.ts";
import { SimWorld } from "./sim-world.ts";

export const UIDS = [1, 2, 3].map((number) => `${number}`.repeat(16));

/** Three brokers that have one partition, and nothing that fails by itself. */
export class ThreeBrokers implements BrokerWatch {
  readonly world = new SimWorld(1);
  readonly network = new SimNetwork(this.world.time, this.world.random);
  readonly brokers: SimBroker[];
  readonly acked: number[] = [];
  private published = 0;

  constructor() {
    const { world, network } = this;
    const record = { uid: "f".repeat(16), prefix: PREFIX, replicas: UIDS, leader: "", epoch: 0, inSync: UIDS };
    world.etcd.store.txn([], [{ put: PARTITION_KEY, value: SHAPES.partitions.write(record) }], []);
    const site = { world, network, watch: this, minInSync: 2, disk: { failure: 0, syncMs: 5 } };
    this.brokers = UIDS.map((uid, i) => new SimBroker(site, world.node(`n${i}`), uid, new SimDisk("write"), "run"));
    this.until("all are in sync", () => this.leader !== undefined && this.inSync.length === UIDS.length);
    world.time.advance(1_000);
  }

  get leader(): SimBroker | undefined {
    return this.brokers.find(({ role, node }) => role.name === "leader" && node.isAlive);
  }

  get inSync(): readonly string[] {
    const record = SHAPES.partitions.read(this.world.etcd.store.entries.get(PARTITION_KEY)?.value ?? "");
    return record instanceof Error ? [] : record.inSync;
  }

  until(what: string, condition: () => boolean): void {
    this.world.time.until(condition, 10_000, what);
  }

  /** @returns how long it takes until a message is acknowledged that clients try to publish again and again, ms */
  publishMs(): number {
    const { time } = this.world;
    const [startMs, before] = [time.nowMs, this.acked.length];
    while (this.acked.length === before) {
      this.leader?.publish([++this.published]);
      time.advance(1);
      if (time.nowMs > startMs + 3_000) throw new Error("nothing is acknowledged");
    }
    return time.nowMs - startMs;
  }

  onRole(_broker: SimBroker, _role: Role): void {}

  onHighWatermark(): void {}

  onStateAck(): void {}

  onAck(_broker: SimBroker, messages: readonly number[]): void {
    this.acked.push(...messages);
  }
}
