import type { GroupCommit } from "../acks/group-commit.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { isDiskFull } from "../storage/disk/ballast.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { MetadataBackup } from "../storage/metadata/metadata-backup.ts";
import type { Checkpointer } from "../topics/checkpointer.ts";
import { type TopicRegistry, WITHHOLD_ADOPTED_MS } from "../topics/topic-registry.ts";
import type { GroupSync } from "./group-sync.ts";
import type { Health } from "./health.ts";
import type { Tick } from "./tick.ts";
import { type EventLoopTurn, SURVEY_INTERVAL_MS } from "./turn.ts";

/** A connection that is looked at by the clock: heartbeats, and clients that are silent, stuck or do not leave. */
interface TimedConnection {
  checkTime(nowMs: number): void;
}

/** What the timers work on. */
export interface TimersParts {
  turn: EventLoopTurn;
  tick: Tick;
  registry: TopicRegistry;
  deferred: DeferredStore;
  keys: KeyStore<PendingPublish>;
  checkpointer: Checkpointer;
  metadataBackup: MetadataBackup;
  acks: GroupCommit;
  groupSync: GroupSync;
  freeSpace: FreeSpace;
  health: Health;
  listener: { readonly connections: ReadonlyMap<number, TimedConnection> };
}

/**
 * What a broker does because time has passed: messages time out and fall due, cursors are saved, logs trimmed and synced,
 * and every SURVEY_INTERVAL_MS connections, idle topics, retention and free space are looked at.
 */
export class Timers {
  private nextSurveyMs = 0;
  private deferredAtMs = 0;
  private readonly adoptedUntilMs: number;

  constructor(private readonly parts: TimersParts) {
    this.adoptedUntilMs = parts.turn.currentMs + WITHHOLD_ADOPTED_MS;
  }

  readonly run = (): void => {
    const { turn, tick, registry, deferred, checkpointer, groupSync, acks } = this.parts;
    turn.readClock();
    const now = turn.nowMs;
    let next = now + SURVEY_INTERVAL_MS;
    for (const channel of registry.channelsById.values()) {
      if (channel.nextDeadlineMs <= now) channel.expire(now);
      if (channel.nextDeadlineMs < next) next = channel.nextDeadlineMs;
    }
    if (turn.deferredChanged || now >= this.deferredAtMs || deferred.nextDueMs <= now) {
      turn.deferredChanged = false;
      this.deferredAtMs = deferred.process(now);
    }
    next = Math.min(next, this.deferredAtMs, deferred.nextDueMs);
    if (deferred.hasWork) turn.schedule();
    // Moving messages to finer buckets writes by itself.
    if (deferred.needsSync) tick.expectDeferredSync();
    tick.trimLogs();
    next = Math.min(next, checkpointer.saveCursors(now));
    if (now >= this.nextSurveyMs) this.survey(now);
    groupSync.syncIfDue(now, acks);
    turn.wakeAt(Math.max(next, now + 1));
  };

  private survey(nowMs: number): void {
    const { turn, registry, keys, checkpointer, metadataBackup, freeSpace, health, listener } = this.parts;
    this.nextSurveyMs = nowMs + SURVEY_INTERVAL_MS;
    for (const connection of listener.connections.values()) connection.checkTime(nowMs);
    for (const topic of registry.topics.values()) {
      topic.shrinkIfIdle(nowMs);
      topic.reviewRetention(nowMs);
    }
    keys.evictExpired(turn.wallMs);
    freeSpace.check(turn.steadyMs);
    if (freeSpace.hasRoom) health.forgetFullDisk(isDiskFull);
    checkpointer.review(nowMs, turn.clockStepMs, registry.topics.values());
    metadataBackup.renewIfDue(nowMs);
    if (registry.hasAdopted && nowMs >= this.adoptedUntilMs) registry.releaseAdopted();
    for (const channel of turn.failedChannels) channel.markDirty();
    turn.failedChannels.clear();
  }
}
