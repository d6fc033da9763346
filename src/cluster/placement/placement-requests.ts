import type { Etcd, EtcdCompare, EtcdOperation } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import type { ClusterKeys } from "../state/keys.ts";
import { type MoveRecord, SHAPES } from "../state/records.ts";
import { ClusterRefusal } from "./cluster-refusal.ts";

/** What operators ask of the controller, at any lookup server. It is in etcd then, and whoever is the controller does it. */
export class PlacementRequests {
  constructor(
    private readonly etcd: Etcd,
    private readonly keys: ClusterKeys,
    private readonly view: ClusterView,
    /** What a broker is called in refusals, by its uid. */
    private readonly label: (uid: string) => string = (uid) => uid,
  ) {}

  /** Has a broker drained, alive or not. How far that is, its record in `view.removals` says. @param uid of its data path */
  async removeBroker(uid: string): Promise<ClusterRefusal | undefined> {
    const partitions = [...this.view.partitions.values()].filter(({ value }) => value.replicas.includes(uid)).length;
    const isKnown = partitions > 0 || this.isAlive(uid);
    if (!isKnown) return new ClusterRefusal("no-such-broker", `no broker has the data path uid ${uid}`);
    if (this.view.removals.has(uid)) return undefined;
    const key = this.keys.member("removals", uid);
    const value = SHAPES.removals.write({ state: "draining", partitions, left: partitions, problem: "" });
    return this.ask([{ key, modRevision: 0 }], [{ put: key, value }]);
  }

  /** The broker stays, or comes back: it may get partitions. What was moved stays where it is now. */
  async keepBroker(uid: string): Promise<ClusterRefusal | undefined> {
    if (!this.view.removals.has(uid)) return new ClusterRefusal("no-such-broker", `broker ${this.label(uid)} is not being removed`);
    return this.ask([], [{ remove: this.keys.member("removals", uid) }]);
  }

  /** Has a replica moved from one broker to another. */
  async move(topic: string, partition: number, from: string, to: string): Promise<ClusterRefusal | undefined> {
    return this.moveAs("replace", topic, partition, from, to);
  }

  /** Has leaders and replicas spread as evenly as can be, at any hour. */
  async balance(): Promise<ClusterRefusal | undefined> {
    return this.ask([], [{ put: this.keys.balanceRequest, value: SHAPES.requests.write({ what: "balance" }) }]);
  }

  /** Has another replica, which is in sync, lead a partition. */
  async lead(topic: string, partition: number, to: string): Promise<ClusterRefusal | undefined> {
    return this.moveAs("lead", topic, partition, this.view.partitions.get(`${topic}/${partition}`)?.value.leader ?? "", to);
  }

  /**
   * Has a replica lead that is not in sync, when none of those that are will come back. What only these had is lost.
   *
   * @param isAccepted that this is known
   */
  async recover(topic: string, partition: number, from: string, isAccepted: boolean): Promise<ClusterRefusal | undefined> {
    const { view, label } = this;
    const name = `${topic}/${partition}`;
    const stored = view.partitions.get(name);
    if (stored === undefined) return new ClusterRefusal("no-such-partition", `topic ${topic} has no partition ${partition}`);
    const { value, modRevision } = stored;
    const isAlive = (uid: string) => this.isAlive(uid);
    const list = (uids: readonly string[]) => uids.map(label).join(", ");
    if (!value.replicas.includes(from))
      return new ClusterRefusal("invalid", `${label(from)} has no replica of ${name}; these have one: ${list(value.replicas)}`);
    const able = value.inSync.filter(isAlive);
    if (able.length > 0)
      return new ClusterRefusal(
        "invalid",
        `nothing of ${name} has to be given up: in sync and alive ${able.length === 1 ? "is" : "are"} ${list(able)}, of which one leads or takes over`,
      );
    if (!isAlive(from)) return new ClusterRefusal("no-such-broker", `broker ${label(from)} is away`);
    if (!isAccepted)
      return new ClusterRefusal(
        "may-lose-messages",
        `all that was acknowledged is at ${list(value.inSync)}. ${label(from)} may lack the last of it, or much if it has been out of sync for long. What it lacks is lost for good when it leads, even if the others come back. Accept that, or start one of them`,
      );
    const key = this.keys.partition(topic, partition);
    const next = { ...value, leader: from, epoch: value.epoch + 1, inSync: [from], successor: undefined };
    return this.ask([{ key, modRevision }], [{ put: key, value: SHAPES.partitions.write(next) }]);
  }

  private async moveAs(
    what: "replace" | "lead",
    topic: string,
    partition: number,
    from: string,
    to: string,
  ): Promise<ClusterRefusal | undefined> {
    const record = this.view.partitions.get(`${topic}/${partition}`)?.value;
    if (record === undefined) return new ClusterRefusal("no-such-partition", `topic ${topic} has no partition ${partition}`);
    const { replicas, inSync, prefix, uid, leader } = record;
    if (what === "replace") {
      if (!replicas.includes(from)) return new ClusterRefusal("invalid", `${this.label(from)} has no replica of ${topic}/${partition}`);
      if (replicas.includes(to)) return new ClusterRefusal("invalid", `${this.label(to)} has a replica of ${topic}/${partition}`);
      if (!this.isAlive(to) || this.view.removals.has(to))
        return new ClusterRefusal("no-such-broker", `broker ${this.label(to)} is away, or is being removed`);
    } else if (leader === to) return undefined;
    else if (!inSync.includes(to)) return new ClusterRefusal("invalid", `${this.label(to)} is not in sync`);
    else if (!this.isAlive(to)) return new ClusterRefusal("no-such-broker", `broker ${this.label(to)} is away`);
    const move: MoveRecord = { state: "waiting", what, why: "asked", topic, partition, uid, from, to, inSync: 0 };
    const key = this.keys.move(prefix);
    return this.ask([{ key, modRevision: 0 }], [{ put: key, value: SHAPES.moves.write(move) }]);
  }

  private isAlive(uid: string): boolean {
    for (const { value } of this.view.brokers.values()) if (value.uid === uid) return true;
    return false;
  }

  private async ask(conditions: readonly EtcdCompare[], operations: readonly EtcdOperation[]): Promise<ClusterRefusal | undefined> {
    const result = await this.etcd.txn(conditions, operations);
    if (result instanceof EtcdError) return new ClusterRefusal("unknown-outcome", `look again whether it was asked for: ${result.message}`);
    return result.succeeded ? undefined : new ClusterRefusal("changing", "something else is under way there: try again later");
  }
}
