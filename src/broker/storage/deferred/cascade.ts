import type { Logger } from "../../../base/logger.ts";
import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import type { Ballast } from "../disk/ballast.ts";
import type { Bucket } from "./bucket.ts";
import { type BucketSet, commitTogether, FINEST_MS, moveAtMs, widthFor } from "./bucket-set.ts";
import type { StoredEntry } from "./entry.ts";
import type { DeliveryTarget } from "./loader.ts";
import type { SyncEpochs } from "./sync-epochs.ts";

/** A wide bucket is moved into finer ones in pieces of this size, so that the event loop is never blocked for long. */
export const MOVE_PIECE_BYTES = 512 * 1024;

/** Moves the messages of wide buckets into finer ones as their due times come nearer: the cascade of a hierarchical timing wheel. */
export class Cascade {
  constructor(
    private readonly buckets: BucketSet,
    private readonly syncEpochs: SyncEpochs,
    private readonly logger: Logger,
    private readonly rateLimitedLog: RateLimitedLog,
    private readonly ballast: Ballast,
  ) {}

  /** Whether a bucket is wide and it is time to move its messages. */
  isDue(bucket: Bucket, nowMs: number): boolean {
    // Until the record that the last piece was moved is written, a crash leaves that piece in two places. It must be one piece at most.
    const { startMs, widthMs, pending, fullyWritten, movedTo, toldTo } = bucket;
    return widthMs > FINEST_MS && pending > 0 && movedTo < toldTo && moveAtMs(startMs, widthMs) <= nowMs && fullyWritten;
  }

  /**
   * Moves a piece. The writer must have nothing staged: its entries are accepted or refused together, and these are not among them.
   *
   * @param target tells whether an entry still has a topic or channel to go to; others are dropped
   * @param strict write the record that the piece was moved only when the moved entries are synced
   * @returns whether there is more that can be moved at once
   * @throws UnreadableFile if the bucket cannot be read: nothing has changed then
   */
  movePiece(bucket: Bucket, nowMs: number, target: DeliveryTarget, strict: boolean): boolean {
    let moved = 0;
    const dropped: Pick<StoredEntry, "kind" | "topicId" | "number">[] = [];
    const targets = new Set<Bucket>();
    const { toldTo } = bucket;
    const end = bucket.scan(bucket.movedTo, Math.min(MOVE_PIECE_BYTES, toldTo - bucket.movedTo), (entry) => {
      moved++;
      if (!target.wanted(entry)) {
        dropped.push({ kind: entry.kind, topicId: entry.topicId, number: entry.number });
        return;
      }
      // Entries that are overdue need no order among each other.
      const dueMs = Math.max(entry.dueMs, nowMs);
      const finer = this.buckets.for(dueMs, widthFor(dueMs, nowMs), nowMs);
      finer.stage(entry, entry.number, entry.page, entry.frameAt, entry.frameAt + entry.frameBytes);
      targets.add(finer);
    });
    if (end === bucket.movedTo) {
      this.logger.error(`deferred messages: the rest of ${bucket.name}.msg is damaged; it is skipped`);
      bucket.stageMoved(toldTo, toldTo === bucket.length ? bucket.pending : 0);
      this.buckets.dirty.add(bucket);
      return false;
    }
    const failure = this.commitMoved(bucket, targets, end, moved, strict);
    if (failure !== undefined) {
      // The piece stays where it is; a later call moves it.
      this.rateLimitedLog.error(`deferred messages: cannot write to ${this.buckets.directory}: ${failure.message}`);
      return false;
    }
    for (const entry of dropped) target.dropped(entry);
    if (strict) this.syncEpochs.noteUrgentWrite();
    else this.syncEpochs.noteWrite();
    return bucket.pending > 0 && !strict;
  }

  /** Writes a piece to the finer buckets, then the record that it was moved. @returns why that failed; no part of it is in them then */
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
