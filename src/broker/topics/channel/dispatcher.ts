import type { ReadRetry } from "../../storage/disk/read-failures.ts";
import { UnreadableFile } from "../../storage/disk/unreadable-file.ts";
import type { Chunk } from "../../storage/log/chunk.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import { DETAIL_DAMAGED, DETAIL_SAMPLED } from "../../trace/record.ts";
import { ELSEWHERE } from "../locality.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { Backlog } from "./backlog.ts";
import type { ChannelDispatcher } from "./channel-dispatcher.ts";
import type { ChannelMeter } from "./channel-meter.ts";
import type { Consumer } from "./consumer.ts";
import type { InFlight } from "./in-flight.ts";
import type { OrderHold } from "./order-hold.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { ChannelSignals } from "./signals.ts";

/** Consumers that share the messages of several partitions. */
export interface ConsumerGroup {
  /** They come and go. */
  readonly consumers: readonly Consumer[];
  /** Index of the consumer that is served first next time. */
  turn: number;
  /** How fast they get messages at most; undefined: there is no limit. */
  readonly rate?: RateLimit | undefined;
}

/** How many redeliveries a turn may make. Each may read from the disk, and others wait meanwhile. */
export const REDELIVERIES_PER_TURN = 256;

/** What a dispatcher works with. */
export interface DispatcherParts {
  readonly group: ConsumerGroup;
  readonly log: TopicLog;
  readonly backlog: Backlog;
  readonly inFlight: InFlight;
  readonly parts: Pick<TopicParts, "deferred" | "scratch" | "readFailures">;
  readonly signals: ChannelSignals;
  readonly meter: ChannelMeter;
  /** What log lines call the channel. */
  readonly who: string;
  readonly order: OrderHold;
}

/**
 * Delivers a channel's messages to its consumers, and decides who gets how many: new ones in runs, redeliveries one by one.
 *
 * Where a file cannot be read, the messages in it wait. New ones and redeliveries wait apart from each other, since they mostly
 * are in different files.
 */
export class Dispatcher implements ChannelDispatcher {
  /** How many messages went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  readonly deliveredBy: [zone: number, region: number, elsewhere: number] = [0, 0, 0];
  /** How many redeliveries this turn may still make. */
  private redeliveriesLeft = 0;
  /** Whether a redelivery comes next, if new messages wait, too. */
  private redeliveryIsNext = false;
  /** The retries of reading new messages, and of reading messages that are delivered again. */
  protected readonly freshRetry: ReadRetry;
  protected readonly againRetry: ReadRetry;
  protected readonly group: ConsumerGroup;
  protected readonly consumers: readonly Consumer[];
  protected readonly log: TopicLog;
  protected readonly backlog: Backlog;
  protected readonly inFlight: InFlight;
  protected readonly parts: DispatcherParts["parts"];
  protected readonly signals: ChannelSignals;
  protected readonly meter: ChannelMeter;
  protected readonly order: OrderHold;

  constructor({ group, log, backlog, inFlight, parts, signals, meter, who, order }: DispatcherParts) {
    this.group = group;
    this.consumers = group.consumers;
    this.log = log;
    this.backlog = backlog;
    this.inFlight = inFlight;
    this.parts = parts;
    this.signals = signals;
    this.meter = meter;
    this.order = order;
    const resume = () => signals.markDirty();
    this.freshRetry = parts.readFailures.retry(who, resume);
    this.againRetry = parts.readFailures.retry(`a redelivery of ${who}`, resume);
  }

  /** Consumers have come or gone. */
  onConsumersChanged(): void {}

  /** Why messages wait that could be delivered; undefined: none does. */
  get readFailure(): Error | undefined {
    return this.freshRetry.failure ?? this.againRetry.failure;
  }

  /** New messages could not be delivered: they wait. */
  freshFailed(error: Error): void {
    this.freshRetry.failed(error);
  }

  /** To be called when everything that could be delivered was, or when there is nothing to deliver: what did not fail again goes on. */
  endRetries(): void {
    for (const retry of [this.freshRetry, this.againRetry]) if (!retry.isWaiting) retry.succeeded();
  }

  /** The messages that wait were discarded. */
  cancelRetries(): void {
    this.freshRetry.cancel();
    this.againRetry.cancel();
  }

  /** Delivers messages until there are none left, no consumer takes any more, or they cannot be read. */
  dispatch(nowMs: number): void {
    this.deliverAll(nowMs);
    if (this.readFailure !== undefined) this.endRetries();
  }

