import type { Database } from "bun:sqlite";
import { statSync } from "node:fs";
import type { Ballast } from "../disk/ballast.ts";
import { closeQuietly, systemDisk } from "../disk/disk.ts";

/** A log of this size is large. */
const LARGE_BYTES = 4 * 1024 * 1024;

/**
 * The write-ahead log of the metadata store's database, and its checkpoints. SQLite would make one in the commit that finds 1000
 * pages, and sync both files there. Most of that time is the sync of the log, so the log is synced off the event loop before.
 */
export class WriteAheadLog {
  /**
   * A sync failed, or an earlier run may have ended with one that did: some part of the log may never get to the disk, and nothing
   * that is written behind it would be read after a power cut. A checkpoint writes all of it again, elsewhere.
   */
  isUnsure = true;
  private closed = false;
  private running = false;
  /** A checkpoint that waits until a transaction has ended, in which SQLite makes none. */
  private due: ((failure: Error | undefined) => void) | undefined;

  constructor(
    private readonly database: Database,
    private readonly path: string,
    private readonly ballast: Ballast,
  ) {}

  /** Writes all changes from the log to the database, syncs that, and empties the log. @throws SQLite's error */
  checkpoint(): void {
    this.isUnsure = true;
    this.ballast.use(() => {
      const [row] = this.database.query("PRAGMA wal_checkpoint(TRUNCATE)").values();
      if (row?.[0] !== 0) throw new Error("the write-ahead log of the metadata store is in use");
    });
    this.isUnsure = false;
  }

  /** Begins a checkpoint, if the log is large. @param ended called when it is made or has failed; a later call tries again */
  checkpointIfLarge(ended: (failure: Error | undefined) => void): void {
    let bytes: number;
    try {
      bytes = statSync(this.path, { throwIfNoEntry: false })?.size ?? 0;
    } catch (error) {
      return ended(error as Error);
    }
    if (this.running || bytes < LARGE_BYTES) return ended(undefined);
    this.running = true;
    this.sync((error) => {
      this.running = false;
      if (this.closed) return ended(undefined);
      if (error !== null) {
        this.isUnsure = true;
        ended(error);
      } else if (this.database.inTransaction) this.due = ended;
      else ended(this.tryCheckpoint());
    });
  }

  /** To be called at the end of a transaction that outlasts the call that has begun it. */
  transactionEnded(): void {
    const { due } = this;
    if (due === undefined) return;
    this.due = undefined;
    due(this.tryCheckpoint());
  }

  /** The store is closed. */
  close(): void {
    this.closed = true;
  }

  private sync(done: (error: Error | null) => void): void {
    let fd: number;
    try {
      fd = systemDisk.open(this.path, "r+");
    } catch (error) {
      return done(error as Error);
    }
    systemDisk.sync(fd, (error) => {
      closeQuietly(systemDisk, fd);
      done(error);
    });
  }

  private tryCheckpoint(): Error | undefined {
    try {
      this.checkpoint();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }
}
