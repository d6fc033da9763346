import { type RandomSource, systemRandom } from "../../../base/random-source.ts";
import { StartError } from "../../../base/start-error.ts";
import type { Disk } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { reading } from "../disk/unreadable-file.ts";

/**
 * One file for the small commits of many topics. When a turn of the event loop brings single messages for hundreds of
 * topics, a write to each topic's own files costs far more than the messages do. One write to the journal takes them all.
 * The logs write to their own files later, when there is more to write at once: see TopicLog.catchUp().
 *
 *     file  := block 0: magic "BQJN" | version u32 | nonce 8 bytes | crc32 u32
 *              then groups, each from the start of a block on; the file is a ring
 *     group := length u32 | crc32 of all that follows u32 | nonce 8 bytes | number f64 | time ms f64 | entries
 *     entry := topic id f64 | first sequence f64 | count u32 | length u32 | records
 *
 * All numbers are little-endian. In version 1 an entry began with topic number u32 | count u32 | first sequence f64 | length u32.
 * A number goes to another topic when its topic is deleted; an id does not. The nonce is random each time the file is created, so that neither the body of a message nor
 * the rest of another file can pass for a group.
 *
 * The journal is for topics with --durability=write: what is in it survives the end of the process. It is never synced.
 * Before a sync the logs write what only the journal has to their own files, and these are synced.
 */

/** Name of the journal in the broker's folder. */
export const JOURNAL_FILE = "journal";

const MAGIC = 0x4e4a5142;
const VERSION = 2;
const BLOCK_BYTES = 4096;
const HEADER_BYTES = 20;
const NONCE_BYTES = 8;
const GROUP_HEADER_BYTES = 32;
const ENTRY_HEADER_BYTES = 24;
const ENTRY_HEADER_BYTES_1 = 20;
/** Offset in a group of the first byte that the checksum covers. */
const SUMMED_FROM = 8;
/** Size of the file. A thousand topics can have a few dozen messages each in it before the first one has to be written to its log. */
const CAPACITY_BYTES = 16 * 1024 * 1024;
const MAX_GROUP_BYTES = 1024 * 1024;
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

  /** @param capacityBytes a multiple of the block size, and several times the largest group */
  constructor(
    disk: Disk,
    path: string,
    private readonly failed: (error: Error) => void = () => {},
    private readonly capacityBytes = CAPACITY_BYTES,
    private readonly random: RandomSource = systemRandom,
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
    try {
      this.remove();
    } catch (error) {
      this.failed(error as Error);
    }
  }

  /** To be called when all logs have caught up: removes the file. If a log could not, the file stays for the next start. */
  close(): void {
    if (this.behind.size === 0) this.remove();
    else this.file.close();
  }

  /** Removes the file, unless it is held. The logs' own files must have everything that is in it. */
  remove(): void {
    this.file.close();
    if (this.held) return;
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
    this.groups++;
    this.head = end;
    for (const log of this.staged) if (!this.behind.has(log)) this.behind.set(log, start);
  }

  private make(): void {
    this.file.create();
    try {
      this.random(this.nonce);
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt32LE(MAGIC, 0);
      header.writeUInt32LE(VERSION, 4);
      this.nonce.copy(header, 8);
      header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 16)), 16);
      this.file.write(header, 0, HEADER_BYTES, 0);
    } catch (error) {
      this.file.close();
      throw error;
    }
    this.head = BLOCK_BYTES;
    this.groups = 0;
  }
}

/** A commit in the journal. */
export interface JournalEntry {
  firstSequence: number;
  count: number;
  timeMs: number;
  records: Buffer;
}

/** The commits of a journal, by topic. */
export class JournalContents {
  private readonly byId = new Map<number, JournalEntry[]>();
  /** Those of a journal of version 1, which knows topics by their numbers. */
  private readonly byNumber = new Map<number, JournalEntry[]>();

  /** The commits of a topic, in the order in which they were written. */
  of(topicId: number, topicNumber: number): readonly JournalEntry[] {
    return this.byId.get(topicId) ?? this.byNumber.get(topicNumber) ?? [];
  }

