import type { Bucket } from "./bucket.ts";
import type { BucketSet } from "./bucket-set.ts";
import { DueHeap } from "./due-heap.ts";
import { overflowKey, type ScannedEntry, type StoredEntry } from "./entry.ts";
import type { EntryPage, StoredMessage } from "./stored-message.ts";

/** Buckets are loaded in pieces of this size, a few pieces in one step, so that the event loop is never blocked for long. */
const LOAD_PIECE_BYTES = 128 * 1024;
const PIECES_PER_STEP = 4;
/** Messages of buckets in memory that are not due yet: two seconds' worth at 100,000 a second. The others wait on disk. */
const MAX_LOADED = 200_000;
/** Pages that stay in memory with the messages loaded from them, 56 MiB in all; other frames are read when their message is due. */
const MAX_PAGES = 448;
/** Bytes of a bucket scanned in one step for entries of a channel that has room again. */
const OVERFLOW_SCAN_BYTES = 1024 * 1024;

/** The topics and channels that due messages go to. */
export interface DeliveryTarget {
  /** Whether an entry still has a topic or channel to go to, one that exists and was not emptied since. */
  wanted(entry: StoredEntry): boolean;
  /** An entry that is not wanted is marked as done. */
  dropped(entry: Pick<StoredEntry, "kind" | "topicId" | "number">): void;
  /** Whether an entry's message is in flight or ready in its channel already, though its bucket was not in memory. */
  underWay(entry: StoredEntry): boolean;
  /** How many more messages the channel or topic of an overflowKey() may have in memory; the others stay on disk until it has room. */
  room(key: number): number;
  /** A message is due. */
  due(message: StoredMessage): void;
}

/** Loads messages into memory when their due time is near, and hands them out in the order of their due times. */
export class Loader {
  target!: DeliveryTarget;
  private readonly heap = new DueHeap();
  /** How many messages in the heap have a bucket. */
  private loadedCount = 0;
  private readonly freePages: EntryPage[] = [];
  private pageCount = 0;

  /** @param awaitsSyncs whether the record that an entry is done is written after a sync, which covers the entry that replaces it */
  constructor(
    private readonly buckets: BucketSet,
    private readonly awaitsSyncs: () => boolean,
  ) {}

  /** When the next message in memory is due, ms. */
  get nextDueMs(): number {
    return this.heap.nextDueMs;
  }

  /** The messages in memory that are not due yet and match, in no order. */
  find(matches: (entry: StoredEntry) => boolean): StoredMessage[] {
    return this.heap.select(matches);
  }

  /** Loads a message that was just stored, unless it has to wait on disk. @returns whether it was loaded, or counted as overflow */
  tryLoad(message: StoredMessage): boolean {
    const { bucket } = message;
    if (bucket === undefined) {
      this.heap.push(message);
      return true;
    }
    // Entries in front of it are not loaded yet: it is loaded after them.
    if (!bucket.loading || message.offset !== bucket.loadedTo || this.loadedCount >= MAX_LOADED) return false;
    if (bucket.overflow.size === 0 || !bucket.overflow.has(overflowKey(message))) this.push(message);
    return true;
  }

  /** Takes a message that was due back, with a new due time. */
  reload(message: StoredMessage): void {
    if (message.bucket === undefined) this.heap.push(message);
    else this.push(message);
  }

  /** Removes and returns the next message if it is due. To be followed by freeFrame(). */
  popDue(nowMs: number): StoredMessage | undefined {
    if (this.nextDueMs > nowMs) return undefined;
    const message = this.heap.pop();
    if (message?.bucket !== undefined) this.loadedCount--;
    return message;
  }

  /** Removes a message that is not due yet. @returns undefined when it is not in memory */
  withdraw(number: number): StoredMessage | undefined {
    const message = this.heap.remove(number);
    if (message === undefined) return undefined;
    if (message.bucket !== undefined) this.loadedCount--;
    this.freeFrame(message);
    return message;
  }

  /** The frame of a message in memory is not needed any more. */
  freeFrame(message: StoredMessage): void {
    const { page } = message;
    if (page === undefined) return;
    message.page = undefined;
    if (--page.messages === 0) this.freePages.push(page);
  }

