import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { type Ballast, NO_BALLAST } from "../ballast.ts";
import { files, GONE_ENDING, removeIfThere } from "../files.ts";
import { Trouble } from "../trouble.ts";
import { Bucket, ENTRY_HEADER_BYTES, type EntryHeader, KIND_PUBLISH, KIND_REQUEUE, type ScannedEntry, type StoredEntry } from "./bucket.ts";
import { StagedEntries, type StoreOwner } from "./staged-entries.ts";
import { DueHeap, type KeptPage, StoredMessage } from "./stored-message.ts";

/**
 * Widths of buckets, finest first: each is 64 of the one before. A message goes into the finest width of which
 * its due time is less than 64 away, so there are some two hundred files at the most, whatever the delays.
 */
const WIDTHS_MS = [1000, 64 * 1000, 4096 * 1000, 262_144 * 1000];
/** A finest bucket is loaded this long before it begins. */
const LOAD_LEAD_MS = 1500;
/** Buckets are looked through this often for what is to be loaded, moved or removed. */
const SURVEY_INTERVAL_MS = 200;
/** A wide bucket is moved into finer ones piece by piece, so that the loop is never held for long. */
const MOVE_STEP_BYTES = 512 * 1024;
/** Due messages handed on in one step. */
const DUE_PER_STEP = 2000;
/** Buckets are loaded in pieces of this size, so many of them in one step, for the same reason. */
const LOAD_PIECE_BYTES = 128 * 1024;
const LOAD_PIECES = 4;
/** Messages of buckets in memory that are not due yet: two seconds' worth at 100,000 a second. More wait on the disk. */
const MOST_LOADED = 200_000;
/** Pieces that stay in memory with the messages loaded from them, 24 MiB in all; frames beyond that are read when they fall due. */
const KEPT_PAGES = 192;
/** Columns for staged messages that are kept for the next commits: where answers wait for the disk several are in use. */
const SPARE_STAGED = 4;
/** Looked through at once for the entries of a channel that has room again. */
const LEFT_BEHIND_BYTES = 1024 * 1024;

/** What the store asks of the broker. */
export interface DeferredTargets {
  /** Whether an entry still has somebody to go to: its topic, or its channel, exists and was not emptied since. */
  wanted(entry: StoredEntry): boolean;
  /** Whether an entry's message is on its way through its channel already, though its bucket was not in memory. */
  underWay(entry: StoredEntry): boolean;
  /** How many more messages a channel may have in memory: the others stay on the disk until it has room. */
  room(channelId: number): number;
  /** A message has fallen due. */
  due(message: StoredMessage): void;
}

/**
 * Deferred messages on disk, in buckets by due time (design: idea 4). Only what is about to fall due, or is due
 * and unfinished, is in memory. Entries keep their due time over restarts.
 */
export class DeferredStore {
  /** Set by a commit that failed: what was staged for it is refused. */
  failure: Error | undefined;
  /** Why words on entries could not be written; they stay staged. Until they are, no deferred publish may join its topic's log. */
  wordsFailure: Error | undefined;
  /** What recovery found out has not been written: no log may grow before it is. */
  unresolved = false;
  /**
   * Some topic's acknowledgements wait for the disk. Then an entry counts as stored only after a sync, and a word that
   * an entry is done with, because its message stands elsewhere now, is not written before that other place is synced.
   */
  strict = false;
  private readonly buckets = new Map<string, Bucket>();
  private readonly dirty = new Set<Bucket>();
  private staged = new StagedEntries();
  private readonly spareStaged: StagedEntries[] = [];
  /** Written, and stored once a sync is over; of these, the first `sealed` by the one that is under way. */
  private readonly unsyncedStaged: StagedEntries[] = [];
  private sealed = 0;
  private movesHeld = false;
  /** Syncs that began; the last of them that ended well; and how many had begun when process() last wrote something. */
  private syncsBegun = 0;
  private syncedTo = 0;
  private changedAtSync = -1;
  /** The message that its owner asked to await just now stays on the disk for the time being. */
  private leftOnDisk = false;
  private readonly heap = new DueHeap();
  private nextNumber = 0;
  /** The bucket that was staged into last: of what is due at this time others go there too, until the next commit. */
  private lastBucket: Bucket | undefined;
  private lastDueMs = 0;
  private nextSurveyMs = 0;
  /** Messages of buckets in the heap. */
  private loadedCount = 0;
  private readonly freePages: KeptPage[] = [];
  private keptPages = 0;
  targets!: DeferredTargets;
  private readonly trouble: Trouble;

