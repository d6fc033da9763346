import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { BucketFile } from "./bucket-file.ts";
import { ENTRIES_FORMAT, type EntryHeader, layEntry } from "./entry.ts";
import { walkEntries } from "./entry-scan.ts";
import { borrowWriteBuffer, returnWriteBuffer, type WriteBuffer } from "./write-buffer.ts";

/** The file of a bucket's entries. They are staged, written together, and cut off again if they are refused. */
export class EntriesFile {
  readonly file: BucketFile;
  /** Bytes of whole entries in the file: the offset at which the next one is written. */
  length = 0;
  /** Bytes of damaged entries in it that whole ones follow. */
  damagedBytes = 0;
  /** How many entries the last commit() wrote. */
  lastCommitCount = 0;
  private lastCommitBytes = 0;
  /** Entries that the next commit writes, as they will be in the file. */
  private staged: WriteBuffer | undefined;
  private stagedCount = 0;
  /** Bytes of refused entries are left in the file behind `length`: they could not be cut off. */
  private hasRefusedBytes = false;

  constructor(disk: Disk, names: FolderNames, name: string) {
    this.file = new BucketFile(disk, names, name, ENTRIES_FORMAT, (from, to) => this.check(from, to));
  }

  get hasStaged(): boolean {
    return this.stagedCount > 0;
  }

  /** What was found in the file. @param hasMore bytes that do not count follow the entries, and are to be cut off */
  setLength(length: number, damagedBytes: number, hasMore: boolean): void {
    this.length = length;
    this.damagedBytes = damagedBytes;
    this.hasRefusedBytes = hasMore;
  }

  /**
   * Stages an entry for the next commit().
   *
   * @returns the offset that the entry will have in the file
   */
  stage(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
    this.staged ??= borrowWriteBuffer();
    const at = layEntry(this.staged, header, number, frame, from, to);
    this.stagedCount++;
    return this.length + at;
  }

  /**
   * Writes the staged entries.
   *
   * @returns why that failed. None of the entries counts then, and none stays in the file, where a later start would find it:
   *   their senders are told that they were refused
   */
  commit(): Error | undefined {
    const { staged, stagedCount } = this;
    this.staged = undefined;
    this.stagedCount = 0;
    this.lastCommitBytes = 0;
    this.lastCommitCount = 0;
    let failure = this.truncateRefused();
    if (staged === undefined) return failure;
    failure ??= this.write(staged);
    if (failure === undefined) {
      this.length += staged.used;
      this.lastCommitBytes = staged.used;
      this.lastCommitCount = stagedCount;
    }
    returnWriteBuffer(staged);
    return failure;
  }

  /** Drops the staged entries because they are refused. */
  discard(): void {
    if (this.staged !== undefined) returnWriteBuffer(this.staged);
    this.staged = undefined;
    this.stagedCount = 0;
  }

  /** Undoes the last commit(). @returns how many entries it had written */
  rollBack(): number {
    const count = this.lastCommitCount;
    if (this.lastCommitBytes === 0) return count;
    this.length -= this.lastCommitBytes;
    this.lastCommitBytes = 0;
    this.lastCommitCount = 0;
    this.markRefused();
    return count;
  }

  private write(staged: WriteBuffer): Error | undefined {
    try {
      this.file.write(staged.buffer, staged.used, this.length);
      return undefined;
    } catch (error) {
      this.markRefused();
      return error as Error;
    }
  }

  private markRefused(): void {
    this.hasRefusedBytes = true;
    // If this fails, the next commit tries again before it writes.
    this.truncateRefused();
  }

  /** Cuts refused entries off, so that a later start does not find them. */
  private truncateRefused(): Error | undefined {
    if (!this.hasRefusedBytes) return undefined;
    try {
      this.file.truncate(this.length);
      this.hasRefusedBytes = false;
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Compares entries that were written again with their checksums. */
  private check(from: number, to: number): Error | undefined {
    const until = Math.min(to, this.length);
    if (from >= until) return undefined;
    const { end, damagedBytes, failure } = walkEntries(this.file, this.length, from, until, () => {});
    if (failure !== undefined) return failure;
    // Damage that recovery found is no loss.
    if (end >= until && damagedBytes <= this.damagedBytes) return undefined;
    return new Error(`a sync of ${this.file.path} failed, and messages in it are lost`);
  }
}
