import type { LatencySketch } from "../../latency/latency-window.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { ChannelRow } from "../../storage/metadata/rows.ts";
import { type ChannelView, type MessageState, messageStatus } from "../inspect/message-status.ts";
import { seekPreview } from "../inspect/seek-preview.ts";
import { OperatorError } from "../operator-error.ts";
import type { TopicPartition } from "../topic-partition.ts";
import type { TopicParts } from "../topic-parts.ts";
import { Backlog } from "./backlog.ts";
import type { Channel } from "./channel.ts";
import { ChannelMeter } from "./channel-meter.ts";
import type { Consumer } from "./consumer.ts";
import { Deferrals } from "./deferrals.ts";
import type { Discarded } from "./discarded.ts";
import { InFlight } from "./in-flight.ts";
import { boundLag } from "./lag-bound.ts";
import { LatencyRecorder } from "./latency-recorder.ts";
import { OrderHold } from "./order-hold.ts";
import { encodeProgress, type Progress } from "./progress.ts";
import { RateWait } from "./rate-wait.ts";
import { Delivery } from "./selective/delivery.ts";
import type { ChannelSignals } from "./signals.ts";
import { skipAll } from "./skipping.ts";
import { Window } from "./window.ts";

/**
 * What a channel has of one partition of its topic. It stores no message. Its parts know which ones it has: the backlog is a cursor
 * into the partition's log (backlog.ts), messages that were delivered and are not finished are in flight (in-flight.ts), and the
 * deferrals go to the deferred store and come back (deferrals.ts). The dispatcher delivers them to the channel's consumers
 * (dispatcher.ts). This class has what clients, operators and the partition call; what concerns the channel as a whole is in
 * channel.ts.
 */
export class ChannelPartition implements ChannelView, ChannelSignals {
  readonly name: string;
  readonly ephemeral: boolean;
  /** It has a row in the metadata store, and its messages outlive the process. */
  readonly persistent: boolean;
  paused = false;
  deleted = false;
  /** Those of the channel, in the order in which they subscribed. */
  readonly consumers: readonly Consumer[];
  requeueCount = 0;
  timeoutCount = 0;
  /** It is in the list of channels that the next tick dispatches. */
  dirty = false;
  /** It waits in the channel's list for a consumer that takes more (Channel.noteStarved()). */
  isStarved = false;
  /** It is in the list of channels that the checkpointer saves soon. */
  unsaved = false;

  readonly inFlight: InFlight;
  readonly deferrals: Deferrals;
  readonly backlog: Backlog;
  readonly delivery: Delivery;
  readonly meter: ChannelMeter;
  private readonly rateWait: RateWait;
  /** `topic.released` less the messages that entered the channel since the broker started. */
  private messageCountBase: number;

  /**
   * @param id of its row in the metadata store; an ephemeral channel has a number that no row has
   * @param floor sequence of its first message
   * @param position of that message in the log
   */
  constructor(
    private readonly parts: TopicParts,
    readonly partition: TopicPartition,
    readonly channel: Channel,
    readonly id: number,
    floor: number,
    position: number,
  ) {
    const { name, ephemeral, consumers } = channel;
    this.name = name;
    this.ephemeral = ephemeral;
    this.persistent = channel.persistent;
    this.consumers = consumers;
    this.messageCountBase = floor;
    const measured = parts.options.e2eProcessingLatencyPercentiles.length > 0;
    const { log } = partition;
    const who = `CHANNEL(${name}) of ${partition.name}`;
    const window = new Window(floor, measured);
    this.meter = new ChannelMeter(window, parts.turn, measured ? new LatencyRecorder(window, parts, who) : undefined);
    this.inFlight = new InFlight(window, parts.turn);
    this.rateWait = new RateWait(this, parts.turn);
    this.deferrals = new Deferrals({ id, persistent: this.persistent, log, who }, parts, this.inFlight, this);
    this.backlog = new Backlog(partition, this.inFlight, this.deferrals, this, position);
    const { backlog, inFlight, meter } = this;
    const of = { topicName: partition.topic.name, channelName: name, finish: (sequence: number) => void this.forceFinish(sequence) };
    const order = new OrderHold(this);
    this.delivery = new Delivery({ group: channel, log, backlog, inFlight, parts, signals: this, meter, who, order }, parts, of);
  }

  // ---- its state

  /** All messages with a lower sequence are finished here. */
  get floor(): number {
    return this.inFlight.floor;
  }