  constructor(
    private readonly directory: string,
    private readonly log: Logger,
    private readonly ballast: Ballast = NO_BALLAST,
    /** The time by which messages fall due, ms. */
    private readonly now: () => number = Date.now,
  ) {
    files.makeDirectory(directory);
    this.nextNumber = Math.floor(now()) * 1000;
    this.trouble = new Trouble(log);
  }

  /** The number that the next entry gets: what is staged from here on is not below it. */
  get upcomingNumber(): number {
    return this.nextNumber;
  }

  /** Entries from here on get a number that is not below `number`: a clock set back must not make new ones look emptied away. */
  numberFrom(number: number): void {
    this.nextNumber = Math.max(this.nextNumber, number);
  }

  /** When the next message in memory falls due, ms. */
  get nextDueMs(): number {
    return this.heap.peek()?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Reads all buckets of an earlier run.
   *
   * @param hasJoined whether a publish that was about to join its topic's log at a sequence is there
   * @param visit called for each entry that is not done with
   */
  recover(hasJoined: (entry: StoredEntry, sequence: number) => boolean, visit: (entry: StoredEntry) => void): void {
    // What a kill in the middle of a move leaves in two buckets is at the front of the wider one.
    const maybeMoved = new Map<number, { entry: StoredEntry; bucket: Bucket }>();
    for (const bucket of this.findBuckets()) {
      const file = join(this.directory, key(bucket.startMs, bucket.widthMs));
      let entries = 0;
      const cut = bucket.recover(hasJoined, (entry) => {
        entries++;
        this.nextNumber = Math.max(this.nextNumber, entry.number + 1);
        const twin = maybeMoved.get(entry.number);
        if (twin !== undefined) {
          maybeMoved.delete(entry.number);
          twin.bucket.stageDone(entry.number);
          this.dirty.add(twin.bucket);
        }
        const atFront = bucket.widthMs > WIDTHS_MS[0] && entry.offset - bucket.movedTo <= MOVE_STEP_BYTES;
        if (atFront) maybeMoved.set(entry.number, { entry: { ...entry }, bucket });
        else visit(entry);
      });
      if (cut > 0) this.log.warn(`deferred messages: the last ${cut} bytes of ${file}.msg were torn by a crash; they are dropped`);
      if (bucket.damagedBytes > 0) {
        this.log.error(`deferred messages: ${bucket.damagedBytes} bytes in ${file}.msg are damaged; they are skipped`);
      }
      this.keepFindings(bucket);
      if (entries === 0) this.forget(bucket);
      else this.buckets.set(key(bucket.startMs, bucket.widthMs), bucket);
    }
    for (const { entry } of maybeMoved.values()) visit(entry);
  }

  /** Whether entries joined their logs is told by the logs' ends: what was found must be written before those move on. */
  private keepFindings(bucket: Bucket): void {
    try {
      this.ballast.use(() => bucket.commitWords());
      bucket.closeFiles();
    } catch (error) {
      this.log.error(`deferred messages: cannot note in ${this.directory} what was found: ${(error as Error).message}`);
      this.unresolved = true;
      this.dirty.add(bucket);
    }
  }

  private forget(bucket: Bucket): void {
    this.dirty.delete(bucket);
    this.remove(bucket);
  }

  /** After recover(): visits once more what it visited. */
  revisit(visit: (entry: StoredEntry) => void): void {
    for (const bucket of this.buckets.values()) bucket.scanRecovered(visit);
  }

  /** The buckets of an earlier run, widest first. */
  private findBuckets(): Bucket[] {
    const names = files.list(this.directory);
    const found: Bucket[] = [];
    for (const name of names) {
      const span = Bucket.parseName(name);
      if (span !== undefined) found.push(new Bucket(this.directory, span.startMs, span.widthMs));
      // A crash while a bucket was removed: its words must not be taken for those of a later bucket of that name.
      else if (name.endsWith(GONE_ENDING)) removeIfThere(join(this.directory, name));
      else if (name.endsWith(".done") && !names.includes(name.replace(/done$/, "msg"))) removeIfThere(join(this.directory, name));
    }
    return found.sort((a, b) => b.widthMs - a.widthMs);
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
    owner: StoreOwner,
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
    const bucket = this.stagingBucket(header.dueMs);
    const offset = bucket.stage(header, number, frame, from, to);
    this.staged.add(owner, header, number, to - from, bucket, offset, undefined, replaces);
  }

  private stagingBucket(dueMs: number): Bucket {
    const last = this.lastBucket;
    if (last !== undefined && dueMs === this.lastDueMs) return last;
    this.lastDueMs = dueMs;
    const nowMs = this.now();
    const widthMs = widthFor(dueMs, nowMs);
    if (last !== undefined && last.widthMs === widthMs && last.startMs === startOf(dueMs, widthMs)) return last;
    const bucket = this.bucketOf(dueMs, widthMs, nowMs);
    this.dirty.add(bucket);
    this.lastBucket = bucket;
    return bucket;
  }

  /** Whether there is anything for commit() to do. */
  get hasWork(): boolean {
    return this.staged.count > 0 || this.dirty.size > 0;
  }

  /** Writes what is staged, one write per bucket, and tells each owner. All of it is refused if one write fails. */
  commit(): void {
    const { staged } = this;
    this.failure = undefined;
    this.lastBucket = undefined;
    if (staged.count > 0) {
      this.staged = this.spareStaged.pop() ?? new StagedEntries();
      this.failure = this.commitEntries();
      if (this.strict && this.failure === undefined) this.unsyncedStaged.push(staged);
      else this.tellOwners(staged, this.failure);
    }
    this.commitWords();
  }

  /** @returns why it could not be done; then nothing of it is left in any bucket */
  private commitEntries(): Error | undefined {
    const written: Bucket[] = [];
    for (const bucket of this.dirty) {
      try {
        bucket.commitEntries();
        written.push(bucket);
      } catch (error) {
        for (const one of written) one.rollBackEntries();
        for (const one of this.dirty) one.discardEntries();
        this.trouble.error(`deferred messages: cannot write to ${this.directory}: ${(error as Error).message}`);
        return error as Error;
      }
    }
    return undefined;
  }

  private commitWords(): void {
    const unresolved = this.unresolved;
    this.unresolved = false;
    this.wordsFailure = undefined;
    for (const bucket of this.dirty) {
      try {
        this.ballast.use(() => bucket.commitWords());
      } catch (error) {
        this.wordsFailure = error as Error;
        this.unresolved = unresolved;
        this.trouble.error(`deferred messages: cannot note in ${this.directory} what is done: ${(error as Error).message}`);
        continue;
      }
      // An owner that was told of its message may have staged another.
      if (!bucket.dirty) this.dirty.delete(bucket);
    }
  }

  /** Entries were written that are not stored before a sync is over, or moved, and the next ones wait for that. */
  get awaitsSyncNow(): boolean {
    return this.unsyncedStaged.length > this.sealed || this.movesHeld;
  }

  /** process() has written something, or waits to remove something, that no sync has begun for since. */
  get awaitsSync(): boolean {
    return this.changedAtSync === this.syncsBegun;
  }

  /** All is synced and the broker goes down: from here on the files are written in order, and synced at the end. */
  endStrictness(): void {
    this.strict = false;
    this.syncBegins();
    this.syncEnded(undefined);
  }

  /** A sync of everything begins: what was held back so far may go on when it is over. */
  syncBegins(): void {
    this.movesHeld = false;
    this.syncsBegun++;
    this.sealed = this.unsyncedStaged.length;
    for (const bucket of this.buckets.values()) bucket.sealHeld();
  }

  syncEnded(error: Error | undefined): void {
    const sealed = this.unsyncedStaged.splice(0, this.sealed);
    this.sealed = 0;
    for (const staged of sealed) {
      // Refused, and so nothing may be left of it.
      if (error !== undefined) for (let at = 0; at < staged.count; at++) this.finish(staged.message(at));
      this.tellOwners(staged, error);
    }
    if (error !== undefined) {
      this.changedAtSync = this.syncsBegun;
      return;
    }
    this.syncedTo = this.syncsBegun;
    for (const bucket of this.buckets.values()) {
      bucket.releaseHeld();
      if (bucket.dirty) this.dirty.add(bucket);
    }
  }

  /** A stored message waits for its due time; targets.due() gets it then. */
  await(message: StoredMessage): void {
    const { bucket } = message;
    if (bucket === undefined) return this.heap.push(message);
    // While others of its bucket are still to be loaded it is loaded in its turn.
    if (!bucket.loading || message.offset !== bucket.loadedTo || this.loadedCount >= MOST_LOADED) this.leftOnDisk = true;
    else if (!bucket.leftBehind.has(message.channelId)) this.pushLoaded(message);
  }

  /** The same for one that its owner just heard of. */
  awaitStaged(staged: StagedEntries, at: number): void {
    // Of most nobody need know more before their time is near.
    if (staged.bucket(at)?.loading === false) this.leftOnDisk = true;
    else this.await(staged.message(at));
  }

  private tellOwners(staged: StagedEntries, error: Error | undefined): void {
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
    if (staged.clear() && this.spareStaged.length < SPARE_STAGED) this.spareStaged.push(staged);
  }

  private pushLoaded(message: StoredMessage): void {
    this.loadedCount++;
    this.heap.push(message);
  }

  /** The entry is done with: its message is finished, or stands elsewhere now. */
  finish(message: StoredMessage): void {
    const { bucket } = message;
    if (bucket === undefined) return;
    bucket.finish(message.number, message.offset, message.channelId);
    this.dirty.add(bucket);
  }

  /** A publish has joined its topic's log. */
  joined(message: StoredMessage): void {
    if (message.bucket === undefined) return;
    message.bucket.stageDone(message.number, this.strict);
    if (!this.strict) this.dirty.add(message.bucket);
  }

  /** A publish is about to join its topic's log; the commit() before the log's makes that known. */
  joining(message: StoredMessage, sequence: number): void {
    if (message.bucket === undefined) return;
    message.bucket.stageJoining(message.number, sequence);
    this.dirty.add(message.bucket);
  }

  /** The log could not take it. */
  notJoined(message: StoredMessage, retryAtMs: number): void {
    if (message.bucket !== undefined) {
      message.bucket.stageNotJoined(message.number);
      this.dirty.add(message.bucket);
    }
    this.postpone(message, retryAtMs);
  }

  /** A due message that cannot be handed on now is handed on later. */
  postpone(message: StoredMessage, retryAtMs: number): void {
    message.dueMs = retryAtMs;
    if (message.bucket === undefined) this.heap.push(message);
    else this.pushLoaded(message);
  }

  /** What is in memory and waits for its time, in no order. */
  get waiting(): readonly StoredMessage[] {
    return this.heap.all;
  }

  /** Buckets with entries that are on disk only, the earliest first. */
  get unloaded(): Bucket[] {
    const unloaded = [...this.buckets.values()].filter((bucket) => !bucket.caughtUp || bucket.leftBehind.size > 0);
    return unloaded.sort((a, b) => a.startMs - b.startMs || a.widthMs - b.widthMs);
  }

  /** Whether what stood in a bucket from an offset on stands there still. */
  stands(bucket: Bucket, offset: number): boolean {
    return this.buckets.get(key(bucket.startMs, bucket.widthMs)) === bucket && offset >= bucket.movedTo;
  }

  /** Takes a message out that waits for its time: its entry is done with. @returns false: it does not wait any more */
  withdraw(message: StoredMessage): boolean {
    const inMemory = this.heap.remove(message.number);
    if (inMemory !== undefined) {
      if (inMemory.bucket !== undefined) this.loadedCount--;
      this.letGo(inMemory);
      this.finish(inMemory);
      return true;
    }
    const { bucket, offset, channelId, number } = message;
    if (bucket === undefined || !this.stands(bucket, offset) || bucket.hasLoaded(offset, channelId) || bucket.isDone(number)) return false;
    this.finish(message);
    return true;
  }

  /** Reads a message's frame into `target` at `at`; `frameBytes` long. */
  readFrame(message: StoredMessage, target: Buffer, at: number): void {
    if (message.frame !== undefined) message.frame.copy(target, at);
    else if (message.page !== undefined) message.page.buffer.copy(target, at, message.pageAt, message.pageAt + message.frameBytes);
    else message.bucket?.readFrame(target, at, message.offset, message.frameBytes);
  }

  /** Hands on what has fallen due, and prepares what soon will. @returns when to call again, ms; Infinity for not before something is staged */
  process(nowMs: number): number {
    this.lastBucket = undefined;
    let again = Number.POSITIVE_INFINITY;
    if (nowMs >= this.nextSurveyMs) this.nextSurveyMs = nowMs + (this.survey(nowMs) ? 0 : SURVEY_INTERVAL_MS);
    if (this.buckets.size > 0) again = this.nextSurveyMs;
    if (this.loadPieces()) again = nowMs;
    for (let handed = 0; ; handed++) {
      const next = this.heap.peek();
      if (next === undefined) return again;
      if (next.dueMs > nowMs) return Math.min(again, next.dueMs);
      if (handed === DUE_PER_STEP) return nowMs;
      this.heap.pop();
      if (next.bucket !== undefined) this.loadedCount--;
      // A publish is copied to its log now; a requeue may wait for a consumer.
      if (next.kind === KIND_REQUEUE) this.letGo(next);
      this.targets.due(next);
      this.letGo(next);
    }
  }

  /** Brings all entries to the disk. Words come after them, and after what they say of other places: the logs that messages joined. */
  syncEntries(done: (error: Error | undefined) => void): void {
    const unsynced = [...this.buckets.values()].filter((bucket) => bucket.unsynced);
    syncAll(unsynced, (bucket, one) => bucket.syncEntries(one), done);
  }

  syncWords(done: (error: Error | undefined) => void): void {
    const unsynced = [...this.buckets.values()].filter((bucket) => bucket.unsynced);
    syncAll(unsynced, (bucket, one) => bucket.syncWords(one), done);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.syncEntries(() => this.syncWords(() => resolve())));
    for (const bucket of this.buckets.values()) bucket.closeFiles();
  }

