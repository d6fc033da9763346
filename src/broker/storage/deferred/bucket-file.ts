import { closeQuietly, type Disk, isMissing, openOrMake, readFully, writeFully } from "../disk/disk.ts";
import { unreadable } from "../disk/unreadable-file.ts";
import { type FileFormat, HEAD_BYTES, readVersion, writeHead } from "../file-head.ts";

/**
 * One of a bucket's two files, opened at its first use and made by its first write. It begins with a head (file-head.ts),
 * which is written just before the first bytes; sizes and positions count from behind it. A file of version 0 never gets one.
 *
 * Methods that read throw an UnreadableFile where the kernel fails, and close the file, so that the next one opens it again.
 */
export class BucketFile {
  /** Written since the last sync began. */
  unsynced = false;
  /** Made since the last sync of its folder began: its name may not be on the disk. */
  nameUnsynced = false;
  private fd = -1;
  private headBytes = HEAD_BYTES;
  private headWritten = false;
  /** Syncs under way. */
  private syncing = 0;

  constructor(
    private readonly disk: Disk,
    readonly path: string,
    private readonly format: FileFormat,
  ) {}

  /** 0 if there is no such file. */
  get size(): number {
    try {
      return Math.max(0, this.disk.size(this.open(false)) - this.headBytes);
    } catch (error) {
      if (this.fd < 0 && isMissing(error)) return 0;
      throw this.failedRead(error);
    }
  }

  read(target: Buffer, at: number, bytes: number, position: number): void {
    try {
      const fd = this.open(false);
      readFully(this.disk, fd, target, at, bytes, this.headBytes + position);
    } catch (error) {
      throw this.failedRead(error);
    }
  }

  /** @throws the kernel's error; a part may have been written */
  write(source: Buffer, bytes: number, position: number): void {
    const fd = this.open(true);
    if (!this.headWritten) {
      writeHead(this.disk, fd, this.format);
      this.headWritten = true;
    }
    writeFully(this.disk, fd, source, 0, bytes, this.headBytes + position);
    this.unsynced = true;
  }

  /** Creates the file, or empties an existing one. */
  create(): void {
    this.close();
    this.fd = this.disk.open(this.path, "w+");
    this.headBytes = HEAD_BYTES;
    this.headWritten = false;
    this.nameUnsynced = true;
  }

  /** Bytes of the file, its head included; 0 if there is no such file. */
  get fileBytes(): number {
    const { size } = this;
    return this.headWritten ? this.headBytes + size : 0;
  }

  truncate(length: number): void {
    const fd = this.open(true);
    this.disk.truncate(fd, this.headWritten ? this.headBytes + length : 0);
    this.unsynced = true;
  }

  /** Syncs what was written. */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.unsynced) return done(undefined);
    this.unsynced = false;
    let fd: number;
    try {
      fd = this.open(true);
    } catch (error) {
      return done(error as Error);
    }
    this.syncing++;
    this.disk.sync(fd, (error) => {
      this.syncing--;
      // If the bucket was removed meanwhile, its files are closed and none of its bytes matters any more. The descriptor may
      // belong to a socket by now, which cannot be synced.
      done(error && fd === this.fd && error.code !== "EBADF" ? error : undefined);
    });
  }

  close(): void {
    const { fd } = this;
    this.fd = -1;
    if (fd >= 0) closeQuietly(this.disk, fd);
  }

  private failedRead(error: unknown): unknown {
    // A sync under way must not find another file under its descriptor.
    if (this.syncing === 0) this.close();
    return unreadable(this.path, error);
  }

  /** @throws StartError when a newer version wrote the file; the kernel's error */
  private open(make: boolean): number {
    if (this.fd >= 0) return this.fd;
    const { fd, made } = make ? openOrMake(this.disk, this.path) : { fd: this.disk.open(this.path, "r+"), made: false };
    try {
      const version = readVersion(this.disk, fd, this.format, this.path);
      this.headBytes = version === 0 ? 0 : HEAD_BYTES;
      this.headWritten = version !== undefined;
    } catch (error) {
      closeQuietly(this.disk, fd);
      throw error;
    }
    this.fd = fd;
    this.nameUnsynced ||= made;
    return fd;
  }
}
