import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { shortUid } from "../data-path-uid.ts";
import { type Etcd, type EtcdCompare, type EtcdOperation, MAX_TXN_OPERATIONS } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { ClusterView, Stored } from "../state/cluster-view.ts";
import type { ClusterKeys } from "../state/keys.ts";
import { type ControllerRecord, type MoveRecord, type PartitionRecord, type RemovalRecord, SHAPES } from "../state/records.ts";
import { type BalanceHours, isWithin } from "./balance-hours.ts";
import { EmptiedPaths } from "./emptied-paths.ts";
import { layoutOf } from "./layout.ts";
import { LeadBalance } from "./lead-balance.ts";
import { planMoves } from "./move-plan.ts";
import { type MoveContext, type MoveStep, PartitionMove } from "./partition-move.ts";
import { improve } from "./place.ts";
import type { TopicChanges } from "./topic-changes.ts";

const ROUND_MS = 250;
const ROUNDS_PER_PLAN = 4;
/** A leader that has not handed over for this long is replaced. */
const HAND_OVER_MS = 5_000;
/** Nothing is copied to a broker that has been away for this long. */
const LOST_MS = 30_000;
/** Whoever makes a topic has this long before somebody else finishes it. */
const FINISH_AFTER_MS = 10_000;
/** Brokers say this seldom what they have to do; so often, at most, a replica is moved for balance, and one partition not again for an hour. */
const BALANCE_MS = 60_000;
const REST_MS = 3_600_000;
/** A step of a move has two conditions and two operations; each transaction has one more for the controller's key. */
const STEPS_PER_TXN = Math.floor((MAX_TXN_OPERATIONS - 1) / 2);
/** How many deleted topics are remembered, and how many are forgotten at once. */
const MOST_DELETED = 2_000;
const MOST_FORGOTTEN = 100;

export interface ControllerOptions {
  readonly etcd: Etcd;
  readonly keys: ClusterKeys;
  readonly view: ClusterView;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly topics: TopicChanges;
  readonly own: ControllerRecord;
  /** The lookup server's own: the controller's key ends with it. */
  readonly lease: { readonly id: string; readonly holds: boolean };
  /** Brokers that differ by less than this part of the average are balanced. */
  readonly threshold: number;
  /** When it may be balanced; undefined: at any time. */
  readonly balanceHours: BalanceHours | undefined;
}

/** A step of a move, and the records that it was made from: its transaction rests on these, however the view has changed meanwhile. */
interface PlannedStep {
  readonly name: string;
  readonly move: Stored<MoveRecord> | undefined;
  readonly partition: Stored<PartitionRecord> | undefined;
  /** What the move is, or was. */
  readonly record: MoveRecord;
  readonly step: MoveStep;
}

/** `unknown`: etcd did not answer. The view shows what came of it, and what is tried again rests on revisions. */
type Outcome = "done" | "refused" | "unknown";

/**
 * Moves partitions, if this lookup server is the controller. What is under way is in etcd, so that another one can go on with it.
 *
 * Each transaction rests on the revision of the controller's key: of two that believe to be the controller, one cannot change anything. The
 * start of a move that copies or drops a replica writes that key again, so whoever starts the next one has seen all that were started: a
 * broker has one at a time. Letting another replica lead costs no such thing: many partitions are handed over at once.
 */
export class Controller {
  private timer: Timer | undefined;
  private isClosed = false;
  private rounds = 0;
  private balancedMs = Number.NEGATIVE_INFINITY;
  private readonly restsUntilMs = new Map<string, number>();
  /** Since when things have been as they are, by the steady clock: absent brokers, moves at a revision, topics at a revision. */
  private since = new Map<string, number>();
  private readonly paths: EmptiedPaths;
  private readonly leads: LeadBalance;
  /** The request for balance, by its revision, that leaders were planned for. */
  private leadsPlannedFor = 0;
  /** Leaders have to be planned again for it: moves were under way at their partitions, or replicas that moved since took leaders along. */
  private areLeadsPartial = false;

  constructor(private readonly options: ControllerOptions) {
    const { view, threshold } = options;
    this.paths = new EmptiedPaths(view);
    this.leads = new LeadBalance({ view, threshold, isHeld: (name) => !this.isRested(name) });
  }

