import type { Clock } from "../../base/clock.ts";
import { newDurations } from "../../base/histogram.ts";
import type { GroupCommit } from "../acks/group-commit.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { SyncGroup } from "../storage/disk/sync-group.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { Checkpointer } from "../topics/checkpointer.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { EventLoopTurn } from "./turn.ts";

/** Logs that are brought up to date and synced in one turn of the event loop. */
const SYNCED_PER_TURN = 64;

/** What a group sync works on. */
export interface GroupSyncParts {
  clock: Clock;
  turn: EventLoopTurn;
  deferred: DeferredStore;
  keys: KeyStore<PendingPublish>;
  checkpointer: Pick<Checkpointer, "syncBegins" | "syncEnded">;
  registry: { readonly partitions: Iterable<TopicPartition> };
  syncTimeoutMs: number;
}

/**
 * Brings to the disk what acknowledgements rest on, in the one order that loses nothing: entries of deferred messages, keys
 * and logs first, the status records that say where those messages are now last.
 */
export class GroupSync {
  /** Why the last sync failed; undefined: it did not. */
  failure: Error | undefined;
  /** How long syncs took, ms: all files that one was for. */
  readonly durations = newDurations();
  /** When everything is to be synced, though nobody waits for it; 0: nothing is left to sync. */
  private dueMs = 0;

  constructor(private readonly parts: GroupSyncParts) {}

  /** Something was written that nobody waits for: it is synced within --sync-timeout. */
  expect(nowMs: number): void {
    if (this.dueMs !== 0) return;
    this.dueMs = nowMs + this.parts.syncTimeoutMs;
    this.parts.turn.wakeAt(this.dueMs);
  }

  /** When everything is to be synced, ms; Infinity: nothing is left to sync. */
  get nextMs(): number {
    return this.dueMs === 0 ? Number.POSITIVE_INFINITY : this.dueMs;
  }

  /** Syncs everything if it is time to. */
  syncIfDue(nowMs: number, acks: GroupCommit): void {
    if (this.dueMs === 0 || nowMs < this.dueMs) return;
    this.dueMs = 0;
    acks.requestSyncBy(this.syncAll);
  }

  /** Syncs what waiting acknowledgements rest on. */
  readonly syncPublished = (done: (error: Error | undefined) => void): void => {
    const { turn } = this.parts;
    const partitions = turn.unsyncedPartitions;
    turn.unsyncedPartitions = new Set();
    this.sync(partitions, done);
  };

  /** Syncs every partition, whether somebody waits for it or not. */
  readonly syncAll = (done: (error: Error | undefined) => void): void => this.sync(this.parts.registry.partitions, done);

  private sync(partitions: Iterable<TopicPartition>, done: (error: Error | undefined) => void): void {
    const { clock, deferred, keys, checkpointer } = this.parts;
    const round: Round = { partitions: [...partitions], logs: new Map(), entries: undefined, keys: undefined, sinceMs: clock.steadyMs() };
    deferred.syncBegins();
    keys.syncBegins();
    checkpointer.syncBegins();
    const group = new SyncGroup((failure) => {
      if (failure !== undefined) return this.end(round, failure, done);
      // Status records say that a deferred message is in a log now, or in another bucket: that place is synced before them.
      deferred.syncStatus((error) => this.end(round, error, done));
    });
    const ofEntries = group.add();
    deferred.syncEntries((error) => {
      round.entries = error;
      ofEntries(error);
    });
    const ofKeys = group.add();
    keys.sync((error) => {
      round.keys = error;
      ofKeys(error);
    });
    // Some in each turn: writing to their own files what a thousand logs have only in the journal takes a while.
    const syncFrom = (from: number) => {
      for (const partition of round.partitions.slice(from, from + SYNCED_PER_TURN)) syncLog(partition, round, group);
      if (from + SYNCED_PER_TURN < round.partitions.length) clock.callAfterTurn(() => syncFrom(from + SYNCED_PER_TURN));
      else group.seal();
    };
    syncFrom(0);
  }

  /** Says what failed to everything that waits for the sync, before the acknowledgements go out. */
  private end(round: Round, failure: Error | undefined, done: (error: Error | undefined) => void): void {
    const { clock, deferred, keys, turn, checkpointer } = this.parts;
    this.failure = failure;
    this.durations.record(clock.steadyMs() - round.sinceMs);
    for (const partition of round.partitions) {
      partition.syncFailure = round.logs.get(partition) ?? round.keys;
      partition.replicated?.[0].onGrew();
    }
    const refusal = round.entries ?? round.keys;
    keys.syncEnded(turn.agingMs, refusal);
    checkpointer.syncEnded(round.entries === undefined);
    deferred.syncEnded(failure, refusal);
    // What rests on these logs goes on waiting for them.
    for (const partition of round.logs.keys()) turn.queueSync(partition);
    if (failure !== undefined) this.expect(turn.nowMs);
    if (deferred.hasWork) turn.schedule();
    done(failure);
  }
}

/** What a sync covers, and what of it failed. */
interface Round {
  readonly partitions: readonly TopicPartition[];
  /** When it began, ms of a steady clock. */
  readonly sinceMs: number;
  readonly logs: Map<TopicPartition, Error>;
  /** Why entries of deferred messages, or the names of their files, could not be synced. */
  entries: Error | undefined;
  keys: Error | undefined;
}

function syncLog(partition: TopicPartition, round: Round, group: SyncGroup): void {
  const { log, deleted } = partition;
  if (deleted) return;
  const ended = group.add();
  const end = (error: Error | undefined) => {
    if (error !== undefined && !partition.deleted) round.logs.set(partition, error);
    ended(error);
  };
  const failure = log.catchUp();
  if (failure !== undefined) end(failure);
  else if (log.files?.hasUnsynced === true) log.files.sync(end);
  else end(undefined);
}
