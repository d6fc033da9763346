import type { Bucket } from "./bucket.ts";
import type { StoredEntry } from "./entry.ts";
import { type EntryPage, StoredMessage } from "./stored-message.ts";

const FIRST_CAPACITY = 256;

/** What the heap stores of a message. */
export interface HeapEntry extends StoredEntry {
  offset: number;
  frameBytes: number;
}

/**
 * Messages ordered by due time: a binary heap over columns. Two hundred thousand message objects would be most of what the
 * garbage collector has to mark, and take three times the memory.
 */
export class DueHeap {
  size = 0;
  /** The heap: due times, and the slots that hold the rest of each message. */
  private due = new Float64Array(FIRST_CAPACITY);
  private slots = new Uint32Array(FIRST_CAPACITY);
  /** Slots from here on were never used; slots that are free again are in `free`. */
  private usedSlots = 0;
  private free = new Uint32Array(FIRST_CAPACITY);
  private freeCount = 0;

  private number = new Float64Array(FIRST_CAPACITY);
  private sequence = new Float64Array(FIRST_CAPACITY);
  private offset = new Float64Array(FIRST_CAPACITY);
  private frameBytes = new Uint32Array(FIRST_CAPACITY);
  private pageAt = new Uint32Array(FIRST_CAPACITY);
  private topicId = new Float64Array(FIRST_CAPACITY);
  private channelId = new Float64Array(FIRST_CAPACITY);
  private attempts = new Uint16Array(FIRST_CAPACITY);
  private kind = new Uint8Array(FIRST_CAPACITY);
  private buckets: (Bucket | undefined)[] = [];
  private pages: (EntryPage | undefined)[] = [];
  /** Frames of messages that are in memory only, by slot. */
  private readonly frames = new Map<number, Buffer>();

  /** When the first message is due, ms; Infinity when there is none. */
  get nextDueMs(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.due[0];
  }

  push(message: StoredMessage): void {
    const slot = this.add(message, message.bucket, message.page, message.pageAt);
    if (message.frame !== undefined) this.frames.set(slot, message.frame);
  }

  /** @returns the message's slot, for push() */
  add(message: HeapEntry, bucket: Bucket | undefined, page: EntryPage | undefined, pageAt: number): number {
    const slot = this.allocateSlot();
    this.number[slot] = message.number;
    this.sequence[slot] = message.sequence;
    this.offset[slot] = message.offset;
    this.frameBytes[slot] = message.frameBytes;
    this.pageAt[slot] = pageAt;
    this.topicId[slot] = message.topicId;
    this.channelId[slot] = message.channelId;
    this.attempts[slot] = message.attempts;
    this.kind[slot] = message.kind;
    this.buckets[slot] = bucket;
    this.pages[slot] = page;
    const { due, slots } = this;
    const { dueMs } = message;
    let i = this.size++;
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (due[parent] <= dueMs) break;
      due[i] = due[parent];
      slots[i] = slots[parent];
      i = parent;
    }
    due[i] = dueMs;
    slots[i] = slot;
    return slot;
  }

  pop(): StoredMessage | undefined {
    if (this.size === 0) return undefined;
    const message = this.message(0);
    this.freeSlot(this.slots[0]);
    const last = --this.size;
    if (last > 0) this.sink(this.due[last], this.slots[last]);
    else this.shrink();
    return message;
  }

  /** Removes a message by its number. It looks at all messages: only calls of operators need it. */
  remove(number: number): StoredMessage | undefined {
    let at = 0;
    while (at < this.size && this.number[this.slots[at]] !== number) at++;
    if (at === this.size) return undefined;
    const message = this.message(at);
    // Move it to the top, then pop it.
    for (let i = at; i > 0; ) {
      const parent = (i - 1) >>> 1;
      this.due[i] = this.due[parent];
      [this.slots[i], this.slots[parent]] = [this.slots[parent], this.slots[i]];
      i = parent;
    }
    this.pop();
    return message;
  }

  /** The messages that match, in no order. @param matches is given one object for all */
  select(matches: (entry: StoredEntry) => boolean): StoredMessage[] {
    const entry: StoredEntry = { kind: 0, attempts: 0, topicId: 0, channelId: 0, dueMs: 0, sequence: 0, number: 0 };
    const selected: StoredMessage[] = [];
    for (let at = 0; at < this.size; at++) {
      const slot = this.slots[at];
      entry.kind = this.kind[slot];
      entry.attempts = this.attempts[slot];
      entry.topicId = this.topicId[slot];
      entry.channelId = this.channelId[slot];
      entry.dueMs = this.due[at];
      entry.sequence = this.sequence[slot];
      entry.number = this.number[slot];
      if (matches(entry)) selected.push(this.message(at));
    }
    return selected;
  }

  private message(at: number): StoredMessage {
    const slot = this.slots[at];
    const message = new StoredMessage(
      this.kind[slot],
      this.topicId[slot],
      this.channelId[slot],
      this.number[slot],
      this.sequence[slot],
      this.due[at],
      this.attempts[slot],
      this.buckets[slot],
      this.offset[slot],
      this.frameBytes[slot],
      this.frames.size === 0 ? undefined : this.frames.get(slot),
    );
    message.page = this.pages[slot];
    message.pageAt = this.pageAt[slot];
    return message;
  }

  /** Puts a message at the top and moves it down to its place. */
  private sink(dueMs: number, slot: number): void {
    const { due, slots, size } = this;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && due[child + 1] < due[child]) child++;
      if (due[child] >= dueMs) break;
      due[i] = due[child];
      slots[i] = slots[child];
      i = child;
    }
    due[i] = dueMs;
    slots[i] = slot;
  }

  private allocateSlot(): number {
    if (this.freeCount > 0) return this.free[--this.freeCount];
    if (this.usedSlots === this.number.length) this.resize(2 * this.usedSlots);
    return this.usedSlots++;
  }

  private freeSlot(slot: number): void {
    this.buckets[slot] = undefined;
    this.pages[slot] = undefined;
    if (this.frames.size > 0) this.frames.delete(slot);
    this.free[this.freeCount++] = slot;
  }

  /** The heap is empty: frees memory of a past burst. */
  private shrink(): void {
    if (this.number.length === FIRST_CAPACITY) return;
    this.usedSlots = this.freeCount = 0;
    this.buckets = [];
    this.pages = [];
    this.resize(FIRST_CAPACITY);
  }

  private resize(capacity: number): void {
    this.due = resized(this.due, new Float64Array(capacity));
    this.slots = resized(this.slots, new Uint32Array(capacity));
    this.free = resized(this.free, new Uint32Array(capacity));
    this.number = resized(this.number, new Float64Array(capacity));
    this.sequence = resized(this.sequence, new Float64Array(capacity));
    this.offset = resized(this.offset, new Float64Array(capacity));
    this.frameBytes = resized(this.frameBytes, new Uint32Array(capacity));
    this.pageAt = resized(this.pageAt, new Uint32Array(capacity));
    this.topicId = resized(this.topicId, new Float64Array(capacity));
    this.channelId = resized(this.channelId, new Float64Array(capacity));
    this.attempts = resized(this.attempts, new Uint16Array(capacity));
    this.kind = resized(this.kind, new Uint8Array(capacity));
  }
}

function resized<Column extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(column: Column, other: Column): Column {
  other.set(column.length <= other.length ? column : column.subarray(0, other.length));
  return other;
}