  /** Position in the log of the message that comes next. */
  get position(): number {
    return this.backlog.position;
  }

  /** Messages that wait to be delivered, for the first time or again. */
  get depth(): number {
    return this.inFlight.waitingCount + this.backlog.freshCount;
  }

  /** Those of the depth that are on disk only. */
  get backendDepth(): number {
    return this.backlog.freshOnDisk;
  }

  get inFlightCount(): number {
    return this.inFlight.count;
  }

  /** Messages that are deferred, those included that will come from the topic's deferred publishes. */
  get deferredCount(): number {
    const { storedCount, voidedPublishes } = this.deferrals;
    return this.inFlight.deferredCount + storedCount + this.partition.deferredPublishes.count - voidedPublishes;
  }

  /** Messages that entered the channel since the broker started. */
  get messageCount(): number {
    const released = this.partition.released - this.messageCountBase + this.backlog.unreleasedSkips;
    return released + this.partition.deferredPublishes.count - this.deferrals.voidedPublishes;
  }

  /** How many messages went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  get deliveredBy(): readonly [zone: number, region: number, elsewhere: number] {
    return this.delivery.dispatcher.deliveredBy;
  }

  /** Why it waits: a file with messages that it is to deliver or to move cannot be read. Undefined: it does not. */
  get readFailure(): Error | undefined {
    return this.delivery.dispatcher.readFailure ?? this.deferrals.readFailure;
  }

  /** Adds its latencies to a sketch, if the broker measures any. */
  addLatencies(sketch: LatencySketch): void {
    this.meter.recorder?.addTo(sketch);
  }

  /** expire() has nothing to do earlier, ms. */
  get nextDeadlineMs(): number {
    return Math.min(this.inFlight.nextDeadlineMs, this.rateWait.resumeAtMs);
  }

  /** A sequence near all messages in flight: expandSequence() completes the 40 bits of an id with it. */
  get nearSequence(): number {
    return this.inFlight.window.cursor;
  }

  // ---- consumers come and go

  addConsumer(consumer: Consumer): void {
    this.inFlight.addConsumer(consumer);
    this.delivery.onConsumersChanged();
  }

  /** The channel has a consumer no more. The messages that it had in flight go to the others at once. */
  removeConsumer(consumer: Consumer): void {
    this.inFlight.removeConsumer(consumer);
    this.delivery.onConsumersChanged();
    if (!this.deleted) this.markDirty();
  }

  // ---- calls of consumers

  /** Whether it has the message with a sequence in flight, and that message's id begins with a prefix. */
  hasInFlight(prefix: number, sequence: number): boolean {
    const { log } = this.partition;
    return this.inFlight.isInFlight(sequence) && log.prefixes.confirm(prefix, () => this.deferrals.frameInFlight(sequence));
  }

  /** Finishes a message that the consumer has in flight. @returns an error, in nsqd's words, if it has not */
  finish(consumer: Consumer, sequence: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    this.meter.onFinish(slot.deliveredAtMs, sequence, this.inFlight);
    this.inFlight.finishedBy(consumer, sequence, slot);
    this.remove(sequence);
    this.markProgress();
    return undefined;
  }

  /**
   * Finishes up to `count` messages in a row that the consumer has in flight.
   *
   * @returns how many were finished. If fewer than asked, finish() returns why the next one cannot be
   */
  finishRun(consumer: Consumer, first: number, count: number): number {
    const finished = this.inFlight.finishRun(consumer, first, count);
    if (finished === 0) return 0;
    this.meter.onFinishRun(first, finished);
    this.markProgress();
    return finished;
  }

  /** Has a message that the consumer has in flight delivered again after `delayMs`. @returns an error, in nsqd's words, if it has not */
  requeue(consumer: Consumer, sequence: number, delayMs: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    this.inFlight.requeuedBy(consumer, sequence, slot, delayMs);
    this.putBack(sequence, delayMs, this.parts.turn.nowMs);
    return undefined;
  }

  /** Gives the consumer more time for a message that it has in flight. @returns an error, in nsqd's words, if it has not */
  touch(consumer: Consumer, sequence: number, timeoutMs: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    const { options, turn } = this.parts;
    this.inFlight.extend(consumer, sequence, slot, Math.min(turn.currentMs + timeoutMs, slot.deliveredAtMs + options.maxMsgTimeoutMs));
    return undefined;
  }

  // ---- calls of operators