  private bucketOf(dueMs: number, widthMs: number, nowMs: number): Bucket {
    const startMs = startOf(dueMs, widthMs);
    const name = key(startMs, widthMs);
    let bucket = this.buckets.get(name);
    if (bucket === undefined) {
      bucket = new Bucket(this.directory, startMs, widthMs);
      bucket.loading = widthMs === WIDTHS_MS[0] && startMs - LOAD_LEAD_MS <= nowMs;
      this.buckets.set(name, bucket);
    }
    return bucket;
  }

  /** @returns true when there is more to do at once */
  private survey(nowMs: number): boolean {
    let more = false;
    for (const [name, bucket] of this.buckets) {
      const finest = bucket.widthMs === WIDTHS_MS[0];
      if (finest && bucket.startMs - LOAD_LEAD_MS <= nowMs) bucket.loading = true;
      if (bucket.leftBehind.size > 0) more = this.fetchLeftBehind(bucket) || more;
      const toMove = !finest && bucket.pending > 0 && moveAtMs(bucket.startMs, bucket.widthMs) <= nowMs;
      // As long as the word that the last piece was moved is held back, a crash would leave that piece in two places: one piece, not several.
      if (toMove && bucket.settled) more = this.move(bucket, nowMs) || more;
      if (bucket.pending > 0 || !bucket.settled || (bucket.endMs >= nowMs && finest)) {
        bucket.emptiedAtSync = -1;
      } else if (bucket.emptiedAtSync < 0) {
        // What its messages became must be on the disk before they are gone from here.
        bucket.emptiedAtSync = this.changedAtSync = this.syncsBegun;
      } else if (this.syncedTo > bucket.emptiedAtSync) {
        this.buckets.delete(name);
        this.remove(bucket);
      }
    }
    return more;
  }

