import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { GroupCommit } from "../acks/group-commit.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { FolderLock } from "../folder-lock.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import type { ReadFailures } from "../storage/disk/read-failures.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { MetadataBackup } from "../storage/metadata/metadata-backup.ts";
import type { Checkpointer } from "../topics/checkpointer.ts";
import { type TopicRegistry, WITHHOLD_ADOPTED_MS } from "../topics/topic-registry.ts";
import type { GroupSync } from "./group-sync.ts";
import type { Health } from "./health.ts";
import { surviveDisk, type Tick } from "./tick.ts";
import { type EventLoopTurn, SURVEY_INTERVAL_MS } from "./turn.ts";

/** How often it is noted how long files are whose end nothing else speaks of. */
const NOTES_INTERVAL_MS = 1000;
/** After a write that failed, it is tried this often whether the disk takes one. */
const PROBE_INTERVAL_MS = 1000;
/** If the event loop has not come here for this long, the process was stopped or held up. Otherwise it comes each SURVEY_INTERVAL_MS. */
const STALL_MS = 2 * SURVEY_INTERVAL_MS;
/** Shorter stalls are the business of a loaded machine, and not told. */
const NOTABLE_STALL_MS = 1000;
/** After a stall, sockets are read in this many turns before deadlines count: one turn may not see all that are ready. */
const GRACE_TURNS = 3;

/** The connections, which are checked by the clock: heartbeats, and clients that are silent, stuck or do not leave. */
interface TimedConnections {
  /** When the next deadline is, ms. */
  readonly nextCheckMs: number;
  checkTime(nowMs: number): void;
  /** For `byMs` nothing was read or sent. */
  excuse(byMs: number, nowMs: number): void;
}

/** What the timers work on. */
export interface TimersParts {
  turn: EventLoopTurn;
  tick: Tick;
  registry: TopicRegistry;
  deferred: DeferredStore;
  keys: KeyStore<PendingPublish>;
  checkpointer: Checkpointer;
  metadata: { readonly path: string };
  metadataBackup: MetadataBackup;
  acks: GroupCommit;
  groupSync: GroupSync;
  lock: FolderLock;
  freeSpace: FreeSpace;
  rateLimitedLog: RateLimitedLog;
  readFailures: ReadFailures;
  /** Opens later what could not be opened at the start. */
  recovery: { resume(): void };
  tracer: { readonly nextFlushMs: number; flushIfDue(nowMs: number): void };
  health: Health;
  rates: { sampleIfDue(nowMs: number): void };
  openFiles: { closeIdle(nowMs: number): void };
  listener: TimedConnections;
  clock: Pick<Clock, "callAfterTurn">;
  logger: Logger;
}

/**
 * What a broker does because time has passed: messages time out and fall due, cursors are saved, logs trimmed and synced,
 * clients get heartbeats or are cut, and every SURVEY_INTERVAL_MS idle topics, retention and free space are looked at.
 *
 * Every deadline is met in the turn in which it has come, with one exception. If the process was stopped or held up for more than
 * STALL_MS, what clients sent meanwhile is read first: no client is declared dead and no message times out for a silence that was
 * the broker's.
 */
export class Timers {
  private nextSurveyMs = 0;
  private nextNotesMs = 0;
  private nextProbeMs = 0;
  private deferredAtMs = 0;
  private readonly adoptedUntilMs: number;
  /** When it last ran, by the clock that nobody sets. */
  private ranAtMs: number;
  /** After a stall: sockets are read, and deadlines wait. */
  private inGrace = false;

  constructor(private readonly parts: TimersParts) {
    this.adoptedUntilMs = parts.turn.currentMs + WITHHOLD_ADOPTED_MS;
    this.ranAtMs = parts.turn.steadyMs;
  }

  readonly run = (): void => {
    const { turn } = this.parts;
    turn.readClock();
    if (this.inGrace) return;
    const stallMs = turn.steadyMs - this.ranAtMs;
    if (stallMs > STALL_MS) this.beginGrace(stallMs);
    else this.meetDeadlines();
  };

