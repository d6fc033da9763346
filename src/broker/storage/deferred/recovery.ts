import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import type { Ballast } from "../disk/ballast.ts";
import { type Disk, GONE_ENDING, removeIfThere } from "../disk/disk.ts";
import { listRenamed } from "../disk/folder-names.ts";
import type { ReadRetry } from "../disk/read-failures.ts";
import { reading, UnreadableFile } from "../disk/unreadable-file.ts";
import { checkVersion, type FileFormat } from "../file-head.ts";
import { Bucket, type HasJoined } from "./bucket.ts";
import type { BucketDamage } from "./bucket-damage.ts";
import type { BucketFinding } from "./bucket-finding.ts";
import { parseBucketName } from "./bucket-name.ts";
import { type BucketSet, FINEST_MS } from "./bucket-set.ts";
import { MOVE_PIECE_BYTES } from "./cascade.ts";
import { ENTRIES_FORMAT, type ScannedEntry, type StoredEntry } from "./entry.ts";
import { NEW_ENDING, STATUS_FORMAT } from "./status-file.ts";

/** Learns of the entries that recovery finds. */
export interface EntryVisitor {
  /** Whether the topic's log has, at a sequence, the publish that was about to join it there; undefined if it cannot be asked yet. */
  hasJoined: HasJoined;
  /** An entry was found that is not done. */
  visit(entry: StoredEntry): void;
  /** The entries that were visited since the last call count; false: they do not, since the bucket could not be read to its end. */
  ended: ((counted: boolean) => void) | undefined;
}

export interface Recovered {
  /** Higher than the number of every entry that the files name, done or not: a record that says "done" must not hit a new entry. */
  nextNumber: number;
  /** Records of which entries joined their logs could not be written: no log may grow before they are. */
  recoveryUnwritten: boolean;
}

/** An entry at the front of a wide bucket. A kill in the middle of a move leaves such an entry in two buckets. */
interface FrontEntry {
  entry: StoredEntry;
  bucket: Bucket;
}

/**
 * How many numbers of entries are skipped while a bucket cannot be read, so that none is given twice: as many as a million entries a
 * second take in twelve days.
 */
const SKIPPED_NUMBERS = 2 ** 40;

/**
 * Reads the buckets of an earlier run. A bucket that cannot be read waits in the set, and is read by a later call. Its entries
 * are late then; those of the others are not.
 */
export class BucketRecovery {
  /** Entries of wide buckets that may be in a finer bucket as well, by number. */
  private readonly fronts = new Map<number, FrontEntry>();
  /** What was found in buckets that were read, until it is judged. */
  private readonly findings = new Map<Bucket, BucketFinding>();
  private listed = false;
  private readonly listRetry: ReadRetry;

  constructor(
    private readonly buckets: BucketSet,
    private readonly logger: Logger,
    private readonly ballast: Ballast,
    private readonly damage: BucketDamage,
    /** Whether the records that entries are done are written after syncs only. */
    private readonly awaitsSyncs: () => boolean,
  ) {
    this.listRetry = buckets.readFailures.retry("all deferred messages", () => {});
  }

  /**
   * Reads all buckets that were not read yet and are not waiting.
   *
   * @throws StartError, before anything is changed, when a newer version wrote one of the files
   */
  run(visitor: EntryVisitor): Recovered {
    const recovered = { nextNumber: 0, recoveryUnwritten: false };
    const first = !this.listed;
    if (first && !this.list()) return { ...recovered, nextNumber: SKIPPED_NUMBERS };
    const waiting = [...this.buckets].filter(({ awaitsRecovery }) => awaitsRecovery).sort((a, b) => b.widthMs - a.widthMs);
    for (const bucket of waiting) {
      const counted = this.tryToRead(bucket, visitor, recovered, first);
      visitor.ended?.(counted);
      if (counted) this.settle(bucket, recovered);
    }
    if (first) {
      for (const { entry } of this.fronts.values()) visitor.visit(entry);
      visitor.ended?.(true);
    }
    if (![...this.buckets].some(({ awaitsRecovery }) => awaitsRecovery)) this.fronts.clear();
    else if (first) recovered.nextNumber += SKIPPED_NUMBERS;
    return recovered;
  }

