import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Etcd, EtcdCompare, EtcdOperation } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { ClusterView, Stored } from "../state/cluster-view.ts";
import type { ClusterKeys } from "../state/keys.ts";
import { type ControllerRecord, type MoveRecord, type PartitionRecord, type RemovalRecord, SHAPES } from "../state/records.ts";
import { type BalanceHours, isWithin } from "./balance-hours.ts";
import { EmptiedPaths } from "./emptied-paths.ts";
import { layoutOf } from "./layout.ts";
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
/** Brokers say this seldom what they have to do; so often, at most, something is moved for balance, and one partition not again for an hour. */
const BALANCE_MS = 60_000;
const REST_MS = 3_600_000;
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
  readonly move: Stored<MoveRecord>;
  readonly partition: Stored<PartitionRecord> | undefined;
  readonly step: MoveStep;
}

/**
 * Moves partitions, if this lookup server is the controller. What is under way is in etcd, so that another one can go on with it.
 *
 * Each transaction rests on the revision of the controller's key: of two that believe to be the controller, one cannot change anything. The
 * start of a move writes that key again, so whoever starts the next one has seen all moves that were started: a broker has one at a time.
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

  constructor(private readonly options: ControllerOptions) {
    this.paths = new EmptiedPaths(options.view);
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
    const put = { put: keys.controller, value: SHAPES.controller.write(own), lease: lease.id };
    await etcd.txn([{ key: keys.controller, modRevision: 0 }], [put]);
  }

  private async work(): Promise<void> {
    this.look();
    const { view } = this.options;
    const busy = busyBrokers(view.moves.values());
    let begun: PlannedStep | undefined;
    for (const [name, move] of view.moves) {
      const partition = this.partitionOf(move.value);
      const step = this.stepOf(name, move, partition?.value, busy);
      if (step === undefined) continue;
      const planned = { name, move, partition, step };
      if (!step.isStart) await this.take(planned);
      else begun ??= planned;
    }
    if (begun !== undefined) await this.take(begun);
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

  private async take({ name, move, partition: stored, step }: PlannedStep): Promise<void> {
    const { keys, logger } = this.options;
    const seat = this.seat();
    if (seat === undefined) return;
    const { topic, partition, what, from, to } = move.value;
    const key = keys.partition(topic, partition);
    const moveKey = keys.member("moves", name);
    const operations: EtcdOperation[] = [
      step.move === undefined ? { remove: moveKey } : { put: moveKey, value: SHAPES.moves.write(step.move) },
    ];
    if (step.partition !== undefined) operations.push({ put: key, value: SHAPES.partitions.write(step.partition) });
    const conditions = [
      { key: moveKey, modRevision: move.modRevision },
      { key, modRevision: stored?.modRevision ?? 0 },
    ];
    if (!(await this.commit(seat, conditions, operations, step.isStart))) return;
    const state = step.move === undefined ? "ended" : step.move.state;
    logger.info(`MOVE(${topic}/${partition}): ${what} ${from} ${to}: ${state}`);
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
    const wanted = moves.length > 0 || view.moves.size > 0 ? moves : this.forBalance();
    if (wanted.length === 0) return;
    await this.commit(
      seat,
      wanted.map(({ prefix }) => ({ key: keys.move(prefix), modRevision: 0 })),
      wanted.map(({ prefix, move }) => ({ put: keys.move(prefix), value: SHAPES.moves.write(move) })),
    );
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
      if (await this.commit(seat, [{ key, modRevision: 0 }], [{ put: key, value }]))
        logger.warn(`CLUSTER: data path ${uid} is gone, and ${replacedBy} is in its place: ${partitions} partitions are copied anew`);
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

  /** One move for balance, when nothing else is to do and all is in sync. */
  private forBalance(): { prefix: number; move: MoveRecord }[] {
    const { view, clock, threshold, balanceHours } = this.options;
    const nowMs = clock.steadyMs();
    if (nowMs - this.balancedMs < BALANCE_MS || !isWithin(balanceHours, clock.wallMs())) return [];
    if ([...view.partitions.values()].some(({ value }) => value.leader === "" || value.inSync.length < value.replicas.length)) return [];
    this.balancedMs = nowMs;
    const isRested = (name: string) => nowMs >= (this.restsUntilMs.get(name) ?? Number.NEGATIVE_INFINITY);
    const improvement = improve(layoutOf(view), threshold, (placed) => isRested(`${placed.topic}/${placed.partition}`));
    if (improvement === undefined) return [];
    const { what, from, to, placed } = improvement;
    const name = `${placed.topic}/${placed.partition}`;
    const stored = view.partitions.get(name)?.value;
    if (stored === undefined) return [];
    this.restsUntilMs.set(name, nowMs + REST_MS);
    const { topic, partition } = placed;
    return [
      {
        prefix: stored.prefix,
        move: { state: "waiting", what, why: "balance", topic, partition, uid: stored.uid, from, to, inSync: 0 },
      },
    ];
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

  /** @returns whether it was surely done. If it is not known the view shows it, and what is tried again rests on revisions. */
  private async commit(
    seat: Stored<ControllerRecord>,
    conditions: readonly EtcdCompare[],
    operations: readonly EtcdOperation[],
    isStart = false,
  ): Promise<boolean> {
    const { etcd, keys, lease } = this.options;
    const key = keys.controller;
    const again = isStart ? [{ put: key, value: SHAPES.controller.write(seat.value), lease: lease.id }] : [];
    const result = await etcd.txn(this.allOf({ key, modRevision: seat.modRevision }, conditions), [...operations, ...again]);
    return !(result instanceof EtcdError) && result.succeeded;
  }

  /** The conditions of a transaction: that this is still the controller, and what else it rests on. */
  private allOf(seat: EtcdCompare, conditions: readonly EtcdCompare[]): readonly EtcdCompare[] {
    return [seat, ...conditions];
  }
}

/** The brokers that have a move under way. */
function busyBrokers(moves: Iterable<Stored<MoveRecord>>): Set<string> {
  const busy = new Set<string>();
  for (const { value } of moves) {
    if (value.state === "waiting") continue;
    for (const uid of [value.from, value.to]) if (uid !== "") busy.add(uid);
  }
  return busy;
}
