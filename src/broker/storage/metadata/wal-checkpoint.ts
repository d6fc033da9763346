import type { Database } from "bun:sqlite";
import { closeQuietly, systemDisk } from "../disk/disk.ts";

/** So many pages in the write-ahead log are moved to the database. */
const DUE_PAGES = 1000;
/** If SQLite finds so many, 64 MiB, it moves them itself with the next commit. */
const MOST_PAGES = 16 * 1024;

/**
 * Moves pages from the write-ahead log to the database. SQLite would do it in the commit that finds 1000 pages, and sync both files
 * there. Most of that time is the sync of the log, so the log is synced off the event loop before.
 */
export class WalCheckpoint {
  /** How many pages at most were written since the store was opened, as the store counts them. */
  private writtenAtLast = 0;
  private closed = false;
  private running = false;

  constructor(
    private readonly database: Database,
    private readonly walPath: string,
  ) {
    database.run(`PRAGMA wal_autocheckpoint = ${MOST_PAGES}`);
  }

  /**
   * Begins a checkpoint, if enough pages were written since the last one.
   *
   * @param writtenPages how many were written since the store was opened
   * @param ended called when the checkpoint is made or has failed; a later call tries again
   */
  runIfDue(writtenPages: number, ended: () => void = () => {}): void {
    if (this.running || writtenPages - this.writtenAtLast < DUE_PAGES) return ended();
    this.running = true;
    this.syncLog((error) => {
      this.running = false;
      if (error === null && !this.closed && this.move()) this.writtenAtLast = writtenPages;
      ended();
    });
  }

  /** The store is closed. */
  close(): void {
    this.closed = true;
  }

  private syncLog(done: (error: Error | null) => void): void {
    let fd: number;
    try {
      fd = systemDisk.open(this.walPath, "r+");
    } catch (error) {
      return done(error as Error);
    }
    systemDisk.sync(fd, (error) => {
      closeQuietly(systemDisk, fd);
      done(error);
    });
  }

  /** @returns false if that failed: the pages stay in the log, where they count as well */
  private move(): boolean {
    try {
      this.database.query("PRAGMA wal_checkpoint(PASSIVE)").all();
      return true;
    } catch {
      return false;
    }
  }
}
