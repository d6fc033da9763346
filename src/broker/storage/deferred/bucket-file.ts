import { type Disk, openOrMake, readFully, writeFully } from "../disk/disk.ts";
import { type FileFormat, HEAD_BYTES, readVersion, writeHead } from "../file-head.ts";

/**
 * One of a bucket's two files, opened at its first use and made if it does not exist. It begins with a head (file-head.ts),
 * which is written just before the first bytes; sizes and positions count from behind it. A file of version 0 never gets one.
 */
export class BucketFile {
  /** Written since the last sync began. */
  unsynced = false;
  /** Made since the last sync of its folder began: its name may not be on the disk. */
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

  /** @throws the kernel's error; a part may have been written */
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

  /** Syncs what was written. */
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
      // If the bucket was removed meanwhile, its files are closed and none of its bytes matters any more. The descriptor may
      // belong to a socket by now, which cannot be synced.
      done(error && fd === this.fd && error.code !== "EBADF" ? error : undefined);
    });
  }

  close(): void {
    if (this.fd >= 0) this.disk.close(this.fd);
    this.fd = -1;
  }

  /** @throws StartError when a newer version wrote the file; the kernel's error */
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