  start(): void {
    this.timer = this.options.clock.callAfter(ROUND_MS, () => void this.round());
  }

  /** Gives the place up. @returns once etcd has answered, or did not in its time */
  async close(): Promise<void> {
    const seat = this.seat();
    this.isClosed = true;
    if (this.timer !== undefined) this.options.clock.cancel(this.timer);
    if (seat !== undefined) await this.commit(seat, [], [{ remove: this.options.keys.controller }]);
  }

  private async round(): Promise<void> {
    this.rounds++;
    // Whoever is the controller later has to know it as well.
    if (this.rounds % ROUNDS_PER_PLAN === 0) this.paths.look();
    this.leads.look(this.options.clock.steadyMs());
    if (this.seat() === undefined) await this.claim();
    else await this.work();
    if (!this.isClosed) this.start();
  }

  /** The own key, as far as it is known; undefined: this is not the controller. */
  private seat(): Stored<ControllerRecord> | undefined {
    const { view, own, lease } = this.options;
    const { controller } = view;
    return lease.holds && controller?.value.run === own.run && controller.lease === lease.id ? controller : undefined;
  }

  private async claim(): Promise<void> {
    const { view, etcd, keys, own, lease } = this.options;
    if (view.controller !== undefined || view.revision === 0 || !lease.holds) return;
    this.since.clear();
    this.leads.clear();
    const put = { put: keys.controller, value: SHAPES.controller.write(own), lease: lease.id };
    await etcd.txn([{ key: keys.controller, modRevision: 0 }], [put]);
  }

  private async work(): Promise<void> {
    this.look();
    const { view } = this.options;
    // Both are taken at the same moment, as a move that begins rests on which brokers are free.
    const seat = this.seat();
    const busy = busyBrokers(view.moves.values());
    const steps: PlannedStep[] = [];
    let begun: PlannedStep | undefined;
    for (const [name, move] of view.moves) {
      const partition = this.partitionOf(move.value);
      const step = this.stepOf(name, move, partition?.value, busy);
      if (step === undefined) continue;
      const planned = { name, move, partition, record: move.value, step };
      if (!step.isStart) steps.push(planned);
      else begun ??= planned;
    }
    await this.takeAll(steps);
    if (!this.leads.isBusy) this.planLeads();
    await this.beginLeads();
    if (begun !== undefined) await this.take([begun], seat);
    else if (this.rounds % ROUNDS_PER_PLAN === 0) await this.plan();
  }

  // ---- moves

  private stepOf(
    name: string,
    { value, modRevision }: Stored<MoveRecord>,
    partition: PartitionRecord | undefined,
    busy: ReadonlySet<string>,
  ): MoveStep | undefined {
    const { view } = this.options;
    const topic = view.topics.get(value.topic)?.value;
    const context: MoveContext = {
      isFree: (uid) => !busy.has(uid),
      isAlive: (uid) => !this.since.has(`away ${uid}`),
      isLost: (uid) => view.removals.has(uid) || this.isLonger(`away ${uid}`, LOST_MS),
      isOverdue: this.isLonger(`move ${name} ${modRevision}`, HAND_OVER_MS),
      // Nothing is removed from a topic that cannot be read.
      minInSync: topic?.minInSync ?? Number.POSITIVE_INFINITY,
      replicas: topic?.replicas ?? Number.POSITIVE_INFINITY,
    };
    return new PartitionMove(value, partition, context).next();
  }

  private async takeAll(steps: readonly PlannedStep[]): Promise<void> {
    for (let i = 0; i < steps.length; i += STEPS_PER_TXN) await this.take(steps.slice(i, i + STEPS_PER_TXN));
  }

