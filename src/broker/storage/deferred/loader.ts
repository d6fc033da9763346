import type { Bucket } from "./bucket.ts";
import type { BucketSet } from "./bucket-set.ts";
import { DueHeap } from "./due-heap.ts";
import { KIND_REQUEUE, type ScannedEntry, type StoredEntry } from "./entry.ts";
import type { EntryPage, StoredMessage } from "./stored-message.ts";

/** BucketSet are loaded in pieces of this size, so many of them in one step: the loop is never held for long. */
const LOAD_PIECE_BYTES = 128 * 1024;
const PIECES_PER_STEP = 4;
/** Messages of buckets in memory that are not due yet: two seconds' worth at 100,000 a second. More wait on the disk. */
const MAX_LOADED = 200_000;
/** Pieces that stay in memory with the messages loaded from them, 56 MiB in all; frames beyond that are read when they fall due. */
const MAX_PAGES = 448;
/** Looked through at once for the entries of a channel that has room again. */
const OVERFLOW_SCAN_BYTES = 1024 * 1024;

/** What the deferred store asks of the broker. */
export interface DeliveryTarget {
  /** Whether an entry still has somebody to go to: its topic, or its channel, exists and was not emptied since. */
  wanted(entry: StoredEntry): boolean;
  /** Whether an entry's message is on its way through its channel already, though its bucket was not in memory. */
  underWay(entry: StoredEntry): boolean;
  /** How many more messages a channel may have in memory: the others stay on the disk until it has room. */
  room(channelId: number): number;
  /** A message has fallen due. */
  due(message: StoredMessage): void;
}

/** Brings messages into memory when their time is near, and has them there in the order in which they fall due. */
export class Loader {
  target!: DeliveryTarget;
  private readonly heap = new DueHeap();
  /** Messages of buckets in the heap. */
  private loadedCount = 0;
  private readonly freePages: EntryPage[] = [];
  private pageCount = 0;

  constructor(private readonly buckets: BucketSet) {}

  /** When the next message in memory falls due, ms. */
  get nextDueMs(): number {
    return this.heap.nextDueMs;
  }

  /** What is in memory and waits for its time, of that what is wanted, in no order. */
  find(wanted: (entry: StoredEntry) => boolean): StoredMessage[] {
    return this.heap.select(wanted);
  }

  /** A message that was just stored waits for its time. @returns false: on the disk, for the time being */
  tryLoad(message: StoredMessage): boolean {
    const { bucket } = message;
    if (bucket === undefined) {
      this.heap.push(message);
      return true;
    }
    // While others of its bucket are still to be loaded it is loaded in its turn.
    if (!bucket.loading || message.offset !== bucket.loadedTo || this.loadedCount >= MAX_LOADED) return false;
    if (!bucket.overflow.has(message.channelId)) this.push(message);
    return true;
  }

  /** A message that was in memory waits for another time. */
  reload(message: StoredMessage): void {
    if (message.bucket === undefined) this.heap.push(message);
    else this.push(message);
  }

  /** The next message that is due, if there is one; letGo() says that its frame is needed no more. */
  popDue(nowMs: number): StoredMessage | undefined {
    if (this.nextDueMs > nowMs) return undefined;
    const message = this.heap.pop();
    if (message?.bucket !== undefined) this.loadedCount--;
    return message;
  }

  /** Takes one out that waits for its time. @returns undefined: it is not in memory */
  withdraw(number: number): StoredMessage | undefined {
    const message = this.heap.remove(number);
    if (message === undefined) return undefined;
    if (message.bucket !== undefined) this.loadedCount--;
    this.freeFrame(message);
    return message;
  }

  freeFrame(message: StoredMessage): void {
    const { page } = message;
    if (page === undefined) return;
    message.page = undefined;
    if (--page.messages === 0) this.freePages.push(page);
  }

  /** Loads a little of the buckets whose time is near, the nearest first. @returns whether there is more to load, and room for it */
  loadPieces(): boolean {
    for (let pieces = 0; pieces < PIECES_PER_STEP; pieces++) {
      if (this.loadedCount >= MAX_LOADED) return false;
      let next: Bucket | undefined;
      for (const bucket of this.buckets) {
        if (bucket.loading && !bucket.fullyLoaded && (next === undefined || bucket.startMs < next.startMs)) next = bucket;
      }
      if (next === undefined) return false;
      this.loadPiece(next);
    }
    return true;
  }

  /** Brings in what channels had no room for, as far as they have some now. @returns whether there is more of that, and room for it */
  loadOverflow(bucket: Bucket): boolean {
    let more = false;
    for (const [channelId, from] of bucket.overflow) {
      const room = Math.min(this.target.room(channelId), MAX_LOADED - this.loadedCount);
      if (room <= 0) continue;
      let taken = 0;
      let stopAt: number | undefined;
      const end = bucket.scan(from, Math.min(OVERFLOW_SCAN_BYTES, bucket.loadedTo - from), (entry) => {
        if (entry.kind !== KIND_REQUEUE || entry.channelId !== channelId) return;
        if (taken === room) {
          stopAt ??= entry.offset;
        } else {
          taken++;
          this.load(entry, bucket);
        }
      });
      if ((stopAt ?? end) < bucket.loadedTo && (stopAt ?? end) > from) {
        bucket.overflow.set(channelId, stopAt ?? end);
        more ||= stopAt === undefined;
      } else {
        bucket.overflow.delete(channelId);
      }
    }
    if (bucket.fullyLoaded && bucket.overflow.size === 0) bucket.forgetScanState();
    return more;
  }

  private push(message: StoredMessage): void {
    this.loadedCount++;
    this.heap.push(message);
  }

  private loadPiece(bucket: Bucket): void {
    const page = this.borrowPage();
    const visit = (entry: ScannedEntry) => {
      const { channelId, offset } = entry;
      if (entry.kind === KIND_REQUEUE && (bucket.overflow.has(channelId) || this.target.room(channelId) <= 0)) {
        if (!bucket.overflow.has(channelId)) bucket.overflow.set(channelId, offset);
      } else {
        this.load(entry, bucket, page);
      }
    };
    const end = bucket.scan(bucket.loadedTo, LOAD_PIECE_BYTES, visit, page?.buffer);
    if (page?.messages === 0) this.freePages.push(page);
    // A damaged end, which recovery would have cut off, must not be looked at again and again.
    bucket.loadedTo = end > bucket.loadedTo ? end : bucket.length;
    if (bucket.fullyLoaded && bucket.overflow.size === 0) bucket.forgetScanState();
  }

  /** @returns undefined when enough are in use: then each frame is read when it falls due */
  private borrowPage(): EntryPage | undefined {
    const free = this.freePages.pop();
    if (free !== undefined || this.pageCount >= MAX_PAGES) return free;
    this.pageCount++;
    return { buffer: Buffer.allocUnsafeSlow(LOAD_PIECE_BYTES), messages: 0 };
  }

  /** @param page may be kept, if it is the entry's */
  private load(entry: ScannedEntry, bucket: Bucket, page?: EntryPage): void {
    if (!this.target.wanted(entry)) {
      bucket.stageDone(entry.number);
      this.buckets.dirty.add(bucket);
    } else if (!this.target.underWay(entry)) {
      const kept = page?.buffer === entry.page ? page : undefined;
      if (kept !== undefined) kept.messages++;
      this.loadedCount++;
      this.heap.add(entry, bucket, kept, entry.frameAt);
    }
  }
}
