import { type Disk, openOrMake, readFully, writeFully } from "../disk/disk.ts";
import { type FileFormat, HEAD_BYTES, readVersion, writeHead } from "../file-head.ts";

/**
 * One of a bucket's two files, opened at its first use and made if it is not there. Sizes and positions count from the end
 * of its head (file-head.ts), which is written before the first bytes. A file of version 0 has none, and never gets one.
 */
export class BucketFile {
  /** Written since the last sync began. */
  unsynced = false;
  /** Made since the last sync of the folder began: its name is not known to be on the disk. */
  nameUnsynced = false;
  private fd = -1;
  private headBytes = HEAD_BYTES;
  private headWritten = false;

  constructor(
    private readonly disk: Disk,
    readonly path: string,
    private readonly format: FileFormat,
  ) {}

  get size(): number {
    const size = this.disk.size(this.handle);
    return Math.max(0, size - this.headBytes);
  }

  read(target: Buffer, at: number, bytes: number, position: number): void {
    const fd = this.handle;
    readFully(this.disk, fd, target, at, bytes, this.headBytes + position);
  }

  /** @throws what the kernel said; a part may have been written */
  write(source: Buffer, bytes: number, position: number): void {
    const fd = this.handle;
    if (!this.headWritten) {
      writeHead(this.disk, fd, this.format);
      this.headWritten = true;
    }
    writeFully(this.disk, fd, source, 0, bytes, this.headBytes + position);
    this.unsynced = true;
  }

  truncate(length: number): void {
    const fd = this.handle;
    this.disk.truncate(fd, this.headWritten ? this.headBytes + length : 0);
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

  /** @throws StartError when a newer version wrote the file; what the kernel said */
  private get handle(): number {
    if (this.fd >= 0) return this.fd;
    const { fd, made } = openOrMake(this.disk, this.path);
    try {
      const version = readVersion(this.disk, fd, this.format, this.path);
      this.headBytes = version === 0 ? 0 : HEAD_BYTES;
      this.headWritten = version !== undefined;
    } catch (error) {
      this.disk.close(fd);
      throw error;
    }
    this.fd = fd;
    this.nameUnsynced ||= made;
    return fd;
  }
}