  protected deliverAll(nowMs: number): void {
    const { group, consumers } = this;
    this.redeliveriesLeft = REDELIVERIES_PER_TURN;
    for (;;) {
      this.advance();
      const waiting = this.readyCount + this.freshCount;
      const available = group.rate === undefined ? waiting : Math.min(waiting, group.rate.available);
      if (available === 0) return;
      let takers = 0;
      let nearest = ELSEWHERE;
      for (const consumer of consumers) {
        if (consumer.nearness > nearest || !this.serves(consumer)) continue;
        if (consumer.nearness < nearest) takers = 0;
        nearest = consumer.nearness;
        takers++;
      }
      if (takers === 0) return;
      // A few messages are spread over all consumers that are ready. Of a flood, each gets all that it takes in one run.
      const share = Math.ceil(available / takers);
      let delivered = 0;
      const count = consumers.length;
      const first = group.turn % count;
      group.turn = first + 1;
      for (let i = 0; i < count; i++) {
        const consumer = consumers[(first + i) % count];
        const want = consumer.nearness > nearest || !this.serves(consumer) ? 0 : Math.min(consumer.capacity, share, available - delivered);
        if (want > 0) delivered += this.serve(consumer, want, nowMs);
      }
      this.deliveredBy[nearest] += delivered;
      this.meter.deliveredCount += delivered;
      if (delivered === 0) break;
      this.signals.markUnsaved();
    }
    if (this.redeliveriesLeft === 0) this.signals.markDirty();
  }

  /** Whether a consumer takes a message of this log now. */
  protected serves(consumer: Consumer): boolean {
    return consumer.capacity > 0 && isOf(consumer, this.log);
  }

  /** How many new messages can be delivered. */
  private get freshCount(): number {
    return this.freshRetry.isWaiting ? 0 : this.backlog.freshCount;
  }

  /** How many messages can be delivered again. */
  private get readyCount(): number {
    return this.againRetry.isWaiting ? 0 : this.inFlight.ready.length;
  }

  private advance(): void {
    if (this.freshRetry.isWaiting) return;
    try {
      this.backlog.advance();
    } catch (error) {
      this.freshRetry.failed(asUnreadable(error));
    }
  }

  /** Does what may read where new messages are, unless they wait. @returns what it returned; false if it failed to read */
  tryFresh(work: () => boolean): boolean {
    if (this.freshRetry.isWaiting) return false;
    try {
      return work();
    } catch (error) {
      this.freshRetry.failed(asUnreadable(error));
      return false;
    }
  }

  /** Delivers up to `want` messages to a consumer. @returns how many it got */
  private serve(consumer: Consumer, want: number, nowMs: number): number {
    let given = 0;
    while (given < want && consumer.capacity > 0) {
      let more: number;
      const again = this.readyCount;
      if (again === 0) more = this.deliverRun(consumer, want - given, nowMs);
      else if (this.freshCount === 0) more = this.redeliver(consumer, Math.min(want - given, again), nowMs);
      else if (this.redeliveriesLeft === 0) break;
      else more = this.deliverInTurn(consumer, nowMs);
      if (more === 0) break;
      given += more;
    }
    return given;
  }

  /**
   * Delivers one message while both kinds wait: new ones and redeliveries take turns, so that no message waits behind more than one
   * of the other kind. The turn only changes here: what was delivered while nothing of the other kind waited does not count.
   */
  private deliverInTurn(consumer: Consumer, nowMs: number): number {
    const isRedelivery = this.redeliveryIsNext;
    const given = isRedelivery ? this.redeliver(consumer, 1, nowMs) : this.deliverRun(consumer, 1, nowMs);
    // New messages may have to wait for room in the window, and either kind for the disk.
    if (given === 0) return isRedelivery ? this.deliverRun(consumer, 1, nowMs) : this.redeliver(consumer, 1, nowMs);
    this.redeliveryIsNext = !isRedelivery;
    return given;
  }