  /** How many commits there are. */
  get size(): number {
    return [...this.byId.values(), ...this.byNumber.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** Adds the commits of a group. */
  addGroup(group: Buffer, timeMs: number, version: number): void {
    const headerBytes = version === 1 ? ENTRY_HEADER_BYTES_1 : ENTRY_HEADER_BYTES;
    const topics = version === 1 ? this.byNumber : this.byId;
    for (let at = GROUP_HEADER_BYTES; at + headerBytes <= group.length; ) {
      const from = at + headerBytes;
      const to = Math.min(from + group.readUInt32LE(from - 4), group.length);
      const topic = version === 1 ? group.readUInt32LE(at) : group.readDoubleLE(at);
      const entries = topics.get(topic) ?? [];
      entries.push({
        firstSequence: group.readDoubleLE(at + 8),
        count: group.readUInt32LE(version === 1 ? at + 4 : at + 16),
        timeMs,
        records: group.subarray(from, to),
      });
      topics.set(topic, entries);
      at = to;
    }
  }
}

/**
 * Reads the journal of an earlier run. Many of its commits may be in the logs' own files as well. A group that is not intact was
 * never acknowledged, or was partly overwritten later.
 */
export function readJournal(disk: Disk, path: string): JournalContents {
  const contents = new JournalContents();
  for (const { group, timeMs, version } of readGroups(disk, path)) contents.addGroup(group, timeMs, version);
  return contents;
}

/**
 * Passes the commits that a log's own files lack to `commit`, in order.
 *
 * @param next the next sequence of the log's own files
 * @param commit gets the records, the sequence of the first one, their number, and the time of the commit. The sequence may be
 *   above the next one: the log skipped sequences, or the commits before are lost
 * @returns the next sequence of the log after that
 */
export function replayJournal(
  entries: readonly JournalEntry[],
  next: number,
  commit: (records: Buffer, firstSequence: number, count: number, timeMs: number) => void,
): number {
  for (const { firstSequence, count, timeMs, records } of entries) {
    const end = firstSequence + count;
    if (end <= next) continue;
    const from = Math.max(firstSequence, next);
    let at = 0;
    for (let sequence = firstSequence; sequence < from; sequence++) at += 4 + records.readUInt32BE(at);
    commit(records.subarray(at), from, end - from, timeMs);
    next = end;
  }
  return next;
}

function readGroups(disk: Disk, path: string): { group: Buffer; timeMs: number; version: number }[] {
  const bytes = readWhole(disk, path);
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return [];
  if (Bun.hash.crc32(bytes.subarray(0, 16)) !== bytes.readUInt32LE(16)) return [];
  const version = bytes.readUInt32LE(4);
  if (version > VERSION) {
    throw new StartError(
      `${path} was written by a newer bunsq (journal version ${version}, this one reads ${VERSION}); start that version, or use another --data-path`,
    );
  }
  const nonce = bytes.subarray(8, 16);
  const found: { group: Buffer; number: number; timeMs: number; version: number }[] = [];
  for (let at = BLOCK_BYTES; at + GROUP_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const group = bytes.subarray(at, at + length);
    const intact =
      length >= GROUP_HEADER_BYTES &&
      length <= MAX_GROUP_BYTES &&
      group.length === length &&
      nonce.equals(group.subarray(8, 16)) &&
      Bun.hash.crc32(group.subarray(SUMMED_FROM)) === group.readUInt32LE(4);
    if (intact) found.push({ group, number: group.readDoubleLE(16), timeMs: group.readDoubleLE(24), version });
    at += intact ? Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES : BLOCK_BYTES;
  }
  return found.sort((a, b) => a.number - b.number);
}

function readWhole(disk: Disk, path: string): Buffer {
  if (!reading(path, () => disk.exists(path))) return Buffer.alloc(0);
  const file = new LazyFile(disk, path);
  try {
    const bytes = Buffer.allocUnsafeSlow(file.size);
    file.read(bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    file.close();
  }
}