  /** Does steps of different moves, together if none of their records has changed. */
  private async take(steps: readonly PlannedStep[], seat = this.seat()): Promise<void> {
    const { keys } = this.options;
    if (seat === undefined) return;
    const conditions: EtcdCompare[] = [];
    const operations: EtcdOperation[] = [];
    for (const { name, move, partition: stored, record, step } of steps) {
      const key = keys.partition(record.topic, record.partition);
      const moveKey = keys.member("moves", name);
      conditions.push({ key: moveKey, modRevision: move?.modRevision ?? 0 }, { key, modRevision: stored?.modRevision ?? 0 });
      operations.push(step.move === undefined ? { remove: moveKey } : { put: moveKey, value: SHAPES.moves.write(step.move) });
      if (step.partition !== undefined) operations.push({ put: key, value: SHAPES.partitions.write(step.partition) });
    }
    const isStart = steps.some(({ step }) => step.isStart);
    const outcome = await this.commit(seat, conditions, operations, isStart);
    if (outcome === "done") for (const one of steps) this.taken(one);
    if (outcome !== "refused" || steps.length === 1) return;
    const half = steps.length >> 1;
    await this.take(steps.slice(0, half));
    await this.take(steps.slice(half));
  }

  private taken({ record, step }: PlannedStep): void {
    const { topic, partition, what, why, from, to } = record;
    // What an operator has chosen is not changed for balance soon after.
    if (what === "lead" && why === "asked") this.rest(`${topic}/${partition}`);
    const state = step.move === undefined ? "ended" : step.move.state;
    this.options.logger.info(
      `MOVE(${topic}/${partition}): ${what}${from === "" ? "" : ` from ${shortUid(from)}`}${to === "" ? "" : ` to ${shortUid(to)}`}: ${state}`,
    );
  }

  /** Hands over some of the partitions that others are to lead. */
  private async beginLeads(): Promise<void> {
    const steps = this.leads.next().map(({ stored, move }): PlannedStep => {
      const partition = { ...stored.value, successor: move.to };
      return {
        name: String(stored.value.prefix),
        move: undefined,
        partition: stored,
        record: move,
        step: { move, partition, isStart: false },
      };
    });
    await this.takeAll(steps);
  }

  private partitionOf({ topic, partition }: MoveRecord) {
    return this.options.view.partitions.get(`${topic}/${partition}`);
  }

  // ---- what is to be moved

  private async plan(): Promise<void> {
    const { view, keys } = this.options;
    const seat = this.seat();
    if (seat === undefined) return;
    for (const [name, { value, modRevision }] of view.topics)
      if (value.change !== undefined && this.isLonger(`topic ${name} ${modRevision}`, FINISH_AFTER_MS)) return this.finish(name);
    if (await this.clearSuccessor(seat)) return;
    if (await this.forgetDeleted(seat)) return;
    if (await this.replaceEmptied(seat)) return;
    const { moves, problems } = planMoves(view);
    if (await this.updateRemovals(seat, problems)) return;
    const isIdle = moves.length === 0 && view.moves.size === 0 && !this.leads.isBusy;
    const wanted = isIdle ? this.forBalance() : moves;
    if (wanted.length > 0)
      await this.commit(
        seat,
        wanted.map(({ prefix }) => ({ key: keys.move(prefix), modRevision: 0 })),
        wanted.map(({ prefix, move }) => ({ put: keys.move(prefix), value: SHAPES.moves.write(move) })),
      );
    else if (isIdle) await this.endRequest(seat);
  }

  private planLeads(): void {
    const { view, clock, balanceHours } = this.options;
    const asked = view.balanceRequest?.modRevision ?? 0;
    if (asked !== 0 && asked !== this.leadsPlannedFor) {
      this.leadsPlannedFor = asked;
      this.areLeadsPartial = view.moves.size > 0;
      this.leads.planAll(clock.steadyMs());
    } else if (isWithin(balanceHours, clock.wallMs())) this.leads.plan(clock.steadyMs());
  }

  /** Nothing is left to move that an operator has asked for, or it cannot be moved now. */
  private async endRequest(seat: Stored<ControllerRecord>): Promise<void> {
    const { view, keys, logger } = this.options;
    const request = view.balanceRequest;
    // One that came in the midst of a round has its leaders planned in the next.
    if (request === undefined || request.modRevision !== this.leadsPlannedFor) return;
    if (this.areLeadsPartial) this.leadsPlannedFor = 0;
    else {
      const key = keys.balanceRequest;
      const isDone = await this.commit(seat, [{ key, modRevision: request.modRevision }], [{ remove: key }]);
      if (isDone === "done")
        logger.info(
          this.isWhole ? "CLUSTER: balanced as asked" : "CLUSTER: leaders are balanced as asked; replicas are not while some are missing",
        );
    }
  }

