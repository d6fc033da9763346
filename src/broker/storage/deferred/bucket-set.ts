import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import type { Disk } from "../disk/disk.ts";
import { FolderNames } from "../disk/folder-names.ts";
import type { ReadFailures } from "../disk/read-failures.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { AsideFile } from "./aside-file.ts";
import { Bucket } from "./bucket.ts";
import { bucketName } from "./bucket-name.ts";

/**
 * The levels of the timing wheel: widths of buckets, finest first, each 64 times the one before. A message goes to the finest
 * level at which its due time is less than 64 widths away. So there are some two hundred buckets at most, whatever the delays.
 */
const WIDTHS_MS = [1000, 64 * 1000, 4096 * 1000, 262_144 * 1000];
export const FINEST_MS = WIDTHS_MS[0];
/** A bucket of the finest width is loaded this long before its time begins. */
const LOAD_LEAD_MS = 800;

/** All buckets, and the ones among them that have something to be written. */
export class BucketSet implements Iterable<Bucket> {
  /** Why the folder cannot be listed: until it is, nothing may be written, since a bucket may be there already. */
  unlisted: Error | undefined;
  readonly dirty = new Set<Bucket>();
  /** The names of all buckets' files. */
  readonly names: FolderNames;
  /** Entries that nobody gets. They are synced with those of the buckets, which go when the files are on the disk. */
  readonly aside: AsideFile[] = [];
  private readonly byName = new Map<string, Bucket>();

  constructor(
    readonly disk: Disk,
    readonly directory: string,
    private readonly rateLimitedLog: RateLimitedLog,
    readonly readFailures: ReadFailures,
    /** Called before the files of a bucket are removed. */
    private readonly removing: (bucket: Bucket) => void = () => {},
  ) {
    this.names = new FolderNames(disk, directory);
  }

  get size(): number {
    return this.byName.size;
  }

  [Symbol.iterator](): Iterator<Bucket> {
    return this.byName.values();
  }

  /**
   * The bucket of a width for messages that are due at a time; made if there is none. In place of one that could not be read yet
   * it is a finer one, or the one before: a message may be in any bucket that is loaded before it is due.
   */
  for(dueMs: number, widthMs: number, nowMs: number): Bucket {
    const startMs = startOf(dueMs, widthMs);
    const known = this.byName.get(bucketName(startMs, widthMs));
    if (known?.awaitsRecovery) {
      const finer = WIDTHS_MS[WIDTHS_MS.indexOf(widthMs) - 1];
      return finer === undefined ? this.for(dueMs - widthMs, widthMs, nowMs) : this.for(dueMs, finer, nowMs);
    }
    if (known !== undefined) return known;
    const bucket = new Bucket(this.disk, this.directory, startMs, widthMs, this.names);
    bucket.loading = isNear(bucket, nowMs);
    this.add(bucket);
    return bucket;
  }

  /** Forgets all buckets. Their files stay as they are. */
  clear(): void {
    for (const { readRetry } of this) readRetry?.cancel();
    this.byName.clear();
    this.dirty.clear();
  }

  add(bucket: Bucket): void {
    bucket.readRetry ??= this.readFailures.retry(`bucket ${bucket.name} of deferred messages`, () => {});
    this.byName.set(bucket.name, bucket);
  }

  has(bucket: Bucket): boolean {
    return this.byName.get(bucket.name) === bucket;
  }

  /**
   * Does what reads a bucket's files, unless it is too early to try that again.
   *
   * @returns whether it was done
   */
  read(bucket: Bucket, work: () => void): boolean {
    if (bucket.readRetry?.isWaiting) return false;
    try {
      work();
      return true;
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      bucket.readRetry?.failed(error);
      return false;
    }
  }

  /** Everything that was to be read now was read: what did not fail again goes on. @returns when to try again what did; Infinity: nothing */
  endRetries(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { readRetry, awaitsRecovery } of this.byName.values()) {
      if (readRetry?.failure === undefined || awaitsRecovery) continue;
      if (readRetry.isWaiting) next = Math.min(next, readRetry.retryAtMs);
      else readRetry.succeeded();
    }
    return next;
  }

  /** Removes a bucket and its files. If they cannot be removed, the bucket stays, and this is tried again. */
  remove(bucket: Bucket): void {
    const failed = (error: Error) =>
      this.rateLimitedLog.error(`deferred messages: cannot remove a file from ${this.directory}: ${error.message}`);
    try {
      this.removing(bucket);
      bucket.remove(failed);
    } catch (error) {
      failed(error as Error);
      return;
    }
    bucket.readRetry?.cancel();
    if (this.has(bucket)) this.byName.delete(bucket.name);
    this.dirty.delete(bucket);
  }

  /** Syncs all entries. @param done called with one of the errors, if there were any */
  syncEntries(done: (error: Error | undefined) => void): void {
    const group = new SyncGroup(done);
    for (const bucket of this) if (bucket.unsynced) bucket.syncEntries(group.add());
    for (const file of this.aside) if (file.unsynced) file.sync(group.add());
    group.seal();
  }

  /** Syncs all status records. @param done called with one of the errors, if there were any */
  syncStatus(done: (error: Error | undefined) => void): void {
    const group = new SyncGroup(done);
    for (const bucket of this) if (bucket.unsynced) bucket.syncStatus(group.add());
    group.seal();
  }
}

/** Whether it is time to load a bucket. Never for wider ones: their messages move to finer buckets before. */
export function isNear(bucket: Bucket, nowMs: number): boolean {
  return bucket.widthMs === FINEST_MS && bucket.startMs - LOAD_LEAD_MS <= nowMs;
}

/** The width of the bucket that a message goes to. */
export function widthFor(dueMs: number, nowMs: number): number {
  let level = 0;
  while (level < WIDTHS_MS.length - 1 && dueMs - nowMs >= 64 * WIDTHS_MS[level]) level++;
  // A wide bucket whose messages are being moved takes no new ones.
  while (level > 0 && moveAtMs(startOf(dueMs, WIDTHS_MS[level]), WIDTHS_MS[level]) <= nowMs) level--;
  return WIDTHS_MS[level];
}

/** When the bucket of a width begins that a due time is in. */
export function startOf(dueMs: number, widthMs: number): number {
  return Math.floor(dueMs / widthMs) * widthMs;
}

/** When the messages of a wide bucket begin to move to finer ones. */
export function moveAtMs(startMs: number, widthMs: number): number {
  return startMs - widthMs / 2;
}

/** Writes the staged entries of several buckets, all or none. @returns why that failed; no part of them is in any bucket then */
export function commitTogether(buckets: Set<Bucket>): Error | undefined {
  let written = 0;
  for (const bucket of buckets) {
    const failure = bucket.commitEntries();
    if (failure === undefined) {
      written++;
      continue;
    }
    for (const one of buckets) {
      if (written-- > 0) one.rollBackEntries();
      else one.discardEntries();
    }
    return failure;
  }
  return undefined;
}
