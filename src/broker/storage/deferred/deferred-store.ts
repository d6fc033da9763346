import type { Logger } from "../../../base/logger.ts";
import { Trouble } from "../../../base/rate-limited-log.ts";
import type { Ballast } from "../disk/ballast.ts";
import type { Disk } from "../disk/disk.ts";
import type { Bucket } from "./bucket.ts";
import { BucketSet, FINEST_MS, isNear } from "./bucket-set.ts";
import { Cascade } from "./cascade.ts";
import { KIND_REQUEUE, type StoredEntry } from "./entry.ts";
import { type DeliveryTarget, Loader } from "./loader.ts";
import { recoverBuckets } from "./recovery.ts";
import type { StagedEntries } from "./staged-entries.ts";
import type { StoredMessage } from "./stored-message.ts";
import { SyncEpochs } from "./sync-epochs.ts";
import { type DueClock, EntryWriter } from "./writer.ts";

/** BucketSet are looked through this often for what is to be loaded, moved or removed. */
const SURVEY_INTERVAL_MS = 200;
/** Due messages handed on in one step. */
const DUE_PER_STEP = 2000;

export interface DeferredStoreOptions {
  /** Its folder; made if it is not there. */
  directory: string;
  disk: Disk;
  logger: Logger;
  /** Room for words on entries when the disk is full. */
  ballast: Ballast;
  clock: DueClock;
}

/**
 * Deferred messages on disk, in buckets by due time (bucket.ts). Only what is about to fall due, or is due and
 * unfinished, is in memory (loader.ts). Entries keep their due time over restarts.
 */
export class DeferredStore {
  /** Set by a commit that failed: what was staged for it is refused. */
  failure: Error | undefined;
  /** Why words on entries could not be written; they stay staged. Until they are, no deferred publish may join its topic's log. */
  statusFailure: Error | undefined;
  /** What recovery found out has not been written: no log may grow before it is. */
  recoveryUnwritten = false;
  /**
   * Some topic's acknowledgements wait for the disk. Then an entry counts as stored only after a sync, and a word that
   * an entry is done with, because its message stands elsewhere now, is not written before that other place is synced.
   */
  strict = false;
  private readonly buckets: BucketSet;
  private readonly loader: Loader;
  private readonly cascade: Cascade;
  private readonly syncEpochs = new SyncEpochs();
  /** Takes messages on their way in. */
  readonly writer: EntryWriter;
  private readonly rateLimitedLog: Trouble;
  private readonly directory: string;
  private readonly logger: Logger;
  private readonly ballast: Ballast;
  private nextSurveyMs = 0;

  constructor({ directory, disk, logger, ballast, clock }: DeferredStoreOptions) {
    this.directory = directory;
    this.logger = logger;
    this.ballast = ballast;
    disk.makeDirectory(directory);
    this.rateLimitedLog = new Trouble(logger);
    this.buckets = new BucketSet(disk, directory, this.rateLimitedLog);
    this.writer = new EntryWriter(this.buckets, this.rateLimitedLog, clock);
    this.loader = new Loader(this.buckets);
    this.cascade = new Cascade(this.buckets, this.syncEpochs, logger, this.rateLimitedLog, ballast);
  }

  get target(): DeliveryTarget {
    return this.loader.target;
  }

  /** To be set before anything else is done. */
  set target(target: DeliveryTarget) {
    this.loader.target = target;
  }

  /** The number that the next entry gets: what is staged from here on is not below it. */
  get nextNumber(): number {
    return this.writer.nextNumber;
  }

  /** Entries from here on get a number that is not below `number`: a clock set back must not make new ones look emptied away. */
  raiseNextNumber(number: number): void {
    this.writer.nextNumber = Math.max(this.writer.nextNumber, number);
  }

  /**
   * Reads all buckets of an earlier run.
   *
   * @param hasJoined whether a publish that was about to join its topic's log at a sequence is there
   * @param visit called for each entry that is not done with
   */
  recover(hasJoined: (entry: StoredEntry, sequence: number) => boolean, visit: (entry: StoredEntry) => void): void {
    const { nextNumber, recoveryUnwritten } = recoverBuckets(this.buckets, this.logger, this.ballast, hasJoined, visit);
    this.raiseNextNumber(nextNumber);
    this.recoveryUnwritten = recoveryUnwritten;
  }

  /** After recover(): visits once more what it visited. */
  revisitRecovered(visit: (entry: StoredEntry) => void): void {
    for (const bucket of this.buckets) bucket.scanRecovered(visit);
  }

  // ---- messages on their way in

  /** Whether there is anything for commit() to do. */
  get hasWork(): boolean {
    return this.writer.hasStaged || this.buckets.dirty.size > 0;
  }