  private remove(bucket: Bucket): void {
    bucket.remove((error) => this.trouble.error(`deferred messages: cannot remove a file from ${this.directory}: ${error.message}`));
  }

  /** Loads a little of the buckets whose time is near, the nearest first. @returns whether there is more to load, and room for it */
  private loadPieces(): boolean {
    for (let pieces = 0; pieces < LOAD_PIECES; pieces++) {
      if (this.loadedCount >= MOST_LOADED) return false;
      let next: Bucket | undefined;
      for (const bucket of this.buckets.values()) {
        if (bucket.loading && !bucket.caughtUp && (next === undefined || bucket.startMs < next.startMs)) next = bucket;
      }
      if (next === undefined) return false;
      this.loadPiece(next);
    }
    return true;
  }

  private loadPiece(bucket: Bucket): void {
    const page = this.keptPage();
    const visit = (entry: ScannedEntry) => {
      const { channelId, offset } = entry;
      if (entry.kind === KIND_REQUEUE && (bucket.leftBehind.has(channelId) || this.targets.room(channelId) <= 0)) {
        if (!bucket.leftBehind.has(channelId)) bucket.leftBehind.set(channelId, offset);
      } else {
        this.load(entry, bucket, page);
      }
    };
    const end = bucket.scan(bucket.loadedTo, LOAD_PIECE_BYTES, visit, page?.buffer);
    if (page?.messages === 0) this.freePages.push(page);
    // A damaged end, which recovery would have cut off, must not be looked at again and again.
    bucket.loadedTo = end > bucket.loadedTo ? end : bucket.length;
    if (bucket.caughtUp && bucket.leftBehind.size === 0) bucket.forgetDone();
  }

