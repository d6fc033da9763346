import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { type Disk, removeIfThere, renameIfThere } from "../disk/disk.ts";
import { FolderRemover } from "../disk/folder-remover.ts";
import { isKernelError } from "../disk/unreadable-file.ts";
import type { Segment } from "./segment.ts";
import { isSegmentFile } from "./segment-files.ts";

/** The pool's own names are decimal numbers. */
const FILE_NAME = /^(0|[1-9]\d{0,14})$/;
/** So many segments' files are taken over of a log that is removed: each is renamed on the event loop. */
const TAKEN_AT_ONCE = 8;
/** At most this many of the other names are logged. */
const MOST_NAMED = 10;

interface RecycledFile {
  path: string;
  bytes: number;
  /**
   * The file's old name is gone from the disk, so it may be overwritten. Before that a power cut could bring the old name back
   * with new bytes under it: records that were synced once would be partly overwritten.
   */
  ready: boolean;
}

/**
 * Keeps segment files that every channel has finished for the next segment of any topic.
 * To overwrite a file whose pages the kernel has in memory is several times cheaper than to grow a new one: almost half of
 * the cost of a publish was the kernel finding fresh pages.
 */
export class Recycler {
  private readonly pool: RecycledFile[] = [];
  /** Segments that are waiting to be removed, or being removed. */
  private removing = 0;
  /** Resolves when the last of these is gone. */
  private removals: Promise<void> = Promise.resolve();
  private totalBytes = 0;
  private nextName = 0;
  private accepting = true;
  /** Removes the folders of deleted topics. */
  readonly folders: FolderRemover;

  /** @param maxBytes bound for the size of the pool's files */
  constructor(
    private readonly disk: Disk,
    readonly directory: string,
    readonly maxBytes: number,
    logger?: Logger,
  ) {
    this.folders = new FolderRemover(disk);
    if (!this.makeFolder()) return;
    try {
      this.takeOver(disk.list(directory), new Set(disk.listFolders(directory)), logger);
    } catch (error) {
      // They hold no messages. What is not in the pool takes space until a start can read it.
      if (!isKernelError(error)) throw error;
    }
  }

  /** @returns false where it cannot be made: finished segments are removed then */
  private makeFolder(): boolean {
    try {
      this.disk.makeDirectory(this.directory);
      return true;
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return false;
    }
  }

  /** Puts the files of an earlier run into the pool. The file system has written their names since. */
  private takeOver(names: readonly string[], folders: ReadonlySet<string>, logger: Logger | undefined): void {
    const isForeign = (name: string) => !FILE_NAME.test(name) || folders.has(name);
    const foreign = names.filter(isForeign);
    if (foreign.length > 0)
      logger?.warn(
        `${this.directory} has files that the broker did not put there; it leaves them alone: ${foreign.slice(0, MOST_NAMED).join(", ")}`,
      );
    for (const name of names) {
      // Nothing must be moved over a folder with such a name either.
      if (FILE_NAME.test(name)) this.nextName = Math.max(this.nextName, Number(name) + 1);
      const path = join(this.directory, name);
      if (!isForeign(name)) this.add({ path, bytes: this.disk.sizeOf(path), ready: true });
    }
  }

  /**
   * Takes over a segment's file, or removes it when the pool is full.
   *
   * @param failed called when the file could not be removed
   */
  recycle(segment: Segment, failed: (error: Error) => void): void {
    // No segment goes before one of its log that is still being removed.
    if (this.removing > 0 || !this.keep(segment)) this.removeInTurn(segment, failed);
  }

  /**
   * Removes a log with its folder. Some of the segments' files are taken over; the others are removed off the event loop.
   *
   * @param failed called when the folder could not be removed
   */
  removeLog(segments: readonly Segment[], directory: string, failed: (error: Error) => void): void {
    for (const [i, segment] of segments.entries()) {
      segment.close();
      try {
        if (i < TAKEN_AT_ONCE && this.keep(segment)) continue;
      } catch (error) {
        // The removal of the folder meets the same error, and reports it.
        if (!isKernelError(error)) throw error;
      }
      segment.files.forgetNames();
    }
    this.folders.remove(directory, isSegmentFile, failed);
  }

  /** Takes over a segment's file, and removes its index, if the pool has room. @returns whether it has */
  private keep(segment: Segment): boolean {
    const bytes = bytesOf(segment);
    if (!this.accepting || bytes === 0 || this.totalBytes + bytes > this.maxBytes || !this.makeFolder()) return false;
    const path = join(this.directory, `${this.nextName++}`);
    segment.files.moveLogFile(path);
    const file: RecycledFile = { path, bytes, ready: false };
    this.add(file);
    // A file whose old name cannot be synced away stays unused. It takes space until the pool is emptied.
    segment.files.syncRemoval((error) => {
      file.ready = error === undefined;
    });
    return true;
  }

  /** The pool has a file that may be overwritten. */
  get hasReady(): boolean {
    return this.pool.some(({ ready }) => ready);
  }

  /** With false, when space is short, removes the pool's files, and from then on removes segments instead of keeping their files. */
  setAccepting(accepting: boolean): void {
    this.accepting = accepting;
    if (accepting) return;
    for (const { path } of this.pool.splice(0)) this.remove(path);
    this.totalBytes = 0;
  }

  /**
   * Takes a file to overwrite out of the pool, the latest of those that are ready, because its pages are the warmest, and gives it
   * another path.
   *
   * @returns false if there is none, or if it cannot be renamed: a new file is as good. It takes space until the next start then
   */
  giveFile(path: string): boolean {
    const at = this.pool.findLastIndex(({ ready }) => ready);
    if (at < 0) return false;
    const [file] = this.pool.splice(at, 1);
    this.totalBytes -= file.bytes;
    try {
      return renameIfThere(this.disk, file.path, path);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return false;
    }
  }

  /** Resolves when all segments that were to be removed are gone. */
  removalsDone(): Promise<void> {
    return this.removals;
  }

  /**
   * Removes segments one after the other: no segment of a log is removed before those in front of it, and a crash leaves at
   * most one segment of which only a part is removed.
   */
  private removeInTurn(segment: Segment, failed: (error: Error) => void): void {
    segment.close();
    this.removing++;
    const removed = () =>
      new Promise<void>((resolve) => {
        segment.files.removeInBackground((error) => {
          this.removing--;
          if (error !== undefined) failed(error);
          resolve();
        });
      });
    this.removals = this.removals.then(removed);
  }

  private add(file: RecycledFile): void {
    if (this.totalBytes + file.bytes > this.maxBytes) {
      this.remove(file.path);
      return;
    }
    this.pool.push(file);
    this.totalBytes += file.bytes;
  }

  /** Removes a file of the pool. One that cannot be removed takes space until the next start. */
  private remove(path: string): void {
    try {
      removeIfThere(this.disk, path);
    } catch (error) {
      if (!isKernelError(error)) throw error;
    }
  }
}

/** The size of a segment's file; 0 if the disk does not tell it, and then the file is removed instead of kept. */
function bytesOf(segment: Segment): number {
  try {
    return segment.files.logBytes;
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return 0;
  }
}
