import { type Disk, isMissing } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { encodeHead, type FileFormat, HEAD_BYTES, parseVersion } from "../file-head.ts";

/**
 * One of a bucket's two files, opened at its first use and made by its first write. It begins with a head (file-head.ts),
 * which is written just before the first bytes; sizes and positions count from behind it. A file of version 0 never gets one.
 *
 * Methods that read throw an UnreadableFile where the kernel fails, and close the file, so that the next one opens it again.
 */
export class BucketFile {
  private readonly file: LazyFile;
  /** Undefined until the file was opened for the first time. */
  private headBytes: number | undefined;
  private headWritten = false;

  /** @param check compares the bytes in [from, to), counted from behind the head, with their checksums */
  constructor(
    disk: Disk,
    private readonly names: FolderNames,
    name: string,
    private readonly format: FileFormat,
    check: (from: number, to: number) => Error | undefined,
  ) {
    this.file = new LazyFile(disk, `${names.directory}/${name}`, "create", names);
    this.file.check = (from, to) => this.checkHead() ?? check(Math.max(0, from - this.openHead()), to - this.openHead());
  }

  get path(): string {
    return this.file.path;
  }

  /** Written since the last sync began, or that sync failed. */
  get unsynced(): boolean {
    return this.file.unsynced;
  }

  /** No sync has covered its name: a power cut may lose it. */
  get nameUnsynced(): boolean {
    return this.file.nameUnsynced;
  }

  /** 0 if there is no such file. */
  get size(): number {
    try {
      const head = this.openHead();
      return Math.max(0, this.file.size - head);
    } catch (error) {
      if (!this.file.isOpen && isMissing(error)) return 0;
      throw error;
    }
  }

  /** Bytes of the file, its head included; 0 if there is no such file. */
  get fileBytes(): number {
    const { size } = this;
    return this.headWritten ? (this.headBytes ?? 0) + size : 0;
  }

  read(target: Buffer, at: number, bytes: number, position: number): void {
    this.file.read(target, at, bytes, this.openHead() + position);
  }

  /** @throws the kernel's error; a part may have been written */
  write(source: Buffer, bytes: number, position: number): void {
    const head = this.openHead(true);
    if (!this.headWritten) {
      this.file.write(encodeHead(this.format), 0, HEAD_BYTES, 0);
      this.headWritten = true;
    }
    this.file.write(source, 0, bytes, head + position);
  }

  /** Creates the file, or empties an existing one. */
  create(): void {
    this.file.create();
    this.headBytes = HEAD_BYTES;
    this.headWritten = false;
  }

  truncate(length: number): void {
    const head = this.openHead(true);
    this.file.truncate(this.headWritten ? head + length : 0);
  }

  /** An earlier run may not have synced what is in it, nor its name. @param writeAgain when a sync fails */
  markUnsynced(writeAgain: boolean): void {
    this.file.markUnsynced(writeAgain ? 0 : undefined);
    this.file.noteName();
  }

  /** To be called when another file has got this one's name, while this one is closed. */
  onReplaced(): void {
    this.headBytes = undefined;
    this.markUnsynced(true);
  }

  /** Syncs what was written. */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.file.unsynced) return done(undefined);
    const wasOpen = this.file.isOpen;
    this.file.sync((error) => {
      if (!wasOpen) this.file.close();
      done(error);
    });
  }

  /**
   * Makes the file and its name durable and closes it: it is about to take the name of another one.
   *
   * @throws the kernel's error; it is closed then, too
   */
  syncNowAndClose(): void {
    try {
      this.file.syncNow();
      this.names.syncNow();
    } finally {
      this.file.close();
      this.file.forgetName();
    }
  }

  close(): void {
    this.file.close();
  }

  /** The file is about to be removed. */
  forgetName(): void {
    this.file.forgetName();
  }

  private checkHead(): Error | undefined {
    if (this.headBytes === 0 || !this.headWritten) return undefined;
    const head = Buffer.alloc(HEAD_BYTES);
    this.file.readUpTo(head, 0, HEAD_BYTES, 0);
    return head.equals(encodeHead(this.format)) ? undefined : new Error(`a sync of ${this.path} failed, and its head is lost`);
  }

  /**
   * Opens the file if it was never open.
   *
   * @param make it is opened to be written, and made if it does not exist
   * @returns how long its head is
   * @throws StartError when a newer version wrote the file; the kernel's error
   */
  private openHead(make = false): number {
    if (this.headBytes !== undefined) return this.headBytes;
    if (make) this.file.make();
    const { size } = this.file;
    const head = Buffer.alloc(HEAD_BYTES);
    if (size >= HEAD_BYTES) this.file.read(head, 0, HEAD_BYTES, 0);
    const version = size < HEAD_BYTES ? undefined : parseVersion(head, this.format, this.path);
    this.headWritten = version !== undefined;
    this.headBytes = version === 0 ? 0 : HEAD_BYTES;
    return this.headBytes;
  }
}