  /** Writes what is staged, one write per bucket, and tells each owner. All of it is refused if one write fails. */
  commit(): void {
    this.failure = this.writer.commit(this.strict);
    this.commitStatus();
  }

  private commitStatus(): void {
    const { recoveryUnwritten } = this;
    const { dirty } = this.buckets;
    this.recoveryUnwritten = false;
    this.statusFailure = undefined;
    for (const bucket of dirty) {
      const failure = bucket.commitStatus(this.ballast);
      if (failure !== undefined) {
        this.statusFailure = failure;
        this.recoveryUnwritten = recoveryUnwritten;
        this.rateLimitedLog.error(`deferred messages: cannot note in ${this.directory} what is done: ${failure.message}`);
        continue;
      }
      // An owner that was told of its message may have staged another.
      if (!bucket.dirty) dirty.delete(bucket);
    }
  }

  /** A stored message waits for its due time; targets.due() gets it then. */
  deliverWhenDue(message: StoredMessage): void {
    if (!this.loader.tryLoad(message)) this.writer.leftOnDisk = true;
  }

  /** The same for one that its owner just heard of. */
  deliverStagedWhenDue(staged: StagedEntries, at: number): void {
    // Of most nobody need know more before their time is near.
    if (staged.bucket(at)?.loading === false) this.writer.leftOnDisk = true;
    else this.deliverWhenDue(staged.message(at));
  }

  // ---- what becomes of messages

  /** The entry is done with: its message is finished, or stands elsewhere now. */
  finish(message: StoredMessage): void {
    const { bucket } = message;
    if (bucket === undefined) return;
    bucket.finish(message.number, message.offset, message.channelId);
    this.buckets.dirty.add(bucket);
  }

  /** A publish has joined its topic's log. */
  markJoined(message: StoredMessage): void {
    if (message.bucket === undefined) return;
    message.bucket.stageDone(message.number, this.strict);
    if (!this.strict) this.buckets.dirty.add(message.bucket);
  }

  /** A publish is about to join its topic's log; the commit() before the log's makes that known. */
  markJoining(message: StoredMessage, sequence: number): void {
    if (message.bucket === undefined) return;
    message.bucket.stageJoining(message.number, sequence);
    this.buckets.dirty.add(message.bucket);
  }

  /** The log could not take it. */
  retryJoin(message: StoredMessage, retryAtMs: number): void {
    if (message.bucket !== undefined) {
      message.bucket.stageNotJoined(message.number);
      this.buckets.dirty.add(message.bucket);
    }
    this.postpone(message, retryAtMs);
  }

  /** A due message that cannot be handed on now is handed on later. */
  postpone(message: StoredMessage, retryAtMs: number): void {
    message.dueMs = retryAtMs;
    this.loader.reload(message);
  }

  /** Takes a message out that waits for its time: its entry is done with. @returns false: it does not wait any more */
  withdraw(message: StoredMessage): boolean {
    const inMemory = this.loader.withdraw(message.number);
    if (inMemory !== undefined) {
      this.finish(inMemory);
      return true;
    }
    const { bucket, offset, channelId, number } = message;
    if (bucket === undefined || !this.hasEntryAt(bucket, offset) || bucket.hasLoaded(offset, channelId) || bucket.isDone(number))
      return false;
    this.finish(message);
    return true;
  }

  // ---- for who looks

  /** What is in memory and waits for its time, of that what is wanted, in no order. */
  findInMemory(wanted: (entry: StoredEntry) => boolean): StoredMessage[] {
    return this.loader.find(wanted);
  }

  /** BucketSet with entries that are on disk only, the earliest first. */
  get unloadedBuckets(): Bucket[] {
    const unloaded = [...this.buckets].filter((bucket) => !bucket.fullyLoaded || bucket.overflow.size > 0);
    return unloaded.sort((a, b) => a.startMs - b.startMs || a.widthMs - b.widthMs);
  }

  /** Whether what stood in a bucket from an offset on stands there still. */
  hasEntryAt(bucket: Bucket, offset: number): boolean {
    return this.buckets.has(bucket) && offset >= bucket.movedTo;
  }

  /** Reads a message's frame into `target` at `at`; `frameBytes` long. */
  readFrame(message: StoredMessage, target: Buffer, at: number): void {
    if (message.frame !== undefined) message.frame.copy(target, at);
    else if (message.page !== undefined) message.page.buffer.copy(target, at, message.pageAt, message.pageAt + message.frameBytes);
    else message.bucket?.readFrame(target, at, message.offset, message.frameBytes);
  }

  // ---- as time passes

  /** When the next message in memory falls due, ms. */
  get nextDueMs(): number {
    return this.loader.nextDueMs;
  }

