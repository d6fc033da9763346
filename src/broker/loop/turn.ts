import type { Clock, Timer } from "../../base/clock.ts";
import type { Timestamp } from "../../frame/layout.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { Turn } from "../topics/turn.ts";
import { TurnClock } from "./turn-clock.ts";

/** Nobody sleeps longer: idle topics, retention and free space are looked at this often. */
export const SURVEY_INTERVAL_MS = 250;
/** Logs are trimmed at most this often while messages flow. */
export const TRIM_INTERVAL_MS = 5;

/** A client whose connection has something to send at the end of the tick. */
export interface Flushable {
  flush(): void;
}

/**
 * The turn of the event loop that is under way: its time, and what callbacks have left to be done at its end. Callbacks
 * only decode, append and mark; once per turn the tick (tick.ts) does the rest. What is to be done because time has
 * passed is done by timers.ts, woken from here: one timer serves the whole broker.
 */
export class EventLoopTurn implements Turn {
  /** Called once per turn in which something was scheduled. */
  onTick: () => void = () => {
    this.missedTick = true;
  };
  /** Called when the earliest of the times that wakeAt() was given has come. */
  onWake: () => void = () => {
    this.missedWake = true;
  };
  /** Called in each tick when logs are committed, before syncs begin and consumers are served; undefined: nobody waits for it. */
  onCommits: (() => void) | undefined;
  /** Ticks and wakings that came while the broker was being opened, when there was nobody to do the work. */
  private missedTick = false;
  private missedWake = false;

  /** Work for the next tick, each in the list once. The tick takes the lists and leaves empty ones. */
  dirtyPartitions: TopicPartition[] = [];
  dirtyChannels: ChannelPartition[] = [];
  dirtyConnections: Flushable[] = [];
  partitionsToTrim: TopicPartition[] = [];
  /** Partitions with commits that must be synced before they are acknowledged. */
  unsyncedPartitions = new Set<TopicPartition>();
  /** The deferred store has a bucket now that it may not have had when it was last asked what is next. */
  deferredChanged = false;

  readonly turnClock: TurnClock;
  /** Time of this turn for message timestamps, ns. The same object for all turns: every publish reads it. */
  readonly time: Timestamp;
  private scheduled = false;
  private stopped = false;
  private timer: Timer | undefined;
  private wakeAtMs = Number.POSITIVE_INFINITY;

  constructor(private readonly clock: Clock) {
    this.turnClock = new TurnClock(clock);
    this.time = this.turnClock.time;
  }

  /**
   * Begins to work.
   *
   * @param onTick called once per turn in which something was scheduled
   * @param onWake called when the earliest of the times that wakeAt() was given has come
   */
  begin(onTick: () => void, onWake: () => void): void {
    this.onTick = onTick;
    this.onWake = onWake;
    if (this.missedTick) this.schedule();
    if (this.missedWake) this.wakeAt(this.currentMs);
  }

  // ---- time

  /** The broker's time of this turn, by which timeouts and delays go, ms (turn-clock.ts). */
  get nowMs(): number {
    return this.turnClock.nowMs;
  }

  /** The broker's time at this moment: where no socket brought one here, the turn's may be old. */
  get currentMs(): number {
    return this.turnClock.currentMs();
  }

  /** The wall clock's time of this turn, ms. */
  get wallMs(): number {
    return this.turnClock.wallMs;
  }

  /** The time by which things are too old to be kept, ms: the wall clock's, unless that was just set ahead. */
  get agingMs(): number {
    return this.turnClock.agingMs;
  }

  /** Time of this turn by a clock that nobody sets, ms since the process began. */
  get steadyMs(): number {
    return this.turnClock.steadyMs;
  }

  /** By how much the wall clock was set forward since the data path began, ms. */
  get clockStepMs(): number {
    return this.turnClock.stepMs;
  }

  /** What the wall clock says at a moment of the broker's time, ms. */
  toWall(atMs: number): number {
    return this.turnClock.toWall(atMs);
  }

  /** Goes on by the time of an earlier run. @param clockStepMs by how much the wall clock was set in it */
  continueFrom(clockStepMs: number): void {
    this.turnClock.continueFrom(clockStepMs);
  }

  /** Reads the clock. To be called at the start of each callback that brings something from outside. */
  readClock(): void {
    this.turnClock.read();
  }

  // ---- what is left to be done

  /** Asks for a tick at the end of this turn. */
  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.clock.callAfterTurn(this.runTick);
  }

  queueCommit(partition: TopicPartition): void {
    this.dirtyPartitions.push(partition);
    this.schedule();
  }

  queueSync(partition: TopicPartition): void {
    this.unsyncedPartitions.add(partition);
  }

  queueDispatch(channel: ChannelPartition): void {
    this.dirtyChannels.push(channel);
    this.schedule();
  }

  queueFlush(connection: Flushable): void {
    this.dirtyConnections.push(connection);
    this.schedule();
  }

  queueTrim(partition: TopicPartition): void {
    this.partitionsToTrim.push(partition);
    this.wakeAt(this.turnClock.nowMs + TRIM_INTERVAL_MS);
  }

  // ---- waking up

  /** Asks to be woken at a moment of the broker's time: for deadlines, due messages, heartbeats. */
  wakeAt(atMs: number): void {
    if (atMs >= this.wakeAtMs || this.stopped) return;
    this.wakeAtMs = atMs;
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    const delayMs = Math.max(1, Math.min(atMs - this.turnClock.currentMs(), SURVEY_INTERVAL_MS));
    this.timer = this.clock.callAfter(delayMs, this.wake);
  }

  get isStopped(): boolean {
    return this.stopped;
  }

  /** No more ticks, and nobody is woken any more. */
  stop(): void {
    this.stopped = true;
    if (this.timer !== undefined) this.clock.cancel(this.timer);
  }

  private readonly runTick = (): void => {
    this.scheduled = false;
    if (!this.stopped) this.onTick();
  };

  private readonly wake = (): void => {
    this.timer = undefined;
    this.wakeAtMs = Number.POSITIVE_INFINITY;
    if (!this.stopped) this.onWake();
  };
}
