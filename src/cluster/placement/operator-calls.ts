import type { Logger } from "../../base/logger.ts";
import type { BrokerNames } from "../report/broker-names.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import { ClusterRefusal } from "./cluster-refusal.ts";
import { candidatesOf } from "./layout.ts";
import { majorityOf } from "./min-in-sync.ts";
import type { PlacementRequests } from "./placement-requests.ts";
import type { TopicChanges } from "./topic-changes.ts";

export interface OperatorParts {
  readonly view: ClusterView;
  readonly names: BrokerNames;
  readonly requests: PlacementRequests;
  readonly topics: TopicChanges;
  readonly logger: Logger;
  /** The number of replicas that must have a publish, if nobody says. */
  minInSyncOf(replicas: number): number;
}

/**
 * What operators ask for, by any lookup server. Brokers are named as BrokerNames finds them. What takes long is in etcd when a call resolves,
 * and goes on from there.
 *
 * All calls resolve to undefined if it was asked for, or is so already.
 */
export class OperatorCalls {
  constructor(private readonly parts: OperatorParts) {}

  /** Has a replica moved from one broker to another. */
  async move(topic: string, partition: number, from: string, to: string): Promise<ClusterRefusal | undefined> {
    const { names, requests } = this.parts;
    const [source, target] = [names.find(from), names.find(to)];
    if (source instanceof ClusterRefusal) return source;
    if (target instanceof ClusterRefusal) return target;
    return this.logged(
      `move ${topic}/${partition} from ${names.label(source)} to ${names.label(target)}`,
      await requests.move(topic, partition, source, target),
    );
  }

  /** Has another replica lead a partition. @param to "": the preferred leader */
  async lead(topic: string, partition: number, to: string): Promise<ClusterRefusal | undefined> {
    const { names, requests, view } = this.parts;
    const preferred = view.partitions.get(`${topic}/${partition}`)?.value.replicas[0] ?? "";
    const target = to === "" ? preferred : names.find(to);
    if (target instanceof ClusterRefusal) return target;
    return this.logged(`let ${names.label(target)} lead ${topic}/${partition}`, await requests.lead(topic, partition, target));
  }

  /** Has leaders and replicas spread as evenly as can be, at any hour. */
  async balance(): Promise<ClusterRefusal | undefined> {
    return this.logged("balance leaders and replicas", await this.parts.requests.balance());
  }

  /** Has a broker drained. How far that is, the status says. */
  async removeNode(node: string): Promise<ClusterRefusal | undefined> {
    const { names, requests } = this.parts;
    const uid = names.find(node);
    if (uid instanceof ClusterRefusal) return uid;
    return this.logged(`remove broker ${names.label(uid)}`, await requests.removeBroker(uid));
  }

  /** Takes a removal back. */
  async keepNode(node: string): Promise<ClusterRefusal | undefined> {
    const { names, requests } = this.parts;
    const uid = names.find(node);
    if (uid instanceof ClusterRefusal) return uid;
    return this.logged(`keep broker ${names.label(uid)}`, await requests.keepBroker(uid));
  }

  /** Gives a topic more partitions. */
  async expand(topic: string, partitions: number): Promise<ClusterRefusal | undefined> {
    return this.logged(`expand topic ${topic} to ${partitions} partitions`, await this.parts.topics.expand(topic, partitions));
  }

  /** Gives a topic another number of replicas. A topic that wanted a majority of them in sync, or what the flags say, still does. */
  async replicas(topic: string, replicas: number): Promise<ClusterRefusal | undefined> {
    const { view, topics, minInSyncOf } = this.parts;
    const record = view.topics.get(topic)?.value;
    if (record === undefined) return new ClusterRefusal("no-such-topic", `there is no topic ${topic} in the cluster`);
    const brokers = candidatesOf(view).length;
    if (replicas > brokers && replicas > record.replicas)
      return new ClusterRefusal("too-few-brokers", `${replicas} replicas need as many brokers; ${brokers} are alive and not being removed`);
    const wasMajority = record.minInSync === majorityOf(record.replicas);
    const wasDefault = record.minInSync === minInSyncOf(record.replicas);
    const kept = wasMajority ? majorityOf(replicas) : Math.min(record.minInSync, replicas);
    const minInSync = wasDefault ? Math.max(kept, minInSyncOf(replicas)) : kept;
    return this.logged(
      `give topic ${topic} ${replicas} replicas, of which ${minInSync} must have a publish`,
      await topics.change(topic, { replicas, minInSync }),
    );
  }

  /** How many replicas of a topic must be in sync for a publish. @param least 0: a majority */
  async minInSync(topic: string, least: number): Promise<ClusterRefusal | undefined> {
    const { view, topics } = this.parts;
    const record = view.topics.get(topic)?.value;
    if (record === undefined) return new ClusterRefusal("no-such-topic", `there is no topic ${topic} in the cluster`);
    if (least > record.replicas)
      return new ClusterRefusal("invalid", `topic ${topic} has ${record.replicas} replicas, so no more than these can be in sync`);
    const minInSync = least === 0 ? majorityOf(record.replicas) : least;
    return this.logged(`have ${minInSync} replicas of topic ${topic} acknowledge a publish`, await topics.change(topic, { minInSync }));
  }

  /**
   * Has a replica lead that is not in sync, when none of those that are will come back.
   *
   * @param isAccepted that messages may be lost
   * @param by where it was asked for, for the log
   */
  async recover(topic: string, partition: number, from: string, isAccepted: boolean, by: string): Promise<ClusterRefusal | undefined> {
    const { names, requests, view } = this.parts;
    const uid = names.find(from);
    if (uid instanceof ClusterRefusal) return uid;
    const given = view.partitions.get(`${topic}/${partition}`)?.value.inSync.map((one) => names.label(one)) ?? [];
    const refusal = await requests.recover(topic, partition, uid, isAccepted);
    const what = `let ${names.label(uid)} lead ${topic}/${partition} without what only ${given.join(", ")} had`;
    if (refusal === undefined) this.parts.logger.warn(`CLUSTER: asked by ${by} to ${what}: acknowledged messages may be lost`);
    else return this.logged(what, refusal);
    return undefined;
  }

  private logged(what: string, refusal: ClusterRefusal | undefined): ClusterRefusal | undefined {
    const { logger } = this.parts;
    if (refusal === undefined) logger.info(`CLUSTER: asked to ${what}`);
    else logger.warn(`CLUSTER: asked to ${what}: ${refusal.message}`);
    return refusal;
  }
}
