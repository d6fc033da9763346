import type { Trouble } from "../../../base/rate-limited-log.ts";
import type { Bucket } from "./bucket.ts";
import { type BucketSet, commitTogether, startOf, widthFor } from "./bucket-set.ts";
import { ENTRY_HEADER_BYTES, type EntryHeader } from "./entry.ts";
import { type EntryOwner, StagedEntries } from "./staged-entries.ts";
import type { StoredMessage } from "./stored-message.ts";

/** Columns for staged messages that are kept for the next commits: where answers wait for the disk several are in use. */
const SPARE_STAGED = 4;

/** The time by which messages fall due. */
export interface DueClock {
  /** Ms, at this moment. */
  currentMs(): number;
}

/** Messages on their way into buckets: staged, written by a commit, and stored then, or once a sync is over. */
export class EntryWriter {
  /** To be set by who is told of a message and leaves it on the disk for the time being. */
  leftOnDisk = false;
  /** The number that the next entry gets. */
  nextNumber: number;
  private staged = new StagedEntries();
  private readonly spare: StagedEntries[] = [];
  /** Written, and stored once a sync is over; of these, the first `coveredBySync` by the one that is under way. */
  private readonly awaitingSync: StagedEntries[] = [];
  private coveredBySync = 0;
  /** The bucket that was staged into last: of what is due at this time others go there too, until the next commit. */
  private lastBucket: Bucket | undefined;
  private lastDueMs = 0;

  constructor(
    private readonly buckets: BucketSet,
    private readonly rateLimitedLog: Trouble,
    private readonly clock: DueClock,
  ) {
    this.nextNumber = Math.floor(clock.currentMs()) * 1000;
  }

  get hasStaged(): boolean {
    return this.staged.count > 0;
  }

  /** Something waits for a sync that has not begun. */
  get needsSync(): boolean {
    return this.awaitingSync.length > this.coveredBySync;
  }

  /**
   * Stages a message for the next commit().
   *
   * @param header its dueMs is wall-clock time
   * @param frame the whole message frame stands in [from, to)
   * @param memoryOnly for what belongs to an #ephemeral topic or channel: kept in memory, gone with the process
   * @param replaces the entry that this one takes the place of
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
    const bucket = this.bucketFor(header.dueMs);
    const offset = bucket.stage(header, number, frame, from, to);
    this.staged.add(owner, header, number, to - from, bucket, offset, undefined, replaces);
  }

  /** Time has passed: what is staged next may belong elsewhere than what was staged last. */
  forgetBucket(): void {
    this.lastBucket = undefined;
  }

  /**
   * Writes what is staged, one write per bucket, and tells each owner. All of it is refused if one write fails.
   *
   * @param strict owners are told once a sync is over
   * @returns why it was refused
   */
  commit(strict: boolean): Error | undefined {
    this.forgetBucket();
    const { staged } = this;
    if (staged.count === 0) return undefined;
    this.staged = this.spare.pop() ?? new StagedEntries();
    const failure = this.write();
    if (strict && failure === undefined) this.awaitingSync.push(staged);
    else this.notifyOwners(staged, failure);
    return failure;
  }

  syncBegins(): void {
    this.coveredBySync = this.awaitingSync.length;
  }

  /** @param error why what waited for the sync is refused; `refuse` sees to it that nothing is left of it */
  syncEnded(error: Error | undefined, refuse: (message: StoredMessage) => void): void {
    const covered = this.awaitingSync.splice(0, this.coveredBySync);
    this.coveredBySync = 0;
    for (const staged of covered) {
      if (error !== undefined) for (let at = 0; at < staged.count; at++) refuse(staged.message(at));
      this.notifyOwners(staged, error);
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

  /** @returns why it could not be done; then nothing of it is left in any bucket */
  private write(): Error | undefined {
    const failure = commitTogether(this.buckets.dirty);
    if (failure !== undefined) {
      this.rateLimitedLog.error(`deferred messages: cannot write to ${this.buckets.directory}: ${failure.message}`);
    }
    return failure;
  }

  private notifyOwners(staged: StagedEntries, error: Error | undefined): void {
    for (let at = 0; at < staged.count; at++) {
      const bucket = staged.bucket(at);
      const offset = staged.offset[at];
      this.leftOnDisk = false;
      staged.owner(at).stored(staged, at, error);
      // Handed back, finished or kept in memory by its owner: either way nobody has to load it.
      if (error === undefined && bucket?.loading && offset === bucket.loadedTo && !this.leftOnDisk) {
        bucket.loadedTo += ENTRY_HEADER_BYTES + staged.frameBytes[at];
      }
    }
    if (staged.clear() && this.spare.length < SPARE_STAGED) this.spare.push(staged);
  }
}