  private async finish(topic: string): Promise<void> {
    const refusal = await this.options.topics.finish(topic);
    if (refusal !== undefined) this.options.logger.warn(`TOPIC(${topic}): half-made, and cannot be finished now: ${refusal.message}`);
  }

  /** A move's key that somebody removed by hand leaves its partition with a successor. */
  private async clearSuccessor(seat: Stored<ControllerRecord>): Promise<boolean> {
    const { view, keys } = this.options;
    for (const [name, { value, modRevision }] of view.partitions) {
      if (value.successor === undefined || view.moves.has(String(value.prefix))) continue;
      const key = `${keys.prefix}partitions/${name}`;
      const put = { put: key, value: SHAPES.partitions.write({ ...value, successor: undefined }) };
      await this.commit(seat, [{ key, modRevision }], [put]);
      return true;
    }
    return false;
  }

  /** The topics that were deleted first are forgotten when there are many. */
  private async forgetDeleted(seat: Stored<ControllerRecord>): Promise<boolean> {
    const { view, keys } = this.options;
    const beyond = view.deleted.size - MOST_DELETED;
    if (beyond <= 0) return false;
    const oldest = [...view.deleted]
      .sort(([, one], [, other]) => one.modRevision - other.modRevision)
      .slice(0, Math.min(beyond, MOST_FORGOTTEN));
    await this.commit(
      seat,
      [],
      oldest.map(([uid]) => ({ remove: keys.member("deleted", uid) })),
    );
    return true;
  }

  /**
   * A broker came back with an emptied disk, or with another one: its replicas go from the data path that is gone to that one, or to others.
   * That ends where the old data path is back, and when nothing is left of it.
   */
  private async replaceEmptied(seat: Stored<ControllerRecord>): Promise<boolean> {
    const { view, keys, logger } = this.options;
    const { paths } = this;
    for (const [uid, { value, modRevision }] of view.removals) {
      if (value.replacedBy === undefined || (value.state === "draining" && !paths.isAlive(uid))) continue;
      const key = keys.member("removals", uid);
      await this.commit(seat, [{ key, modRevision }], [{ remove: key }]);
      return true;
    }
    const counts = new Map<string, number>();
    for (const { value } of view.partitions.values()) for (const uid of value.replicas) counts.set(uid, (counts.get(uid) ?? 0) + 1);
    for (const [uid, partitions] of counts) {
      const replacedBy = paths.successorOf(uid);
      if (replacedBy === undefined || view.removals.has(uid) || !this.isLonger(`away ${uid}`, LOST_MS)) continue;
      const key = keys.member("removals", uid);
      const value = SHAPES.removals.write({ state: "draining", partitions, left: partitions, problem: "", replacedBy });
      if ((await this.commit(seat, [{ key, modRevision: 0 }], [{ put: key, value }])) === "done")
        logger.warn(
          `CLUSTER: data path ${shortUid(uid)} is gone, and ${shortUid(replacedBy)} is in its place: ${partitions} partitions are copied anew`,
        );
      return true;
    }
    return false;
  }

  /** Says how far removals are. @returns whether there was something new to say */
  private async updateRemovals(seat: Stored<ControllerRecord>, problems: ReadonlyMap<string, string>): Promise<boolean> {
    const { view, keys } = this.options;
    for (const [uid, { value, modRevision }] of view.removals) {
      const left = [...view.partitions.values()].filter((one) => one.value.replicas.includes(uid)).length;
      const state = left === 0 ? "drained" : "draining";
      const partitions = Math.max(left, value.partitions);
      const record: RemovalRecord = { ...value, state, partitions, left, problem: problems.get(uid) ?? "" };
      const text = SHAPES.removals.write(record);
      if (text === SHAPES.removals.write(value)) continue;
      const key = keys.member("removals", uid);
      await this.commit(seat, [{ key, modRevision }], [{ put: key, value: text }]);
      return true;
    }
    return false;
  }

