import { basename } from "node:path";
import { freeBuffer } from "../../../base/free-buffer.ts";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { setAside } from "../disk/set-aside.ts";
import type { FileFormat } from "../file-head.ts";
import { BucketFile } from "./bucket-file.ts";

// The second file of a bucket: status records of its entries, in order of writing.
//
//     file   := head, records
//     head   := magic "BQDS" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
//     record := number or offset f64 | sequence f64 | kind u32 | crc32 of the first 20 bytes u32
//
// All numbers are little-endian. A file of version 0 has no head; its records are the same. The head is as long as a record, so
// a damaged head costs itself only: the records behind it are at the same positions in a file that is read as version 0.

export const STATUS_FORMAT: FileFormat = { magic: 0x53445142, version: 1, name: "status records" };

const RECORD_BYTES = 24;
/** Ending of a file that is to replace another one. */
export const NEW_ENDING = ".new";
/** Bytes read at once: a whole number of records. */
const PAGE_BYTES = 24 * 16 * 1024;

/** The entry with this number is done. */
const DONE = 1;
/** All entries below this offset were moved to finer buckets, and no others. */
const MOVED_BELOW = 2;
/** The entry is about to join its topic's log at this sequence: after a crash the log tells whether it did. */
const JOINING = 3;
/** The entry did not join its topic's log, and no other entry has its message. */
const NOT_JOINED = 4;
/** The entry's message is in its topic's log or in another entry, which may not be synced: after a power cut this may not count. */
const ELSEWHERE = 5;
/** The records of the kinds 5 and 7 below this offset of this file count after a power cut, too. */
const SYNCED_BELOW = 6;
/** All entries below this offset were moved to finer buckets, which may not be synced: after a power cut this may not count. */
const MOVED_UNSYNCED = 7;

/** What all status records of a bucket say together. */
export interface EntryStatus {
  /** Numbers of the entries that are done, ascending. */
  done: Float64Array<ArrayBuffer>;
  /**
   * Entries whose messages were written elsewhere when no sync had covered that place yet. They are among those that are done,
   * unless a power cut came since.
   */
  elsewhere: number[];
  /** For entries that are not done: the sequence at which each was about to join its topic's log, by number. */
  joining: Map<number, number>;
  /** Entries below this offset were moved to finer buckets. */
  movedTo: number;
  /** After a power cut, entries below this offset may be in finer buckets as well; else this is `movedTo`. */
  mayBeMovedTo: number;
  /** The highest number of an entry that any record names; 0: none does. */
  highestNumber: number;
  /** Records that do not match their checksum. */
  damaged: number;
  /** Bytes behind the last whole record. */
  cutOff: number;
}

/** Writes and reads the status records of a bucket. */
export class StatusFile {
  readonly file: BucketFile;
  private length = 0;
  /** Three numbers for each record: number or offset, sequence, kind. */
  private staged: number[] = [];
  /** Records that must not reach the disk before what they rely on: the log that a message joined, the bucket that it moved to. */
  private awaitingSync: number[] = [];
  /** How many numbers at the front of `awaitingSync` the sync under way covers. */
  private coveredBySync = 0;
  /** The offset behind the last record of the kinds 5 and 7, the offset up to which the sync under way covers them, and up to which one has. */
  private elsewhereTo = 0;
  private coveredTo = 0;
  private syncedTo = 0;

  constructor(
    private readonly disk: Disk,
    private readonly names: FolderNames,
    name: string,
  ) {
    this.file = new BucketFile(disk, names, name, STATUS_FORMAT, (from, to) => this.checkRecords(from, to));
  }

  /** Bytes of the records that were written. */
  get writtenBytes(): number {
    return this.length;
  }

  get hasStaged(): boolean {
    return this.staged.length > 0;
  }

  get hasAwaitingSync(): boolean {
    return this.awaitingSync.length > 0;
  }

  /** @param afterSync write it only when the next sync has succeeded */
  markDone(number: number, afterSync: boolean): void {
    (afterSync ? this.awaitingSync : this.staged).push(number, 0, DONE);
  }

  /** The entry's message was written elsewhere. It counts as done, after a power cut only if a sync has succeeded by then. */
  markElsewhere(number: number): void {
    this.staged.push(number, 0, ELSEWHERE);
  }

  markJoining(number: number, sequence: number): void {
    this.staged.push(number, sequence, JOINING);
  }

  markNotJoined(number: number): void {
    this.staged.push(number, 0, NOT_JOINED);
  }

