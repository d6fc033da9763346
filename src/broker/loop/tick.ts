import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { GroupCommit } from "../acks/group-commit.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import { isKernelError } from "../storage/disk/unreadable-file.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { Journal } from "../storage/log/journal.ts";
import type { GroupSync } from "./group-sync.ts";
import type { Health } from "./health.ts";
import { type EventLoopTurn, type Flushable, TRIM_INTERVAL_MS } from "./turn.ts";

/** With this many logs to commit in one turn, small commits go to the journal first. */
const JOURNALED_LOGS = 4;

/** What a tick works on. */
export interface TickParts {
  turn: EventLoopTurn;
  deferred: DeferredStore;
  keys: KeyStore<PendingPublish>;
  journal: Journal;
  acks: GroupCommit;
  groupSync: GroupSync;
  freeSpace: FreeSpace;
  health: Health;
  rateLimitedLog: RateLimitedLog;
  /** Sends what a connection has put together. A defect that shows in it ends that connection only. */
  flush(connection: Flushable): void;
}

/**
 * The end of a turn of the event loop: writes the dirty logs, sends the acknowledgements that waited for it, dispatches,
 * and flushes the connections. So an OK is never sent before its message is in the file, and what arrived together is
 * written together.
 */
export class Tick {
  private trimmedAtMs = 0;

  constructor(private readonly parts: TickParts) {}

  readonly run = (): void => {
    const { turn, keys, deferred, freeSpace, acks } = this.parts;
    turn.readClock();
    freeSpace.check(turn.steadyMs);
    // First the deferred store: it notes which messages are about to join which log, so that none joins twice.
    this.commitDeferred();
    if (keys.hasWork) {
      keys.commit(turn.agingMs, deferred.failure);
      this.commitPartitions();
      keys.confirm(turn.agingMs);
    } else {
      this.commitPartitions();
    }
    turn.onCommits?.();
    acks.onCommitted();
    // Before the consumers are served: meanwhile the producers make their next messages.
    this.flushDirty();
    this.dispatch();
    this.flushDirty();
    if (turn.nowMs - this.trimmedAtMs >= TRIM_INTERVAL_MS) this.trimLogs();
  };

  commitDeferred(): void {
    const { deferred, turn, health, freeSpace } = this.parts;
    if (!deferred.hasWork) return;
    deferred.commit();
    turn.deferredChanged = true;
    health.deferred = deferred.failure ?? deferred.statusFailure;
    if (health.deferred !== undefined) freeSpace.failed(turn.steadyMs);
    // What was written may take the place of other entries: that those are done with is noted next.
    else if (deferred.hasWork) turn.schedule();
    this.expectDeferredSync();
  }

  /** What the deferred store has written is synced in its turn, or soon if something waits for that. */
  expectDeferredSync(): void {
    const { deferred, acks, groupSync, turn } = this.parts;
    if (deferred.needsSyncNow) acks.requestSync();
    groupSync.expect(turn.nowMs);
  }

  /** Frees the chunks and segments that no channel needs any more. */
  trimLogs(): void {
    const { turn, rateLimitedLog } = this.parts;
    if (turn.partitionsToTrim.length === 0) return;
    this.trimmedAtMs = turn.nowMs;
    const partitions = turn.partitionsToTrim;
    turn.partitionsToTrim = [];
    for (const partition of partitions) surviveDisk(`TOPIC(${partition.name})`, rateLimitedLog, () => partition.trimLog());
  }

  private commitPartitions(): void {
    const { turn, journal, deferred, health, freeSpace, groupSync } = this.parts;
    if (turn.dirtyPartitions.length === 0) return;
    const partitions = turn.dirtyPartitions;
    turn.dirtyPartitions = [];
    health.log = undefined;
    if (partitions.length >= JOURNALED_LOGS && deferred.statusFailure === undefined) {
      for (const partition of partitions) if (partition.mayJournal) partition.log.stageInJournal(journal);
      journal.writeStaged(turn.wallMs, turn.steadyMs);
    }
    for (const partition of partitions) {
      if (partition.deleted) continue;
      partition.commit(turn.nowMs, turn.wallMs);
      health.log ??= partition.failure;
    }
    if (health.log !== undefined) freeSpace.failed(turn.steadyMs);
    groupSync.expect(turn.nowMs);
  }

  private dispatch(): void {
    const { turn, rateLimitedLog } = this.parts;
    if (turn.dirtyChannels.length === 0) return;
    const channels = turn.dirtyChannels;
    turn.dirtyChannels = [];
    for (const channel of channels) {
      channel.dirty = false;
      try {
        channel.dispatch(turn.nowMs);
      } catch (error) {
        // Whatever one channel fails at must not keep the others from being served.
        const { code, message, stack } = error as NodeJS.ErrnoException;
        // The kernel's error says enough; a defect's does not.
        const why = code === undefined ? stack : message;
        rateLimitedLog.error(`CHANNEL(${channel.name}) of ${channel.partition.name}: cannot deliver: ${why}`, {
          topic: channel.channel.topic.name,
          channel: channel.name,
        });
        channel.dispatchFailed(error as Error);
      }
    }
  }

  private flushDirty(): void {
    const { turn, flush } = this.parts;
    const connections = turn.dirtyConnections;
    if (connections.length === 0) return;
    turn.dirtyConnections = [];
    for (const connection of connections) flush(connection);
  }
}

/** Does work in which a disk that fails must not end the process: logs the kernel's error, and goes on. */
export function surviveDisk(what: string, log: RateLimitedLog, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isKernelError(error)) throw error;
    log.error(`${what}: ${error.message}`);
  }
}
