import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import type { Bucket } from "./bucket.ts";
import { type BucketSet, commitTogether, startOf, widthFor } from "./bucket-set.ts";
import { ENTRY_HEADER_BYTES, type EntryHeader, type EntryOwnerIds } from "./entry.ts";
import { type EntryOwner, StagedEntries } from "./staged-entries.ts";
import type { StoredMessage } from "./stored-message.ts";

/** Columns for staged messages that are kept for later commits. With topics that wait for syncs, several are in use at a time. */
const MAX_SPARE = 4;

/** Tells the time by which messages fall due. */
export interface DueClock {
  /** The time at this moment, ms. */
  currentMs(): number;
}

/** Hears of entries for which other brokers have a copy. */
export interface EntryWatch {
  /** An entry is staged. @param frame holds its message frame in [from, to) */
  staged(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): void;
  /** Its owner is about to be told. @param isRefused no part of it is in the store */
  told(entry: EntryOwnerIds, number: number, isRefused: boolean): void;
  /** Its message is done, or another entry has it. */
  finished(entry: EntryOwnerIds & { readonly number: number }): void;
}

/** A commit some of whose owners wait for a sync. */
interface HeldEntries {
  staged: StagedEntries;
  /** The buckets that hold entries back until the owners are told. */
  buckets: Iterable<Bucket>;
}

/** Takes messages into buckets: they are staged, written by a commit, and stored then, or when a sync has succeeded. */
export class EntryWriter {
  /** Set by an owner within stored() to leave the message on disk for now. */
  leftOnDisk = false;
  /** Owners are being told of entries that no sync has covered yet. */
  tellsUnsynced = false;
  /** The number that the next entry gets. Recovery raises it above all numbers that it finds. */
  nextNumber = 1;
  /** Undefined: nobody does. */
  watch: EntryWatch | undefined;
  private staged = new StagedEntries();
  private readonly spare: StagedEntries[] = [];
  /** Written, and stored when a sync has succeeded. */
  private readonly awaitingSync: HeldEntries[] = [];
  /** How many at the front of `awaitingSync` the sync under way covers. */
  private coveredBySync = 0;
  /** The bucket of the last staged entry, until the next commit: another message with the same due time goes there without a search. */
  private lastBucket: Bucket | undefined;
  private lastDueMs = 0;

  constructor(
    private readonly buckets: BucketSet,
    private readonly rateLimitedLog: RateLimitedLog,
    private readonly clock: DueClock,
  ) {}

  get hasStaged(): boolean {
    return this.staged.count > 0;
  }

  /** Entries wait for a sync that has not begun. */
  get needsSync(): boolean {
    return this.awaitingSync.length > this.coveredBySync;
  }

  /**
   * Stages a message for the next commit().
   *
   * @param owner told when the message is stored, or refused
   * @param header its due time is by the store's clock
   * @param frame holds the whole message frame in [from, to)
   * @param memoryOnly keep it in memory only: it belongs to an #ephemeral topic or channel
   * @param replaces the entry that this one replaces
   */
  stage(
    owner: EntryOwner,
    header: EntryHeader,
    frame: Buffer,
    from: number,
    to: number,
    memoryOnly: boolean,
    replaces?: StoredMessage,
  ): void {
    const number = this.nextNumber++;
    if (memoryOnly) {
      const copy = Buffer.from(frame.subarray(from, to));
      this.staged.add(owner, header, number, to - from, undefined, 0, copy, replaces);
      return;
    }
    this.watch?.staged(header, number, frame, from, to);
    const bucket = this.bucketFor(header.dueMs);
    const offset = bucket.stage(header, number, frame, from, to);
    this.staged.add(owner, header, number, to - from, bucket, offset, undefined, replaces);
  }

  /** Time has passed: an entry with the due time of the last one may belong to another bucket now. */
  forgetBucket(): void {
    this.lastBucket = undefined;
  }

  /**
   * Writes the staged entries, one write per bucket, and tells each owner. If one write fails, all of them are refused.
   *
   * @param strict tell owners when the next sync has succeeded, except those that do not wait for it
   * @returns why the entries were refused
   */
  commit(strict: boolean): Error | undefined {
    if (this.staged.count === 0) return undefined;
    const failure = this.write();
    const staged = this.takeStaged();
    if (strict && failure === undefined) this.hold(staged);
    else {
      this.tellsUnsynced = !strict;
      this.tellAll(staged, failure);
      this.tellsUnsynced = false;
    }
    return failure;
  }

