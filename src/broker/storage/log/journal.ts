import { type RandomSource, systemRandom } from "../../../base/random-source.ts";
import type { Disk } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { setAside } from "../disk/set-aside.ts";
import { FileNotes } from "../file-notes.ts";

/**
 * One file for the small commits of many topics. When a turn of the event loop brings single messages for hundreds of
 * topics, a write to each topic's own files costs far more than the messages do. One write to the journal takes them all.
 * The logs write to their own files later, when there is more to write at once: see TopicLog.catchUp().
 *
 *     file  := block 0: magic "BQJN" | version u32 | nonce 8 bytes | crc32 u32, and at byte 64 the state
 *              then groups, each from the start of a block on; the file is a ring
 *     state := number of the newest group f64 | its head f64 | oldest head needed f64 | file bytes f64 | crc32 of these u32
 *     group := length u32 | crc32 of all that follows u32 | nonce 8 bytes | number f64 | time ms f64 | entries
 *     entry := topic id f64 | first sequence f64 | count u32 | length u32 | records
 *
 * All numbers are little-endian. In version 1 an entry began with topic number u32 | count u32 | first sequence f64 | length u32.
 * A number goes to another topic when its topic is deleted; an id does not. The nonce is random each time the file is created, so
 * that neither the body of a message nor the rest of another file can pass for a group.
 *
 * The state is written after each group, before anything in the group is acknowledged. With it a reader tells damage from the
 * end of a run: every group from the oldest that is needed to the newest must be there and intact. A head is the place of a
 * group in a ring that never ends; modulo the capacity it is the offset in the file. Earlier brokers wrote no state, and leave
 * zeros there.
 *
 * The journal is for topics with --durability=write: what is in it survives the end of the process. It is never synced.
 * Before a sync the logs write what only the journal has to their own files, and these are synced.
 */

/** Name of the journal in the broker's folder. */
export const JOURNAL_FILE = "journal";

export const MAGIC = 0x4e4a5142;
export const VERSION = 2;
export const BLOCK_BYTES = 4096;
export const HEADER_BYTES = 20;
const NONCE_BYTES = 8;
/** Offset of the state in block 0. */
export const STATE_OFFSET = 64;
export const STATE_BYTES = 36;
export const GROUP_HEADER_BYTES = 32;
export const ENTRY_HEADER_BYTES = 24;
/** In version 1. */
export const ENTRY_HEADER_BYTES_1 = 20;
/** Offset in a group of the first byte that the checksum covers. */
export const SUMMED_FROM = 8;
/** Size of the file. A thousand topics can have a few dozen messages each in it before the first one has to be written to its log. */
export const CAPACITY_BYTES = 16 * 1024 * 1024;
export const MAX_GROUP_BYTES = 1024 * 1024;
/** Larger commits go to their log's own files at once. */
export const MAX_JOURNALED_BYTES = 16 * 1024;
/** After a failed write, all logs write to their own files for this long. */
const RETRY_MS = 1000;

/** A log of which the journal may have commits that its own files do not have yet. */
export interface JournaledLog {
  readonly topicId: number;
  /** Writes what only the journal has to the log's own files. @returns the error if that failed; the journal keeps the commits then */
  catchUp(): Error | undefined;
  /** Called for a log that has staged a commit. @param written false: the log must write the commit to its own files */
  onJournalWritten(written: boolean): void;
}

export class Journal {
  private readonly file: LazyFile;
  private readonly nonce = Buffer.alloc(NONCE_BYTES);
  /** The group that is being built. */
  private group: Buffer = Buffer.alloc(0);
  private used = 0;
  /** The logs with a commit in the group. */
  private staged: JournaledLog[] = [];
  /** The logs whose own files are behind, each with the `head` of the first group that it still needs; oldest first. */
  private readonly behind = new Map<JournaledLog, number>();
  /** Where the next group goes. It only grows; modulo the capacity it is the offset in the file. */
  private head = 0;
  private groups = 0;
  private retryAtMs = 0;
  private held = false;
  /** Bytes of the file. */
  private fileBytes = 0;
  private readonly state = Buffer.alloc(STATE_BYTES);

  /** @param capacityBytes a multiple of the block size, and several times the largest group */
  constructor(
    private readonly disk: Disk,
    path: string,
    private readonly failed: (error: Error) => void = () => {},
    private readonly capacityBytes = CAPACITY_BYTES,
    private readonly random: RandomSource = systemRandom,
    private readonly notes = new FileNotes(),
  ) {
    this.file = new LazyFile(disk, path);
  }

  get path(): string {
    return this.file.path;
  }

  /** Keeps the file of an earlier run, which topics that are not open yet need. Until release() all logs write to their own files. */
  hold(): void {
    this.held = true;
  }

  /** Nobody needs the file of the earlier run any more: removes it. @throws the kernel's error; then the file stays as it is */
  release(): void {
    this.held = true;
    this.file.close();
    this.notes.forget(JOURNAL_FILE);
    this.file.remove();
    this.held = false;
  }

  /**
   * Adds a log's commit to the group if it fits. writeStaged() then calls the log's onJournalWritten(). A log whose commit does
   * not fit is not called, and writes to its own files.
   *
   * @param from offset of the records in `source`
   */
  stage(log: JournaledLog, firstSequence: number, count: number, source: Buffer, from: number, to: number): void {
    const length = to - from;
    if (this.held) return;
    if (this.group.length === 0) this.group = Buffer.allocUnsafeSlow(MAX_GROUP_BYTES);
    if (this.used === 0) this.used = GROUP_HEADER_BYTES;
    const at = this.used;
    if (length > MAX_JOURNALED_BYTES || at + ENTRY_HEADER_BYTES + length > MAX_GROUP_BYTES) return;
    const { group } = this;
    group.writeDoubleLE(log.topicId, at);
    group.writeDoubleLE(firstSequence, at + 8);
    group.writeUInt32LE(count, at + 16);
    group.writeUInt32LE(length, at + 20);
    source.copy(group, at + ENTRY_HEADER_BYTES, from, to);
    this.used = at + ENTRY_HEADER_BYTES + length;
    this.staged.push(log);
  }