  /** @returns undefined when enough are in use: then each frame is read when it falls due */
  private keptPage(): KeptPage | undefined {
    const free = this.freePages.pop();
    if (free !== undefined || this.keptPages >= KEPT_PAGES) return free;
    this.keptPages++;
    return { buffer: Buffer.allocUnsafeSlow(LOAD_PIECE_BYTES), messages: 0 };
  }

  /** Brings in what channels had no room for, as far as they have some now. @returns whether there is more of that, and room for it */
  private fetchLeftBehind(bucket: Bucket): boolean {
    let more = false;
    for (const [channelId, from] of bucket.leftBehind) {
      const room = Math.min(this.targets.room(channelId), MOST_LOADED - this.loadedCount);
      if (room <= 0) continue;
      let taken = 0;
      let stopAt: number | undefined;
      const end = bucket.scan(from, Math.min(LEFT_BEHIND_BYTES, bucket.loadedTo - from), (entry) => {
        if (entry.kind !== KIND_REQUEUE || entry.channelId !== channelId) return;
        if (taken === room) {
          stopAt ??= entry.offset;
        } else {
          taken++;
          this.load(entry, bucket);
        }
      });
      if ((stopAt ?? end) < bucket.loadedTo && (stopAt ?? end) > from) {
        bucket.leftBehind.set(channelId, stopAt ?? end);
        more ||= stopAt === undefined;
      } else {
        bucket.leftBehind.delete(channelId);
      }
    }
    if (bucket.caughtUp && bucket.leftBehind.size === 0) bucket.forgetDone();
    return more;
  }

