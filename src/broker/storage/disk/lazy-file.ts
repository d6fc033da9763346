import { basename, dirname, join } from "node:path";
import { closeQuietly, type Disk, openOrMake, readFully, removeIfThere, writeFully } from "./disk.ts";
import type { FolderNames, Named } from "./folder-names.ts";
import { unreadable } from "./unreadable-file.ts";

/** The most bytes that are written again before others get their turn. */
const REWRITE_BYTES = 4 * 1024 * 1024;
/** Bytes that are read back and written again at once. */
const PIECE_BYTES = 256 * 1024;

type Done = (error: Error | undefined) => void;

/**
 * A file that is opened by its first use. It can be closed at any time, and the next use opens it again. So a broker can have
 * thousands of logs and buckets, and only those in use need a file descriptor.
 *
 * After a sync that failed, the kernel takes the file's pages for written though they are not: another sync would succeed and
 * prove nothing. So the file knows what was written since the last sync that succeeded began. When a sync fails, these bytes are
 * read back and written again, and before a later sync counts, `check` compares them with their checksums.
 *
 * Methods that read throw an UnreadableFile where the kernel fails, and close the file: the next read opens it again, since a
 * descriptor may be stale for good. All others throw the kernel's error, except for sync(), which passes it to its callback.
 */
export class LazyFile implements Named {
  /** The file was created or renamed, so a power cut may lose its name. A sync of the folder (folder-names.ts) clears this. */
  nameUnsynced = false;
  /**
   * Compares the bytes in [from, to), which were written again, with their checksums. Its error fails the sync: the kernel no
   * longer has what was written. It may throw the kernel's error.
   */
  check: (from: number, to: number) => Error | undefined = () => undefined;
  /** What was written since the last sync that succeeded began, without what the sync under way covers. */
  private changed: Changes | undefined;
  /** What the sync under way covers. */
  private covered: Changes | undefined;
  /** A sync failed: of `changed`, the bytes from here on must be written again before a sync counts. */
  private lostFrom = Number.POSITIVE_INFINITY;
  /** A sync failed, and what was written again is not checked yet. */
  private unchecked = false;
  private syncing = false;
  /** They wait for a sync that begins when the one under way has ended. */
  private nextDones: Done[] = [];
  /** -1 while the file is closed. */
  private fd = -1;
  private users = 0;
  private closeAfterUse = false;
  private currentPath: string;

  /**
   * @param whenMissing what happens when the file is opened to be written and does not exist
   * @param names the names in the file's folder
   */
  constructor(
    private readonly disk: Disk,
    path: string,
    private readonly whenMissing: "fail" | "create" = "fail",
    private readonly names?: FolderNames,
  ) {
    this.currentPath = path;
  }

  get path(): string {
    return this.currentPath;
  }

  get isOpen(): boolean {
    return this.fd >= 0;
  }

  get size(): number {
    try {
      return this.disk.size(this.use());
    } catch (error) {
      throw this.failedRead(error);
    }
  }

  /** The file was changed after the last sync began, or that sync failed. */
  get unsynced(): boolean {
    return this.changed !== undefined;
  }

  /** Creates the file, or empties an existing one. */
  create(): void {
    this.close();
    this.fd = this.disk.open(this.currentPath, "w+");
    this.noteName();
  }

  /** Creates the file if it does not exist and may be created. */
  make(): void {
    this.use(true);
  }

  /** Reads `length` bytes. @throws also when the file ends before */
  read(target: Buffer, at: number, length: number, position: number): void {
    try {
      readFully(this.disk, this.use(), target, at, length, position);
    } catch (error) {
      throw this.failedRead(error);
    }
  }

  /** Reads up to `length` bytes. @returns the number of bytes read, which is lower at the end of the file */
  readUpTo(target: Buffer, at: number, length: number, position: number): number {
    try {
      return this.disk.read(this.use(), target, at, length, position);
    } catch (error) {
      throw this.failedRead(error);
    }
  }

  /** Writes `length` bytes. When this throws, some of them may have been written. */
  write(source: Buffer, from: number, length: number, position: number): void {
    writeFully(this.disk, this.use(true), source, from, length, position);
    this.noteChange(position, position + length);
  }

  truncate(length: number): void {
    this.disk.truncate(this.use(true), length);
    this.noteChange(length, length);
    if (this.changed !== undefined) this.changed.truncated = true;
  }

  /**
   * The file may not be synced, though it was not written here.
   *
   * @param from what is behind it is written again when a sync fails
   */
  markUnsynced(from = Number.POSITIVE_INFINITY): void {
    this.noteChange(from, from === Number.POSITIVE_INFINITY ? 0 : Number.POSITIVE_INFINITY);
  }

  /** Makes the file's bytes and length durable, off the event loop. No two syncs of a file overlap: the kernel tells only one of a failure. */
  sync(done: Done): void {
    if (this.syncing) this.nextDones.push(done);
    else this.startSync([done]);
  }

  /**
   * Makes the bytes and the length of a file durable before it returns that was just made, and that no sync was begun for.
   *
   * @throws the kernel's error: sync() writes again what may be lost
   */
  syncNow(): void {
    const fd = this.use();
    this.covered = this.changed;
    this.changed = undefined;
    try {
      this.disk.syncNow(fd);
    } catch (error) {
      this.onSyncFailed();
      throw error;
    } finally {
      this.covered = undefined;
    }
  }

