import { PartitionMove } from "../../../src/cluster/placement/partition-move.ts";
import type { FollowerProgress } from "../../../src/cluster/replication/follower-progress.ts";
import { InSyncSet } from "../../../src/cluster/replication/in-sync-set.ts";
import { Leader } from "../../../src/cluster/replication/leader.ts";
import { OrderRight } from "../../../src/cluster/replication/order-right.ts";
import { Replica } from "../../../src/cluster/replication/replica.ts";
import { StateLeader } from "../../../src/cluster/replication/state/state-leader.ts";
import { StateProgress } from "../../../src/cluster/replication/state/state-progress.ts";
import { RunClaim } from "../../../src/cluster/state/run-claim.ts";
import { seedFromEnvironment } from "../../support/random.ts";
import type { Odds } from "./cluster-run.ts";
import { SimBroker } from "./sim-broker.ts";
import { SimChannel } from "./sim-channel.ts";
import { SimDisk } from "./sim-disk.ts";
import { SimPartition } from "./sim-partition.ts";

/**
 * The first seed of the schedules in which a broken variant is to be noticed, BUNSQ_SEED where that is set. It is not drawn: the rarest takes
 * some 200 of 1,000 schedules, and so would not be noticed in one of 150 runs.
 */
export function seedOfVariants(): number {
  return process.env.BUNSQ_SEED === undefined ? 1 : seedFromEnvironment();
}

/** A member of a class that is replaced by one that is wrong, so that the simulator shows that it would notice. */
export interface BrokenVariant {
  readonly what: string;
  readonly prototype: object;
  readonly member: string;
  readonly descriptor: PropertyDescriptor;
  /** What makes it show sooner. */
  readonly odds?: Partial<Odds>;
}

/** The private members that the replacements use. */
interface Inside {
  readonly parts: { readonly uid: string };
  readonly log: { readonly end: number };
  readonly stored: { readonly value: { readonly inSync: readonly string[]; readonly leader: string } } | undefined;
  readonly changing: readonly string[] | undefined;
  readonly inSync: InSyncSet;
  readonly leading: Leader | undefined;
  readonly isChanging: boolean;
  has(uid: string): boolean;
  isWhole: boolean;
  readonly move: { readonly to: string };
  readonly partition: { readonly disk: { readonly end: number } };
  // Members for the state.
  readonly number: number;
  readonly removed: Set<string>;
  readonly channels: Set<string>;
  readonly values: Set<string>;
}

function method(what: string, prototype: object, member: string, value: (this: Inside, ...values: never[]) => unknown): BrokenVariant {
  return { what, prototype, member, descriptor: { value, configurable: true, writable: true } };
}

function getter(what: string, prototype: object, member: string, get: (this: Inside) => unknown): BrokenVariant {
  return { what, prototype, member, descriptor: { get, configurable: true } };
}

const PASS_ON: (...values: unknown[]) => unknown = Reflect.get(SimBroker.prototype, "passOn");

export const BROKEN_VARIANTS: readonly BrokenVariant[] = [
  method("the epoch is not checked", Replica.prototype, "isStale", () => false),
  method("a publish is answered before the followers have it", Leader.prototype, "endOf", function () {
    return this.log.end;
  }),
  getter("a shrink counts before etcd has it", InSyncSet.prototype, "members", function () {
    return this.changing ?? this.stored?.value.inSync;
  }),
  getter("one that joins does not count before etcd has answered", InSyncSet.prototype, "members", function () {
    return this.stored?.value.inSync;
  }),
  method("a damaged tail is trusted", SimDisk.prototype, "isDamaged", () => false),
  method("the newest epoch is forgotten at a restart", SimDisk.prototype, "saveEpoch", () => {}),
  method("a replica that may have lost something stays in sync", Replica.prototype, "leaveUnlessWhole", function () {
    this.isWhole = true;
  }),
  method("an older copy of a data path is trusted", RunClaim.prototype, "isOurs", () => true),
  getter("a replica that is not in sync takes over", Replica.prototype, "replaceable", function () {
    return this.isChanging || this.leading !== undefined ? undefined : this.stored?.value.leader;
  }),
  getter("a leader alone answers without a lease", Leader.prototype, "mayGoAlone", () => true),
  method("a change of the state is answered before the followers have it", StateLeader.prototype, "hasOf", function () {
    return this.number;
  }),
  method("a follower joins without the state", StateLeader.prototype, "mayJoin", () => true),
  {
    ...getter(
      "a follower is taken to have what its leader has not found out that it lacks",
      StateProgress.prototype,
      "isDone",
      function () {
        return this.values.size + this.channels.size + this.removed.size === 0;
      },
    ),
    odds: { reset: 0.005 },
  },
  method("a follower joins before it has caught up", Leader.prototype, "admit", function (follower: FollowerProgress) {
    if (this.inSync.isChanging || this.inSync.has(follower.uid) || !follower.isFollowing) return;
    this.inSync.change([...this.inSync.members, follower.uid]);
  }),
  {
    ...method(
      "a replica joins that does not know yet that it was removed and added again",
      InSyncSet.prototype,
      "mayJoin",
      function ({ uid }: FollowerProgress) {
        return !this.isChanging && !this.has(uid);
      },
    ),
    odds: { toAndFro: 0.95, faultsMs: 60_000 },
  },
  method(
    "a replica is removed before the new one is in sync",
    PartitionMove.prototype,
    "isCopied",
    function (partition: { replicas: readonly string[] }) {
      return partition.replicas.includes(this.move.to);
    },
  ),
  {
    ...method("a replica is removed while others lag behind", PartitionMove.prototype, "mayDrop", () => true),
    odds: { request: 0.5 },
  },
  method("a leader does not know the keys of publishes before it led", SimPartition.prototype, "takeKeys", () => {}),
  {
    ...getter("a leader that is cut off goes on with an ordered partition", Leader.prototype, "mayHandOut", () => true),
    odds: { ordered: 1 },
  },
  {
    ...method("a new leader of an ordered partition does not wait for the one before", OrderRight.prototype, "waitFrom", () => 0),
    odds: { ordered: 1 },
  },
  {
    ...method("an ordered partition goes on before replicas know what is finished", SimChannel.prototype, "waitsForReplicas", () => false),
    odds: { ordered: 1 },
  },
  getter("a leader delivers what is not released", SimChannel.prototype, "deliverable", function () {
    return this.partition.disk.end;
  }),
  method(
    "a broker answers a publish that it passes on before the leader does",
    SimBroker.prototype,
    "passOn",
    function (...values: never[]) {
      const answer: (outcome: string) => void = values[3];
      answer("ok");
      return PASS_ON.apply(this, values);
    },
  ),
];

/** @returns what mends it */
export function breakIt({ prototype, member, descriptor }: BrokenVariant): Disposable {
  const right = Object.getOwnPropertyDescriptor(prototype, member);
  if (right === undefined) throw new Error(`there is no ${member} any more`);
  Object.defineProperty(prototype, member, descriptor);
  return { [Symbol.dispose]: () => Object.defineProperty(prototype, member, right) };
}
