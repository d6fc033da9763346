import type { ClusterView, Stored } from "../state/cluster-view.ts";
import { topicAndPartition } from "../state/keys.ts";
import type { MoveRecord, PartitionRecord } from "../state/records.ts";
import { candidatesOf, layoutOf } from "./layout.ts";
import { planLeads } from "./lead-plan.ts";
import { Steadiness } from "./steadiness.ts";

/** What brokers say that they have to do follows leaders only some time later, so they move again no sooner. */
const REST_MS = 60_000;
/** So many partitions may be between two leaders at a time: clients wait meanwhile, and brokers need some time for each. */
const MOST_AT_ONCE = 126;

/** A partition to hand over, with the record that this rests on. */
export interface PlannedLead {
  /** `TOPIC/PARTITION` */
  readonly name: string;
  readonly stored: Stored<PartitionRecord>;
  readonly move: MoveRecord;
}

export interface LeadBalanceOptions {
  readonly view: ClusterView;
  readonly threshold: number;
  /** Whether an operator wants a partition led by what leads it. */
  isHeld(name: string): boolean;
}

/**
 * Spreads leaders. That moves no data, so it is planned as a whole, and many partitions are handed over at once: after a broker came back, when
 * it has been at work for some seconds, and a minute after leaders were moved last. All replicas of a partition must be in sync.
 */
export class LeadBalance {
  /** Who is to lead what: `TOPIC/PARTITION` and uid. */
  private queue: { readonly name: string; readonly from: string; readonly to: string }[] = [];
  private plannedMs = Number.NEGATIVE_INFINITY;
  /** Those that had their part in what was planned last. */
  private served = new Set<string>();
  private readonly steadiness: Steadiness;

  constructor(private readonly options: LeadBalanceOptions) {
    this.steadiness = new Steadiness(options.view);
  }

  /** To be called several times a second. */
  look(nowMs: number): void {
    this.steadiness.look(nowMs);
    for (const uid of this.served) if (!this.steadiness.isSteady(uid, nowMs)) this.served.delete(uid);
  }

  /** What was planned is not wanted any more. */
  clear(): void {
    this.queue = [];
  }

  get isBusy(): boolean {
    return this.queue.length > 0 || this.underWay > 0;
  }

  /** Plans what is to be handed over, if it is time. */
  plan(nowMs: number): void {
    const { threshold, isHeld } = this.options;
    const steady = new Set(this.alive().filter((uid) => this.steadiness.isSteady(uid, nowMs)));
    const hasNew = [...steady].some((uid) => !this.served.has(uid));
    if (!hasNew && nowMs - this.plannedMs < REST_MS) return;
    this.plannedMs = nowMs;
    this.served = steady;
    this.enqueue(threshold, ({ inSync, replicas }, name, to) => inSync.length === replicas.length && steady.has(to) && !isHeld(name));
  }

  /** Plans what makes it as even as it can be, whenever leaders were moved last. */
  planAll(nowMs: number): void {
    this.plannedMs = nowMs;
    const alive = new Set(this.alive());
    this.enqueue(0, (_partition, _name, to) => alive.has(to));
  }

  /** The next ones to hand over. */
  next(): PlannedLead[] {
    const { view } = this.options;
    const room = MOST_AT_ONCE - this.underWay;
    const planned: PlannedLead[] = [];
    const alive = new Set(this.alive());
    while (planned.length < room) {
      const change = this.queue.shift();
      if (change === undefined) break;
      const { name, from, to } = change;
      const stored = view.partitions.get(name);
      // It may have changed since it was planned.
      if (stored === undefined || stored.value.leader !== from || !alive.has(to) || !this.mayChange(name, stored.value, to)) continue;
      const { topic, partition } = topicAndPartition(name);
      const { uid, inSync } = stored.value;
      const what = { state: "leading", what: "lead", why: "balance" } as const;
      planned.push({ name, stored, move: { ...what, topic, partition, uid, from, to, inSync: inSync.length } });
    }
    return planned;
  }

  private enqueue(threshold: number, mayLead: (partition: PartitionRecord, name: string, to: string) => boolean): void {
    const { view } = this.options;
    const changes = planLeads(layoutOf(view), threshold, ({ topic, partition }, to) => {
      const name = `${topic}/${partition}`;
      const stored = view.partitions.get(name);
      return stored !== undefined && this.mayChange(name, stored.value, to) && mayLead(stored.value, name, to);
    });
    this.queue = changes.map(({ placed, to }) => ({ name: `${placed.topic}/${placed.partition}`, from: placed.leader, to }));
  }

  private mayChange(name: string, { uid, inSync, prefix }: PartitionRecord, to: string): boolean {
    const { view } = this.options;
    const topic = view.topics.get(topicAndPartition(name).topic)?.value;
    return topic?.uid === uid && topic.change === undefined && inSync.includes(to) && !view.moves.has(String(prefix));
  }

  /** Those that may get partitions. */
  private alive(): string[] {
    return candidatesOf(this.options.view).map(({ uid }) => uid);
  }

  /** How many partitions are still led by those that are to hand them over. */
  private get underWay(): number {
    const { moves, partitions } = this.options.view;
    let count = 0;
    for (const { value } of moves.values())
      if (value.what === "lead" && partitions.get(`${value.topic}/${value.partition}`)?.value.leader !== value.to) count++;
    return count;
  }
}
