import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import type { LazyFile } from "../disk/lazy-file.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import { isKernelError } from "../disk/unreadable-file.ts";

/** The index file, of which a part may be in memory. */
interface IndexFile {
  readonly file: LazyFile;
  /** Closes the file, and forgets what is in memory. */
  close(): void;
}

/** Whether a file has a segment's records or index, by its name. */
export function isSegmentFile(name: string): boolean {
  return name.includes(".log") || name.includes(".idx");
}

/** The two files of a segment, as far as it does not matter what is in them: they are synced, moved and removed together. */
export class SegmentFiles {
  /** Both files and their names were on the disk at some time: a power cut leaves the index's header. */
  wereSynced = true;
  /** Asked when the turn of the segment's removal has come. */
  mayRemove: () => boolean = () => true;

  constructor(
    private readonly disk: Disk,
    private readonly names: FolderNames,
    private readonly log: LazyFile,
    private readonly index: IndexFile,
  ) {}

  private get namesUnsynced(): boolean {
    return this.log.nameUnsynced || this.index.file.nameUnsynced;
  }

  /**
   * Makes the commits so far durable, off the event loop.
   *
   * @param done called when both files are synced, and their names if they are new; or with the error
   */
  sync(done: (error: Error | undefined) => void): void {
    const file = this.log;
    const indexFile = this.index.file;
    const finish = (error: Error | undefined) => {
      file.endUse();
      indexFile.endUse();
      if (error === undefined) this.wereSynced = true;
      done(error);
    };
    file.beginUse();
    indexFile.beginUse();
    // At once: most file systems bring both to the disk with one write of their journal.
    const both = new SyncGroup((error) => {
      if (error !== undefined || !this.namesUnsynced) return finish(error);
      this.names.sync(finish);
    });
    file.sync(both.add());
    indexFile.sync(both.add());
    both.seal();
  }

  /** Has the removal of files from the folder synced. */
  syncRemoval(done: (error: Error | undefined) => void): void {
    this.names.sync(done, true);
  }

  /** The names of both files may not be on the disk, nor what is in them. */
  noteNames(): void {
    this.wereSynced = false;
    this.log.noteName();
    this.index.file.noteName();
  }

  /** Closes the files, which their next use opens again. A running sync keeps them open until it ends. */
  close(): void {
    this.log.close();
    this.index.close();
  }

  /** To be called when the folder has another name. */
  moveTo(directory: string): void {
    this.names.moveTo(directory);
    this.log.moveTo(directory);
    this.index.file.moveTo(directory);
  }

  /** Removes both files. */
  remove(): void {
    this.close();
    this.index.file.remove();
    this.log.remove();
  }

  /** Both files are about to be removed with their folder: their names need no sync. */
  forgetNames(): void {
    this.log.forgetName();
    this.index.file.forgetName();
  }

  /**
   * Removes both files of a closed segment off the event loop, the index first. Where the file system discards freed blocks,
   * even the removal of a small file waits for the disk.
   *
   * @param done called when both are gone, or with the error
   */
  removeInBackground(done: (error: Error | undefined) => void): void {
    if (!this.mayRemove()) return done(new Error("the segment before it could not be removed"));
    const logPath = this.log.path;
    this.forgetNames();
    const problem = (error: NodeJS.ErrnoException | null) => (error === null || error.code === "ENOENT" ? undefined : error);
    this.disk.removeLater(this.index.file.path, (error) => {
      if (problem(error) !== undefined) return done(problem(error));
      this.disk.removeLater(logPath, (failure) => done(problem(failure)));
    });
  }

  /** Removes the index and moves the log file to another path. The index is removed first, so that there is never one without its log file. */
  moveLogFile(path: string): void {
    this.close();
    this.index.file.remove();
    this.log.rename(path);
  }

  /** Whether their removal has not begun. */
  get areThere(): boolean {
    try {
      return this.disk.exists(this.index.file.path);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return true;
    }
  }

  /** Size of the log file, including the older bytes at the end of a recycled one. */
  get logBytes(): number {
    return this.log.size;
  }
}