  /** Adds the buckets of the folder to the set. @returns false if it cannot be listed */
  private list(): boolean {
    const { buckets, listRetry } = this;
    if (listRetry.isWaiting) return false;
    try {
      const found = findBuckets(buckets, this.logger, this.damage);
      // While the folder could not be listed, nothing was written to any bucket.
      buckets.clear();
      for (const bucket of found) {
        bucket.awaitsRecovery = true;
        buckets.add(bucket);
      }
      buckets.unlisted = undefined;
      listRetry.succeeded();
      this.listed = true;
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      buckets.unlisted = error;
      listRetry.failed(error);
    }
    return this.listed;
  }

  /**
   * Visits the entries of a topic that was not open at the time of run().
   *
   * @returns whether there is a record to be written that says whether an entry joined the topic's log
   * @throws UnreadableFile: nothing has changed then, and what was visited does not count
   */
  readTopic(topicId: number, hasJoined: (entry: ScannedEntry, sequence: number) => boolean, visit: (entry: StoredEntry) => void): boolean {
    const found: { bucket: Bucket; number: number; offset: number; joined: boolean }[] = [];
    for (const bucket of this.buckets) {
      if (bucket.awaitsRecovery) continue;
      bucket.scanRecovered((entry) => {
        if (entry.topicId !== topicId) return;
        const unresolved = bucket.unresolved.get(entry.number);
        const joined = unresolved !== undefined && hasJoined(entry, unresolved.sequence);
        if (unresolved !== undefined) found.push({ bucket, number: entry.number, offset: unresolved.offset, joined });
        if (!joined) visit(entry);
      });
    }
    for (const { bucket, number, offset, joined } of found) {
      bucket.unresolved.delete(number);
      if (joined) bucket.finish(number, offset, { topicId, channelId: 0 }, this.awaitsSyncs());
      else bucket.stageNotJoined(number);
      this.buckets.dirty.add(bucket);
    }
    return found.length > 0;
  }

  /** @returns whether it was read */
  private tryToRead(bucket: Bucket, visitor: EntryVisitor, recovered: Recovered, first: boolean): boolean {
    try {
      return this.buckets.read(bucket, () => this.readBucket(bucket, visitor, recovered, first));
    } catch (error) {
      // At work even a file of a newer version, which could not be read at the start, is no reason to stop.
      if (first) throw error;
      bucket.readRetry?.failed(error as Error);
      return false;
    }
  }

  /** @param first no entry of any bucket is in use yet */
  private readBucket(bucket: Bucket, { hasJoined, visit }: EntryVisitor, recovered: Recovered, first: boolean): void {
    const fronts: StoredEntry[] = [];
    const twins: number[] = [];
    const visitOne = (entry: ScannedEntry) => {
      const isTwin = this.fronts.has(entry.number);
      if (isTwin) twins.push(entry.number);
      // The entry in the wider bucket is in use already: this one is the one that is too many.
      if (isTwin && !first) return;
      if (isAtFront(bucket, entry)) fronts.push({ ...entry });
      else visit(entry);
    };
    const { lastRun } = this.damage.notes;
    const state = {
      afterSync: this.awaitsSyncs(),
      unsynced: lastRun === "killed" || lastRun === "unknown",
      writeAgain: lastRun === "killed",
      afterPowerCut: !this.damage.notes.lastRunWroteAll,
    };
    this.findings.set(
      bucket,
      bucket.recover(hasJoined, visitOne, (tail) => this.damage.explainsTail(bucket, tail), state),
    );
    for (const number of twins) {
      const wider = first ? this.fronts.get(number)?.bucket : bucket;
      if (first) this.fronts.delete(number);
      wider?.stageDone(number, state.afterSync);
      if (wider !== undefined) this.buckets.dirty.add(wider);
    }
    for (const entry of fronts) {
      this.fronts.set(entry.number, { entry, bucket });
      // At the first time a finer bucket that comes later may have it.
      if (!first) visit(entry);
    }
    recovered.nextNumber = Math.max(recovered.nextNumber, bucket.highestNumber + 1);
  }