  /** Hands on what has fallen due, and prepares what soon will. @returns when to call again, ms; Infinity for not before something is staged */
  process(nowMs: number): number {
    this.writer.forgetBucket();
    const { loader } = this;
    let again = Number.POSITIVE_INFINITY;
    if (nowMs >= this.nextSurveyMs) this.nextSurveyMs = nowMs + (this.survey(nowMs) ? 0 : SURVEY_INTERVAL_MS);
    if (this.buckets.size > 0) again = this.nextSurveyMs;
    if (loader.loadPieces()) again = nowMs;
    for (let handed = 0; handed < DUE_PER_STEP; handed++) {
      const next = loader.popDue(nowMs);
      if (next === undefined) return Math.min(again, loader.nextDueMs);
      // A publish is copied to its log now; a requeue may wait for a consumer.
      if (next.kind === KIND_REQUEUE) loader.freeFrame(next);
      this.target.due(next);
      loader.freeFrame(next);
    }
    return loader.nextDueMs <= nowMs ? nowMs : Math.min(again, loader.nextDueMs);
  }

  /** @returns true when there is more to do at once */
  private survey(nowMs: number): boolean {
    let more = false;
    for (const bucket of this.buckets) {
      if (isNear(bucket, nowMs)) bucket.loading = true;
      if (bucket.overflow.size > 0) more = this.loader.loadOverflow(bucket) || more;
      if (this.cascade.isDue(bucket, nowMs)) {
        // What is staged is refused or not as one; what the mover writes is not of it.
        if (this.writer.hasStaged) this.commit();
        more = this.cascade.movePiece(bucket, nowMs, (entry) => this.target.wanted(entry), this.strict) || more;
      }
      this.removeIfEmptied(bucket, nowMs);
    }
    return more;
  }

  private removeIfEmptied(bucket: Bucket, nowMs: number): void {
    const mayGetMore = bucket.widthMs === FINEST_MS && bucket.endMs >= nowMs;
    if (bucket.pending > 0 || !bucket.fullyWritten || mayGetMore) {
      bucket.emptiedAtEpoch = -1;
    } else if (bucket.emptiedAtEpoch < 0) {
      // What its messages became must be on the disk before they are gone from here.
      bucket.emptiedAtEpoch = this.syncEpochs.noteWrite();
    } else if (this.syncEpochs.isCovered(bucket.emptiedAtEpoch)) {
      this.buckets.remove(bucket);
    }
  }

  // ---- syncs, which the broker makes

  /** Entries were written that are not stored before a sync is over, or moved, and the next ones wait for that. */
  get needsSyncNow(): boolean {
    return this.writer.needsSync || this.syncEpochs.needsSyncNow;
  }

  /** process() has written something, or waits to remove something, that no sync has begun for since. */
  get needsSync(): boolean {
    return this.syncEpochs.needsSync;
  }

  /** A sync of everything begins: what was held back so far may go on when it is over. */
  syncBegins(): void {
    this.syncEpochs.begin();
    this.writer.syncBegins();
    for (const bucket of this.buckets) bucket.syncBegins();
  }

  syncEnded(error: Error | undefined): void {
    this.writer.syncEnded(error, (message) => this.finish(message));
    this.syncEpochs.end(error === undefined);
    if (error !== undefined) return;
    for (const bucket of this.buckets) {
      bucket.syncSucceeded();
      if (bucket.dirty) this.buckets.dirty.add(bucket);
    }
  }

  /** All is synced and the broker goes down: from here on the files are written in order, and synced at the end. */
  endStrictness(): void {
    this.strict = false;
    this.syncBegins();
    this.syncEnded(undefined);
  }

  /** Brings all entries to the disk. Words come after them, and after what they say of other places: the logs that messages joined. */
  syncEntries(done: (error: Error | undefined) => void): void {
    this.syncEach((bucket, one) => bucket.syncEntries(one), done);
  }

  syncStatus(done: (error: Error | undefined) => void): void {
    this.syncEach((bucket, one) => bucket.syncStatus(one), done);
  }

  /** @param done hears of one failure, if there was any */
  private syncEach(
    sync: (bucket: Bucket, done: (error: Error | undefined) => void) => void,
    done: (error: Error | undefined) => void,
  ): void {
    let waiting = 1;
    let failure: Error | undefined;
    const one = (error: Error | undefined) => {
      failure ??= error;
      if (--waiting === 0) done(failure);
    };
    for (const bucket of this.buckets) {
      if (!bucket.unsynced) continue;
      waiting++;
      sync(bucket, one);
    }
    one(undefined);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.syncEntries(() => this.syncStatus(() => resolve())));
    for (const bucket of this.buckets) bucket.closeFiles();
  }
}