  /** Applies what the metadata store says already. */
  setPaused(paused: boolean): void {
    this.paused = paused;
    this.markDirty();
  }

  /** What the metadata store is to say before empty(). */
  emptied(): Partial<ChannelRow> {
    const { released } = this.partition;
    const before = this.parts.deferred.nextNumber;
    const skips = this.backlog.skipsFrom(released); // which a paused topic holds back, and the channel never gets
    const row = { voidBefore: before, requeuesVoidBefore: before, floor: released, unsynced: false };
    return { ...row, progress: encodeProgress({ finished: skips, tried: [] }, released) };
  }

  /** Drops all messages, those in flight and deferred included. */
  empty(): void {
    const { released, releasedPosition, deferredPublishes } = this.partition;
    const skips = this.backlog.skipsFrom(released);
    this.restartAt(released, releasedPosition, true, released);
    for (const { from, to } of skips) this.skipUncounted(from, to);
    this.messageCountBase -= this.deferrals.voidAll(deferredPublishes.count);
    deferredPublishes.noteVoid(this.deferrals.voidBefore);
    this.markUnsaved();
  }

  /**
   * Moves the channel to a message in the log. Afterwards it has exactly the messages from there on. Messages in flight,
   * requeued messages and deferred ones are discarded: a FIN for them fails, and those that are in the new range are delivered as
   * if for the first time. Deferred publishes (DPUB) still join when they are due.
   *
   * @param sequence of a message in the log, or its end
   * @throws OperatorError NOT_SAVED if the channel moved, but a crash would undo it
   */
  seek(sequence: number): Discarded {
    const { discarded } = seekPreview(this, sequence);
    const { name, log, released, releasedPosition } = this.partition;
    if (sequence < released) {
      this.restartAt(sequence, log.locate(sequence), false, sequence);
    } else {
      this.restartAt(released, releasedPosition, false, sequence);
      // The messages in between are held back by a paused topic, and skipped once they are released.
      if (sequence > released) this.skipUncounted(released, sequence);
    }
    this.markDirty();
    this.parts.logger.info(
      `CHANNEL(${this.name}) of ${name}: moved to sequence ${sequence}; discarded ${discarded.inFlight} messages in flight, ` +
        `${discarded.requeued} requeued, ${discarded.deferred} deferred`,
      { topic: name, channel: this.name },
    );
    if (this.parts.checkpointer.saveChannel(this) !== undefined) throw new OperatorError("NOT_SAVED");
    return discarded;
  }

  /**
   * Finishes a message, whether a consumer has it or not.
   *
   * @returns its state before. If that is "finished", nothing was done: it is finished, or in the deferred store
   */
  forceFinish(sequence: number): MessageState {
    const { state } = messageStatus(this, sequence);
    if (state === "finished") return state;
    if (state === "waiting") {
      this.backlog.skip(sequence, sequence + 1);
    } else {
      this.inFlight.withdraw(sequence);
      this.remove(sequence);
    }
    this.markProgress();
    this.parts.checkpointer.saveChannel(this);
    return state;
  }

  /**
   * Has a message that was delivered before delivered again, whether a consumer has it or not.
   *
   * @returns its state before. If that is "finished" or "waiting", nothing was done
   */
  forceRequeue(sequence: number, delayMs: number): MessageState {
    const { state } = messageStatus(this, sequence);
    if (state === "finished" || state === "waiting") return state;
    this.inFlight.withdraw(sequence);
    this.putBack(sequence, delayMs, this.parts.turn.currentMs);
    return state;
  }

  /** Drops all messages. @param isPutAway another broker delivers them from now on, and those in the deferred store stay there */
  delete(isPutAway = false): void {
    this.deleted = true;
    this.delivery.dispatcher.cancelRetries();
    this.delivery.deadLetters.restart();
    if (isPutAway) return this.deferrals.putAway();
    this.deferrals.cancelRetry();
    this.deferrals.finishDetached();
    this.inFlight.clear(this.partition.released);
  }

  // ---- calls of the event loop

