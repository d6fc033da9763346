import { isEphemeral } from "../../../frame/names.ts";
import type { LatencySketch } from "../../latency/latency-window.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { ChannelRow } from "../../storage/metadata/metadata-store.ts";
import { type ChannelView, type MessageState, messageStatus } from "../inspect/message-status.ts";
import { OperatorError } from "../operator-error.ts";
import type { Topic } from "../topic.ts";
import type { TopicParts } from "../topic-parts.ts";
import { Backlog } from "./backlog.ts";
import type { Consumer } from "./consumer.ts";
import { Deferrals } from "./deferrals.ts";
import { Dispatcher } from "./dispatcher.ts";
import { InFlight } from "./in-flight.ts";
import { LatencyRecorder } from "./latency-recorder.ts";
import { encodeProgress, type Progress } from "./progress.ts";
import type { ChannelSignals } from "./signals.ts";
import { Window } from "./window.ts";

/** What a seek made a channel discard. */
export interface Discarded {
  inFlight: number;
  /** Waiting to be delivered again. */
  requeued: number;
  /** Requeued with a delay. */
  deferred: number;
}

/**
 * One group of consumers that shares a topic's messages. It stores none: what comes next is a backlog, a cursor into the
 * topic's log (backlog.ts); what was delivered and is not finished is in flight (in-flight.ts), or among the deferrals
 * (deferrals.ts); who gets how many is the dispatcher's to say (dispatcher.ts). This class is what clients, operators and
 * the topic ask for.
 */
export class Channel implements ChannelView, ChannelSignals {
  readonly ephemeral: boolean;
  /** It has a row in the metadata store, and its messages outlive the process. */
  readonly persistent: boolean;
  paused = false;
  deleted = false;
  /** In the order in which they came, which is that of their turns. */
  readonly consumers: Consumer[] = [];
  requeueCount = 0;
  timeoutCount = 0;
  /** In the list of the next dispatch, and in that of the next checkpoint. */
  dirty = false;
  unsaved = false;

  readonly inFlight: InFlight;
  readonly deferrals: Deferrals;
  readonly backlog: Backlog;
  private readonly dispatcher: Dispatcher;
  /** Undefined where latencies are not measured. */
  private readonly recorder: LatencyRecorder | undefined;
  private readonly consumersById = new Map<number, Consumer>();
  private messageCountBase: number;

  /**
   * @param id of its row in the metadata store; for a channel without one, a number that no row has
   * @param floor sequence of its first message, whose record is at `position`
   */
  constructor(
    private readonly parts: TopicParts,
    readonly topic: Topic,
    readonly id: number,
    readonly name: string,
    floor: number,
    position: number,
  ) {
    this.ephemeral = isEphemeral(name);
    this.persistent = !this.ephemeral && !topic.ephemeral;
    this.messageCountBase = floor;
    const measured = parts.options.e2eProcessingLatencyPercentiles.length > 0;
    const { log } = topic;
    const window = new Window(floor, measured);
    this.recorder = measured ? new LatencyRecorder(window, parts, `CHANNEL(${name}) of ${topic.name}`) : undefined;
    this.inFlight = new InFlight(window, parts.turn);
    this.deferrals = new Deferrals({ id, topicId: topic.id, persistent: this.persistent, log }, parts, this.inFlight, this);
    this.backlog = new Backlog(topic, this.inFlight, this.deferrals, this, position);
    this.dispatcher = new Dispatcher(this.consumers, log, this.backlog, this.inFlight, parts, this);
  }

  // ---- how it stands

  /** Everything below is finished here. */
  get floor(): number {
    return this.inFlight.window.floor;
  }

  /** Position of the record that comes next. */
  get position(): number {
    return this.backlog.position;
  }

  get depth(): number {
    return this.inFlight.ready.length + this.backlog.freshCount;
  }

  /** Messages of the depth that are on disk only. */
  get backendDepth(): number {
    return this.backlog.freshOnDisk;
  }