  /** @param page may be kept, if it is the entry's */
  private load(entry: ScannedEntry, bucket: Bucket, page?: KeptPage): void {
    if (!this.targets.wanted(entry)) {
      bucket.stageDone(entry.number);
      this.dirty.add(bucket);
    } else if (!this.targets.underWay(entry)) {
      const message = loaded(entry, bucket);
      if (page !== undefined && page.buffer === entry.page) {
        message.page = page;
        message.pageAt = entry.frameAt;
        page.messages++;
      }
      this.pushLoaded(message);
    }
  }

  private letGo(message: StoredMessage): void {
    const { page } = message;
    if (page === undefined) return;
    message.page = undefined;
    if (--page.messages === 0) this.freePages.push(page);
  }

  /** Moves a piece of a wide bucket into finer ones. @returns whether something is left */
  private move(bucket: Bucket, nowMs: number): boolean {
    // What is staged is refused or not as one; the commits below are not of it.
    if (this.staged.count > 0) this.commit();
    let moved = 0;
    const targets = new Set<Bucket>();
    const end = bucket.scan(bucket.movedTo, MOVE_STEP_BYTES, (entry) => {
      moved++;
      if (!this.targets.wanted(entry)) return;
      // What is overdue need not be sorted by when it was due.
      const dueMs = Math.max(entry.dueMs, nowMs);
      const finer = this.bucketOf(dueMs, widthFor(dueMs, nowMs), nowMs);
      finer.stage(entry, entry.number, entry.page, entry.frameAt, entry.frameAt + entry.frameBytes);
      targets.add(finer);
    });
    if (end === bucket.movedTo) {
      this.log.error(`deferred messages: the rest of ${key(bucket.startMs, bucket.widthMs)}.msg is damaged; it is skipped`);
      bucket.stageMoved(bucket.length, bucket.pending);
      this.dirty.add(bucket);
      return false;
    }
    const written: Bucket[] = [];
    try {
      for (const target of targets) {
        target.commitEntries();
        written.push(target);
      }
      bucket.stageMoved(end, moved, this.strict);
      this.movesHeld ||= this.strict;
      this.changedAtSync = this.syncsBegun;
      this.ballast.use(() => bucket.commitWords());
    } catch (error) {
      // The piece stays where it is, and is moved later.
      for (const target of written) target.rollBackEntries();
      for (const target of targets) target.discardEntries();
      bucket.takeBackMoved(end, moved);
      this.trouble.error(`deferred messages: cannot write to ${this.directory}: ${(error as Error).message}`);
      return false;
    }
    return bucket.pending > 0 && !this.strict;
  }
}

