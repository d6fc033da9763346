import type { Broker } from "../broker.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { TurnClock } from "./turn-clock.ts";

/** Heartbeats and deaths are looked at this often; idle topics and memory too, now and then. */
const SURVEY_INTERVAL_MS = 250;

/**
 * What a broker does because time has passed: messages time out and fall due, cursors are saved, logs let go and synced, and
 * now and then everybody is looked after. One timer serves all.
 */
export class Upkeep {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private wakeAtMs = Number.POSITIVE_INFINITY;
  private stopped = false;
  private nextSurveyMs = 0;
  private deferredAtMs = 0;
  /** Channels whose dispatch failed. */
  private readonly stalled = new Set<Channel>();

  constructor(
    private readonly broker: Broker,
    private readonly clock: TurnClock,
  ) {}

  /** Begins to look after everybody. */
  start(): void {
    this.wakeAt(this.clock.currentMs() + SURVEY_INTERVAL_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** Asks to be woken at a time: for deadlines, due messages, heartbeats. */
  wakeAt(atMs: number): void {
    if (atMs >= this.wakeAtMs || this.stopped) return;
    this.wakeAtMs = atMs;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.wake(), Math.max(1, Math.min(atMs - this.clock.currentMs(), SURVEY_INTERVAL_MS)));
  }

  /** There may be a bucket of deferred messages now where there was none to be looked after. */
  lookAtDeferred(): void {
    this.deferredAtMs = 0;
  }

  /** The channel's dispatch is tried again in a moment. */
  tryAgain(channel: Channel): void {
    this.stalled.add(channel);
  }

  private wake(): void {
    this.timer = undefined;
    this.wakeAtMs = Number.POSITIVE_INFINITY;
    if (this.stopped) return;
    const { broker } = this;
    const { deferred } = broker;
    this.clock.read();
    const now = this.clock.nowMs;
    let next = now + SURVEY_INTERVAL_MS;
    for (const channel of broker.catalogue.channelsById.values()) {
      if (channel.nextDeadline <= now) channel.expire(now);
      if (channel.nextDeadline < next) next = channel.nextDeadline;
    }
    if (now >= this.deferredAtMs || deferred.nextDueMs <= now) this.deferredAtMs = deferred.process(now);
    next = Math.min(next, this.deferredAtMs, deferred.nextDueMs);
    if (deferred.hasWork) broker.schedule();
    // Moving messages to finer buckets writes by itself.
    if (deferred.awaitsSync) broker.expectDeferredSync();
    broker.releaseLogs();
    next = Math.min(next, broker.saver.saveCursors(now));
    if (now >= this.nextSurveyMs) this.survey(now);
    broker.syncIfDue(now);
    this.wakeAt(Math.max(next, now + 1));
  }

  private survey(nowMs: number): void {
    const { broker } = this;
    this.nextSurveyMs = nowMs + SURVEY_INTERVAL_MS;
    for (const connection of broker.connections.values()) connection.checkTime(nowMs);
    for (const topic of broker.topics.values()) {
      topic.shrinkIfIdle(nowMs);
      topic.reviewRetention(nowMs);
    }
    broker.keys.review(this.clock.wallMs);
    broker.reviewSpace();
    broker.saver.review(nowMs, this.clock.stepMs, broker.topics.values());
    broker.storeCopy.renewIfDue(nowMs);
    for (const channel of this.stalled) channel.markDirty();
    this.stalled.clear();
  }
}