  /**
   * Writes the group, and calls the onJournalWritten() of its logs.
   *
   * @param timeMs wall-clock time, which is written to the file
   * @param steadyMs time of a clock that nobody can set
   */
  writeStaged(timeMs: number, steadyMs: number): void {
    const { staged } = this;
    if (staged.length === 0) return;
    let written = false;
    try {
      if (steadyMs >= this.retryAtMs) {
        this.writeGroup(timeMs);
        written = true;
      }
    } catch (error) {
      this.retryAtMs = steadyMs + RETRY_MS;
      this.failed(error as Error);
    }
    this.used = 0;
    this.staged = [];
    for (const log of staged) log.onJournalWritten(written);
  }

  /** A log has all its commits in its own files, or was deleted. */
  caughtUp(log: JournaledLog): void {
    this.behind.delete(log);
  }

  /** Removes the file because space is short, unless a log cannot catch up. */
  freeFile(): void {
    for (const log of [...this.behind.keys()]) if (log.catchUp() !== undefined) return;
    this.removeIfPossible();
  }

  /**
   * To be called when all logs have caught up: removes the file. If a log could not, or the file cannot be removed, it stays for the
   * next start.
   */
  close(): void {
    if (this.behind.size === 0) this.removeIfPossible();
    else this.file.close();
  }

  private removeIfPossible(): void {
    try {
      this.remove();
    } catch (error) {
      this.failed(error as Error);
    }
  }

  /** Keeps a damaged file under another name. The logs' own files must have what can be read in it. @returns the name, if there is a file */
  setAside(): string | undefined {
    this.held = true;
    this.file.close();
    const aside = this.disk.exists(this.path) ? setAside(this.disk, this.path) : undefined;
    this.notes.forget(JOURNAL_FILE);
    this.held = false;
    return aside;
  }

  /** Removes the file, unless it is held. The logs' own files must have everything that is in it. */
  remove(): void {
    this.file.close();
    if (this.held) return;
    this.notes.forget(JOURNAL_FILE);
    this.file.remove();
  }

  /** @throws the kernel's error, about this file or a log's own files */
  private writeGroup(timeMs: number): void {
    if (!this.file.isOpen) this.make();
    const { group, used } = this;
    const bytes = Math.ceil(used / BLOCK_BYTES) * BLOCK_BYTES;
    const offset = this.head % this.capacityBytes;
    const fits = offset > 0 && offset + bytes <= this.capacityBytes;
    // A group that does not fit before the end of the file goes behind the first block.
    const start = fits ? this.head : Math.ceil(this.head / this.capacityBytes) * this.capacityBytes + BLOCK_BYTES;
    const end = start + bytes;
    for (const [log, since] of this.behind) {
      if (since >= end - this.capacityBytes) break;
      const error = log.catchUp();
      if (error !== undefined) throw error;
    }
    group.writeUInt32LE(used, 0);
    this.nonce.copy(group, 8);
    group.writeDoubleLE(this.groups, 16);
    group.writeDoubleLE(timeMs, 24);
    group.writeUInt32LE(Bun.hash.crc32(group.subarray(SUMMED_FROM, used)), 4);
    this.file.write(group, 0, used, start % this.capacityBytes);
    this.writeState(this.groups, start, Math.max(this.fileBytes, (start % this.capacityBytes) + used));
    this.groups++;
    this.head = end;
    for (const log of this.staged) if (!this.behind.has(log)) this.behind.set(log, start);
  }

  /** Records the newest group. @throws the kernel's error; the group does not count then */
  private writeState(newest: number, start: number, fileBytes: number): void {
    let needed = start;
    // The map is in the order of the heads.
    for (const since of this.behind.values()) {
      needed = since;
      break;
    }
    layState(this.state, 0, newest, start, needed, fileBytes);
    this.file.write(this.state, 0, STATE_BYTES, STATE_OFFSET);
    this.fileBytes = fileBytes;
  }

  private make(): void {
    this.file.create();
    try {
      this.random(this.nonce);
      const header = Buffer.alloc(STATE_OFFSET + STATE_BYTES);
      header.writeUInt32LE(MAGIC, 0);
      header.writeUInt32LE(VERSION, 4);
      this.nonce.copy(header, 8);
      header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 16)), 16);
      layState(header, STATE_OFFSET, -1, 0, 0, header.length);
      this.file.write(header, 0, header.length, 0);
      this.fileBytes = header.length;
      this.notes.note(JOURNAL_FILE, header.length);
    } catch (error) {
      this.file.close();
      throw error;
    }
    this.head = BLOCK_BYTES;
    this.groups = 0;
  }
}

function layState(target: Buffer, at: number, newest: number, newestHead: number, neededHead: number, fileBytes: number): void {
  target.writeDoubleLE(newest, at);
  target.writeDoubleLE(newestHead, at + 8);
  target.writeDoubleLE(neededHead, at + 16);
  target.writeDoubleLE(fileBytes, at + 24);
  target.writeUInt32LE(Bun.hash.crc32(target.subarray(at, at + 32)), at + 32);
}
