import type { NumberQueue } from "../../../../base/number-queue.ts";
import { HeaderReader } from "../../../../frame/header.ts";
import type { TopicLog } from "../../../storage/log/topic-log.ts";
import type { Order } from "../channel-settings.ts";
import { DONE, READY, type Window } from "../window.ts";
import { KeyTable } from "./key-table.ts";
import { LeftBehind, LeftMessage } from "./left-behind.ts";
import { TakerSets } from "./taker-sets.ts";

/** How many unfinished messages a channel that chooses has in memory. With more, it waits until some are finished. */
const MOST_UNFINISHED = 256 * 1024;
/** How far it looks ahead for messages that may be delivered: so many, of each key the first LONG_LINE only. */
const LOOK_AHEAD = 64 * 1024;
/** A key with more messages hangs, or is far behind the others: what comes behind these must not keep it from looking further. */
const LONG_LINE = 1024;
/** In order of the partition it is of no use to look ahead. */
const PARTITION_LOOK_AHEAD = 16;
/** What share of a full window is moved out at a time. */
const MOVED_SHARE = 4;
const NO_MESSAGE = -1;
const NO_KEY = new Uint8Array(0);

/**
 * The messages of a channel that chooses which one comes next: those that it has admitted from its backlog to its window, and those
 * that the window has left behind. Where the channel has an order, the messages of a key are in a line, of which only the first may be
 * delivered. It holds its line until it is finished: while it is in flight, requeued, or deferred.
 *
 * The lines are linked through the window's arrays (`key`, `next`), so a message costs no object.
 */
export class Selection {
  readonly left = new LeftBehind();
  /** Messages that are ready but for the order: others of their key come first. */
  blocked = 0;
  /** How many messages there are behind the first LONG_LINE of their key. */
  private excess = 0;
  /** Ready messages that were looked at to tell which consumers take them. */
  readonly sorted = new TakerSets();
  private readonly keys = new KeyTable();
  private readonly header = new HeaderReader();

  /** @param ready the queue of the messages that may be delivered */
  constructor(
    readonly order: Order,
    private readonly window: Window,
    private readonly ready: NumberQueue,
    private readonly log: TopicLog,
  ) {
    window.link();
  }

  get isOrdered(): boolean {
    return this.order !== "none";
  }

  /** How many more messages it may admit. */
  get room(): number {
    const unfinished = this.window.unfinished + this.left.size;
    if (this.order === "partition") return PARTITION_LOOK_AHEAD - unfinished;
    return Math.min(MOST_UNFINISHED - unfinished, this.order === "none" ? MOST_UNFINISHED : LOOK_AHEAD - unfinished + this.excess);
  }

  /** All messages with a lower sequence are finished, or were copied from a log that forgets them. */
  get floor(): number {
    return this.left.size === 0 || this.log.files === undefined ? this.window.floor : Math.min(this.left.first, this.window.floor);
  }

  /**
   * Puts a message that came to the window into the line of its key.
   *
   * @param at its record in `record`
   */
  admit(sequence: number, record: Buffer, at: number): void {
    const { window, keys, header, order } = this;
    const i = sequence & window.mask;
    window.key[i] = 0;
    window.next[i] = NO_MESSAGE;
    if (order === "none") return;
    if (order === "partition") {
      keys.hash(NO_KEY, 0, 0);
    } else {
      if (!header.read(record, at) || header.keyTo === header.keyFrom) return;
      keys.hash(record, header.keyFrom, header.keyTo);
    }
    const entry = keys.find();
    if (entry === 0) {
      window.key[i] = keys.add(sequence);
      return;
    }
    window.key[i] = entry;
    this.setNext(keys.last[entry], sequence);
    keys.last[entry] = sequence;
    if (++keys.count[entry] > LONG_LINE) this.excess++;
  }

  /** Whether no other message comes first. */
  isFirst(sequence: number): boolean {
    const entry = this.keyOf(sequence);
    return entry === 0 || this.keys.first[entry] === sequence;
  }