  get inFlightCount(): number {
    return this.inFlight.count;
  }

  get deferredCount(): number {
    const { storedCount, voidedPublishes } = this.deferrals;
    return this.inFlight.deferredCount + storedCount + this.topic.deferredPublishes.count - voidedPublishes;
  }

  /** Messages that entered the channel since the broker started. */
  get messageCount(): number {
    const { released, deferredPublishes } = this.topic;
    return released - this.messageCountBase + deferredPublishes.count - this.deferrals.voidedPublishes;
  }

  /** Messages that went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  get deliveredBy(): readonly [zone: number, region: number, elsewhere: number] {
    return this.dispatcher.deliveredBy;
  }

  /** Adds how long its messages took to a sketch; nothing where latencies are not measured. */
  addLatencies(sketch: LatencySketch): void {
    this.recorder?.addTo(sketch);
  }

  get nextDeadlineMs(): number {
    return this.inFlight.nextDeadlineMs;
  }

  /** The sequence that the low 40 bits of an id are completed from. */
  get nearSequence(): number {
    return this.inFlight.window.cursor;
  }

  // ---- consumers come and go

  /** @returns why it may not join, as nsqd says it */
  addConsumer(consumer: Consumer): Error | undefined {
    const limit = this.parts.options.maxChannelConsumers;
    if (limit !== 0 && this.consumers.length >= limit) {
      return new Error(`consumers for ${this.topic.name}:${this.name} exceeds limit of ${limit}`);
    }
    this.consumers.push(consumer);
    this.consumersById.set(consumer.id, consumer);
    return undefined;
  }

  /** A consumer is gone: what it had in flight goes to the others at once. */
  removeConsumer(consumer: Consumer): void {
    const index = this.consumers.indexOf(consumer);
    if (index < 0) return;
    this.consumers.splice(index, 1);
    this.consumersById.delete(consumer.id);
    if (consumer.inFlightCount > 0) this.inFlight.reclaim(consumer);
    if (this.deleted) return;
    if (this.consumers.length === 0 && this.ephemeral) this.topic.deleteChannel(this.name);
    else this.markDirty();
  }

  // ---- what consumers ask for

  /** Finishes a message, on its consumer's word. @returns why not, as nsqd says it */
  finish(consumer: Consumer, sequence: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    if (this.recorder !== undefined) this.recorder.record(sequence, this.inFlight.detachedAt(sequence));
    this.remove(sequence);
    this.inFlight.count--;
    consumer.inFlightCount--;
    this.markProgress();
    return undefined;
  }

  /**
   * Finishes up to `count` messages in a row.
   *
   * @returns how many were; finish() tells what is the matter with the next
   */
  finishRun(consumer: Consumer, first: number, count: number): number {
    const finished = this.inFlight.finishRun(consumer, first, count);
    if (finished === 0) return 0;
    if (this.recorder !== undefined) this.recorder.recordRun(first, finished);
    this.markProgress();
    return finished;
  }

  /** Puts a message back, to be delivered again after `delayMs`. @returns why not, as nsqd says it */
  requeue(consumer: Consumer, sequence: number, delayMs: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    this.inFlight.count--;
    consumer.inFlightCount--;
    this.putBack(sequence, delayMs, this.parts.turn.nowMs);
    return undefined;
  }

  /** Gives a message in flight more time. @returns why not, as nsqd says it */
  touch(consumer: Consumer, sequence: number, timeoutMs: number): Error | undefined {
    const slot = this.inFlight.slotOwnedBy(consumer.id, sequence);
    if (slot instanceof Error) return slot;
    const { options, turn } = this.parts;
    this.inFlight.extend(slot, Math.min(turn.currentMs + timeoutMs, slot.deliveredAtMs + options.maxMsgTimeoutMs));
    return undefined;
  }

  // ---- what operators ask for

  pause(): void {
    this.setPaused(true);
  }

  unpause(): void {
    this.setPaused(false);
  }

