import { MAX_REPLICAS, type MoveRecord, type PartitionRecord } from "../state/records.ts";

/** What a step of a move depends on beside its records. */
export interface MoveContext {
  /** Has no other move under way that copies or drops a replica. */
  isFree(uid: string): boolean;
  isAlive(uid: string): boolean;
  /** Has been away for long, or is to be removed: nothing is copied to it. */
  isLost(uid: string): boolean;
  /** The move has been in its state for longer than a hand-over takes. */
  readonly isOverdue: boolean;
  readonly minInSync: number;
  /** How many replicas the topic is to have. */
  readonly replicas: number;
}

/** One transaction of a move. It rests on the revisions of both records. */
export interface MoveStep {
  /** undefined: the move has ended, and its key goes. */
  readonly move: MoveRecord | undefined;
  /** undefined: the partition stays as it is. */
  readonly partition: PartitionRecord | undefined;
  /** From here on its brokers have this move under way. Letting another replica lead moves no data, and so does not count. */
  readonly isStart: boolean;
}

/**
 * A change of one partition's replicas, as a state machine: which transaction comes next follows from what etcd has, so anybody may go on
 * where another one stopped. Brokers copy, join the in-sync set and hand over by themselves when they see the partition's record.
 *
 * A replica is removed only while the partition does not need it: it does not lead, and as many as before the move are in sync without it.
 * If fewer are because their brokers are away, those that are left and enough for publishes do: else one dead broker would hold up the
 * removal of another.
 */
export class PartitionMove {
  constructor(
    private readonly move: MoveRecord,
    private readonly partition: PartitionRecord | undefined,
    private readonly context: MoveContext,
  ) {}

  /** @returns undefined: there is something to wait for */
  next(): MoveStep | undefined {
    const { move, partition } = this;
    // The topic was removed, and may have been made again.
    if (partition === undefined || partition.uid !== move.uid) return this.end();
    switch (move.state) {
      case "waiting":
        return this.start(partition);
      case "copying":
        return this.copying(partition);
      case "leading":
        return this.leading(partition);
    }
  }

  private start(partition: PartitionRecord): MoveStep | undefined {
    const { what, to } = this.move;
    const { replicas, inSync, leader } = partition;
    const { context } = this;
    // Another one may lead than when it was asked for.
    const from = what === "lead" ? leader : this.move.from;
    if (what !== "lead" && [from, to].some((uid) => uid !== "" && !context.isFree(uid))) return undefined;
    const move: MoveRecord = { ...this.move, from, inSync: inSync.length };
    const begin = (state: MoveRecord["state"], changes?: Partial<PartitionRecord>): MoveStep => ({
      move: { ...move, state },
      partition: changes === undefined ? undefined : { ...partition, ...changes },
      isStart: what !== "lead",
    });
    if (what === "lead") return inSync.includes(to) && leader !== to ? begin("leading", { successor: to }) : this.end();
    if (what !== "add" && !replicas.includes(from)) return this.end();
    if (what === "drop") return this.isSpare(partition) ? begin("leading") : this.end();
    // It has got this replica another way since it was asked for. Without the old one it would have too few, and the move would wait for ever.
    if (replicas.includes(to)) return what === "replace" && this.isSpare(partition) ? begin("copying") : this.end();
    if (!context.isAlive(to) || context.isLost(to) || replicas.length >= MAX_REPLICAS) return this.end();
    return begin("copying", { replicas: [...replicas, to], additions: (partition.additions ?? 0) + 1 });
  }

  private copying(partition: PartitionRecord): MoveStep | undefined {
    const { what, to } = this.move;
    if (!partition.replicas.includes(to)) return this.end();
    if (this.isCopied(partition)) return what === "add" ? this.end() : this.to("leading");
    const { leader, replicas, inSync } = partition;
    // Nobody copies: the brokers are free for other moves, and what asked for this one asks again.
    if (!this.context.isLost(to) && !(leader !== "" && !this.context.isAlive(leader) && this.context.isLost(leader))) return undefined;
    if (inSync.includes(to) || replicas.length < 2) return this.end();
    return this.end({ ...partition, replicas: replicas.filter((uid) => uid !== to), successor: undefined });
  }