  /**
   * Loads some pieces of buckets whose time is near, the earliest first. Those that cannot be read wait.
   *
   * @returns whether there is more to load, and room for it
   */
  loadPieces(): boolean {
    for (let pieces = 0; pieces < PIECES_PER_STEP; pieces++) {
      if (this.loadedCount >= MAX_LOADED) return false;
      let next: Bucket | undefined;
      for (const bucket of this.buckets) {
        if (!bucket.loading || bucket.loadedTo >= bucket.toldTo || bucket.awaitsRecovery || bucket.readRetry?.isWaiting) continue;
        if (next === undefined || bucket.startMs < next.startMs) next = bucket;
      }
      if (next === undefined) return false;
      const bucket = next;
      this.buckets.read(bucket, () => this.loadPiece(bucket));
    }
    return true;
  }

  /** Loads overflow of channels that have room again. @returns whether there is more of it, and room for it @throws UnreadableFile */
  loadOverflow(bucket: Bucket): boolean {
    let more = false;
    for (const [key, from] of bucket.overflow) {
      const room = Math.min(this.target.room(key), MAX_LOADED - this.loadedCount);
      if (room <= 0) continue;
      let taken = 0;
      let stopAt: number | undefined;
      const end = bucket.scan(from, Math.min(OVERFLOW_SCAN_BYTES, bucket.loadedTo - from), (entry) => {
        if (overflowKey(entry) !== key) return;
        if (taken === room) {
          stopAt ??= entry.offset;
        } else {
          taken++;
          this.load(entry, bucket);
        }
      });
      if ((stopAt ?? end) < bucket.loadedTo && (stopAt ?? end) > from) {
        bucket.overflow.set(key, stopAt ?? end);
        more ||= stopAt === undefined;
      } else {
        bucket.overflow.delete(key);
      }
    }
    if (bucket.fullyLoaded && bucket.overflow.size === 0) bucket.forgetScanState();
    return more;
  }

  private push(message: StoredMessage): void {
    this.loadedCount++;
    this.heap.push(message);
  }

  /** @throws UnreadableFile */
  private loadPiece(bucket: Bucket): void {
    const page = this.borrowPage();
    const visit = (entry: ScannedEntry) => {
      const key = overflowKey(entry);
      if (bucket.overflow.has(key) || this.target.room(key) <= 0) {
        if (!bucket.overflow.has(key)) bucket.overflow.set(key, entry.offset);
      } else {
        this.load(entry, bucket, page);
      }
    };
    // Entries whose owners wait for a sync must not fall due: the sync may fail.
    const { toldTo } = bucket;
    let end: number;
    try {
      end = bucket.scan(bucket.loadedTo, Math.min(LOAD_PIECE_BYTES, toldTo - bucket.loadedTo), visit, page?.buffer);
    } finally {
      if (page?.messages === 0) this.freePages.push(page);
    }
    // Nothing was read: the end is damaged, as recovery would have found. It must not be scanned again and again.
    bucket.loadedTo = end > bucket.loadedTo ? end : toldTo;
    if (bucket.fullyLoaded && bucket.overflow.size === 0) bucket.forgetScanState();
  }

  /** @returns undefined when enough pages are in use; each frame is then read when its message is due */
  private borrowPage(): EntryPage | undefined {
    const free = this.freePages.pop();
    if (free !== undefined || this.pageCount >= MAX_PAGES) return free;
    this.pageCount++;
    return { buffer: Buffer.allocUnsafeSlow(LOAD_PIECE_BYTES), messages: 0 };
  }

  /** @param page kept with the message if the entry's frame is in it */
  private load(entry: ScannedEntry, bucket: Bucket, page?: EntryPage): void {
    if (!this.target.wanted(entry)) {
      this.target.dropped(entry);
      bucket.stageDone(entry.number, this.awaitsSyncs());
      this.buckets.dirty.add(bucket);
    } else if (!this.target.underWay(entry)) {
      const kept = page?.buffer === entry.page ? page : undefined;
      if (kept !== undefined) kept.messages++;
      this.loadedCount++;
      this.heap.add(entry, bucket, kept, entry.frameAt);
    }
  }
}