  /** Drops every message it has, in flight and deferred ones too. */
  empty(): void {
    const { released, releasedPosition, deferredPublishes } = this.topic;
    this.restartAt(released, releasedPosition);
    this.messageCountBase -= this.deferrals.voidAll(deferredPublishes.count);
    this.parts.checkpointer.saveChannel(this);
  }

  /**
   * Moves the channel to a sequence of its topic's log: from here on it has exactly the messages from there on. What it had
   * in flight, requeued or deferred is discarded, so a FIN for it fails; those of them at or behind the sequence come from
   * the log, as if for the first time. Publishes that are deferred (DPUB) still join when they are due.
   *
   * @param sequence within what the log has
   * @throws OperatorError NOT_SAVED when it moved, but would be where it was after a crash
   */
  seek(sequence: number): Discarded {
    const discarded = {
      inFlight: this.inFlight.count,
      requeued: this.inFlight.ready.length,
      deferred: this.inFlight.deferredCount + this.deferrals.storedCount,
    };
    const { name, log, released, releasedPosition } = this.topic;
    if (sequence < released) {
      this.restartAt(sequence, log.locate(sequence));
    } else {
      this.restartAt(released, releasedPosition);
      // What a paused topic holds back is passed over when it comes.
      if (sequence > released) this.skipUncounted(released, sequence);
    }
    this.markDirty();
    this.parts.logger.info(
      `CHANNEL(${this.name}) of ${name}: moved to sequence ${sequence}; it forgot ${discarded.inFlight} messages in flight, ` +
        `${discarded.requeued} requeued, ${discarded.deferred} deferred`,
    );
    if (this.parts.checkpointer.saveChannel(this) !== undefined) throw new OperatorError("NOT_SAVED");
    return discarded;
  }

  /**
   * Finishes a message, whoever has it, or nobody.
   *
   * @returns its state; if that is "finished", nothing was done, and the deferred store may still have it
   */
  forceFinish(sequence: number): MessageState {
    const { state, owner } = messageStatus(this, sequence);
    if (state === "finished") return state;
    if (state === "waiting") {
      this.backlog.skip(sequence, sequence + 1);
    } else {
      this.withdraw(state, sequence, owner);
      this.remove(sequence);
    }
    this.markProgress();
    this.parts.checkpointer.saveChannel(this);
    return state;
  }

  /** Requeues a message that was delivered, whoever has it, or nobody. @returns its state; nothing is done with one that is finished or waiting */
  forceRequeue(sequence: number, delayMs: number): MessageState {
    const { state, owner } = messageStatus(this, sequence);
    if (state === "finished" || state === "waiting") return state;
    this.withdraw(state, sequence, owner);
    this.putBack(sequence, delayMs, this.parts.turn.currentMs);
    return state;
  }

  /** Hangs up on all consumers and drops everything. */
  delete(): void {
    this.deleted = true;
    this.deferrals.finishDetached();
    this.inFlight.detached.clear();
    this.inFlight.count = 0;
    this.consumersById.clear();
    for (const consumer of this.consumers.splice(0)) consumer.closeGracefully();
  }

  // ---- as time passes

  /** Hands messages to the consumers that are ready for some. */
  dispatch(nowMs: number): void {
    this.dirty = false;
    if (this.deleted) return;
    this.boundLag();
    if (!this.paused) this.dispatcher.dispatch(nowMs);
  }

  /** Times out what is overdue, and makes ready what was deferred for a moment. */
  expire(nowMs: number): void {
    if (nowMs < this.inFlight.nextDeadlineMs) return;
    this.inFlight.expire(nowMs, this.timedOut);
    this.markProgress();
  }

  /** Gives the memory of a past burst back. */
  shrink(): void {
    this.inFlight.window.shrink();
  }

  // ---- deferred messages