  /** @param afterSync write it only when the next sync has succeeded */
  markMoved(offset: number, afterSync: boolean): void {
    (afterSync ? this.awaitingSync : this.staged).push(offset, 0, MOVED_BELOW);
  }

  /** Entries were moved to where no sync has covered them. That counts, after a power cut only if a sync has succeeded by then. */
  markMovedUnsynced(offset: number): void {
    this.staged.push(offset, 0, MOVED_UNSYNCED);
  }

  /** Drops a record of a move that is not written. */
  undoMoved(offset: number): void {
    for (const records of [this.staged, this.awaitingSync]) {
      const at = records.lastIndexOf(offset);
      if (at >= 0 && (records[at + 2] === MOVED_BELOW || records[at + 2] === MOVED_UNSYNCED)) records.splice(at, 3);
    }
  }

  /** Writes the staged records. @throws the kernel's error; they stay staged then, and none of them is in the file if it can be cut */
  commit(): void {
    const records = this.staged;
    if (records.length === 0) return;
    const bytes = Buffer.allocUnsafeSlow((records.length / 3) * RECORD_BYTES);
    for (let i = 0, at = 0; i < records.length; i += 3, at += RECORD_BYTES) {
      bytes.writeDoubleLE(records[i], at);
      bytes.writeDoubleLE(records[i + 1], at + 8);
      bytes.writeUInt32LE(records[i + 2], at + 16);
      bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(at, at + 20)), at + 20);
    }
    try {
      this.file.write(bytes, bytes.length, this.length);
    } catch (error) {
      this.cutOff();
      throw error;
    }
    this.length += bytes.length;
    if (holds(records, ELSEWHERE) || holds(records, MOVED_UNSYNCED)) this.elsewhereTo = this.length;
    this.staged = [];
    freeBuffer(bytes);
  }

  /** Cuts off what a write left that failed: the first of its records would count without the later ones. */
  private cutOff(): void {
    try {
      this.file.truncate(this.length);
    } catch {
      // The next write overwrites it.
    }
  }

  /** A sync begins: the records that await one so far may be written when it has succeeded. */
  syncBegins(): void {
    this.coveredBySync = this.awaitingSync.length;
    this.coveredTo = this.elsewhereTo;
  }

  /** The sync has succeeded: stages the records that it covered. */
  syncSucceeded(): void {
    if (this.coveredTo > this.syncedTo) {
      this.staged.push(this.coveredTo, 0, SYNCED_BELOW);
      this.syncedTo = this.coveredTo;
    }
    if (this.coveredBySync === 0) return;
    for (const value of this.awaitingSync.splice(0, this.coveredBySync)) this.staged.push(value);
    this.coveredBySync = 0;
  }

  /**
   * Replaces the file by one with the intact records, in a shorter form.
   *
   * @param more numbers of further entries that are done
   * @param movedTo entries below this offset were moved
   * @param keep keeps the old file. @returns its new name
   * @throws the kernel's error
   */
  replace(more: readonly number[], movedTo: number, keep: boolean): string | undefined {
    const { done, joining, elsewhere } = this.readAll();
    const mayBeLost = new Set(elsewhere);
    const unfinished = new StatusFile(this.disk, this.names, `${basename(this.file.path)}${NEW_ENDING}`);
    unfinished.file.create();
    for (const number of done) {
      if (mayBeLost.has(number)) unfinished.markElsewhere(number);
      else unfinished.markDone(number, false);
    }
    for (const number of more) unfinished.markDone(number, false);
    for (const [number, sequence] of joining) unfinished.markJoining(number, sequence);
    if (movedTo > 0) unfinished.markMoved(movedTo, false);
    unfinished.commit();
    unfinished.file.syncNowAndClose();
    this.file.close();
    const aside = keep ? setAside(this.disk, this.file.path) : undefined;
    this.disk.rename(unfinished.file.path, this.file.path);
    this.file.onReplaced();
    this.length = unfinished.length;
    this.elsewhereTo = unfinished.elsewhereTo;
    this.coveredTo = this.syncedTo = 0;
    return aside;
  }

  /** Compares records that were written again with their checksums. */
  private checkRecords(from: number, to: number): Error | undefined {
    const until = Math.min(to, this.length);
    const page = Buffer.allocUnsafe(Math.max(0, Math.min(PAGE_BYTES, until - from)));
    for (let at = from; at < until; at += page.length) {
      const bytes = Math.min(page.length, until - at);
      this.file.read(page, 0, bytes, at);
      for (let i = 0; i + RECORD_BYTES <= bytes; i += RECORD_BYTES) {
        if (!isIntact(page, i)) return new Error(`a sync of ${this.file.path} failed, and status records in it are lost`);
      }
    }
    return undefined;
  }

  /** Reads all records, written or not. @param afterPowerCut records of messages elsewhere and of moves count only if a sync has covered them */
  readAll(afterPowerCut = false): EntryStatus {
    const size = this.file.size;
    let done = new Float64Array(Math.max(16, Math.floor(size / RECORD_BYTES)));
    let count = 0;
    let movedTo = 0;
    let highestNumber = 0;
    let damaged = 0;
    const joining = new Map<number, number>();
    /** The offset of the record of each message that is elsewhere. */
    const elsewhereAt = new Map<number, number>();
    /** Moves that may not be synced, and the offsets of their records. */
    let moves: { to: number; offset: number }[] = [];
    let syncedBelow = 0;
    const addDone = (number: number) => {
      if (count === done.length) {
        const larger = new Float64Array(2 * count);
        larger.set(done);
        done = larger;
      }
      done[count++] = number;
      joining.delete(number);
    };
    const apply = (value: number, sequence: number, kind: number, offset: number) => {
      const isNumber = kind !== MOVED_BELOW && kind !== SYNCED_BELOW && kind !== MOVED_UNSYNCED;
      if (isNumber) highestNumber = Math.max(highestNumber, value);
      if (kind === ELSEWHERE) elsewhereAt.set(value, offset);
      else if (isNumber && elsewhereAt.size > 0) elsewhereAt.delete(value);
      if (kind === DONE) addDone(value);
      else if (kind === SYNCED_BELOW) {
        syncedBelow = Math.max(syncedBelow, value);
        for (const [number, at] of elsewhereAt) {
          if (at >= value) break;
          elsewhereAt.delete(number);
          addDone(number);
        }
        for (const move of moves) if (move.offset < value) movedTo = Math.max(movedTo, move.to);
        moves = moves.filter((move) => move.offset >= value);
      } else if (kind === MOVED_BELOW) {
        movedTo = Math.max(movedTo, value);
        moves = [];
      } else if (kind === MOVED_UNSYNCED) moves.push({ to: value, offset });
      else if (kind === JOINING) joining.set(value, sequence);
      else if (kind === NOT_JOINED) joining.delete(value);
    };
    const page = Buffer.allocUnsafeSlow(Math.min(size, PAGE_BYTES));
    let at = 0;
    while (at + RECORD_BYTES <= size) {
      const bytes = Math.min(page.length, size - at);
      this.file.read(page, 0, bytes, at);
      let i = 0;
      for (; i + RECORD_BYTES <= bytes; i += RECORD_BYTES) {
        // A damaged record costs itself only: the message of its entry may be delivered again.
        if (!isIntact(page, i)) {
          damaged++;
          continue;
        }
        apply(page.readDoubleLE(i), page.readDoubleLE(i + 8), page.readUInt32LE(i + 16), at + i);
      }
      at += i;
    }
    freeBuffer(page);
    this.length = at;
    for (const records of [this.staged, this.awaitingSync]) {
      for (let i = 0; i < records.length; i += 3) apply(records[i], records[i + 1], records[i + 2], at);
    }
    const elsewhere = [...elsewhereAt.keys()];
    for (const [number, offset] of elsewhereAt) {
      if (offset < this.length) this.elsewhereTo = Math.max(this.elsewhereTo, offset + RECORD_BYTES);
      if (!afterPowerCut) addDone(number);
    }
    let mayBeMovedTo = movedTo;
    for (const { to, offset } of moves) {
      if (offset < this.length) this.elsewhereTo = Math.max(this.elsewhereTo, offset + RECORD_BYTES);
      mayBeMovedTo = Math.max(mayBeMovedTo, to);
    }
    if (!afterPowerCut) movedTo = mayBeMovedTo;
    this.syncedTo = Math.max(this.syncedTo, syncedBelow);
    return { done: done.subarray(0, count).sort(), elsewhere, joining, movedTo, mayBeMovedTo, highestNumber, damaged, cutOff: size - at };
  }
}

function holds(records: readonly number[], kind: number): boolean {
  for (let i = 2; i < records.length; i += 3) if (records[i] === kind) return true;
  return false;
}

function isIntact(page: Buffer, at: number): boolean {
  return Bun.hash.crc32(page.subarray(at, at + 20)) === page.readUInt32LE(at + 20);
}