  /** Messages of the window are finished, or leave the channel. */
  leaveRun(first: number, count: number): void {
    if (this.order === "none") return;
    const { window } = this;
    for (let sequence = first; sequence < first + count; sequence++) {
      const i = sequence & window.mask;
      if (window.key[i] !== 0) this.leave(sequence, window.key[i], window.next[i]);
    }
  }

  /** A message below the window is finished. */
  leaveBelow(message: LeftMessage): void {
    this.left.remove(message.sequence);
    if (message.key !== 0) this.leave(message.sequence, message.key, message.next);
  }

  private leave(sequence: number, entry: number, next: number): void {
    const { keys } = this;
    if (keys.count[entry]-- > LONG_LINE) this.excess--;
    if (keys.first[entry] !== sequence) return this.unlink(sequence, entry, next);
    if (next === NO_MESSAGE) return keys.remove(entry);
    keys.first[entry] = next;
    // One that is deferred, by an operator, holds its line until it is due.
    if (this.stateOf(next) !== READY) return;
    this.blocked--;
    this.ready.push(next);
  }

  /** Takes a message out of the middle of a line. This is only for what operators do by hand. */
  private unlink(sequence: number, entry: number, next: number): void {
    const { keys } = this;
    let before = keys.first[entry];
    while (this.nextOf(before) !== sequence) before = this.nextOf(before);
    this.setNext(before, next);
    if (keys.last[entry] === sequence) keys.last[entry] = before;
  }

  /** Messages that wait here, and not in `ready`. */
  get waitingCount(): number {
    return this.blocked + this.sorted.waitingCount;
  }

  /** Takes a ready message out of its queue. The caller sets another state, or removes the message. */
  withdrawReady(sequence: number): void {
    if (!this.isFirst(sequence)) {
      this.blocked--;
      return;
    }
    this.ready.remove(sequence);
    this.sorted.remove(sequence);
  }

  /** Moves the oldest messages out of a window that is full and mostly finished. */
  moveOut(): void {
    const { window, left } = this;
    const end = Math.min(window.cursor, window.floor + window.capacity / MOVED_SHARE);
    for (let sequence = window.floor; sequence < end; sequence++) {
      const i = sequence & window.mask;
      if (window.state[i] === DONE) continue;
      const { position, state, owner, attempts, deadlineMs, deliveredAtMs, key, next } = window;
      left.add(
        new LeftMessage(
          ...([sequence, position[i], state[i], owner[i], attempts[i], deadlineMs[i], deliveredAtMs[i], key[i], next[i]] as const),
          this.log.files === undefined ? this.copyOf(position[i]) : undefined,
          window.publishedNs?.[i],
        ),
      );
      window.finish(sequence);
    }
  }

  private copyOf(position: number): Buffer | undefined {
    const chunk = this.log.chunkAt(position, false);
    if (chunk.isGap) return undefined;
    const at = chunk.offsetOf(position);
    return Buffer.from(chunk.buffer.subarray(at, at + 4 + chunk.view.getUint32(at)));
  }

  clear(): void {
    this.left.clear();
    this.keys.clear();
    this.sorted.clear();
    this.blocked = this.excess = 0;
  }

  private keyOf(sequence: number): number {
    return sequence >= this.window.floor ? this.window.key[sequence & this.window.mask] : (this.left.get(sequence)?.key ?? 0);
  }

  private nextOf(sequence: number): number {
    return sequence >= this.window.floor ? this.window.next[sequence & this.window.mask] : (this.left.get(sequence)?.next ?? NO_MESSAGE);
  }

  private setNext(sequence: number, next: number): void {
    if (sequence >= this.window.floor) {
      this.window.next[sequence & this.window.mask] = next;
      return;
    }
    const message = this.left.get(sequence);
    if (message !== undefined) message.next = next;
  }

  private stateOf(sequence: number): number {
    return sequence >= this.window.floor ? this.window.state[sequence & this.window.mask] : (this.left.get(sequence)?.state ?? DONE);
  }
}
