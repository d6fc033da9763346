import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { type HeldPublish, PublishError } from "./pending-publish.ts";

/** A connection with answers, in an order of their own, that wait for a commit. */
export interface Holder {
  readonly closed: boolean;
  /** One of the answers that are committed must not go out before a sync. */
  readonly waitsForSync: boolean;
  /** The place in the order of answers up to which all is committed. */
  readonly committedUpTo: number;
  /** What was held since the last commit either counts as committed or turns into its error. */
  settleHeld(): void;
  /** The held answers up to a place go out: they are as durable as they have to be. */
  releaseHeld(upTo: number): void;
  /** What is held up to a place was committed but cannot be brought to the disk: it is refused. */
  failHeld(error: Error, upTo: number): void;
}

/** Connections whose answers become durable together. */
interface HoldingGroup {
  connection: Holder;
  /** The place in its order of answers. */
  upTo: number;
}

/** A publish that came by another way than a connection of ours. */
interface Publisher {
  publish: HeldPublish;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Brings all that was committed to the disk. */
export type Sync = (done: (error: Error | undefined) => void) => void;

/**
 * The answers to publishes, which wait for the tick's commit and, where the topic's durability is fsync, for the disk:
 * one sync covers all that was committed while the one before it was under way.
 */
export class Answers {
  /** Connections with answers that no commit has covered yet. */
  private holding: Holder[] = [];
  private publishers: Publisher[] = [];
  private waitingForSync: HoldingGroup[] = [];
  private publishersForSync: Publisher[] = [];
  private syncing = false;
  /** A sync is wanted though no answer waits for it. */
  private wanted: Sync | undefined;

  /** @param sync brings all that answers wait for to the disk */
  constructor(
    private readonly sync: Sync,
    private readonly clock: Clock,
    private readonly log: Logger,
  ) {}

  /** Nothing waits for a commit. */
  private get idle(): boolean {
    return this.holding.length === 0 && this.publishers.length === 0;
  }

  /** The connection holds answers that the next commit covers. */
  hold(connection: Holder): void {
    this.holding.push(connection);
  }

  /** Resolves once the publish is as durable as it has to be; rejects with a PublishError. */
  wait(publish: HeldPublish): Promise<void> {
    return new Promise((resolve, reject) => this.publishers.push({ publish, resolve, reject }));
  }

  /** Waits until no sync is under way, and nobody waits for one. */
  async untilSynced(): Promise<void> {
    while (this.syncing) await new Promise<void>((resolve) => this.clock.callAfter(1, resolve));
  }

  /** Tick, after the commits: what they cover goes out, or waits for the disk; what they failed is refused. */
  settle(): void {
    if (this.idle) return;
    const { holding, publishers } = this;
    this.holding = [];
    this.publishers = [];
    for (const connection of holding) connection.settleHeld();
    for (const connection of holding) {
      if (connection.closed) continue;
      if (connection.waitsForSync) this.waitingForSync.push({ connection, upTo: connection.committedUpTo });
      else connection.releaseHeld(connection.committedUpTo);
    }
    for (const waiter of publishers) {
      const { failure, fsync } = waiter.publish.target;
      if (failure !== undefined) waiter.reject(new PublishError(failure.message));
      else if (fsync) this.publishersForSync.push(waiter);
      else waiter.resolve();
    }
    this.syncGroup();
  }

  /** Syncs what answers would wait for, though none does. */
  syncSoon(): void {
    this.wanted ??= this.sync;
    this.syncGroup();
  }

  /** Has a sync made that covers more than answers wait for, in its turn. */
  syncWith(sync: Sync): void {
    this.wanted = sync;
    this.syncGroup();
  }

  /** Group commit: what was committed while the disk was busy with one sync is covered by the next. */
  private syncGroup(): void {
    if (this.syncing || (this.wanted === undefined && this.waitingForSync.length === 0 && this.publishersForSync.length === 0)) return;
    this.syncing = true;
    const groups = this.waitingForSync;
    const waiters = this.publishersForSync;
    const sync = this.wanted ?? this.sync;
    this.wanted = undefined;
    this.waitingForSync = [];
    this.publishersForSync = [];
    sync((error) => {
      this.syncing = false;
      if (error !== undefined && groups.length + waiters.length > 0) {
        this.log.error(`cannot sync to the disk: ${error.message}; the publishes that waited for it are refused`);
      }
      for (const { connection, upTo } of groups) {
        if (connection.closed) continue;
        if (error !== undefined) connection.failHeld(error, upTo);
        else connection.releaseHeld(upTo);
      }
      for (const waiter of waiters) {
        if (error === undefined) waiter.resolve();
        else waiter.reject(new PublishError(error.message));
      }
      this.syncGroup();
    });
  }
}
