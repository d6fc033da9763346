import { type Disk, isMissing, removeFolder } from "./disk.ts";

/** A folder with no more files than this is removed at once, unless one of them is large. */
const FEW_FILES = 8;
/** When the broker ends, no more files than this are waited for. The next start removes the others. */
const MOST_AT_CLOSE = 64;

/**
 * Removes folders with many and large files off the event loop, one file after the other: the kernel needs milliseconds and more for
 * each. What a crash or the broker's end leaves must be found and removed by the next start.
 */
export class FolderRemover {
  private filesLeft = 0;
  private closed = false;
  /** Resolves when all folders so far are removed. */
  private removals: Promise<void> = Promise.resolve();

  constructor(private readonly disk: Disk) {}

  /**
   * Removes a folder and the files in it. A folder that is missing is removed.
   *
   * @param isLarge tells by a file's name whether it may be large
   * @param failed called with the first error, when all that can be removed is gone
   */
  remove(path: string, isLarge: (name: string) => boolean, failed: (error: Error) => void): void {
    try {
      const names = this.disk.list(path);
      if (names.length <= FEW_FILES && !names.some(isLarge)) return removeFolder(this.disk, path);
      this.filesLeft += names.length;
      this.removals = this.removals.then(() => this.removeInTurn(path, names, failed));
    } catch (error) {
      if (!isMissing(error)) failed(error as Error);
    }
  }

  /** Resolves when all folders are removed. */
  done(): Promise<void> {
    return this.removals;
  }

  /** The broker ends: resolves when all folders are removed, if few files are left, or when the removals have stopped. */
  close(): Promise<void> {
    this.closed = this.filesLeft > MOST_AT_CLOSE;
    return this.removals;
  }

  private async removeInTurn(path: string, names: readonly string[], failed: (error: Error) => void): Promise<void> {
    let failure: Error | undefined;
    for (const name of names) {
      if (this.closed) return;
      failure ??= await this.removeFile(`${path}/${name}`);
      this.filesLeft--;
    }
    try {
      if (failure === undefined) this.disk.removeDirectory(path);
    } catch (error) {
      if (!isMissing(error)) failure = error as Error;
    }
    if (failure !== undefined) failed(failure);
  }

  private removeFile(path: string): Promise<Error | undefined> {
    return new Promise((resolve) => {
      this.disk.removeLater(path, (error) => resolve(error === null || isMissing(error) ? undefined : error));
    });
  }
}