  /** The places that have the messages of done entries may not be synced. A bucket without others is removed after the next sync. */
  private get mayRestOnUnsynced(): boolean {
    const { lastRun } = this.damage.notes;
    return lastRun === "killed" || lastRun === "unknown";
  }

  /** Writes what was found out about a bucket's entries, and removes a bucket without any. */
  private settle(bucket: Bucket, recovered: Recovered): void {
    const { buckets } = this;
    // Whether entries joined their logs shows at the ends of the logs: the answer must be written before the logs grow.
    const failure = bucket.commitStatus(this.ballast);
    bucket.closeFiles();
    const finding = this.findings.get(bucket);
    this.findings.delete(bucket);
    const kept = failure === undefined && (finding === undefined || this.damage.judge(bucket, finding));
    bucket.readRetry?.succeeded();
    if (failure !== undefined) {
      this.logger.error(`deferred messages: cannot write status records to ${buckets.directory}: ${failure.message}`);
      recovered.recoveryUnwritten = true;
      buckets.dirty.add(bucket);
    } else if (bucket.pending === 0 && kept && bucket.fullyWritten && !this.mayRestOnUnsynced) buckets.remove(bucket);
  }
}

function isAtFront(bucket: Bucket, entry: ScannedEntry): boolean {
  return bucket.widthMs > FINEST_MS && entry.offset - bucket.mayBeMovedTo <= MOVE_PIECE_BYTES;
}

/** Finds the buckets of an earlier run, and removes the remains of removed ones. @throws UnreadableFile if the folder cannot be listed */
function findBuckets({ disk, directory, names: folderNames }: BucketSet, logger: Logger, damage: BucketDamage): Bucket[] {
  listRenamed(disk, directory);
  endReplacements(disk, directory);
  const names = reading(directory, () => disk.list(directory));
  for (const name of names) {
    if (name.endsWith(".msg")) checkIfReadable(disk, join(directory, name), ENTRIES_FORMAT);
    else if (name.endsWith(".done")) checkIfReadable(disk, join(directory, name), STATUS_FORMAT);
  }
  damage.reportMissing(names);
  const found: Bucket[] = [];
  for (const name of reading(directory, () => disk.list(directory))) {
    const span = parseBucketName(name);
    if (span !== undefined) found.push(new Bucket(disk, directory, span.startMs, span.widthMs, folderNames));
    else if (name.endsWith(GONE_ENDING)) removeRest(disk, join(directory, name), logger);
    else if (name.endsWith(".done") && !names.includes(name.replace(/done$/, "msg"))) {
      // A crash came while a bucket was removed. Its status records must not count for a later bucket of the same name: if they
      // cannot be removed now, the bucket waits until they are.
      const rest = parseBucketName(name.replace(/done$/, "msg"));
      if (!removeRest(disk, join(directory, name), logger) && rest !== undefined)
        found.push(new Bucket(disk, directory, rest.startMs, rest.widthMs, folderNames));
    }
  }
  return found;
}

/** A file that cannot be read waits with its bucket, and its version is checked then. @throws StartError for a newer version */
function checkIfReadable(disk: Disk, path: string, format: FileFormat): void {
  try {
    checkVersion(disk, path, format);
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
  }
}

function removeRest(disk: Disk, path: string, logger: Logger): boolean {
  try {
    removeIfThere(disk, path);
    return true;
  } catch (error) {
    logger.error(`deferred messages: cannot remove ${path}: ${(error as Error).message}`);
    return false;
  }
}

/** Ends the replacement of a damaged file that a crash cut short: the new one is whole once the old one has another name. */
function endReplacements(disk: Disk, directory: string): void {
  const names = reading(directory, () => disk.list(directory));
  for (const name of names) {
    const replaced = name.endsWith(NEW_ENDING) ? name.slice(0, -NEW_ENDING.length) : undefined;
    if (replaced === undefined || !/\.(msg|done)$/.test(replaced)) continue;
    if (names.includes(replaced)) removeIfThere(disk, join(directory, name));
    else disk.rename(join(directory, name), join(directory, replaced));
  }
}