  private leading(partition: PartitionRecord): MoveStep | undefined {
    const { what, from, to } = this.move;
    const { leader, replicas } = partition;
    if (what === "lead") {
      if (leader === to || !replicas.includes(to)) return this.end(this.withoutSuccessor(partition));
      if (!this.context.isOverdue) return undefined;
      return this.isCopied(partition) ? this.force(partition, to) : this.end(this.withoutSuccessor(partition));
    }
    if (!replicas.includes(from)) return this.end(this.withoutSuccessor(partition));
    if (what === "drop" && !this.isSpare(partition)) return this.end(this.withoutSuccessor(partition));
    if (what === "replace" && !this.isCopied(partition)) return this.to("copying", this.withoutSuccessor(partition));
    if (leader === from) return this.replaceLeader(partition);
    return leader !== "" && this.mayDrop(partition) ? this.drop(partition) : this.endIfNeeded(partition);
  }

  private replaceLeader(partition: PartitionRecord): MoveStep | undefined {
    const { what, from, to } = this.move;
    const { replicas, inSync, successor } = partition;
    const next = what === "replace" ? to : replicas.find((uid) => uid !== from && inSync.includes(uid) && this.context.isAlive(uid));
    if (next === undefined) return this.endIfNeeded(partition);
    if (successor !== next) return this.to("leading", { ...partition, successor: next });
    return this.context.isOverdue ? this.force(partition, next) : undefined;
  }

  /** Whether the new replica has everything. */
  private isCopied({ inSync }: PartitionRecord): boolean {
    return inSync.includes(this.move.to);
  }

  /** Whether the topic is still to have fewer replicas than the partition has. */
  private isSpare({ replicas }: PartitionRecord): boolean {
    return replicas.length > this.context.replicas;
  }

  private mayDrop({ replicas, inSync }: PartitionRecord): boolean {
    const { what, from } = this.move;
    const { context } = this;
    // One that is gone may have lost what it had.
    const rest = inSync.filter((uid) => uid !== from && context.isAlive(uid));
    if (rest.length === 0) return false;
    if (what === "drop") return !inSync.includes(from) || rest.length >= context.replicas;
    const isMissed = (uid: string) => uid !== from && !inSync.includes(uid) && context.isAlive(uid);
    return rest.length >= this.move.inSync || (rest.length >= context.minInSync && !replicas.some(isMissed));
  }

  /** When another replica is lost, that one has to go, and this one is needed in its place. */
  private endIfNeeded(partition: PartitionRecord): MoveStep | undefined {
    const { from, to } = this.move;
    const { replicas, inSync } = partition;
    const isOtherLost = replicas.some((uid) => uid !== from && uid !== to && !inSync.includes(uid) && this.context.isLost(uid));
    return isOtherLost ? this.end(this.withoutSuccessor(partition)) : undefined;
  }

  private drop(partition: PartitionRecord): MoveStep {
    const { what, from, to } = this.move;
    const { replicas, inSync } = partition;
    // The new one takes the place of the old one: the first is the preferred leader.
    const others = what === "replace" ? replicas.filter((uid) => uid !== to) : replicas;
    const kept = others.flatMap((uid) => (uid !== from ? uid : what === "replace" ? to : []));
    return this.end({ ...partition, replicas: kept, inSync: inSync.filter((uid) => uid !== from), successor: undefined });
  }

  /** The leader did not hand over in time. Any member of the in-sync set may be made the leader: it has what was acknowledged. */
  private force(partition: PartitionRecord, leader: string): MoveStep {
    return { move: this.move, partition: { ...partition, leader, epoch: partition.epoch + 1 }, isStart: false };
  }

  private withoutSuccessor(partition: PartitionRecord): PartitionRecord | undefined {
    return partition.successor === undefined ? undefined : { ...partition, successor: undefined };
  }

  private to(state: MoveRecord["state"], partition?: PartitionRecord): MoveStep {
    return { move: { ...this.move, state }, partition, isStart: false };
  }

  private end(partition?: PartitionRecord): MoveStep {
    return { move: undefined, partition, isStart: false };
  }
}
