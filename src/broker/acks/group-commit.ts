import type { Clock } from "../../base/clock.ts";
import { newDurations } from "../../base/histogram.ts";
import type { Logger } from "../../base/logger.ts";
import { type PendingPublish, PublishError, type Replicated, WAITS_FOR_REPLICAS, WAITS_FOR_SYNC } from "./pending-publish.ts";
import { type ReplicaWaiter, ReplicaWaits, waitsOf } from "./replica-waits.ts";

/** The acknowledgements of one client. They go out in the order in which its publishes came. */
export interface ClientAcks {
  readonly closed: boolean;
  /** One of the committed acknowledgements must not go out before a sync. */
  readonly waitsForSync: boolean;
  /** One of the committed acknowledgements must not go out before replicas have its messages. */
  readonly waitsForReplicas: boolean;
  /** The number of the last committed acknowledgement; they are numbered from the start of the connection. */
  readonly committedUpTo: number;
  /** When the first publish since the last commit came, ms of a steady clock. */
  readonly uncommittedSinceMs: number;
  /** The number of the last acknowledgement whose time was measured. */
  measuredUpTo: number;
  /** A commit ended: each publish since the commit before is committed now, or its acknowledgement becomes its error. */
  onCommitted(): void;
  /** The partitions for whose replicas the acknowledgements of the last commit wait. */
  takeReplicated(): readonly Replicated[];
  /** Sends the acknowledgements up to a number: their publishes are as durable as they have to be. */
  sendUpTo(upTo: number): void;
  /**
   * A sync ended, or a wait for replicas: sends the acknowledgements up to a number, and errors for those whose `syncFailure` says so.
   *
   * @param failure errors for all those that wait for more than their commit
   */
  settleUpTo(upTo: number, failure?: Error): void;
}

/** A client whose acknowledgements wait for a sync. */
interface SyncWaiter {
  acks: ClientAcks;
  /** The number of the last acknowledgement that the sync covers. */
  upTo: number;
  /** The publishes that were committed last, and when the first of them came. */
  count: number;
  sinceMs: number;
}

/** A publish whose caller waits for a promise, such as an HTTP call. */
interface Caller {
  publish: PendingPublish;
  /** When it came, ms of a steady clock; NaN: it is not measured. */
  sinceMs: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** A client whose acknowledgements wait for replicas, and perhaps for a sync after that. */
type ClientOnReplicas = SyncWaiter & ReplicaWaiter<ClientAcks>;

/** A caller that waits for replicas. It is a client of its own. */
interface CallerOnReplicas extends ReplicaWaiter<{ readonly closed: boolean }> {
  readonly caller: Caller;
}

/** Syncs everything that was committed before it was called. */
export type Sync = (done: (error: Error | undefined) => void) => void;

/**
 * Sends the acknowledgements of publishes after the tick's commit and, for topics with the durability fsync, after a sync. One
 * sync covers everything that was committed while the sync before it was running.
 */
export class GroupCommit {
  /** From when a publish was read to its answer, ms. Those of one client and turn count as the first of them. */
  readonly toAnswer = newDurations();
  /** Clients with acknowledgements that no commit covers yet. */
  private uncommitted: ClientAcks[] = [];
  private callers: Caller[] = [];
  private waitingForSync: SyncWaiter[] = [];
  private callersForSync: Caller[] = [];
  private readonly waitingForReplicas = new ReplicaWaits<ClientAcks, ClientOnReplicas>();
  private readonly callersForReplicas = new ReplicaWaits<{ readonly closed: boolean }, CallerOnReplicas>();
  private syncing = false;
  /** A sync to be made although no acknowledgement waits for it. */
  private requested: Sync | undefined;

  /** @param sync syncs everything that acknowledgements wait for */
  constructor(
    private readonly sync: Sync,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly turn: { readonly steadyMs: number; schedule(): void },
  ) {}

  /** Whether nothing waits for a commit. */
  private get idle(): boolean {
    return this.uncommitted.length === 0 && this.callers.length === 0;
  }

  /** To be called once for a client that has acknowledgements which the next commit covers. */
  add(acks: ClientAcks): void {
    this.uncommitted.push(acks);
  }

  /** Resolves once the publish is as durable as it has to be; rejects with a PublishError. @param sinceMs when it came; NaN: it is none */
  wait(publish: PendingPublish, sinceMs = this.turn.steadyMs): Promise<void> {
    return new Promise((resolve, reject) => this.callers.push({ publish, sinceMs, resolve, reject }));
  }

  /** Whether a sync is under way or to be made. */
  get busy(): boolean {
    return this.syncing || this.waits;
  }

  private get waits(): boolean {
    return this.requested !== undefined || this.waitingForSync.length > 0 || this.callersForSync.length > 0;
  }

  /** Waits until no sync is under way. */
  async untilSynced(): Promise<void> {
    while (this.syncing) await new Promise<void>((resolve) => this.clock.callAfter(1, resolve));
  }

