import type { Clock } from "../../base/clock.ts";
import type { GroupCommit } from "../acks/group-commit.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { Topic } from "../topics/topic.ts";
import type { EventLoopTurn } from "./turn.ts";

/** Topics whose logs are brought up to date and synced in one turn of the event loop. */
const SYNCED_PER_TURN = 64;

/** What a group sync works on. */
export interface GroupSyncParts {
  clock: Clock;
  turn: EventLoopTurn;
  deferred: DeferredStore;
  keys: KeyStore<PendingPublish>;
  registry: { readonly topics: ReadonlyMap<string, Topic> };
  syncTimeoutMs: number;
}

/**
 * Brings to the disk what acknowledgements rest on, in the one order that loses nothing: entries of deferred messages, keys
 * and logs first, the status records that say where those messages are now last.
 */
export class GroupSync {
  /** Why the last sync failed; undefined: it did not. */
  failure: Error | undefined;
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
    const topics = turn.unsyncedTopics;
    turn.unsyncedTopics = new Set();
    this.sync(topics, done);
  };

  /** Syncs every topic, whether somebody waits for it or not. */
  readonly syncAll = (done: (error: Error | undefined) => void): void => this.sync(this.parts.registry.topics.values(), done);

  private sync(topics: Iterable<Topic>, done: (error: Error | undefined) => void): void {
    const { clock, deferred, keys } = this.parts;
    let waiting = 1;
    let failure: Error | undefined;
    const end = () => {
      this.failure = failure;
      deferred.syncEnded(failure);
      if (deferred.hasWork) this.parts.turn.schedule();
      done(failure);
    };
    const endOne = (error: Error | undefined) => {
      failure ??= error;
      if (--waiting > 0) return;
      if (failure !== undefined) return end();
      // Status records say that a deferred message is in a log now, or in another bucket: that place is synced before them.
      deferred.syncStatus((error) => {
        failure = error;
        end();
      });
    };
    deferred.syncBegins();
    waiting += 2;
    deferred.syncEntries(endOne);
    keys.sync(endOne);
    const rest = [...topics];
    // Some in each turn: writing to their own files what a thousand topics have only in the journal takes a while.
    const syncSome = () => {
      for (const { log, deleted } of rest.splice(0, SYNCED_PER_TURN)) {
        if (deleted) continue;
        failure ??= log.catchUp();
        if (log.files?.hasUnsynced !== true) continue;
        waiting++;
        log.files.sync(endOne);
      }
      if (rest.length > 0) clock.callAfterTurn(syncSome);
      else endOne(undefined);
    };
    syncSome();
  }
}