  /** Delivers one contiguous run of new messages to a consumer, with one write and no copy. @returns how many */
  private deliverRun(consumer: Consumer, want: number, nowMs: number): number {
    const { backlog, inFlight } = this;
    if (this.freshRetry.isWaiting) return 0;
    let limit: number;
    let chunk: Chunk | undefined;
    try {
      limit = backlog.runLimit(want);
      chunk = limit > 0 ? backlog.chunk() : undefined;
    } catch (error) {
      this.freshRetry.failed(asUnreadable(error));
      return 0;
    }
    if (chunk === undefined) return 0;
    if (consumer.sampleRate > 0) return this.deliverSampled(consumer, chunk, nowMs);
    const from = chunk.offsetOf(backlog.position);
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    const count = backlog.take(chunk, limit, consumer.id, nowMs, deadlineMs);
    inFlight.addRun(count, deadlineMs);
    this.meter.onDeliver(chunk.view, chunk.start, from, inFlight.window.cursor - count, count);
    if (inFlight.trace !== undefined) inFlight.trace.delivered(consumer.traceName, inFlight.window.cursor - count, count, 1);
    this.group.rate?.spend(count, inFlight.window.runEnd - from);
    consumer.sendRun(this.log, chunk, from, inFlight.window.runEnd, count);
    return count;
  }

  /** Delivers one new message to a consumer that asked for a sample, or finishes it, by chance. This is what nsqd does. */
  private deliverSampled(consumer: Consumer, chunk: Chunk, nowMs: number): number {
    const { backlog, inFlight } = this;
    const { window } = inFlight;
    const from = chunk.offsetOf(backlog.position);
    const sequence = window.cursor;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    backlog.take(chunk, 1, consumer.id, nowMs, deadlineMs);
    if (Math.floor(Math.random() * 100) > consumer.sampleRate) {
      window.finish(sequence);
      inFlight.trace?.finished(consumer.traceName, sequence, 1, 1, DETAIL_SAMPLED);
      this.signals.markTrimmable();
    } else {
      inFlight.addRun(1, deadlineMs);
      this.meter.onDeliver(chunk.view, chunk.start, from, sequence, 1);
      inFlight.trace?.delivered(consumer.traceName, sequence, 1, 1);
      this.group.rate?.spend(1, window.runEnd - from);
      consumer.sendRun(this.log, chunk, from, window.runEnd, 1);
    }
    return 1;
  }

  /** Delivers up to `count` ready messages to a consumer. @returns how many it got, those counted that turned out damaged */
  private redeliver(consumer: Consumer, count: number, nowMs: number): number {
    const { inFlight } = this;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    let given = 0;
    const { ready } = inFlight;
    for (; given < count && consumer.capacity > 0 && this.redeliveriesLeft > 0 && ready.length > 0; given++) {
      this.redeliveriesLeft--;
      try {
        this.redeliverOne(consumer, ready.first, nowMs, deadlineMs);
      } catch (error) {
        this.againRetry.failed(asUnreadable(error));
        // The next try begins with another message, which may be in another file.
        ready.push(ready.shift());
        break;
      }
    }
    return given;
  }

  /** Delivers the oldest ready message. It stays ready until its bytes were read. @throws UnreadableFile */
  private redeliverOne(consumer: Consumer, sequence: number, nowMs: number, deadlineMs: number): void {
    const { inFlight, log } = this;
    const { deferred, scratch } = this.parts;
    const stored = inFlight.detachedAt(sequence);
    if (stored !== undefined) {
      const frame = scratch.reserve(stored.frameBytes);
      deferred.readFrame(stored, frame, 0);
      inFlight.ready.shift();
      this.group.rate?.spend(1, stored.frameBytes);
      consumer.sendAgain(log, frame, 0, stored.frameBytes, inFlight.redeliver(sequence, consumer, nowMs, deadlineMs), 0);
      return;
    }
    const position = inFlight.window.position[sequence & inFlight.window.mask];
    const chunk = log.chunkAt(position, false);
    inFlight.ready.shift();
    if (!chunk.isGap) {
      const at = chunk.offsetOf(position);
      const to = at + 4 + chunk.view.getUint32(at);
      this.group.rate?.spend(1, to - at);
      consumer.sendAgain(log, chunk.buffer, at, to, inFlight.redeliver(sequence, consumer, nowMs, deadlineMs), position);
    } else {
      // It is damaged on the disk, and cannot be delivered.
      inFlight.remove(sequence);
      inFlight.trace?.discarded(sequence, 1, DETAIL_DAMAGED);
      this.signals.markProgress();
    }
  }
}

/** Whether a consumer takes messages of a log. */
export function isOf({ onlyLog }: Consumer, log: TopicLog): boolean {
  return onlyLog === undefined || onlyLog === log;
}

/** @throws an error that is not about reading a file */
export function asUnreadable(error: unknown): UnreadableFile {
  if (error instanceof UnreadableFile) return error;
  throw error;
}