/** Waits for all of them. @param done hears of one failure, if there was any */
function syncAll(
  buckets: Bucket[],
  sync: (bucket: Bucket, done: (error: Error | undefined) => void) => void,
  done: (error: Error | undefined) => void,
): void {
  let waiting = 1;
  let failure: Error | undefined;
  const one = (error: Error | undefined) => {
    failure ??= error;
    if (--waiting === 0) done(failure);
  };
  for (const bucket of buckets) {
    waiting++;
    sync(bucket, one);
  }
  one(undefined);
}

/** An entry as a message in memory. */
export function loaded(entry: ScannedEntry, bucket: Bucket): StoredMessage {
  return new StoredMessage(
    entry.kind,
    entry.topicId,
    entry.channelId,
    entry.number,
    entry.sequence,
    entry.dueMs,
    entry.attempts,
    bucket,
    entry.offset,
    entry.frameBytes,
    undefined,
  );
}

/** The width of the bucket that a message goes into. */
function widthFor(dueMs: number, nowMs: number): number {
  let level = 0;
  while (level < WIDTHS_MS.length - 1 && dueMs - nowMs >= 64 * WIDTHS_MS[level]) level++;
  // A wide bucket that is being moved on takes no more.
  while (level > 0 && moveAtMs(startOf(dueMs, WIDTHS_MS[level]), WIDTHS_MS[level]) <= nowMs) level--;
  return WIDTHS_MS[level];
}

function startOf(dueMs: number, widthMs: number): number {
  return Math.floor(dueMs / widthMs) * widthMs;
}

/** When a wide bucket begins to be moved into finer ones. */
function moveAtMs(startMs: number, widthMs: number): number {
  return startMs - widthMs / 2;
}

function key(startMs: number, widthMs: number): string {
  return `${startMs}-${widthMs}`;
}

export { KIND_PUBLISH, KIND_REQUEUE };
