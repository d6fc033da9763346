import type { BalanceHours } from "../../../src/cluster/placement/balance-hours.ts";
import { Controller } from "../../../src/cluster/placement/controller.ts";
import { PlacementRequests } from "../../../src/cluster/placement/placement-requests.ts";
import { TopicChanges } from "../../../src/cluster/placement/topic-changes.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { Lease } from "../../../src/cluster/state/lease.ts";
import type { SimNode } from "./sim-node.ts";
import { KEYS, type SimWorld } from "./sim-world.ts";

const LEASE_MS = 3_000;
export const SETTINGS = { ordered: false, durability: "write", retentionMs: 0, retentionBytes: 0, channels: [], paused: false } as const;
const nothing = () => {};

/** A lookup server, as far as it places. */
export class SimLookup {
  readonly node: SimNode;
  readonly view: ClusterView;
  readonly topics: TopicChanges;
  readonly requests: PlacementRequests;

  constructor(world: SimWorld, name: string, balanceHours: BalanceHours | undefined = undefined) {
    const node = world.node(name);
    const etcd = world.etcd.client(node);
    this.node = node;
    this.view = new ClusterView(etcd, KEYS, node, world.logger);
    const lease = new Lease(etcd, node, LEASE_MS, {
      onGranted: nothing,
      onLapsed: nothing,
      onRenewed: nothing,
      onGone: nothing,
      onTrouble: nothing,
    });
    this.topics = new TopicChanges(etcd, KEYS, this.view, node, () => world.random.next());
    this.requests = new PlacementRequests(etcd, KEYS, this.view);
    const { view, topics } = this;
    const own = { lookup: name, run: name };
    const parts = {
      etcd,
      keys: KEYS,
      view,
      clock: node,
      logger: world.logger,
      topics,
      own,
      lease,
      threshold: 0.2,
      balanceHours,
    };
    lease.start();
    void view.start();
    new Controller(parts).start();
  }
}
