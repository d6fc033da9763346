import { basename, join } from "node:path";
import { closeQuietly, type Disk, openOrMake, readFully, removeIfThere, writeFully } from "./disk.ts";
import { unreadable } from "./unreadable-file.ts";

/**
 * A file that is opened by its first use. It can be closed at any time, and the next use opens it again. So a broker can have
 * thousands of logs and buckets, and only those in use need a file descriptor.
 *
 * Methods that read throw an UnreadableFile where the kernel fails, and close the file: the next read opens it again, since a
 * descriptor may be stale for good. All others throw the kernel's error, except for sync(), which passes it to its callback.
 */
export class LazyFile {
  /** The file was changed after the last sync began. */
  unsynced = false;
  /** The file was created or renamed, so a power cut may lose its name. Whoever syncs the folder clears this. */
  nameUnsynced = false;
  /** -1 while the file is closed. */
  private fd = -1;
  private users = 0;
  private closeAfterUse = false;
  private currentPath: string;

  /** @param whenMissing what happens when the file is opened and does not exist */
  constructor(
    private readonly disk: Disk,
    path: string,
    private readonly whenMissing: "fail" | "create" = "fail",
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

  /** Creates the file, or empties an existing one. */
  create(): void {
    this.close();
    this.fd = this.disk.open(this.currentPath, "w+");
    this.nameUnsynced = true;
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
    writeFully(this.disk, this.use(), source, from, length, position);
    this.unsynced = true;
  }

  truncate(length: number): void {
    this.disk.truncate(this.use(), length);
    this.unsynced = true;
  }

  /** Makes the file's bytes and length durable, off the event loop. */
  sync(done: (error: Error | undefined) => void): void {
    this.unsynced = false;
    let fd: number;
    try {
      fd = this.open();
    } catch (error) {
      return done(error as Error);
    }
    this.beginUse();
    this.disk.sync(fd, (error) => {
      this.endUse();
      done(error ?? undefined);
    });
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
    this.nameUnsynced = true;
  }

  /** To be called when the folder has another name. */
  moveTo(directory: string): void {
    this.currentPath = join(directory, basename(this.currentPath));
  }

  /** Removes the file if it exists. It stays open. */
  remove(): void {
    removeIfThere(this.disk, this.currentPath);
  }

  private failedRead(error: unknown): unknown {
    this.close();
    return unreadable(this.currentPath, error);
  }

  private use(): number {
    this.closeAfterUse = false;
    return this.open();
  }

  private open(): number {
    if (this.fd >= 0) return this.fd;
    if (this.whenMissing === "fail") this.fd = this.disk.open(this.currentPath, "r+");
    else {
      const { fd, made } = openOrMake(this.disk, this.currentPath);
      this.fd = fd;
      this.nameUnsynced ||= made;
    }
    return this.fd;
  }
}
