import { join } from "node:path";
import type { DamageLog } from "../damage-log.ts";
import { type Disk, removeIfThere } from "../disk/disk.ts";
import { FolderNames, listRenamed } from "../disk/folder-names.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { setAside } from "../disk/set-aside.ts";
import { SyncGroup } from "../disk/sync-group.ts";
import { isKernelError } from "../disk/unreadable-file.ts";
import { encodeHead, HEAD_BYTES } from "../file-head.ts";
import type { FileNotes } from "../file-notes.ts";
import {
  CONFIRMED,
  entryEnd,
  HEADER_BYTES,
  KEYS_FORMAT,
  type KeyedTopic,
  type KeyVisitor,
  LONG_ID,
  notedName,
  readKeyFile,
  reportMissingKeys,
} from "./key-file.ts";

/** The keys of one window are in about this many files, so that files with old keys can be removed. */
const FILES_PER_WINDOW = 4;
const FIRST_BUFFER_BYTES = 4096;
const LARGEST_KEPT_BUFFER_BYTES = 1024 * 1024;
/** The time of an entry that makes an earlier one void. */
export const VOID_MS = 0;

interface KeyFile {
  number: number;
  file: LazyFile;
  /** Bytes that count. */
  length: number;
  /** Time of the newest entry. */
  newestMs: number;
  /** Time of the oldest entry. */
  oldestMs: number;
  entries: number;
}

export interface KeyFilesOptions {
  directory: string;
  disk: Disk;
  windowMs: number;
  limit: number;
  notes: FileNotes;
  damage: DamageLog;
  /** False: damaged files are left as they are, as in a check. */
  keepDamage: boolean;
}

/** Writes and reads the files of keys. Entries are buffered with append(), written with write(), and count from count() on. */
export class KeyFiles {
  private readonly directory: string;
  private readonly disk: Disk;
  private readonly windowMs: number;
  private readonly limit: number;
  private readonly notes: FileNotes;
  private readonly damage: DamageLog;
  private readonly keepDamage: boolean;
  /** The newest at the end: new keys are written to it. */
  private readonly files: KeyFile[] = [];
  /** Files of an earlier run. They are removed when what replaces them is on the disk. */
  private replaced: number[] = [];
  private syncFailed = false;
  private readonly names: FolderNames;
  private buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  private bufferedBytes = 0;

  constructor({ directory, disk, windowMs, limit, notes, damage, keepDamage }: KeyFilesOptions) {
    this.notes = notes;
    this.damage = damage;
    this.keepDamage = keepDamage;
    this.directory = directory;
    this.disk = disk;
    this.windowMs = windowMs;
    this.limit = limit;
    // Made here, so that its own name is synced with those of the other folders at the start.
    disk.makeDirectory(directory);
    this.names = new FolderNames(disk, directory);
  }

  // ---- writing

  get hasBuffered(): boolean {
    return this.bufferedBytes > 0;
  }

  clearBuffer(): void {
    this.bufferedBytes = 0;
    if (this.buffer.length > LARGEST_KEPT_BUFFER_BYTES) this.buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  }

  /** Appends an entry to the buffer. @param confirmed a sync has covered the deferred publish with the key */
  append({ id }: Pick<KeyedTopic, "id">, key: string, sequence: number, timeMs: number, confirmed = false): void {
    const at = this.bufferedBytes;
    const end = at + HEADER_BYTES + key.length;
    if (end > this.buffer.length) {
      const larger = Buffer.allocUnsafe(2 * end);
      this.buffer.copy(larger, 0, 0, at);
      this.buffer = larger;
    }
    const { buffer } = this;
    buffer[at + 4] = key.length;
    buffer[at + 5] = LONG_ID;
    buffer.writeUInt16LE(confirmed ? CONFIRMED : 0, at + 6);
    buffer.writeDoubleLE(id, at + 8);
    buffer.writeDoubleLE(sequence, at + 16);
    buffer.writeDoubleLE(timeMs, at + 24);
    buffer.write(key, at + HEADER_BYTES, "latin1");
    buffer.writeUInt32LE(Bun.hash.crc32(buffer.subarray(at + 4, end)), at);
    this.bufferedBytes = end;
  }

