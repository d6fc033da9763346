import { NumberQueue } from "../../../base/number-queue.ts";
import { isEphemeral } from "../../../frame/names.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Looked } from "../inspect/message-status.ts";
import type { Topic } from "../topic.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { Consumer } from "./consumer.ts";
import { addRange, type Range, type Tries } from "./progress.ts";
import { READY, Window } from "./window.ts";

/** Due messages of the deferred store in memory: of more, the rest stays on the disk until some are finished. */
const MOST_DETACHED = 50_000;

/**
 * Where a channel's messages stand, and what is counted of them. The layers on it: what leaves the window for a time
 * (channel-deferral.ts), what goes to consumers (channel-delivery.ts), and what clients and operators ask for (channel.ts).
 *
 * Messages that leave the window unfinished — requeued with a delay, or left far behind by the cursor — stand in
 * the deferred store; those of them that are in flight or ready are in `detached`.
 */
export abstract class ChannelState implements Looked {
  readonly ephemeral: boolean;
  /** It has a row in the store, and its messages outlive the process. */
  readonly persistent: boolean;
  paused = false;
  deleted = false;
  /** In the order in which they came, which is that of their turns. */
  readonly consumers: Consumer[] = [];
  protected readonly consumersById = new Map<number, Consumer>();
  inFlightCount = 0;
  requeueCount = 0;
  timeoutCount = 0;
  /** Messages that went to consumers in the broker's zone, in its region, and elsewhere (topology.ts). */
  readonly deliveredBy: [zone: number, region: number, elsewhere: number] = [0, 0, 0];
  /** Entries of the deferred store with a lower number were emptied away. */
  voidBefore = 0;
  /** The same of its own entries only: by a seek, which leaves the topic's deferred publishes alone. */
  requeuesVoidBefore = 0;
  /** Waiting in the broker's list for the next dispatch, or for the next save. */
  dirty = false;
  unsaved = false;

  /** Position of the record at the window's cursor. */
  protected cursorPosition: number;
  /** Sequences waiting to be delivered again, in the order they came back. */
  protected readonly ready = new NumberQueue();
  /** For who looks, too. */
  readonly detached = new Map<number, StoredMessage>();
  /** Finished ranges at or above the cursor. */
  skips: Range[] = [];
  protected skippedCount = 0;
  /** What an earlier run delivered but did not see finished, above the cursor. */
  protected tried: Tries[] = [];
  /** In the window with a short delay. */
  protected deferredShort = 0;
  /** In the deferred store, not due yet. */
  protected deferredStored = 0;
  /** Of the topic's deferred publishes, those that were emptied away here. */
  protected voidedPublishes = 0;
  /** No deadline in this channel is earlier. */
  protected nextDeadlineMs = Number.POSITIVE_INFINITY;
  protected messageCountBase: number;

  /**
   * @param id of its row in the store; for one without, a number that no row has
   * @param floor sequence of its first message, whose record is at `position`
   */
  constructor(
    protected readonly parts: TopicParts,
    readonly topic: Topic,
    readonly id: number,
    readonly name: string,
    floor: number,
    position: number,
    /** For who looks (standing.ts); nobody else changes it. */
    readonly window = new Window(floor),
  ) {
    this.ephemeral = isEphemeral(name);
    this.persistent = !this.ephemeral && !topic.ephemeral;
    this.cursorPosition = position;
    this.messageCountBase = floor;
  }

  /** Everything below is finished here. */
  get floor(): number {
    return this.window.floor;
  }

  get position(): number {
    return this.cursorPosition;
  }

  get depth(): number {
    return this.ready.length + this.freshCount;
  }

  /** Messages of the depth that are on disk only. */
  get backendDepth(): number {
    return Math.max(0, Math.min(this.freshCount, this.topic.log.cachedSequence - this.window.cursor));
  }

  get deferredCount(): number {
    return this.deferredShort + this.deferredStored + this.topic.deferredPublishes - this.voidedPublishes;
  }

  /** Messages that entered the channel since the broker started. */
  get messageCount(): number {
    return this.topic.released - this.messageCountBase + this.topic.deferredPublishes - this.voidedPublishes;
  }

  /** How many more messages of the deferred store may come into memory here. */
  get storedRoom(): number {
    return MOST_DETACHED - this.detached.size;
  }

  get nextDeadline(): number {
    return this.nextDeadlineMs;
  }

  /** The sequence an id's low 40 bits mean here. */
  get nearSequence(): number {
    return this.window.cursor;
  }

  /** Not delivered yet, and released by the topic. */
  protected get freshCount(): number {
    return Math.max(0, this.topic.released - this.window.cursor - this.skippedCount);
  }

  /** Marks released messages finished without delivering them. */
  skip(from: number, to: number): void {
    this.skippedCount += addRange(this.skips, from, to);
    this.markUnsaved();
  }

  /** Messages that never entered (the topic was emptied while it was paused) do not count. */
  skipUncounted(from: number, to: number): void {
    this.skip(from, to);
    this.messageCountBase += to - from;
  }

  /** A message that left the window unfinished; its state in the window, if it is still in there, is DONE. */
  protected detachedAt(sequence: number): StoredMessage | undefined {
    return this.detached.size === 0 ? undefined : this.detached.get(sequence);
  }

  /** Something was finished or came back: floors may have moved, consumers may take more. */
  protected settled(): void {
    this.topic.markReleasable();
    this.markUnsaved();
    this.markDirty();
  }

  protected makeReady(sequence: number): void {
    const message = this.detachedAt(sequence);
    if (message === undefined) this.window.state[sequence & this.window.mask] = READY;
    else message.state = READY;
    this.ready.push(sequence);
    this.markDirty();
  }

  protected expectDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.nextDeadlineMs) return;
    this.nextDeadlineMs = deadlineMs;
    this.parts.turn.wakeAt(deadlineMs);
  }

  /** It has work for the next dispatch. */
  abstract markDirty(): void;

  /** Something of it has to be saved. */
  protected abstract markUnsaved(): void;
}
