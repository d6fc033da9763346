import type { Timer } from "../../base/clock.ts";
import { PublishError } from "../../broker/acks/pending-publish.ts";
import { channelRow } from "../../broker/topics/channel/channel-row.ts";
import { ReplicatedPartition } from "../../broker/topics/replicated-partition.ts";
import type { TopicPartition } from "../../broker/topics/topic-partition.ts";
import type { Replica } from "../replication/replica.ts";
import type { ReplicaHost, Role } from "../replication/replica-log.ts";
import type { PartitionParts } from "../replication/replica-parts.ts";
import { TopicReplicaLog } from "../replication/topic-replica-log.ts";
import type { TopicRecord } from "../state/records.ts";
import type { MemberParts } from "./member-parts.ts";
import type { StoredMemory } from "./replica-memories.ts";
import { ReplicaValues } from "./replica-values.ts";

/** How long to wait before it is looked again whether channels can go on. */
const AGAIN_MS = 200;
/** How long publishes may wait until the next leader has everything. */
const HAND_OVER_MS = 1_000;
const LOST = new PublishError("another broker leads the partition now, or is about to; whether it has the message is not known");

/** A partition of this broker that other brokers may have as well. It is served while this broker leads it. */
export class MemberPartition implements ReplicaHost {
  /** `TOPIC/PARTITION` */
  readonly name: string;
  readonly replicated: ReplicatedPartition;
  minInSync = 1;
  /** The channels that its topic is to have, as etcd says. */
  channels: readonly string[] = [];
  private readonly values: ReplicaValues;
  private replica: Replica | undefined;
  private newest: Role | undefined;
  private again: Timer | undefined;
  private lastRefusal: PublishError | undefined;

  /** @param onRole called when it is led here, or no more */
  constructor(
    private readonly parts: MemberParts,
    readonly partition: TopicPartition,
    readonly memory: StoredMemory,
    private readonly onChanged: (partition: MemberPartition) => void,
  ) {
    const { topic, index, released, releasable } = partition;
    this.name = `${topic.name}/${index}`;
    const state = parts.states.of(partition.log.prefix, () => partition.fsync);
    this.values = new ReplicaValues(parts.clock, state, () => this.replica);
    this.replicated = new ReplicatedPartition(partition, parts.broker);
    this.replicated.keptFrom = () => this.values.keptFrom(partition.log.startSequence);
    this.replicated.leads = false;
    this.replicated.refusal = () => this.refusal;
    this.replicated.isHandedOver = () => this.replica?.leading?.isHandingOver === true;
    this.replicated.mayDeliverInOrder = () => this.replica?.mayHandOut === true;
    this.replicated.onGrew = () => this.replica?.logGrew();
    partition.replicate(this.replicated, Number.isFinite(releasable) ? releasable : released);
    this.replicated.refuse(LOST);
    parts.broker.channelKeeper.putAway(partition);
    topic.servingChanged();
  }

  get number(): number {
    return this.partition.log.prefix;
  }

  get durability(): "write" | "fsync" {
    return this.partition.fsync ? "fsync" : "write";
  }

  /** What its replication works with. @param key of its record */
  replicaParts(key: string): PartitionParts {
    const { partition, replicated, name, number, memory } = this;
    const { log } = partition;
    if (log.files === undefined) throw new Error(`${name} is in memory only`);
    return { key, name, number, log: new TopicReplicaLog(log, log.files, replicated), state: this.values.state, memory, host: this };
  }

  /** Removes what all channels have finished, where another broker leads. To be called every second or so. */
  trim(): void {
    if (!this.replicated.leads && this.values.review()) this.partition.markTrimmable();
  }

  /** Its replication has begun. */
  begin(replica: Replica): void {
    this.replica = replica;
  }

  /** Applies what the topic's record says. */
  apply({ minInSync, channels }: TopicRecord): void {
    this.minInSync = minInSync;
    this.channels = channels;
  }