  /** A deferred publish joined the log at `sequence`. */
  joined(entryNumber: number, sequence: number): void {
    if (this.deferrals.wantsPublish(entryNumber)) return;
    this.deferrals.voidedPublishes--;
    this.skipUncounted(sequence, sequence + 1);
  }

  /** A message that was waiting for its first delivery is in the deferred store now. */
  deferFresh(message: StoredMessage): void {
    this.backlog.skip(message.sequence, message.sequence + 1);
    this.requeueCount++;
    this.deferrals.addStored(message);
    this.markProgress();
    this.parts.checkpointer.saveChannel(this);
  }

  /** The entry of a message in the deferred store was exchanged for one with another due time. */
  deferAgain(message: StoredMessage): void {
    this.requeueCount++;
    this.deferrals.awaitAgain(message);
  }

  // ---- what an earlier run left

  /** What is finished above the floor is not delivered again, and what was tried counts on. */
  restore(progress: Progress, row: Pick<ChannelRow, "paused" | "voidBefore" | "requeuesVoidBefore">): void {
    this.backlog.restore(progress);
    this.paused = row.paused;
    this.deferrals.voidBefore = row.voidBefore;
    this.deferrals.requeuesVoidBefore = row.requeuesVoidBefore;
    this.messageCountBase = this.topic.released;
  }

  toRow(): ChannelRow {
    const { voidBefore, requeuesVoidBefore } = this.deferrals;
    return {
      id: this.id,
      topicId: this.topic.id,
      name: this.name,
      paused: this.paused,
      voidBefore,
      requeuesVoidBefore,
      floor: this.floor,
      progress: encodeProgress(this.backlog.progress, this.floor),
    };
  }

  // ---- what its parts and its topic tell it

  /** Skips messages that never entered, and so do not count: their topic was emptied while it was paused. */
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
    this.topic.markTrimmable();
  }

  markProgress(): void {
    this.topic.markTrimmable();
    this.markUnsaved();
    this.markDirty();
  }

  // ---- inside

  private setPaused(paused: boolean): void {
    this.paused = paused;
    this.parts.checkpointer.saveChannel(this);
    this.markDirty();
  }

  /** Discards all that was delivered, and goes on at a record. */
  private restartAt(sequence: number, position: number): void {
    this.deferrals.restart();
    this.inFlight.restartAt(sequence);
    this.backlog.restartAt(position);
    for (const consumer of this.consumers) consumer.inFlightCount = 0;
    this.topic.markTrimmable();
    this.parts.turn.schedule();
  }

  /** An ephemeral topic or channel keeps the newest messages, up to --mem-queue-size; a slow reader loses the oldest. */
  private boundLag(): void {
    if (this.persistent) return;
    const excess = this.depth - this.parts.options.memQueueSize;
    if (excess > 0 && this.backlog.dropOldest(excess)) this.markTrimmable();
  }

  /** A message that nobody has any more is delivered again after `delayMs`. */
  private putBack(sequence: number, delayMs: number, nowMs: number): void {
    this.requeueCount++;
    if (delayMs === 0) this.inFlight.makeReady(sequence);
    else this.deferrals.defer(sequence, nowMs + delayMs, delayMs);
    this.markProgress();
  }

  /** Takes a message out of the count, or the queue, that its state puts it in. */
  private withdraw(state: MessageState, sequence: number, owner: number): void {
    if (state === "in_flight") this.disown(owner);
    else if (state === "requeued") this.inFlight.ready.remove(sequence);
    else this.inFlight.deferredCount--;
  }

  private remove(sequence: number): void {
    const stored = this.inFlight.remove(sequence);
    if (stored !== undefined) this.deferrals.finish(stored);
  }

  private readonly timedOut = (owner: number): void => {
    this.timeoutCount++;
    const consumer = this.consumersById.get(owner);
    if (consumer !== undefined) consumer.inFlightCount--;
  };

  private disown(owner: number): void {
    this.inFlight.count--;
    const consumer = this.consumersById.get(owner);
    if (consumer !== undefined) consumer.inFlightCount--;
  }
}
