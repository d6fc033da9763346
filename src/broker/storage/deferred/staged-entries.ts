import type { Bucket } from "./bucket.ts";
import type { EntryHeader, EntryOwnerIds } from "./entry.ts";
import { StoredMessage } from "./stored-message.ts";

const FIRST_CAPACITY = 256;
/** Columns that grew beyond this in a burst are not used again. */
const MAX_KEPT_CAPACITY = 16 * 1024;

/** The topic or channel that a staged entry belongs to. */
export interface EntryOwner {
  /**
   * False: the owner is told as soon as its entry is written, even where the store awaits syncs. Its acknowledgement does not
   * wait for one, so a sync that fails must not take the entry back.
   */
  readonly waitsForSync?: boolean;
  /**
   * Called when a staged entry is stored, or refused.
   *
   * @param staged holds the entry at `at` until this returns
   * @param error why the entry was refused; no part of it is in the store then
   */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void;
}

/**
 * Entries that are staged for one commit, in columns. Most of them go to a bucket whose time is far off, and then a few numbers
 * are all that is needed of them. An object per entry was a third of the cost of a requeue, and most of its memory.
 */
export class StagedEntries {
  count = 0;
  number = new Float64Array(FIRST_CAPACITY);
  sequence = new Float64Array(FIRST_CAPACITY);
  dueMs = new Float64Array(FIRST_CAPACITY);
  /** Each entry's offset in its bucket's file. */
  offset = new Float64Array(FIRST_CAPACITY);
  frameBytes = new Uint32Array(FIRST_CAPACITY);
  /** 1: the owner was told. */
  private told = new Uint8Array(FIRST_CAPACITY);
  private attempts = new Uint16Array(FIRST_CAPACITY);
  private kind = new Uint8Array(FIRST_CAPACITY);
  private topicId = new Float64Array(FIRST_CAPACITY);
  private channelId = new Float64Array(FIRST_CAPACITY);
  private readonly owners: EntryOwner[] = [];
  private readonly buckets: (Bucket | undefined)[] = [];
  /** Frames of entries that are in memory only, by index. */
  private readonly frames = new Map<number, Buffer>();
  /** The messages that entries replace, by index. */
  private readonly replaced = new Map<number, StoredMessage>();

  /** @param frame the frame of an entry without a bucket */
  add(
    owner: EntryOwner,
    header: EntryHeader,
    number: number,
    frameBytes: number,
    bucket: Bucket | undefined,
    offset: number,
    frame: Buffer | undefined,
    replaces: StoredMessage | undefined,
  ): void {
    const at = this.count++;
    if (at === this.number.length) this.grow();
    this.number[at] = number;
    this.sequence[at] = header.sequence;
    this.dueMs[at] = header.dueMs;
    this.offset[at] = offset;
    this.frameBytes[at] = frameBytes;
    this.attempts[at] = header.attempts;
    this.kind[at] = header.kind;
    this.topicId[at] = header.topicId;
    this.channelId[at] = header.channelId;
    this.told[at] = 0;
    this.owners[at] = owner;
    this.buckets[at] = bucket;
    if (frame !== undefined) this.frames.set(at, frame);
    if (replaces !== undefined) this.replaced.set(at, replaces);
  }

  /** Whether the owner of the entry at `at` is to be told only when a sync has succeeded. */
  awaitsSync(at: number): boolean {
    return this.buckets[at] !== undefined && this.owners[at].waitsForSync !== false;
  }

  isTold(at: number): boolean {
    return this.told[at] === 1;
  }

  /** Tells the owner of the entry at `at`. @param error why the entry is refused */
  tell(at: number, error: Error | undefined): void {
    this.told[at] = 1;
    this.owners[at].stored(this, at, error);
  }

  ownerOf(at: number): EntryOwnerIds {
    return { topicId: this.topicId[at], channelId: this.channelId[at] };
  }

  /** @returns undefined for an entry that is in memory only */
  bucket(at: number): Bucket | undefined {
    return this.buckets[at];
  }

  /** The message that the entry at `at` replaces. */
  replaces(at: number): StoredMessage | undefined {
    return this.replaced.size === 0 ? undefined : this.replaced.get(at);
  }

  /** Makes a message of the entry at `at`, which may be kept. */
  message(at: number): StoredMessage {
    return new StoredMessage(
      this.kind[at],
      this.topicId[at],
      this.channelId[at],
      this.number[at],
      this.sequence[at],
      this.dueMs[at],
      this.attempts[at],
      this.buckets[at],
      this.offset[at],
      this.frameBytes[at],
      this.frames.get(at),
    );
  }

  /** All owners were told. @returns whether these columns may be used again */
  clear(): boolean {
    // A reference would keep a channel in memory that is deleted meanwhile.
    this.owners.fill(undefined as unknown as EntryOwner, 0, this.count);
    this.buckets.fill(undefined, 0, this.count);
    this.frames.clear();
    this.replaced.clear();
    this.count = 0;
    return this.number.length <= MAX_KEPT_CAPACITY;
  }

  private grow(): void {
    const capacity = 2 * this.number.length;
    this.number = enlarged(this.number, new Float64Array(capacity));
    this.sequence = enlarged(this.sequence, new Float64Array(capacity));
    this.dueMs = enlarged(this.dueMs, new Float64Array(capacity));
    this.offset = enlarged(this.offset, new Float64Array(capacity));
    this.frameBytes = enlarged(this.frameBytes, new Uint32Array(capacity));
    this.told = enlarged(this.told, new Uint8Array(capacity));
    this.attempts = enlarged(this.attempts, new Uint16Array(capacity));
    this.kind = enlarged(this.kind, new Uint8Array(capacity));
    this.topicId = enlarged(this.topicId, new Float64Array(capacity));
    this.channelId = enlarged(this.channelId, new Float64Array(capacity));
  }
}

function enlarged<Column extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(column: Column, larger: Column): Column {
  larger.set(column);
  return larger;
}