  private startSync(dones: readonly Done[]): void {
    this.syncing = true;
    this.beginUse();
    let fd: number;
    let problem: Error | undefined;
    try {
      fd = this.open();
      this.writeAgain(fd);
      const { changed } = this;
      if (this.unchecked && !this.isIncomplete && changed !== undefined && changed.from < changed.to)
        problem = this.check(changed.from, changed.to);
    } catch (error) {
      return this.endSync(dones, error as Error);
    }
    if (problem !== undefined) return this.endSync(dones, problem);
    const incomplete = this.isIncomplete;
    if (!incomplete) {
      this.unchecked = false;
      this.covered = this.changed;
      this.changed = undefined;
    }
    this.disk.sync(fd, (error) => {
      if (error) this.onSyncFailed();
      else if (incomplete) {
        this.startSync(dones);
        return this.endUse();
      }
      this.covered = undefined;
      this.endSync(dones, error ?? undefined);
    });
  }

  /** More must be written again before a sync counts. */
  private get isIncomplete(): boolean {
    return this.lostFrom !== Number.POSITIVE_INFINITY;
  }

  private endSync(dones: readonly Done[], failure: Error | undefined): void {
    for (const done of dones) done(failure);
    const next = this.nextDones;
    this.nextDones = [];
    this.syncing = false;
    // Before endUse(), which may close the file: the next sync needs it.
    if (next.length > 0) this.startSync(next);
    this.endUse();
  }

  private onSyncFailed(): void {
    const { covered } = this;
    if (covered !== undefined) {
      this.noteChange(covered.from, covered.to);
      if (this.changed !== undefined && covered.truncated) this.changed.truncated = true;
    }
    if (this.changed === undefined) return;
    this.lostFrom = this.changed.from;
    this.unchecked = true;
    try {
      // At once, so that the kernel tries again, and a later process may sync the file, should this one end now.
      this.writeAgain(this.open());
    } catch {
      // The next sync tries again.
    }
  }

  /** Reads back and writes again what a failed sync has lost, or the next REWRITE_BYTES of it. */
  private writeAgain(fd: number): void {
    const { changed } = this;
    if (!this.isIncomplete || changed === undefined) return;
    const size = this.disk.size(fd);
    if (changed.truncated) this.disk.truncate(fd, size);
    const to = Math.min(changed.to, size);
    const end = Math.min(to, this.lostFrom + REWRITE_BYTES);
    const piece = Buffer.allocUnsafe(Math.max(0, Math.min(PIECE_BYTES, end - this.lostFrom)));
    while (this.lostFrom < end) {
      const bytes = Math.min(piece.length, end - this.lostFrom);
      readFully(this.disk, fd, piece, 0, bytes, this.lostFrom);
      writeFully(this.disk, fd, piece, 0, bytes, this.lostFrom);
      this.lostFrom += bytes;
    }
    if (this.lostFrom >= to) this.lostFrom = Number.POSITIVE_INFINITY;
  }

  private noteChange(from: number, to: number): void {
    const { changed } = this;
    if (changed === undefined) this.changed = { from, to, truncated: false };
    else {
      if (from < changed.from) changed.from = from;
      if (to > changed.to) changed.to = to;
    }
  }

  /** The file has a name that it did not have before. */
  noteName(): void {
    this.nameUnsynced = true;
    if (this.names === undefined) return;
    if (dirname(this.currentPath) === this.names.directory) this.names.add(this);
    else this.names.forget(this);
  }

  /** The file is removed, or is about to be: its name needs no sync. */
  forgetName(): void {
    this.nameUnsynced = false;
    this.names?.forget(this);
  }

  /**
   * Keeps the file from being closed until endUse(). A sync runs on the descriptor in another thread: if the file was closed
   * meanwhile, the same number could belong to another file or socket.
   */
  beginUse(): void {
    this.users++;
  }

  endUse(): void {
    this.users--;
    if (this.users === 0 && this.closeAfterUse) this.close();
  }

  /** Closes the file; between beginUse() and endUse(), the last endUse() does so, unless the file was read or written again. */
  close(): void {
    this.closeAfterUse = this.users > 0;
    if (this.fd < 0 || this.closeAfterUse) return;
    const { fd } = this;
    this.fd = -1;
    closeQuietly(this.disk, fd);
  }

  /** Renames the file, which stays open. */
  rename(path: string): void {
    this.disk.rename(this.currentPath, path);
    this.currentPath = path;
    this.noteName();
  }

  /** To be called when the folder has another name. */
  moveTo(directory: string): void {
    this.currentPath = join(directory, basename(this.currentPath));
  }

  /** Removes the file if it exists. It stays open. */
  remove(): void {
    removeIfThere(this.disk, this.currentPath);
    this.forgetName();
  }

  private failedRead(error: unknown): unknown {
    this.close();
    return unreadable(this.currentPath, error);
  }

  private use(make = false): number {
    this.closeAfterUse = false;
    return this.open(make);
  }

  private open(make = false): number {
    if (this.fd >= 0) return this.fd;
    if (this.whenMissing === "fail" || !make) this.fd = this.disk.open(this.currentPath, "r+");
    else {
      const { fd, made } = openOrMake(this.disk, this.currentPath);
      this.fd = fd;
      if (made) this.noteName();
    }
    return this.fd;
  }
}

/** Bytes [from, to) of a file were written; none if `from` is not lower than `to`. */
interface Changes {
  from: number;
  to: number;
  /** The file was cut off as well. */
  truncated: boolean;
}
