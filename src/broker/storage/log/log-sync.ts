import { dirname } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import type { Disk } from "../disk/disk.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import type { Segment } from "./segment.ts";

/**
 * The least time between two syncs that --sync-every asks for. Without it a log that takes a million messages a second would be
 * synced hundreds of times a second, and would write messages to the disk that are consumed and overwritten a moment later.
 */
const SYNC_SPACING_MS = 250;
/**
 * With this many new bytes the least time between two syncs is LARGE_SYNC_SPACING_MS, so that a sync does not get too large: a
 * write to a page that is being synced waits for everything that the sync writes before that page.
 */
const LARGE_SYNC_BYTES = 4 * 1024 * 1024;
const LARGE_SYNC_SPACING_MS = 25;
/** Segments that wait for a sync stay open, so with more than this a sync begins. */
const MAX_UNSYNCED_SEGMENTS = 16;

export interface LogSyncOptions {
  disk: Disk;
  directory: string;
  topicName: string;
  logger: Logger;
  /** Messages below this sequence were on the disk before this run; undefined: unknown. */
  syncedSequence?: number | undefined;
  syncEvery: number;
}

/** Syncs the segments of one log, and knows up to which sequence they are on the disk. */
export class LogSync {
  /** Messages below this sequence are known to be on the disk. */
  syncedSequence: number;
  /** False after a sync, until takeSyncedSequence() is called. */
  syncedSaved = true;
  /** Segments with commits that no sync covers yet. */
  private readonly unsynced = new Set<Segment>();
  /** The sync that is running, if there is one. */
  private running: SyncGroup | undefined;
  /** The failure of a sync that nobody waited for. */
  private unreported: Error | undefined;
  /** When the last sync for --sync-every began, in ms. */
  private startedMs = 0;
  /** The log's end at that time. */
  private startedPosition = 0;

  /**
   * @param coveredTo messages below this sequence are covered by the last sync, or need none
   * @param nameUnsynced the log's folder was created and a power cut may lose its name
   * @param segmentSynced called when a segment's sync has ended; returns the failure if it counts
   */
  constructor(
    private readonly options: LogSyncOptions,
    private coveredTo: number,
    private nameUnsynced: boolean,
    private readonly segmentSynced: (segment: Segment, failure: Error | undefined) => Error | undefined,
  ) {
    this.syncedSequence = options.syncedSequence ?? 0;
  }

  /** To be called for a segment that gets a commit. */
  add(segment: Segment): void {
    this.unsynced.add(segment);
  }

  /** Has the first sync cover what earlier runs wrote and did not sync. */
  addRecovered(segments: readonly Segment[]): void {
    for (const segment of segments.slice(-MAX_UNSYNCED_SEGMENTS)) {
      if (segment.nextSequence > this.syncedSequence) this.unsynced.add(segment);
    }
  }

  /** To be called for a segment that is removed. */
  forget(segment: Segment): void {
    this.unsynced.delete(segment);
  }

  /** Whether a segment waits for a sync. */
  awaits(segment: Segment): boolean {
    return this.unsynced.has(segment);
  }

  /** Whether enough segments wait for a sync to begin. */
  get isFull(): boolean {
    return this.unsynced.size > MAX_UNSYNCED_SEGMENTS;
  }

  /** Some commits are not known to be on the disk. */
  get hasUnsynced(): boolean {
    return this.unsynced.size > 0 || this.running !== undefined || this.unreported !== undefined;
  }

  /** The sequence below which all messages are on the disk, for the caller to save in the metadata store. */
  takeSyncedSequence(): number {
    this.syncedSaved = true;
    return this.syncedSequence;
  }

  /**
   * Whether as many messages as --sync-every says are needed and not on the disk. Messages that are finished a moment after they
   * were published need not get there: their pages are overwritten before.
   *
   * @param next sequence after the log's last record
   * @param end position after the log's last record
   * @param finishedBelow returns the sequence below which nobody needs a message
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
   * Starts to sync all commits, off the event loop.
   *
   * @param next sequence after the log's last record
   * @param done called when all commits are on the disk, including those of an earlier sync that is still running; or with the
   *   first failure
   */
  start(next: number, done?: (failure: Error | undefined) => void): void {
    this.coveredTo = next;
    if (this.unsynced.size === 0 && this.running === undefined) {
      const failure = this.unreported;
      if (done !== undefined) this.unreported = undefined;
      done?.(failure);
      return;
    }
    const group = new SyncGroup((failed) => {
      if (this.running === group) this.running = undefined;
      if (failed === undefined && next > this.syncedSequence) {
        this.syncedSequence = next;
        this.syncedSaved = false;
      }
      const failure = failed ?? this.unreported;
      // The kernel reports a lost write once. If nobody waited for this sync, the next caller who waits must get the failure.
      this.unreported = done === undefined ? failure : undefined;
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