  private beginGrace(stallMs: number): void {
    const { turn, listener, clock, logger } = this.parts;
    if (stallMs > NOTABLE_STALL_MS)
      logger.warn(`LOOP: nothing was done for ${(stallMs / 1000).toFixed(1)} s; what clients sent is read before anything times out`);
    this.inGrace = true;
    listener.excuse(stallMs, turn.nowMs);
    let turns = GRACE_TURNS;
    const onTurnEnd = (): void => {
      if (--turns > 0) return clock.callAfterTurn(onTurnEnd);
      this.inGrace = false;
      turn.readClock();
      this.meetDeadlines();
    };
    clock.callAfterTurn(onTurnEnd);
  }

  private meetDeadlines(): void {
    const { turn, tick, registry, deferred, checkpointer, groupSync, acks, listener, readFailures, recovery, tracer } = this.parts;
    if (turn.isStopped) return;
    this.ranAtMs = turn.steadyMs;
    this.survive("recovery", () => recovery.resume());
    const now = turn.nowMs;
    if (listener.nextCheckMs <= now) listener.checkTime(now);
    let next = listener.nextCheckMs;
    for (const channel of registry.channelPartitions.values()) {
      if (channel.nextDeadlineMs <= now) channel.expire(now);
      if (channel.nextDeadlineMs < next) next = channel.nextDeadlineMs;
    }
    if (turn.deferredChanged || now >= this.deferredAtMs || deferred.nextDueMs <= now) {
      turn.deferredChanged = false;
      this.deferredAtMs = now + SURVEY_INTERVAL_MS;
      this.survive("deferred messages", () => {
        this.deferredAtMs = deferred.process(now);
      });
    }
    next = Math.min(next, this.deferredAtMs, deferred.nextDueMs);
    if (deferred.hasWork) turn.schedule();
    // Moving messages to finer buckets writes by itself.
    if (deferred.needsSync) tick.expectDeferredSync();
    tick.trimLogs();
    tracer.flushIfDue(now);
    next = Math.min(next, checkpointer.saveCursors(now), readFailures.resumeDue(), tracer.nextFlushMs);
    if (now >= this.nextSurveyMs) this.survive("survey", () => this.survey(now));
    groupSync.syncIfDue(now, acks);
    turn.wakeAt(Math.max(Math.min(next, this.nextSurveyMs, groupSync.nextMs), now + 1));
  }

  private survive(what: string, work: () => void): void {
    surviveDisk(what, this.parts.rateLimitedLog, work);
  }

  private survey(nowMs: number): void {
    const { turn, registry, deferred, keys, checkpointer, metadata, metadataBackup, freeSpace, health, rates, lock, openFiles, logger } =
      this.parts;
    this.nextSurveyMs = nowMs + SURVEY_INTERVAL_MS;
    for (const partition of registry.partitions) {
      partition.shrinkIfIdle(nowMs);
      partition.reviewRetention(nowMs);
    }
    rates.sampleIfDue(turn.steadyMs);
    openFiles.closeIdle(turn.steadyMs);
    keys.evictExpired(turn.agingMs);
    lock.check([metadata.path], logger);
    freeSpace.check(turn.steadyMs);
    if (health.hasWriteFailure && nowMs >= this.nextProbeMs) {
      this.nextProbeMs = nowMs + PROBE_INTERVAL_MS;
      if (freeSpace.takesWrites()) health.forgetWriteFailures();
    }
    checkpointer.review(nowMs, turn.clockStepMs, registry.partitions);
    if (nowMs >= this.nextNotesMs) {
      this.nextNotesMs = nowMs + NOTES_INTERVAL_MS;
      deferred.notes.noteAll();
      keys.noteFile();
    }
    metadataBackup.renewIfDue(nowMs);
    if (registry.hasAdopted && nowMs >= this.adoptedUntilMs) registry.releaseAdopted();
  }
}
