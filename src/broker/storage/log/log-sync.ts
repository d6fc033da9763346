import { dirname } from "node:path";
import { type Clock, systemClock } from "../../../base/clock.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Disk } from "../disk/disk.ts";
import { FolderNames, type Named } from "../disk/folder-names.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import type { LastRun } from "../file-notes.ts";
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
/** Segments that wait for a sync stay open, so with more than this a sync begins. No more are synced at a time. */
const MAX_UNSYNCED_SEGMENTS = 16;

export interface LogSyncOptions {
  disk: Disk;
  directory: string;
  /** The names in the folder above, which all logs share. */
  folders?: FolderNames;
  topicName: string;
  logger: Logger;
  clock?: Pick<Clock, "steadyMs">;
  /** Messages below this sequence were on the disk before this run; undefined: unknown. */
  syncedSequence?: number | undefined;
  /** How the run before ended. Where only its process did, the disk may lack any part of what it wrote last. */
  lastRun?: LastRun;
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
  /** How often the log was truncated. A sync that began before says nothing of sequences that were given again since. */
  private truncations = 0;
  /** The highest sequence that the metadata store may have: a log that was truncated below it would seem to have lost messages. */
  savedSequence: number;
  /** When the last sync for --sync-every began, by a clock that nobody sets, in ms. */
  private startedMs = Number.NEGATIVE_INFINITY;
  /** The log's end at that time. */
  private startedPosition = 0;
  /** When the last sync that failed ended, by the same clock. */
  private failedMs = Number.NEGATIVE_INFINITY;
  private readonly clock: Pick<Clock, "steadyMs">;
  private readonly folders: FolderNames;
  /** The log's own folder. Its name is synced with the first segment. */
  private readonly folder: Named;
  /** The last sync of the folder's name failed, or the name is not that of the last one. */
  private folderFailed = false;

  /**
   * @param coveredTo messages below this sequence are covered by the last sync, or need none
   * @param segmentSynced called when a segment's sync has ended; returns the failure if it counts
   */
  constructor(
    private readonly options: LogSyncOptions,
    private coveredTo: number,
    private readonly segmentSynced: (segment: Segment, failure: Error | undefined) => Error | undefined,
  ) {
    const { disk, directory, folders = new FolderNames(disk, dirname(directory)), clock = systemClock, syncedSequence = 0 } = options;
    this.syncedSequence = this.savedSequence = syncedSequence;
    this.clock = clock;
    this.folders = folders;
    this.folder = { path: directory, nameUnsynced: false };
  }

  /** To be called for a segment that gets a commit. */
  add(segment: Segment): void {
    this.unsynced.add(segment);
  }

  /**
   * Has the first sync cover what earlier runs wrote and did not sync, the names of files included.
   *
   * @param made the log's folder is new
   */
  addRecovered(segments: readonly Segment[], made: boolean): void {
    for (const segment of segments) {
      const { nextSequence, entries, survivesPowerCut } = segment;
      const wasSynced = nextSequence < this.syncedSequence || (nextSequence === this.syncedSequence && entries > 0);
      // The index of a segment that was synced may have been rebuilt.
      if (wasSynced && survivesPowerCut) continue;
      segment.markUnsynced(this.options.lastRun === "killed" ? this.syncedSequence : undefined);
      this.unsynced.add(segment);
    }
    if (made || segments.length === 0 || this.unsynced.size > 0) this.folders.add(this.folder);
  }

  /** To be called for a segment that is removed. */
  forget(segment: Segment): void {
    this.unsynced.delete(segment);
  }

  /** Whether a segment waits for a sync. */
  awaits(segment: Segment): boolean {
    return this.unsynced.has(segment);
  }

  /** The log's folder is removed, or has another name that needs no sync. */
  forgetFolder(): void {
    this.folders.forget(this.folder);
  }

  /** The log's folder has another name that needs a sync, with the next commit or by itself. */
  noteFolder(): void {
    this.folders.add(this.folder);
    this.folderFailed = true;
  }

  /** The log has no messages from a sequence on any more. The caller must have saved no higher one. */
  truncateTo(sequence: number): void {
    this.truncations++;
    this.coveredTo = Math.min(this.coveredTo, sequence);
    this.syncedSequence = Math.min(this.syncedSequence, sequence);
  }

  /** The caller has saved a sequence by itself. */
  onSaved(sequence: number): void {
    this.savedSequence = Math.min(this.savedSequence, sequence);
  }

  /** Whether enough segments wait for a sync to begin. */
  get isFull(): boolean {
    return this.unsynced.size > MAX_UNSYNCED_SEGMENTS && this.clock.steadyMs() - this.failedMs >= SYNC_SPACING_MS;
  }

  /** Some commits are not known to be on the disk. */
  get hasUnsynced(): boolean {
    return this.unsynced.size > 0 || this.running !== undefined || (this.folderFailed && this.folder.nameUnsynced);
  }

  /** The sequence below which all messages are on the disk, for the caller to save in the metadata store. */
  takeSyncedSequence(): number {
    this.syncedSaved = true;
    this.savedSequence = this.syncedSequence;
    return this.syncedSequence;
  }

  /**
   * Whether as many messages as --sync-every says are needed and not on the disk. Messages that are finished a moment after they
   * were published need not get there: their pages are overwritten before.
   *
   * @param next sequence after the log's last record, in the journal or in its own files
   * @param end position after that record
   * @param finishedBelow returns the sequence below which nobody needs a message
   */
  isDue(next: number, end: number, finishedBelow: () => number): boolean {
    const { syncEvery } = this.options;
    if (next - this.coveredTo < syncEvery) return false;
    const nowMs = this.clock.steadyMs();
    const spacingMs = end - this.startedPosition < LARGE_SYNC_BYTES ? SYNC_SPACING_MS : LARGE_SYNC_SPACING_MS;
    if (nowMs - this.startedMs < spacingMs || nowMs - this.failedMs < SYNC_SPACING_MS) return false;
    this.startedMs = nowMs;
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
    if (!this.hasUnsynced) {
      done?.(undefined);
      return;
    }
    const { truncations } = this;
    const group = new SyncGroup((failure) => {
      if (this.running === group) this.running = undefined;
      if (failure !== undefined) {
        // What this sync was to cover is unsynced again, and counts for --sync-every.
        this.coveredTo = Math.min(this.coveredTo, this.syncedSequence);
        this.failedMs = this.clock.steadyMs();
      } else if (next > this.syncedSequence && truncations === this.truncations) {
        this.syncedSequence = next;
        this.syncedSaved = false;
      }
      done?.(failure);
    });
    const segments = [...this.unsynced];
    this.unsynced.clear();
    const syncNext = (ended: (failure?: Error) => void, failed?: Error): void => {
      const segment = segments.shift();
      if (segment === undefined) return ended(failed);
      segment.sync((failure) => syncNext(ended, this.segmentSynced(segment, failure) ?? failed));
    };
    for (let i = Math.min(segments.length, MAX_UNSYNCED_SEGMENTS); i > 0; i--) syncNext(group.add());
    if (this.folder.nameUnsynced) this.syncFolderName(group.add());
    this.running?.whenEnded(group.add());
    this.running = group;
    group.seal();
  }

  private syncFolderName(done: (failure: Error | undefined) => void): void {
    const { topicName, logger } = this.options;
    this.folders.sync((error) => {
      this.folderFailed = error !== undefined;
      if (error !== undefined)
        logger.error(`TOPIC(${topicName}): sync of ${this.folders.directory} failed: ${error.message}`, { topic: topicName });
      done(error);
    });
  }
}
