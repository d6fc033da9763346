import { type Disk, openOrMake, readFully, removeIfThere, writeFully } from "./disk.ts";

/**
 * A file that its first use opens, and that can be closed at any time, since the next use opens it again. So a broker can
 * have thousands of logs and buckets, of which only those in use take a file descriptor.
 *
 * Every method throws what the kernel said, except for sync(), which reports it.
 */
export class LazyFile {
  /** Something was written since the last sync began. */
  unsynced = false;
  /** The file was made or renamed. The owner clears this when it has synced the folder; until then a power cut may lose the name. */
  nameUnsynced = false;
  /** -1 while the file is closed. */
  private fd = -1;
  private users = 0;
  private closeAfterUse = false;
  private currentPath: string;

  /** @param whenMissing what a use does when there is no such file */
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
    return this.disk.size(this.use());
  }

  /** Creates the file, or empties the one that is there. */
  create(): void {
    this.close();
    this.fd = this.disk.open(this.currentPath, "w+");
    this.nameUnsynced = true;
  }

  /** Reads `length` bytes; a file that ends earlier is an error. */
  read(target: Buffer, at: number, length: number, position: number): void {
    readFully(this.disk, this.use(), target, at, length, position);
  }

  /** @returns bytes read, which are fewer than `length` where the file ends */
  readUpTo(target: Buffer, at: number, length: number, position: number): number {
    return this.disk.read(this.use(), target, at, length, position);
  }

  /** Writes all of it. When this throws, a part may have been written. */
  write(source: Buffer, from: number, length: number, position: number): void {
    writeFully(this.disk, this.use(), source, from, length, position);
    this.unsynced = true;
  }

  truncate(length: number): void {
    this.disk.truncate(this.use(), length);
    this.unsynced = true;
  }

  /** Brings the file's bytes and length to the disk, off the event loop. */
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

  /** Until endUse(), close() only notes that the file is to be closed: its descriptor may not become another file's. */
  beginUse(): void {
    this.users++;
  }

  endUse(): void {
    this.users--;
    if (this.users === 0 && this.closeAfterUse) this.close();
  }

  /** Closes the file, or has the end of its last use close it. */
  close(): void {
    this.closeAfterUse = this.users > 0;
    if (this.fd < 0 || this.closeAfterUse) return;
    this.disk.close(this.fd);
    this.fd = -1;
  }

  /** Gives the file another name; it stays open. */
  rename(path: string): void {
    this.disk.rename(this.currentPath, path);
    this.currentPath = path;
    this.nameUnsynced = true;
  }

  /** Removes the file if it is there; it stays open. */
  remove(): void {
    removeIfThere(this.disk, this.currentPath);
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
