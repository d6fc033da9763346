import { existsSync, statSync } from "node:fs";
import type { Logger } from "../base/logger.ts";
import { DataPathLockError, lockDataPath } from "../nsqd-data/data-path-lock.ts";

/**
 * The lock of the broker's own folder: flock(2) on the folder itself, so that it holds when files in it are removed, the metadata
 * store with its lock among them. It ends with the process, even by kill -9. Where there is no such lock (NFS), nothing is locked.
 */
export class FolderLock {
  /** Why the folder is not the one at its path any more, as check() found; undefined: it is. */
  failure: Error | undefined;
  private released = false;

  private constructor(
    private readonly path: string,
    private readonly inode: string,
    private readonly unlock: () => void,
  ) {}

  /**
   * Locks a folder.
   *
   * @returns "in use" if another process, or another call in this one, has locked it
   * @throws the kernel's error if the folder cannot be opened
   */
  static take(path: string): FolderLock | "in use" {
    const lock = lockDataPath(path);
    const failed = lock instanceof DataPathLockError;
    if (failed && lock.code === "IN_USE") return "in use";
    return new FolderLock(path, inodeOf(path) ?? "", failed ? () => {} : () => lock.release());
  }

  /** Looks whether the folder and the files that must be in it are still there. What is written below a removed one is lost. */
  check(files: readonly string[], logger: Logger): void {
    if (this.released) return;
    const failure = this.problem(files);
    if (failure !== undefined && failure.message !== this.failure?.message) logger.error(`DISK: ${failure.message}`);
    this.failure = failure;
  }

  /** Releases the lock. Further calls do nothing. */
  release(): void {
    if (this.released) return;
    this.released = true;
    this.unlock();
  }

  private problem(files: readonly string[]): Error | undefined {
    const found = inodeOf(this.path);
    const lost = "while the broker runs; what is published now is lost at its end";
    if (found === undefined) return new Error(`${this.path} was removed ${lost}`);
    if (found !== this.inode) return new Error(`${this.path} was replaced ${lost}`);
    const missing = files.find((file) => !existsSync(file));
    return missing === undefined ? undefined : new Error(`${missing} was removed while the broker runs; restart the broker`);
  }
}

/** Names the folder at a path, wherever it may be moved; undefined: there is none. */
function inodeOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev} ${stat.ino}`;
}