  /** Hands over to the replica that the record says is to lead next. To be called several times a second. */
  obey(): void {
    const { replica, parts } = this;
    const successor = replica?.stored?.value.successor;
    if (successor === undefined || successor === parts.uid || replica?.leading === undefined || replica.leading.isHandingOver) return;
    replica.handOver(successor, HAND_OVER_MS, (failure) => {
      if (failure !== undefined) parts.errors.error(`PARTITION(${this.name}): is not handed over yet: ${failure.message}`);
    });
  }

  onRole(role: Role): void {
    const isAgain = this.newest === role;
    this.newest = role;
    if (this.again !== undefined) this.parts.clock.cancel(this.again);
    this.again = undefined;
    const { replicated } = this;
    const leads = role.name === "leader";
    if (replicated.leads === leads) return;
    if (!leads) this.setLeads(false);
    else if (!this.takeUp(isAgain)) return this.tryAgain(role);
    this.onChanged(this);
  }

  /** @returns false: nothing is served */
  private takeUp(isAgain: boolean): boolean {
    const { partition, parts, values } = this;
    const { channelKeeper, logger } = parts.broker;
    let [isReadable, isUp] = [false, false];
    const didNotFail = this.attempt(() => {
      isReadable = channelKeeper.canTakeUp(partition, values);
      if (!isReadable) return;
      isUp = true;
      this.setLeads(true);
      channelKeeper.takeUp(partition, values, this.channels);
    });
    if (didNotFail && !isReadable && !isAgain)
      logger.warn(`PARTITION(${this.name}): cannot serve before damaged messages are read from another replica`);
    if (didNotFail) return isReadable;
    // Without all of its channels it must not be served: one that is made anew would begin at the end.
    if (isUp) this.setLeads(false);
    // Another broker's disk may be better.
    if (isAgain) this.replica?.handOver(undefined, HAND_OVER_MS, () => {});
    return false;
  }

  private setLeads(leads: boolean): void {
    const { partition, replicated, parts } = this;
    replicated.leads = leads;
    if (leads) replicated.accept();
    else {
      replicated.refuse(LOST);
      this.attempt(() => parts.broker.channelKeeper.putAway(partition));
    }
    partition.topic.servingChanged();
    parts.broker.registry.observer?.leaderChanged(partition);
  }

  /** Until what channels need can be read, or another broker leads, nothing is served. */
  private tryAgain(role: Role): void {
    this.again = this.parts.clock.callAfter(AGAIN_MS, () => this.onRole(role));
  }

  /** Who leads changes whatever the disk does. @returns whether nothing failed */
  private attempt(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      const { topic } = this.partition;
      this.parts.errors.error(`PARTITION(${this.name}): its channels: ${(error as Error).message}`, { topic: topic.name });
      return false;
    }
  }

  /** Whether it has a channel with an order. */
  get isOrdered(): boolean {
    for (const { channel } of this.partition.channels.values()) if (channel.settings.order !== "none") return true;
    return false;
  }

  /** Cursors that wait to be saved go along: the next leader delivers again what was finished later only. */
  onHandOver(): void {
    for (const channel of this.partition.channels.values()) if (channel.persistent) this.replicated.state?.saveChannel(channelRow(channel));
  }

  onMayHandOut(): void {
    for (const channel of this.partition.channels.values()) channel.markDirty();
    this.parts.broker.turn.schedule();
  }

  onStateMark(): void {
    this.replicated.state?.advanced();
    this.parts.broker.turn.schedule();
  }

  onStall(reason: string | undefined): void {
    const { replicated } = this;
    if (!replicated.leads) return;
    if (reason === undefined) replicated.accept();
    else replicated.refusePublishes(new PublishError(`${reason}; whether the message is delivered later is not known`));
  }

  onHighWatermark(sequence: number): void {
    this.replicated.release(sequence);
  }

  private get refusal(): PublishError | undefined {
    const reason = this.replica?.refusal;
    if (reason === undefined) return undefined;
    if (this.lastRefusal?.message !== reason) this.lastRefusal = new PublishError(reason);
    return this.lastRefusal;
  }
}
