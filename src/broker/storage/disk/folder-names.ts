import { type Disk, renameIfThere } from "./disk.ts";
import { reading } from "./unreadable-file.ts";

type Done = (failure: Error | undefined) => void;

/** The ending of a file or folder whose name is being made again. No other file has it. */
const RENAMING_ENDING = ".renaming";

/** A file or folder with a name that a power cut may lose. */
export interface Named {
  readonly path: string;
  /** The name was made, and no sync of its folder that succeeded has begun since. */
  nameUnsynced: boolean;
}

/**
 * The names in one folder that are not on the disk yet, and the folder's syncs. One sync covers all names made before it began,
 * and no two of them overlap.
 *
 * After a sync that failed, the kernel may take the folder for written though it is not, so that another sync would prove
 * nothing. Each name that it covered is made again first: the file is renamed and renamed back.
 */
export class FolderNames {
  private readonly unsynced = new Set<Named>();
  /** A sync failed, and some of the names are not made again yet. */
  private lost = false;
  private running = false;
  /** The names that the sync under way covers. */
  private covered: Named[] = [];
  /** A sync that returns when it is done has failed while that one was under way. The kernel tells only one of the two. */
  private failedMeanwhile = false;
  private waiting: Done[] = [];
  /** One of those who wait has removed a name, which a sync covers as well. */
  private removed = false;

  constructor(
    private readonly disk: Disk,
    public directory: string,
  ) {}

  /** To be called when the folder has another name. */
  moveTo(directory: string): void {
    this.directory = directory;
  }

  /** A name was made. */
  add(named: Named): void {
    named.nameUnsynced = true;
    this.unsynced.add(named);
  }

  /** The file was removed or moved to another folder. */
  forget(named: Named): void {
    named.nameUnsynced = false;
    this.unsynced.delete(named);
  }

  /**
   * Makes all names so far durable, off the event loop.
   *
   * @param removed a name was removed, and its removal is to be durable too
   */
  sync(done: Done, removed = false): void {
    if (!this.running && this.unsynced.size === 0 && !removed) return done(undefined);
    this.removed ||= removed;
    this.waiting.push(done);
    if (!this.running) this.start();
  }

  /**
   * Makes all names so far durable before it returns.
   *
   * @throws the kernel's error: sync() makes the names again that may be lost. Another error while a sync is under way: the kernel
   *   tells only one of a failure
   */
  syncNow(): void {
    if (this.running) throw new Error(`${this.directory} is being synced`);
    this.syncRemovalNow();
    for (const named of this.unsynced) named.nameUnsynced = false;
    this.unsynced.clear();
  }

  /** Makes removals and renamings so far durable before it returns, also while a sync is under way. @throws the kernel's error */
  syncRemovalNow(): void {
    const failure = this.lost ? this.makeAgain() : undefined;
    if (failure !== undefined) throw failure;
    try {
      this.disk.syncDirectoryNow(this.directory);
    } catch (error) {
      this.lost = true;
      this.failedMeanwhile = this.running;
      for (const named of this.covered) if (named.nameUnsynced) this.unsynced.add(named);
      this.makeAgain();
      throw error;
    }
  }

  private start(): void {
    const dones = this.waiting;
    this.waiting = [];
    const { removed } = this;
    this.removed = false;
    if (this.unsynced.size === 0 && !removed) return this.finish(dones, undefined);
    const failure = this.lost ? this.makeAgain() : undefined;
    if (failure !== undefined) return this.finish(dones, failure);
    const covered = [...this.unsynced];
    this.covered = covered;
    this.unsynced.clear();
    this.running = true;
    this.disk.syncDirectory(this.directory, (error) => {
      const again = this.failedMeanwhile && !error;
      this.running = this.failedMeanwhile = false;
      this.covered = [];
      // A name that was made again meanwhile is in the set. One that was forgotten needs no sync any more.
      for (const named of covered) {
        if (this.unsynced.has(named) || !named.nameUnsynced) continue;
        if (error) this.unsynced.add(named);
        else named.nameUnsynced = false;
      }
      if (error) {
        this.lost = true;
        // At once, so that another process may sync them, should this one end now. Where it fails, the next sync tries again.
        this.makeAgain();
      }
      if (again) {
        this.removed = true;
        this.waiting.unshift(...dones);
        this.start();
      } else this.finish(dones, error ?? undefined);
    });
  }

  private finish(dones: readonly Done[], failure: Error | undefined): void {
    for (const done of dones) done(failure);
    if (!this.running && this.waiting.length > 0) this.start();
  }

  /** @returns why a name could not be made again */
  private makeAgain(): Error | undefined {
    try {
      for (const { path } of this.unsynced) {
        finishRenaming(this.disk, path + RENAMING_ENDING);
        if (renameIfThere(this.disk, path, path + RENAMING_ENDING)) this.disk.rename(path + RENAMING_ENDING, path);
      }
      this.lost = false;
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }
}

/**
 * Lists a folder, when the files and folders in it have their names back that an earlier run was making again when it ended.
 *
 * @throws UnreadableFile
 */
export function listRenamed(disk: Disk, directory: string): string[] {
  const names = reading(directory, () => disk.list(directory));
  const renaming = names.filter((name) => name.endsWith(RENAMING_ENDING));
  if (renaming.length === 0) return names;
  for (const name of renaming) finishRenaming(disk, `${directory}/${name}`);
  return reading(directory, () => disk.list(directory));
}

function finishRenaming(disk: Disk, renamed: string): void {
  const path = renamed.slice(0, -RENAMING_ENDING.length);
  if (disk.exists(renamed) && !disk.exists(path)) disk.rename(renamed, path);
}
