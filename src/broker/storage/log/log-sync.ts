import { dirname } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import type { Disk } from "../disk/disk.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import type { Segment } from "./segment.ts";

/**
 * Syncs that --sync-every asks for begin at least so far apart. A log that takes a million messages a second would
 * else be synced hundreds of times a second, and write to the disk what is consumed and overwritten a moment later.
 */
const SYNC_SPACING_MS = 250;
/**
 * But when so much has come together they may begin as soon as this: a write to the page that a sync is just writing waits
 * for all that the sync wrote before it.
 */
const LARGE_SYNC_BYTES = 4 * 1024 * 1024;
const LARGE_SYNC_SPACING_MS = 25;
/** Segments that wait for their sync stay open. */
const MAX_UNSYNCED_SEGMENTS = 16;

export interface LogSyncOptions {
  disk: Disk;
  directory: string;
  topicName: string;
  logger: Logger;
  /** Messages below were on the disk before this run. */
  syncedSequence?: number | undefined;
  syncEvery: number;
}

/** Brings one log's segments to the disk, and knows how far they are there. */
export class LogSync {
  /** Messages below are on the disk, as far as this run knows. */
  syncedSequence: number;
  /** takeSyncedSequence() has told of the last sync. */
  syncedSaved = true;
  /** Segments with commits that no sync covers yet. They stay open. */
  private readonly unsynced = new Set<Segment>();
  /** The sync that is under way, if one is: what it covers is not on the disk yet. */
  private running: SyncGroup | undefined;
  /** A sync that nobody waited for failed. */
  private untold: Error | undefined;
  private startedMs = 0;
  /** Where the log ended then. */
  private startedPosition = 0;

  /**
   * @param coveredTo first sequence that the last sync did not cover, or was found not to need one
   * @param nameUnsynced the log's folder was made since the last sync: its name is not known to be on the disk
   * @param segmentSynced called when a segment's sync has ended. @returns what of its failure counts
   */
  constructor(
    private readonly options: LogSyncOptions,
    private coveredTo: number,
    private nameUnsynced: boolean,
    private readonly segmentSynced: (segment: Segment, failure: Error | undefined) => Error | undefined,
  ) {
    this.syncedSequence = options.syncedSequence ?? 0;
  }

  /** A segment has commits that no sync covers. */
  add(segment: Segment): void {
    this.unsynced.add(segment);
  }

  /** What earlier runs wrote and did not sync goes along with this one's first sync. */
  addRecovered(segments: readonly Segment[]): void {
    for (const segment of segments.slice(-MAX_UNSYNCED_SEGMENTS)) {
      if (segment.nextSequence > this.syncedSequence) this.unsynced.add(segment);
    }
  }

  /** A segment is let go of: nobody needs it on the disk. */
  forget(segment: Segment): void {
    this.unsynced.delete(segment);
  }

  awaits(segment: Segment): boolean {
    return this.unsynced.has(segment);
  }

  /** So many segments wait that a sync must begin. */
  get isFull(): boolean {
    return this.unsynced.size > MAX_UNSYNCED_SEGMENTS;
  }

  /** Something that was committed is not known to be on the disk. */
  get hasUnsynced(): boolean {
    return this.unsynced.size > 0 || this.running !== undefined || this.untold !== undefined;
  }

  /** The sequence up to which all is on the disk, for the store to note. */
  takeSyncedSequence(): number {
    this.syncedSaved = true;
    return this.syncedSequence;
  }

  /**
   * Whether --sync-every messages that somebody still needs are not on the disk. What is published and finished a moment
   * later need never get there: its pages are overwritten before.
   *
   * @param next sequence after the log's last record
   * @param end position after it
   * @param finishedBelow gives the sequence below which nobody needs a message
   */
  isDue(timeMs: number, next: number, end: number, finishedBelow: () => number): boolean {
    const { syncEvery } = this.options;
    if (next - this.coveredTo < syncEvery) return false;
    const spacingMs = end - this.startedPosition < LARGE_SYNC_BYTES ? SYNC_SPACING_MS : LARGE_SYNC_SPACING_MS;
    if (timeMs - this.startedMs < spacingMs) return false;
    this.startedMs = timeMs;
    this.startedPosition = end;
    this.coveredTo = Math.max(this.coveredTo, Math.min(finishedBelow(), next));
    return next - this.coveredTo >= syncEvery;
  }

  /**
   * Starts bringing all that was committed to the disk, off the event loop.
   *
   * @param next sequence after the log's last record
   * @param done called once all of it is there, that which an earlier sync still has under way too; or with what went wrong
   */
  start(next: number, done?: (failure: Error | undefined) => void): void {
    this.coveredTo = next;
    if (this.unsynced.size === 0 && this.running === undefined) {
      const failure = this.untold;
      if (done !== undefined) this.untold = undefined;
      done?.(failure);
      return;
    }
    const group = new SyncGroup((failed) => {
      if (this.running === group) this.running = undefined;
      if (failed === undefined && next > this.syncedSequence) {
        this.syncedSequence = next;
        this.syncedSaved = false;
      }
      const failure = failed ?? this.untold;
      // The kernel tells of a lost write once: whoever waits next for a sync must hear of it, if nobody waited for this one.
      this.untold = done === undefined ? failure : undefined;
      done?.(failure);
    });
    const segments = [...this.unsynced];
    this.unsynced.clear();
    for (const segment of segments) {
      const ended = group.add();
      segment.sync((failure) => ended(this.segmentSynced(segment, failure)));
    }
    if (this.nameUnsynced) this.syncName(group.add());
    this.running?.whenEnded(group.add());
    this.running = group;
    group.seal();
  }

  private syncName(done: (failure: Error | undefined) => void): void {
    const { disk, directory, topicName, logger } = this.options;
    disk.syncDirectory(dirname(directory), (error) => {
      if (!error) this.nameUnsynced = false;
      else logger.error(`TOPIC(${topicName}): sync of ${dirname(directory)} failed: ${error.message}`);
      done(error ?? undefined);
    });
  }
}