  /** Writes the buffer behind the entries that count. @throws the kernel's error */
  write(nowMs: number): void {
    const { file, length } = this.roll(nowMs);
    try {
      file.write(this.buffer, 0, this.bufferedBytes, length);
    } catch (error) {
      cutOff(file, length);
      throw error;
    }
  }

  /** Writes the buffer in place of what the last write() wrote. @throws the kernel's error */
  rewrite(): void {
    const { file, length } = this.files[this.files.length - 1];
    file.truncate(length);
    if (this.bufferedBytes > 0) file.write(this.buffer, 0, this.bufferedBytes, length);
  }

  /** The entries that were written last, from the buffer, count. */
  count(oldestMs: number, newestMs: number, entries: number): void {
    const file = this.files[this.files.length - 1];
    const isFirst = file.length === HEAD_BYTES;
    file.newestMs = Math.max(file.newestMs, newestMs);
    if (file.entries === 0) file.oldestMs = oldestMs;
    file.entries += entries;
    file.length += this.bufferedBytes;
    this.clearBuffer();
    if (isFirst) this.noteNewest();
  }

  /** Notes how long the newest file is. To be called from time to time, and when everything is written at the end. */
  noteNewest(): void {
    const file = this.files[this.files.length - 1];
    if (file !== undefined && file.length > HEAD_BYTES) this.notes.note(notedName(file.number), file.length);
  }

  /**
   * Begins a new file when the last one spans its share of the window, and removes files without keys that count.
   *
   * @returns the file that new keys are written to
   */
  private roll(nowMs: number): KeyFile {
    let last = this.files[this.files.length - 1];
    const { windowMs, limit } = this;
    const full = last !== undefined && (nowMs - last.oldestMs >= windowMs / FILES_PER_WINDOW || last.entries >= limit);
    if (last === undefined || (full && last.entries > 0)) last = this.open((last?.number ?? Math.max(0, ...this.replaced)) + 1);
    while (this.files.length > 1) {
      const behind = this.files.slice(1).reduce((sum, { entries }) => sum + entries, 0);
      if (nowMs - this.files[0].newestMs < windowMs && behind < limit) break;
      const { file, number } = this.files[0];
      file.close();
      this.removeFile(number);
      this.files.shift();
    }
    return last;
  }

  private open(number: number): KeyFile {
    const file = new LazyFile(this.disk, this.pathOf(number), "create", this.names);
    try {
      file.create();
      file.write(encodeHead(KEYS_FORMAT), 0, HEAD_BYTES, 0);
    } catch (error) {
      file.close();
      throw error;
    }
    this.noteNewest();
    const before = this.files[this.files.length - 1]?.file;
    if (before?.unsynced === false) before.close();
    const opened: KeyFile = { number, file, length: HEAD_BYTES, oldestMs: Number.POSITIVE_INFINITY, newestMs: 0, entries: 0 };
    file.check = (from, to) => checkEntries(opened, from, to);
    this.files.push(opened);
    return opened;
  }

  // ---- syncs

  /** Something was written, or a file made, that no sync covers; or files wait to be removed until one does. */
  get needsSync(): boolean {
    return this.replaced.length > 0 || this.files.some(({ file }) => file.unsynced || file.nameUnsynced);
  }

  /** Syncs what was written, off the event loop. */
  sync(done: (error: Error | undefined) => void): void {
    if (!this.needsSync) return done(undefined);
    const end = (failure: Error | undefined) => {
      this.syncFailed = failure !== undefined;
      if (failure === undefined) this.removeReplaced();
      done(failure);
    };
    const group = new SyncGroup((failure) => (failure === undefined ? this.names.sync(end) : end(failure)));
    for (const { file } of this.files) {
      if (!file.unsynced) continue;
      const ended = group.add();
      file.sync((error) => {
        // A newer one has followed it.
        if (error === undefined && file !== this.files[this.files.length - 1]?.file) file.close();
        ended(error);
      });
    }
    group.seal();
  }

