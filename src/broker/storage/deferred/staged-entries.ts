import type { Bucket } from "./bucket.ts";
import type { EntryHeader } from "./entry.ts";
import { StoredMessage } from "./stored-message.ts";

const FIRST_CAPACITY = 256;
/** One that grew beyond this in a burst is not used again. */
const MAX_KEPT_CAPACITY = 16 * 1024;

/** Who a staged message belongs to, and hears whether it was written. */
export interface EntryOwner {
  /**
   * @param staged holds the message at `at`, until this returns
   * @param error why it is not in the store; nothing of it remains there
   */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void;
}

/**
 * Messages on their way into the store, in columns: most of them go to a bucket whose time is far, and then nobody needs
 * more of them than a few numbers. An object for each was a third of what a requeue cost, and most of its memory.
 */
export class StagedEntries {
  count = 0;
  number = new Float64Array(FIRST_CAPACITY);
  sequence = new Float64Array(FIRST_CAPACITY);
  dueMs = new Float64Array(FIRST_CAPACITY);
  /** Of the entry in its bucket's file. */
  offset = new Float64Array(FIRST_CAPACITY);
  frameBytes = new Uint32Array(FIRST_CAPACITY);
  private attempts = new Uint16Array(FIRST_CAPACITY);
  private kind = new Uint8Array(FIRST_CAPACITY);
  private topicId = new Uint32Array(FIRST_CAPACITY);
  private channelId = new Uint32Array(FIRST_CAPACITY);
  private readonly owners: EntryOwner[] = [];
  private readonly buckets: (Bucket | undefined)[] = [];
  /** Frames of what lives in memory only, by place. */
  private readonly frames = new Map<number, Buffer>();
  /** The entries that these take the place of, by place. */
  private readonly replaced = new Map<number, StoredMessage>();

  /** @param frame of what has no bucket */
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
    this.owners[at] = owner;
    this.buckets[at] = bucket;
    if (frame !== undefined) this.frames.set(at, frame);
    if (replaces !== undefined) this.replaced.set(at, replaces);
  }

  owner(at: number): EntryOwner {
    return this.owners[at];
  }

  /** Undefined for what lives in memory only. */
  bucket(at: number): Bucket | undefined {
    return this.buckets[at];
  }

  /** The entry that the one at `at` takes the place of. */
  replaces(at: number): StoredMessage | undefined {
    return this.replaced.size === 0 ? undefined : this.replaced.get(at);
  }

  /** One of them as an object, for who keeps it. */
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

  /** All were told of. @returns whether it may be used again */
  clear(): boolean {
    // No reference to a channel that is deleted meanwhile may stay.
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
    this.attempts = enlarged(this.attempts, new Uint16Array(capacity));
    this.kind = enlarged(this.kind, new Uint8Array(capacity));
    this.topicId = enlarged(this.topicId, new Uint32Array(capacity));
    this.channelId = enlarged(this.channelId, new Uint32Array(capacity));
  }
}

function enlarged<Column extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(column: Column, larger: Column): Column {
  larger.set(column);
  return larger;
}
