import { type Disk, openOrMake, readFully, writeFully } from "../disk/disk.ts";

/** One of a bucket's two files, opened at its first use and made if it is not there. */
export class BucketFile {
  /** Written since the last sync began. */
  unsynced = false;
  /** Made since the last sync of the folder began: its name is not known to be on the disk. */
  nameUnsynced = false;
  private fd = -1;

  constructor(
    private readonly disk: Disk,
    readonly path: string,
  ) {}

  get size(): number {
    return this.disk.size(this.handle);
  }

  read(target: Buffer, at: number, bytes: number, position: number): void {
    readFully(this.disk, this.handle, target, at, bytes, position);
  }

  /** @throws what the kernel said; a part may have been written */
  write(source: Buffer, bytes: number, position: number): void {
    writeFully(this.disk, this.handle, source, 0, bytes, position);
    this.unsynced = true;
  }

  truncate(length: number): void {
    this.disk.truncate(this.handle, length);
    this.unsynced = true;
  }

  /** Brings what was written to the disk. */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.unsynced) return done(undefined);
    this.unsynced = false;
    let fd: number;
    try {
      fd = this.handle;
    } catch (error) {
      return done(error as Error);
    }
    this.disk.sync(fd, (error) => {
      // A bucket that was finished meanwhile has closed its files: nothing of it is needed any more, and the number may
      // be another's by now, a socket's, which cannot be synced.
      done(error && fd === this.fd && error.code !== "EBADF" ? error : undefined);
    });
  }

  close(): void {
    if (this.fd >= 0) this.disk.close(this.fd);
    this.fd = -1;
  }

  private get handle(): number {
    if (this.fd >= 0) return this.fd;
    const { fd, made } = openOrMake(this.disk, this.path);
    this.fd = fd;
    this.nameUnsynced ||= made;
    return fd;
  }
}