  /** One replica to move for balance, when nothing else is to do and all is in sync. */
  private forBalance(): { prefix: number; move: MoveRecord }[] {
    const { view, clock, threshold, balanceHours } = this.options;
    const nowMs = clock.steadyMs();
    const isAsked = view.balanceRequest !== undefined;
    if (!isAsked && (nowMs - this.balancedMs < BALANCE_MS || !isWithin(balanceHours, clock.wallMs()))) return [];
    if (!this.isWhole) return [];
    this.balancedMs = nowMs;
    const layout = layoutOf(view);
    const improvement = improve(layout, isAsked ? 0 : threshold, (placed) => this.isRested(`${placed.topic}/${placed.partition}`));
    if (improvement === undefined) return [];
    const { placed, from, to } = improvement;
    const name = `${placed.topic}/${placed.partition}`;
    const stored = view.partitions.get(name)?.value;
    if (stored === undefined) return [];
    this.rest(name);
    this.areLeadsPartial = true;
    const { topic, partition } = placed;
    const move = { state: "waiting", what: "replace", why: "balance", topic, partition, uid: stored.uid, from, to, inSync: 0 } as const;
    return [{ prefix: stored.prefix, move }];
  }

  /** Whether all replicas of all partitions are in sync. */
  private get isWhole(): boolean {
    for (const { value } of this.options.view.partitions.values())
      if (value.leader === "" || value.inSync.length < value.replicas.length) return false;
    return true;
  }

  private rest(name: string): void {
    this.restsUntilMs.set(name, this.options.clock.steadyMs() + REST_MS);
  }

  private isRested(name: string): boolean {
    return this.options.clock.steadyMs() >= (this.restsUntilMs.get(name) ?? Number.NEGATIVE_INFINITY);
  }

  // ---- since when

  private look(): void {
    const { view, clock } = this.options;
    const alive = new Set([...view.brokers.values()].map(({ value }) => value.uid));
    const now: string[] = [];
    for (const { value } of view.partitions.values()) for (const uid of value.replicas) if (!alive.has(uid)) now.push(`away ${uid}`);
    for (const { value } of view.moves.values()) if (value.to !== "" && !alive.has(value.to)) now.push(`away ${value.to}`);
    for (const [name, { modRevision }] of view.moves) now.push(`move ${name} ${modRevision}`);
    for (const [name, { value, modRevision }] of view.topics) if (value.change !== undefined) now.push(`topic ${name} ${modRevision}`);
    const nowMs = clock.steadyMs();
    this.since = new Map(now.map((what) => [what, this.since.get(what) ?? nowMs]));
  }

  private isLonger(what: string, ms: number): boolean {
    return this.options.clock.steadyMs() - (this.since.get(what) ?? Number.POSITIVE_INFINITY) > ms;
  }

  // ---- etcd

  private async commit(
    seat: Stored<ControllerRecord>,
    conditions: readonly EtcdCompare[],
    operations: readonly EtcdOperation[],
    isStart = false,
  ): Promise<Outcome> {
    const { etcd, keys } = this.options;
    const key = keys.controller;
    const again = isStart ? [{ put: key, value: SHAPES.controller.write(seat.value), lease: seat.lease }] : [];
    const result = await etcd.txn(this.allOf({ key, modRevision: seat.modRevision }, conditions), [...operations, ...again]);
    if (result instanceof EtcdError) return "unknown";
    return result.succeeded ? "done" : "refused";
  }

  /** The conditions of a transaction: that this is still the controller, and what else it rests on. */
  private allOf(seat: EtcdCompare, conditions: readonly EtcdCompare[]): readonly EtcdCompare[] {
    return [seat, ...conditions];
  }
}

/** The brokers that have a move under way which copies or drops a replica. */
function busyBrokers(moves: Iterable<Stored<MoveRecord>>): Set<string> {
  const busy = new Set<string>();
  for (const { value } of moves) {
    if (value.state === "waiting" || value.what === "lead") continue;
    for (const uid of [value.from, value.to]) if (uid !== "") busy.add(uid);
  }
  return busy;
}