  /** Closes the files. No sync may be under way. Files that could not be replaced are left to the next start. */
  close(): void {
    if (!this.syncFailed) this.removeReplaced();
    for (const { file } of this.files) file.close();
  }

  // ---- files of an earlier run

  /**
   * Reads all entries, those of the oldest file first. From here on the files are replaced by what is written. May be called again
   * when it failed.
   *
   * @param write called when all were read and nothing has changed yet: writes the keys that count
   * @throws StartError when a newer version wrote one of the files; UnreadableFile; the kernel's error
   */
  recover(visit: KeyVisitor, write: () => void): void {
    this.disk.makeDirectory(this.directory);
    const numbers = listRenamed(this.disk, this.directory)
      .map((name) => /^(\d+)\.keys$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      // An earlier call made it, and could not write to it.
      .filter((number) => !this.files.some((file) => file.number === number))
      .sort((a, b) => a - b);
    const problems = new Map<number, string>();
    for (const number of numbers) {
      const problem = readKeyFile(this.disk, this.pathOf(number), this.notes, notedName(number), visit);
      if (problem !== undefined) problems.set(number, problem);
    }
    reportMissingKeys(this.directory, this.notes, this.damage, numbers);
    this.replaced = numbers;
    write();
    if (problems.size > 0) this.replaceDamaged(problems);
    this.replaced = numbers.filter((number) => !problems.has(number));
    if (this.files.length === 0) this.removeReplaced();
    this.noteNewest();
  }

  /** Keeps damaged files of an earlier run under other names, once their sound keys are on the disk in the new file. */
  private replaceDamaged(problems: ReadonlyMap<number, string>): void {
    let failure: Error | undefined;
    try {
      if (this.keepDamage && this.files.length > 0) this.syncNow();
    } catch (error) {
      failure = error as Error;
    }
    for (const [number, problem] of problems) {
      const path = this.pathOf(number);
      let kept = "";
      if (failure !== undefined) kept = `; it cannot be replaced before the next start: ${failure.message}`;
      else if (this.keepDamage) kept = `; it is kept as ${setAside(this.disk, path)}`;
      this.damage.report("keys", `idempotency keys: ${path} is damaged: ${problem}${kept}`);
    }
  }

  /** Makes the new file and its name durable. @throws the kernel's error */
  private syncNow(): void {
    this.files[this.files.length - 1].file.syncNow();
    this.names.syncNow();
  }

  /** Removes the files of an earlier run: nothing in them counts, or what replaces them is on the disk. */
  private removeReplaced(): void {
    for (const number of this.replaced.splice(0)) this.removeFile(number);
  }

  /** A file that cannot be removed is read by the next start, which finds no more in it than in the later ones. */
  private removeFile(number: number): void {
    try {
      removeIfThere(this.disk, this.pathOf(number));
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return;
    }
    this.notes.forget(notedName(number));
  }

  private pathOf(number: number): string {
    return join(this.directory, `${number}.keys`);
  }
}

/** Cuts off what a write left that failed. Where that fails too, the next write overwrites it. */
function cutOff(file: LazyFile, length: number): void {
  try {
    file.truncate(length);
  } catch (error) {
    if (!isKernelError(error)) throw error;
  }
}

/** Compares entries of a file that were written again with their checksums. */
function checkEntries({ file, length }: KeyFile, from: number, to: number): Error | undefined {
  const start = Math.max(HEAD_BYTES, from);
  const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(to, length) - start));
  const head = Buffer.alloc(HEAD_BYTES);
  file.readUpTo(head, 0, HEAD_BYTES, 0);
  if (bytes.length > 0) file.read(bytes, 0, bytes.length, start);
  let at = 0;
  for (let end = entryEnd(bytes, at); end !== undefined; end = entryEnd(bytes, at)) at = end;
  if (at === bytes.length && head.equals(encodeHead(KEYS_FORMAT))) return undefined;
  return new Error(`a sync of ${file.path} failed, and keys in it are lost`);
}