  /**
   * Called by the tick after the commits: acknowledgements go out, wait for a sync, or become errors. Syncs begin here and nowhere
   * else: so whoever waits for what is written by then waits for this sync, and is told if it fails.
   */
  onCommitted(): void {
    if (!this.idle) this.settleCommitted();
    if (this.waitingForReplicas.size > 0 || this.callersForReplicas.size > 0) this.settleReplicated();
    if (!this.syncing && this.waits) this.syncGroup();
  }

  private settleCommitted(): void {
    const { uncommitted, callers } = this;
    this.uncommitted = [];
    this.callers = [];
    const nowMs = this.clock.steadyMs();
    for (const acks of uncommitted) acks.onCommitted();
    for (const acks of uncommitted) if (!acks.closed) this.settleClient(acks, nowMs);
    for (const caller of callers) {
      const { target } = caller.publish;
      const { failure, waitsFor } = target;
      if (failure === undefined && waitsFor === 0) this.measure(caller.sinceMs, 1, nowMs);
      if (failure !== undefined) caller.reject(new PublishError(failure.message));
      else if ((waitsFor & WAITS_FOR_REPLICAS) !== 0)
        this.callersForReplicas.add({ client: { closed: false }, waits: waitsOf(target.replicated ?? []), failure: undefined, caller });
      else if (waitsFor !== 0) this.callersForSync.push(caller);
      else caller.resolve();
    }
  }

  /** Serves those who waited for replicas. */
  private settleReplicated(): void {
    const nowMs = this.clock.steadyMs();
    for (const waiter of this.waitingForReplicas.takeServed()) {
      const { acks, upTo, count, sinceMs, failure } = waiter;
      if (failure === undefined && acks.waitsForSync) {
        this.waitingForSync.push(waiter);
        continue;
      }
      acks.settleUpTo(upTo, failure);
      if (count > 0) this.measure(sinceMs, count, nowMs);
    }
    for (const { caller, failure } of this.callersForReplicas.takeServed()) {
      if (failure === undefined && (caller.publish.target.waitsFor & WAITS_FOR_SYNC) !== 0) {
        this.callersForSync.push(caller);
        continue;
      }
      this.measure(caller.sinceMs, 1, nowMs);
      if (failure === undefined) caller.resolve();
      else caller.reject(new PublishError(failure.message));
    }
  }

  /** A partition refuses what its replicas lack, for good: what comes to have these sequences later is something else. */
  replicasRefuse(partition: Replicated, failure: Error): void {
    this.waitingForReplicas.refuse(partition, failure);
    this.callersForReplicas.refuse(partition, failure);
  }

  private settleClient(acks: ClientAcks, nowMs: number): void {
    const sinceMs = acks.uncommittedSinceMs;
    const upTo = acks.committedUpTo;
    const count = upTo - acks.measuredUpTo;
    acks.measuredUpTo = upTo;
    // First the replicas: once they have the messages, a sync covers whatever waits for one.
    if (acks.waitsForReplicas) {
      this.waitingForReplicas.add({ client: acks, waits: waitsOf(acks.takeReplicated()), failure: undefined, acks, upTo, count, sinceMs });
      return;
    }
    if (acks.waitsForSync) {
      this.waitingForSync.push({ acks, upTo, count, sinceMs });
      return;
    }
    acks.sendUpTo(upTo);
    if (count > 0) this.measure(sinceMs, count, nowMs);
  }

  private measure(sinceMs: number, count: number, nowMs: number): void {
    if (!Number.isNaN(sinceMs)) this.toAnswer.record(nowMs - sinceMs, count);
  }

  /** Makes a sync with the next tick although no acknowledgement waits for one. */
  requestSync(): void {
    this.requested ??= this.sync;
    this.turn.schedule();
  }

  /** Makes a sync that covers more than acknowledgements wait for, with the next tick or once no other is running. */
  requestSyncBy(sync: Sync): void {
    this.requested = sync;
    this.turn.schedule();
  }

  private syncGroup(): void {
    this.syncing = true;
    const waiters = this.waitingForSync;
    const callers = this.callersForSync;
    const sync = this.requested ?? this.sync;
    this.requested = undefined;
    this.waitingForSync = [];
    this.callersForSync = [];
    sync((error) => {
      this.syncing = false;
      if (error !== undefined && waiters.length + callers.length > 0) {
        this.logger.error(`cannot sync to the disk: ${error.message}; the publishes that waited for it are refused`);
      }
      const nowMs = this.clock.steadyMs();
      for (const { acks, upTo, count, sinceMs } of waiters) {
        if (acks.closed) continue;
        acks.settleUpTo(upTo);
        if (count > 0) this.measure(sinceMs, count, nowMs);
      }
      for (const { publish, sinceMs, resolve, reject } of callers) {
        const { syncFailure } = publish.target;
        this.measure(sinceMs, 1, nowMs);
        if (syncFailure === undefined) resolve();
        else reject(new PublishError(syncFailure.message));
      }
      if (this.waits) this.turn.schedule();
    });
  }
}