  /** Delivers messages to the consumers that are ready. Where a file cannot be read, they wait. */
  dispatch(nowMs: number): void {
    this.dirty = false;
    if (this.deleted) return;
    const { deliveredCount } = this.meter;
    const { delivery } = this;
    if (this.channel.settings.limits.skips) skipAll(this);
    else if (this.paused || !this.rateWait.admits(nowMs)) delivery.dispatcher.endRetries();
    else if (!delivery.isExchangeDue || delivery.exchange()) delivery.dispatcher.dispatch(nowMs);
    this.rateWait.endDispatch(nowMs);
    this.deferrals.endRetry();
    if (this.channel.partitions.length > 1) this.channel.noteIfStarved(this, this.meter.deliveredCount > deliveredCount);
    // Afterwards: what consumers take at once does not wait, and --mem-queue-size=0 is no reason to drop it.
    if (!this.persistent) boundLag(this, this.parts.options.memQueueSize);
  }

  /** dispatch() has thrown: it is tried again later. */
  dispatchFailed(error: Error): void {
    this.delivery.dispatcher.freshFailed(error);
  }

  /** Has the messages delivered again that timed out, or whose short delay is over. */
  expire(nowMs: number): void {
    this.rateWait.resumeIfDue(nowMs);
    if (nowMs < this.inFlight.nextDeadlineMs) return;
    this.timeoutCount += this.inFlight.expire(nowMs);
    this.markProgress();
  }

  /** Frees the memory of a past burst. */
  shrink(): void {
    this.inFlight.window.shrink();
  }

  // ---- deferred messages

  /** Skips a deferred publish that joined the log at `sequence`, if it was emptied away here. */
  joined(entryNumber: number, sequence: number): void {
    if (this.deferrals.wantsPublish(entryNumber)) return;
    this.deferrals.voidedPublishes--;
    this.skipUncounted(sequence, sequence + 1);
  }

  /** Takes a message out of the backlog, which the deferred store has written. */
  deferFresh(message: StoredMessage): void {
    this.deferrals.addStored(message);
    this.backlog.skip(message.sequence, message.sequence + 1);
    this.requeueCount++;
    this.markProgress();
    this.parts.checkpointer.saveChannel(this);
  }

  /** Counts a requeue of a message in the deferred store, which has written another entry of it. */
  deferAgain(message: StoredMessage): void {
    this.requeueCount++;
    this.deferrals.awaitAgain(message);
  }

  // ---- saving and recovery

  /** Applies what an earlier run saved. */
  restore(progress: Progress, row: Pick<ChannelRow, "paused" | "voidBefore" | "requeuesVoidBefore">): void {
    this.backlog.restore(progress);
    this.paused = row.paused;
    this.deferrals.voidBefore = row.voidBefore;
    this.partition.deferredPublishes.noteVoid(row.voidBefore);
    this.deferrals.requeuesVoidBefore = row.requeuesVoidBefore;
    this.messageCountBase = this.partition.released + this.backlog.unreleasedSkips;
  }

  // ---- calls of its parts and its topic

  /** Skips messages that never entered the channel, and so do not count for it. */
  skipUncounted(from: number, to: number): void {
    this.backlog.skip(from, to);
    this.messageCountBase += to - from;
  }

  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.parts.turn.queueDispatch(this);
  }

  markUnsaved(): void {
    if (!this.unsaved && this.persistent) this.parts.checkpointer.addUnsaved(this);
  }

  markTrimmable(): void {
    this.partition.markTrimmable();
  }

  markProgress(): void {
    this.partition.markTrimmable();
    this.markUnsaved();
    // What is finished here makes room for messages of other partitions.
    if (this.channel.partitions.length > 1) this.channel.wakeStarved();
    this.markDirty();
  }

  // ---- inside

  /** Discards all messages, and goes on at another one. */
  private restartAt(sequence: number, position: number, isEmptied: boolean, target: number): void {
    this.delivery.dispatcher.cancelRetries();
    this.delivery.deadLetters.restart();
    this.deferrals.restart();
    this.inFlight.restartAt(sequence, isEmptied, target);
    this.messageCountBase -= this.backlog.unreleasedSkips;
    this.backlog.restartAt(position);
    this.partition.markTrimmable();
    this.channel.wakeStarved();
    this.parts.turn.schedule();
  }

  /** Has a message that no consumer has any more delivered again after `delayMs`. */
  private putBack(sequence: number, delayMs: number, nowMs: number): void {
    this.requeueCount++;
    if (delayMs === 0) this.inFlight.makeReady(sequence);
    else this.deferrals.defer(sequence, nowMs + delayMs, delayMs);
    this.markProgress();
  }

  /** Removes a message that is finished. */
  private remove(sequence: number): void {
    const stored = this.inFlight.remove(sequence);
    if (stored !== undefined) this.deferrals.finish(stored);
  }
}