  /** Refuses the staged entries, and tells each owner. @returns `error` */
  refuse(error: Error): Error {
    for (const bucket of this.buckets.dirty) bucket.discardEntries();
    this.tellAll(this.takeStaged(), error);
    return error;
  }

  private takeStaged(): StagedEntries {
    this.forgetBucket();
    const { staged } = this;
    this.staged = this.spare.pop() ?? new StagedEntries();
    return staged;
  }

  /** Tells the owners that do not wait for a sync. The entries of the others stay where they are until the sync ends. */
  private hold(staged: StagedEntries): void {
    const heldFrom = new Map<Bucket, number>();
    for (let at = 0; at < staged.count; at++) {
      const bucket = staged.bucket(at);
      if (bucket !== undefined && staged.awaitsSync(at) && !heldFrom.has(bucket)) heldFrom.set(bucket, staged.offset[at]);
    }
    if (heldFrom.size === 0) return this.tellAll(staged, undefined);
    for (const [bucket, offset] of heldFrom) bucket.holdFrom(offset);
    this.awaitingSync.push({ staged, buckets: heldFrom.keys() });
    for (let at = 0; at < staged.count; at++) if (!staged.awaitsSync(at)) this.tell(staged, at, undefined);
  }

  syncBegins(): void {
    this.coveredBySync = this.awaitingSync.length;
  }

  /**
   * Tells the owners of entries that awaited the sync.
   *
   * @param error why these entries are refused
   * @param refuse called for each of them; marks it as done
   */
  syncEnded(error: Error | undefined, refuse: (message: StoredMessage) => void): void {
    const covered = this.awaitingSync.splice(0, this.coveredBySync);
    this.coveredBySync = 0;
    for (const { staged, buckets } of covered) {
      for (let at = 0; at < staged.count; at++) {
        if (staged.isTold(at)) continue;
        // An owner whose acknowledgement does not wait for syncs any more has its entry, as if it had been told at once.
        const refusal = staged.awaitsSync(at) ? error : undefined;
        if (refusal !== undefined) refuse(staged.message(at));
        this.tell(staged, at, refusal);
      }
      for (const bucket of buckets) bucket.releaseHeld();
      this.reuse(staged);
    }
  }

  private bucketFor(dueMs: number): Bucket {
    const last = this.lastBucket;
    if (last !== undefined && dueMs === this.lastDueMs) return last;
    this.lastDueMs = dueMs;
    const nowMs = this.clock.currentMs();
    const widthMs = widthFor(dueMs, nowMs);
    if (last !== undefined && last.widthMs === widthMs && last.startMs === startOf(dueMs, widthMs)) return last;
    const bucket = this.buckets.for(dueMs, widthMs, nowMs);
    this.buckets.dirty.add(bucket);
    this.lastBucket = bucket;
    return bucket;
  }

  /** @returns why the entries could not be written; no part of them is in any bucket then */
  private write(): Error | undefined {
    const { unlisted } = this.buckets;
    if (unlisted !== undefined) {
      for (const bucket of this.buckets.dirty) bucket.discardEntries();
      return unlisted;
    }
    const failure = commitTogether(this.buckets.dirty);
    if (failure !== undefined) {
      this.rateLimitedLog.error(`deferred messages: cannot write to ${this.buckets.directory}: ${failure.message}`);
    }
    return failure;
  }

  private tellAll(staged: StagedEntries, error: Error | undefined): void {
    for (let at = 0; at < staged.count; at++) this.tell(staged, at, error);
    this.reuse(staged);
  }

  private tell(staged: StagedEntries, at: number, error: Error | undefined): void {
    const bucket = staged.bucket(at);
    const offset = staged.offset[at];
    this.leftOnDisk = false;
    if (this.watch !== undefined) this.watch.told(staged.ownerOf(at), staged.number[at], error !== undefined);
    staged.tell(at, error);
    // The owner has it in memory, or is done with it: the entry need not be loaded.
    if (error === undefined && bucket?.loading && offset === bucket.loadedTo && !this.leftOnDisk) {
      bucket.loadedTo += ENTRY_HEADER_BYTES + staged.frameBytes[at];
    }
  }

  /** All owners of a commit were told. */
  private reuse(staged: StagedEntries): void {
    if (staged.clear() && this.spare.length < MAX_SPARE) this.spare.push(staged);
  }
}
