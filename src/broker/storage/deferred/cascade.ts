import type { Logger } from "../../../base/logger.ts";
import type { Trouble } from "../../../base/rate-limited-log.ts";
import type { Ballast } from "../disk/ballast.ts";
import type { Bucket } from "./bucket.ts";
import { type BucketSet, commitTogether, FINEST_MS, moveAtMs, widthFor } from "./bucket-set.ts";
import type { StoredEntry } from "./entry.ts";
import type { SyncEpochs } from "./sync-epochs.ts";

/** A wide bucket is moved into finer ones piece by piece, so that the loop is never held for long. */
export const MOVE_PIECE_BYTES = 512 * 1024;

/** Moves the messages of wide buckets into finer ones when their time comes nearer. */
export class Cascade {
  constructor(
    private readonly buckets: BucketSet,
    private readonly syncEpochs: SyncEpochs,
    private readonly logger: Logger,
    private readonly rateLimitedLog: Trouble,
    private readonly ballast: Ballast,
  ) {}

  /** Whether a bucket is wide, and its time to be moved has come. */
  isDue(bucket: Bucket, nowMs: number): boolean {
    // As long as the word that the last piece was moved is held back, a crash would leave that piece in two places: one piece, not several.
    const { startMs, widthMs, pending, fullyWritten } = bucket;
    return widthMs > FINEST_MS && pending > 0 && moveAtMs(startMs, widthMs) <= nowMs && fullyWritten;
  }

  /**
   * Moves a piece. Nothing may be staged for other buckets: what is refused or not as one is not of this.
   *
   * @param wanted entries that nobody wants stay behind
   * @param strict the word that the piece was moved is held back until that is synced
   * @returns whether something is left that can be moved at once
   */
  movePiece(bucket: Bucket, nowMs: number, wanted: (entry: StoredEntry) => boolean, strict: boolean): boolean {
    let moved = 0;
    const targets = new Set<Bucket>();
    const end = bucket.scan(bucket.movedTo, MOVE_PIECE_BYTES, (entry) => {
      moved++;
      if (!wanted(entry)) return;
      // What is overdue need not be sorted by when it was due.
      const dueMs = Math.max(entry.dueMs, nowMs);
      const finer = this.buckets.for(dueMs, widthFor(dueMs, nowMs), nowMs);
      finer.stage(entry, entry.number, entry.page, entry.frameAt, entry.frameAt + entry.frameBytes);
      targets.add(finer);
    });
    if (end === bucket.movedTo) {
      this.logger.error(`deferred messages: the rest of ${bucket.name}.msg is damaged; it is skipped`);
      bucket.stageMoved(bucket.length, bucket.pending);
      this.buckets.dirty.add(bucket);
      return false;
    }
    const failure = this.commitMoved(bucket, targets, end, moved, strict);
    if (failure !== undefined) {
      // The piece stays where it is, and is moved later.
      this.rateLimitedLog.error(`deferred messages: cannot write to ${this.buckets.directory}: ${failure.message}`);
      return false;
    }
    if (strict) this.syncEpochs.noteUrgentWrite();
    else this.syncEpochs.noteWrite();
    return bucket.pending > 0 && !strict;
  }

  /** Writes a piece to the finer buckets, and then that it was moved. @returns why that failed; then nothing of it is left in them */
  private commitMoved(bucket: Bucket, targets: Set<Bucket>, end: number, entries: number, strict: boolean): Error | undefined {
    let failure = commitTogether(targets);
    if (failure !== undefined) return failure;
    bucket.stageMoved(end, entries, strict);
    failure = bucket.commitStatus(this.ballast);
    if (failure === undefined) return undefined;
    for (const target of targets) target.rollBackEntries();
    bucket.undoMoved(end, entries);
    return failure;
  }
}
