import type { Logger } from "../../../base/logger.ts";
import { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import type { Ballast } from "../disk/ballast.ts";
import type { Disk } from "../disk/disk.ts";
import { ReadFailures } from "../disk/read-failures.ts";
import { AsideFile } from "./aside-file.ts";
import type { Bucket, HasJoined } from "./bucket.ts";
import { BucketDamage, type DamageOptions } from "./bucket-damage.ts";
import { BucketNotes } from "./bucket-notes.ts";
import { BucketSet, FINEST_MS, isNear } from "./bucket-set.ts";
import { Cascade } from "./cascade.ts";
import { KIND_REQUEUE, type ScannedEntry, type StoredEntry } from "./entry.ts";
import { type DeliveryTarget, Loader } from "./loader.ts";
import { BucketRecovery } from "./recovery.ts";
import type { StagedEntries } from "./staged-entries.ts";
import type { StoredMessage } from "./stored-message.ts";
import { SyncEpochs } from "./sync-epochs.ts";
import { type DueClock, EntryWriter } from "./writer.ts";

/** How often all buckets are checked for messages to load or move, and for files to remove. */
const SURVEY_INTERVAL_MS = 200;
/** Due messages delivered in one step. */
const DUE_PER_STEP = 2000;

export interface DeferredStoreOptions extends DamageOptions {
  /** The folder of the buckets; made if it does not exist. */
  directory: string;
  disk: Disk;
  logger: Logger;
  /** Room for status records when the disk is full. */
  ballast: Ballast;
  clock: DueClock;
  /** Where what waits because a file cannot be read is noted; undefined: nowhere else. */
  readFailures?: ReadFailures;
}

/**
 * Deferred messages on disk, in buckets by due time (bucket.ts). Only messages that are about to fall due, or are due and
 * unfinished, are in memory (loader.ts). Messages keep their due times over restarts.
 */
export class DeferredStore {
  /** Why the last commit() refused the entries that were staged for it. */
  failure: Error | undefined;
  /** Why the last sync refused the entries that waited for it; undefined if it did not. */
  syncFailure: Error | undefined;
  /** Why status records could not be written; they stay staged. Until they are, no deferred publish may join its topic's log. */
  statusFailure: Error | undefined;
  /** Records of what recover() found out are not written yet: no log may grow before they are. */
  recoveryUnwritten = false;
  /**
   * Set when acknowledgements of some topic wait for a sync. An entry then counts as stored only after a sync. And the record that
   * it is done, because a log or another bucket has its message, is written only after a sync of that.
   */
  strict = false;
  private readonly buckets: BucketSet;
  private readonly recovery: BucketRecovery;
  private readonly loader: Loader;
  private readonly cascade: Cascade;
  private readonly syncEpochs = new SyncEpochs();
  /** Stages new entries. */
  readonly writer: EntryWriter;
  private readonly rateLimitedLog: RateLimitedLog;
  private readonly ballast: Ballast;
  readonly notes: BucketNotes;
  private nextSurveyMs = 0;
  /** process() had to commit before its time, and the entries were refused: so are those that are staged until the next commit(). */
  private earlyFailure: Error | undefined;
  private syncFailed = false;

  constructor(options: DeferredStoreOptions) {
    const { directory, disk, logger, ballast, clock } = options;
    this.ballast = ballast;
    disk.makeDirectory(directory);
    this.rateLimitedLog = new RateLimitedLog(logger);
    const failures = options.readFailures ?? ReadFailures.by(clock, logger, this.rateLimitedLog);
    const damage = new BucketDamage(disk, directory, logger, options);
    this.buckets = new BucketSet(disk, directory, this.rateLimitedLog, failures, (bucket) => this.notes.forget(bucket));
    this.notes = new BucketNotes(damage.notes, this.buckets);
    this.recovery = new BucketRecovery(this.buckets, logger, ballast, damage, () => this.awaitsSyncs);
    this.writer = new EntryWriter(this.buckets, this.rateLimitedLog, clock);
    this.loader = new Loader(this.buckets, () => this.awaitsSyncs);
    this.cascade = new Cascade(this.buckets, this.syncEpochs, logger, this.rateLimitedLog, ballast);
  }

  get target(): DeliveryTarget {
    return this.loader.target;
  }

  set target(target: DeliveryTarget) {
    this.loader.target = target;
  }

  /** `strict`, or the last sync failed: what is not on the disk may never get there, so nothing more is built on it. */
  get awaitsSyncs(): boolean {
    return this.strict || this.syncFailed;
  }

  /** The number of the next entry: no entry that is staged from here on has a lower one. */
  get nextNumber(): number {
    return this.writer.nextNumber;
  }

  /** Entries from here on get at least `number`. A lower one would make an entry seem to be from before its channel was emptied. */
  raiseNextNumber(number: number): void {
    this.writer.nextNumber = Math.max(this.writer.nextNumber, number);
  }

  /**
   * Reads the buckets of an earlier run that were not read yet. Those that cannot be read wait for a later call.
   *
   * @param hasJoined whether the topic's log has, at a sequence, the publish that was about to join it there; undefined if it
   *   cannot be asked yet: recoverTopic() asks again
   * @param visit called for each entry that is not done
   * @param ended called after each bucket: whether what was visited counts, or the bucket could not be read to its end
   * @throws StartError, before anything is changed, when a newer version wrote one of the files
   */
  recover(hasJoined: HasJoined, visit: (entry: StoredEntry) => void, ended?: (counted: boolean) => void): void {
    const { nextNumber, recoveryUnwritten } = this.recovery.run({ hasJoined, visit, ended });
    this.raiseNextNumber(nextNumber);
    this.recoveryUnwritten ||= recoveryUnwritten;
  }

  /** Why some buckets of an earlier run were not read yet; undefined: all were. */
  get unrecovered(): Error | undefined {
    if (this.buckets.unlisted !== undefined) return this.buckets.unlisted;
    for (const { awaitsRecovery, readRetry } of this.buckets) if (awaitsRecovery) return readRetry?.failure;
    return undefined;
  }

  /** What could not be read may be read now: the next recover() tries all buckets. */
  forgetReadFailures(): void {
    for (const { readRetry } of this.buckets) readRetry?.cancel();
  }

  /**
   * After recover(): visits the entries that are not done by now.
   *
   * @throws UnreadableFile: what was visited does not count then
   */
  revisitRecovered(visit: (entry: ScannedEntry) => void): void {
    for (const bucket of this.buckets) {
      if (bucket.awaitsRecovery) continue;
      bucket.scanRecovered(visit);
      if (!bucket.loading) bucket.closeFiles();
    }
  }

  /**
   * A topic was opened that was not open at the time of recover(): visits its entries, which nobody was given so far.
   *
   * @param hasJoined whether the topic's log has, at a sequence, the publish that was about to join it there
   * @throws UnreadableFile: nothing has changed then, and what was visited does not count
   */
  recoverTopic(topicId: number, hasJoined: (entry: ScannedEntry, sequence: number) => boolean, visit: (entry: StoredEntry) => void): void {
    const found = this.recovery.readTopic(topicId, hasJoined, visit);
    // Before the log grows the answers must be written: it is where they were found.
    this.recoveryUnwritten ||= found;
    if (found) this.commitStatus();
  }

  /**
   * After recover(): copies entries to a file that is never read, for the operator.
   *
   * @param isKept tells which
   * @returns the file's path
   * @throws the kernel's error
   */
  keepAside(isKept: (entry: StoredEntry) => boolean): string {
    const file = new AsideFile(this.buckets.disk, this.buckets.names);
    this.buckets.aside.push(file);
    try {
      this.revisitRecovered((entry) => {
        if (isKept(entry)) file.add(entry);
      });
      file.flush();
    } finally {
      file.close();
    }
    return file.path;
  }

  // ---- storing

  /** Whether there is anything for commit() to do. */
  get hasWork(): boolean {
    return this.writer.hasStaged || this.buckets.dirty.size > 0 || this.earlyFailure !== undefined;
  }

  /** Writes staged entries, one write per bucket, and tells each owner; all are refused if one write fails. Then writes status records. */
  commit(): void {
    const { earlyFailure } = this;
    this.earlyFailure = undefined;
    this.failure = earlyFailure === undefined ? this.writer.commit(this.awaitsSyncs) : this.writer.refuse(earlyFailure);
    this.commitStatus();
  }

  private commitStatus(): void {
    const { recoveryUnwritten } = this;
    this.recoveryUnwritten = false;
    this.statusFailure = undefined;
    for (const bucket of this.buckets.dirty) {
      const failure = bucket.commitStatus(this.ballast);
      if (failure !== undefined) {
        this.statusFailure = failure;
        this.recoveryUnwritten = recoveryUnwritten;
        this.rateLimitedLog.error(`deferred messages: cannot write status records to ${this.buckets.directory}: ${failure.message}`);
        continue;
      }
      this.notes.noteNew(bucket);
      // An owner may have staged another entry when the first one was reported to it.
      if (!bucket.dirty) this.buckets.dirty.delete(bucket);
    }
  }

  /** Passes a stored message to target.due() when it is due. */
  deliverWhenDue(message: StoredMessage): void {
    if (!this.loader.tryLoad(message)) this.writer.leftOnDisk = true;
  }

  /** Passes a staged entry, which its owner is just told of, to target.due() when it is due. */
  deliverStagedWhenDue(staged: StagedEntries, at: number): void {
    // Most entries are in buckets that are not loaded for long: these need no message object now.
    if (staged.bucket(at)?.loading === false) this.writer.leftOnDisk = true;
    else this.deliverWhenDue(staged.message(at));
  }

  // ---- after storing

  /** Marks an entry as done: its message is finished. @param replaced another entry has it, which may not be synced */
  finish(message: StoredMessage, replaced = false): void {
    const { bucket } = message;
    if (bucket === undefined) return;
    this.writer.watch?.finished(message);
    if (replaced && !this.awaitsSyncs) bucket.finishReplaced(message);
    else bucket.finish(message.number, message.offset, message);
    this.buckets.dirty.add(bucket);
  }

  /** Marks the entry of a publish as done: it has joined its topic's log. */
  markJoined({ bucket, number }: StoredMessage): void {
    bucket?.stageElsewhere(number, this.awaitsSyncs);
    if (bucket?.dirty === true) this.buckets.dirty.add(bucket);
  }

  /** Marks that a publish is about to join its topic's log. To be committed before the log is. */
  markJoining(message: StoredMessage, sequence: number): void {
    if (message.bucket === undefined) return;
    message.bucket.stageJoining(message.number, sequence);
    this.buckets.dirty.add(message.bucket);
  }

  /** The log refused a publish that was about to join it: marks that, and delivers the message again later. */
  retryJoin(message: StoredMessage, retryAtMs: number): void {
    if (message.bucket !== undefined) {
      message.bucket.stageNotJoined(message.number);
      this.buckets.dirty.add(message.bucket);
    }
    this.postpone(message, retryAtMs);
  }

  /** Delivers a due message again later. */
  postpone(message: StoredMessage, retryAtMs: number): void {
    // Its page may be used for others meanwhile.
    this.loader.freeFrame(message);
    message.dueMs = retryAtMs;
    this.loader.reload(message);
  }

  /** finish() for a message that is not due yet. @param isFresh as for Bucket.isDone() @returns whether it had an entry: it may be due by now */
  withdraw(message: StoredMessage, replaced = false, isFresh = false): boolean {
    const inMemory = this.loader.withdraw(message.number);
    if (inMemory !== undefined) {
      this.finish(inMemory, replaced);
      return true;
    }
    const { bucket, offset, number } = message;
    if (bucket === undefined || !this.hasEntryAt(bucket, offset) || bucket.hasLoaded(offset, message) || bucket.isDone(number, isFresh))
      return false;
    this.finish(message, replaced);
    return true;
  }

  // ---- inspection

  /** The messages in memory that are not due yet and match, in no order. */
  findInMemory(matches: (entry: StoredEntry) => boolean): StoredMessage[] {
    return this.loader.find(matches);
  }

  /** Buckets with entries that are on disk only, the earliest first. */
  get unloadedBuckets(): Bucket[] {
    const unloaded = [...this.buckets].filter((bucket) => !bucket.fullyLoaded || bucket.overflow.size > 0);
    return unloaded.sort((a, b) => a.startMs - b.startMs || a.widthMs - b.widthMs);
  }

  /** Whether a bucket still has its entry at an offset: neither moved nor removed with the bucket. */
  hasEntryAt(bucket: Bucket, offset: number): boolean {
    return this.buckets.has(bucket) && offset >= bucket.movedTo;
  }

  /** Copies the frame of a message, which is `frameBytes` long, into `target` at `at`. @throws UnreadableFile */
  readFrame(message: StoredMessage, target: Buffer, at: number): void {
    if (message.frame !== undefined) message.frame.copy(target, at);
    else if (message.page !== undefined) message.page.buffer.copy(target, at, message.pageAt, message.pageAt + message.frameBytes);
    else message.bucket?.readFrame(target, at, message.offset, message.frameBytes);
  }

  /**
   * Reads the frame of a message that is due into `target`. If it cannot be read, the message is delivered again later.
   *
   * @returns whether it was read
   */
  readDueFrame(message: StoredMessage, target: Buffer): boolean {
    const { bucket } = message;
    if (bucket === undefined || message.page !== undefined) {
      this.readFrame(message, target, 0);
      return true;
    }
    const read = this.buckets.read(bucket, () => this.readFrame(message, target, 0));
    if (!read) this.postpone(message, bucket.readRetry?.retryAtMs ?? message.dueMs);
    return read;
  }

  // ---- delivery

  /** When the next message in memory is due, ms. */
  get nextDueMs(): number {
    return this.loader.nextDueMs;
  }

  /**
   * Delivers due messages, and loads those that are due soon.
   *
   * @returns when to call again, ms; Infinity when there is nothing to do before another entry is staged
   */
  process(nowMs: number): number {
    this.writer.forgetBucket();
    const { loader } = this;
    const again = this.load(nowMs);
    for (let handed = 0; handed < DUE_PER_STEP; handed++) {
      const next = loader.popDue(nowMs);
      if (next === undefined) return Math.min(again, this.buckets.endRetries(), loader.nextDueMs);
      // A publish is copied to its log at once. A requeue may wait for a consumer, and reads its frame again then.
      if (next.kind === KIND_REQUEUE) loader.freeFrame(next);
      this.target.due(next);
      loader.freeFrame(next);
    }
    return loader.nextDueMs <= nowMs ? nowMs : Math.min(again, loader.nextDueMs);
  }

  /** Loads messages that are due soon. @returns when to call again, ms */
  private load(nowMs: number): number {
    let again = Number.POSITIVE_INFINITY;
    if (nowMs >= this.nextSurveyMs) this.nextSurveyMs = nowMs + (this.survey(nowMs) ? 0 : SURVEY_INTERVAL_MS);
    if (this.buckets.size > 0) again = this.nextSurveyMs;
    return this.loader.loadPieces() ? nowMs : again;
  }

  /** Checks all buckets. @returns whether there is more to do at once */
  private survey(nowMs: number): boolean {
    let more = false;
    if (this.buckets.unlisted !== undefined) return false;
    for (const bucket of this.buckets) {
      if (bucket.awaitsRecovery) continue;
      if (isNear(bucket, nowMs)) bucket.loading = true;
      this.buckets.read(bucket, () => {
        if (bucket.overflow.size > 0) more = this.loader.loadOverflow(bucket) || more;
        if (!this.cascade.isDue(bucket, nowMs)) return;
        // Staged entries are accepted or refused together; those that the cascade moves are not among them.
        if (this.writer.hasStaged) {
          this.commit();
          this.earlyFailure = this.failure;
        }
        more = this.cascade.movePiece(bucket, nowMs, this.target, this.awaitsSyncs) || more;
      });
      this.removeIfEmptied(bucket, nowMs);
    }
    return more;
  }

  private removeIfEmptied(bucket: Bucket, nowMs: number): void {
    const mayGetMore = bucket.widthMs === FINEST_MS && bucket.endMs >= nowMs;
    if (bucket.pending > 0 || !bucket.fullyWritten || mayGetMore) {
      bucket.emptiedAtEpoch = -1;
    } else if (bucket.emptiedAtEpoch < 0) {
      // The places that have its messages now must be on the disk before the bucket goes.
      bucket.emptiedAtEpoch = this.syncEpochs.noteWrite();
    } else if (this.syncEpochs.isCovered(bucket.emptiedAtEpoch)) {
      this.buckets.remove(bucket);
    }
  }

  // ---- syncs, which the broker runs

  /** Entries wait for a sync: new ones, to count as stored, or moved ones, so that the next piece can follow. */
  get needsSyncNow(): boolean {
    return this.writer.needsSync || this.syncEpochs.needsSyncNow;
  }

  /** process() has moved entries, or waits to remove a bucket, and no sync has begun since. */
  get needsSync(): boolean {
    return this.syncEpochs.needsSync;
  }

  /** A sync of everything begins: entries and records that await one so far are covered by it. */
  syncBegins(): void {
    this.syncEpochs.begin();
    this.writer.syncBegins();
    for (const bucket of this.buckets) bucket.syncBegins();
  }

  /**
   * The sync has ended: tells owners, and stages the records that awaited it.
   *
   * @param error why some part of the sync failed: no record that awaited it may be written
   * @param refusal why new entries are refused
   */
  syncEnded(error: Error | undefined, refusal = error): void {
    this.syncFailed = error !== undefined;
    this.syncFailure = refusal;
    this.writer.syncEnded(refusal, (message) => this.finish(message));
    this.syncEpochs.end(error === undefined);
    // Before anybody is told: should the process end now, the next start must not find the refused entries.
    if (refusal !== undefined) this.commitStatus();
    if (error !== undefined) return;
    for (const bucket of this.buckets) {
      bucket.syncSucceeded();
      if (bucket.dirty) this.buckets.dirty.add(bucket);
    }
  }

  /** Syncs all entries. Status records are synced after them, and after the logs that messages joined. */
  syncEntries(done: (error: Error | undefined) => void): void {
    this.buckets.syncEntries(done);
  }

  /** Syncs all status records. What they say must be on the disk before. */
  syncStatus(done: (error: Error | undefined) => void): void {
    this.buckets.syncStatus(done);
  }

  /** Syncs and closes all files. @returns why a sync failed */
  async close(): Promise<Error | undefined> {
    const failure = await new Promise<Error | undefined>((resolve) =>
      this.syncEntries((error) => (error === undefined ? this.syncStatus(resolve) : resolve(error))),
    );
    for (const bucket of this.buckets) bucket.closeFiles();
    return failure;
  }
}
