import type { Ballast } from "../disk/ballast.ts";
import { type Disk, removeSoon } from "../disk/disk.ts";
import { FolderNames } from "../disk/folder-names.ts";
import type { ReadRetry } from "../disk/read-failures.ts";
import { reading } from "../disk/unreadable-file.ts";
import type { BucketFinding } from "./bucket-finding.ts";
import { bucketName } from "./bucket-name.ts";
import { contains, replaceEntries, type Unresolved } from "./bucket-replacement.ts";
import { EntriesFile } from "./entries-file.ts";
import { ENTRY_HEADER_BYTES, type EntryHeader, type EntryOwnerIds, overflowKey, type ScannedEntry } from "./entry.ts";
import { isComplete, walkEntries } from "./entry-scan.ts";
import { StatusFile } from "./status-file.ts";

const NO_NUMBERS = new Float64Array(0);

/** Whether a topic's log has, at a sequence, an entry that was about to join it there. Undefined: the topic is not open yet. */
export type HasJoined = (entry: ScannedEntry, sequence: number) => boolean | undefined;

/** What recovery knows of the run before. */
export interface RecoveredState {
  /** The records that entries have joined their logs are written only when the next sync has succeeded: it covers the logs. */
  afterSync?: boolean;
  /** The run before may have ended before it synced the files. */
  unsynced?: boolean;
  /** The machine ended: of messages that were written elsewhere, those may be lost that no sync had covered. */
  afterPowerCut?: boolean;
  /** When a sync of them fails, they are written again: the machine did not end, so the disk may lack any part of them. */
  writeAgain?: boolean;
}

/**
 * The messages that fall due within one period, in two append-only files:
 *
 *     START-WIDTH.msg     entries: header and message frame, in order of arrival (entry.ts)
 *     START-WIDTH.done    status records: an entry is done, moved, or about to join its topic's log (status-file.ts)
 *
 * START and WIDTH are in milliseconds. An entry is done when its message is finished, or when another entry or its topic's log has it.
 */
export class Bucket {
  /** Entries that are not done. */
  pending = 0;
  /** The bucket's time is near: its entries are loaded into memory, front to back. */
  loading = false;
  /** Every entry below this offset is in memory, done, or in `overflow`. */
  loadedTo = 0;
  /** Channels, and topics that wait, that had no room in memory, by overflowKey(): from this offset on their entries are on disk only. */
  readonly overflow = new Map<number, number>();
  /** Numbers of entries that became done before they were loaded. */
  readonly doneUnloaded = new Set<number>();
  /** Entries below this offset were moved to finer buckets; stays 0 in a bucket of the finest width. */
  movedTo = 0;
  private previousMovedTo = 0;
  /** While recover() visits entries: those below this offset, or less than a piece behind it, may be in finer buckets as well. */
  mayBeMovedTo = 0;
  /**
   * The first offsets of the commits whose owners wait for a sync, oldest first. From the first of them on, no entry may be
   * loaded or moved: if the sync fails, its owner is told that it was refused.
   */
  private readonly untoldFrom: number[] = [];
  private removed = false;
  /** The sync epoch in which the last entry became done; -1 while there are entries that are not. */
  emptiedAtEpoch = -1;
  /** The highest number of an entry that recover() found, done or not, in the entries or in the status records. */
  highestNumber = 0;
  /** recover() has not read the files of an earlier run yet. Nothing may be written to them before. */
  awaitsRecovery = false;
  /** For entries whose topic could not tell recover() yet whether they joined its log: the sequence at which they were about to. */
  readonly unresolved = new Map<number, Unresolved>();
  notedEntries = false;
  notedStatus = false;
  /** The name of both files, without the ending. */
  readonly name: string;
  /** The retries of reading the bucket's files; the set that the bucket is in sets this. */
  readRetry: ReadRetry | undefined;
  private readonly entries: EntriesFile;
  private readonly status: StatusFile;
  /** An earlier run wrote the bucket; the numbers of its done entries are read when a scan needs them. */
  private recovered = false;
  private recoveredDone = NO_NUMBERS;

  constructor(
    private readonly disk: Disk,
    readonly directory: string,
    readonly startMs: number,
    readonly widthMs: number,
    private readonly names: FolderNames = new FolderNames(disk, directory),
  ) {
    this.name = bucketName(startMs, widthMs);
    this.entries = new EntriesFile(disk, names, `${this.name}.msg`);
    this.status = new StatusFile(disk, names, `${this.name}.done`);
  }

  get endMs(): number {
    return this.startMs + this.widthMs;
  }

  /** Bytes of whole entries in the file: the offset at which the next one is written. */
  get length(): number {
    return this.entries.length;
  }

  /** Bytes of damaged entries that recover() skipped because whole entries follow them. */
  get damagedBytes(): number {
    return this.entries.damagedBytes;
  }

  get statusBytes(): number {
    return this.status.writtenBytes;
  }

  get dirty(): boolean {
    return this.entries.hasStaged || this.status.hasStaged;
  }

  /** All entries are in memory, so a new one goes there too. */
  get fullyLoaded(): boolean {
    return this.loading && this.loadedTo === this.length;
  }

  /** Entries from this offset on must stay where they are: owners wait for a sync. */
  get toldTo(): number {
    return this.untoldFrom.length > 0 ? this.untoldFrom[0] : this.length;
  }

  /** A commit was written whose owners, of the entries from `offset` on, wait for a sync. */
  holdFrom(offset: number): void {
    this.untoldFrom.push(offset);
  }

  /** The owners of the oldest commit that waited were told. */
  releaseHeld(): void {
    this.untoldFrom.shift();
  }

  /** Nothing is left to be written, neither now nor after the next sync. */
  get fullyWritten(): boolean {
    return !this.dirty && !this.status.hasAwaitingSync;
  }

  // ---- writing entries

  /**
   * Stages an entry for the next commitEntries().
   *
   * @returns the offset that the entry will have in the file
   */
  stage(header: EntryHeader, number: number, frame: Buffer, from: number, to: number): number {
    return this.entries.stage(header, number, frame, from, to);
  }

  /** Writes the staged entries. @returns why that failed: none of them counts then */
  commitEntries(): Error | undefined {
    const failure = this.entries.commit();
    this.pending += this.entries.lastCommitCount;
    return failure;
  }

  /** Drops the staged entries because they are refused. */
  discardEntries(): void {
    this.entries.discard();
  }

  /** Undoes the last commitEntries(): another bucket's part of the same commit could not be written. */
  rollBackEntries(): void {
    this.pending -= this.entries.rollBack();
  }

  // ---- writing status records

  /**
   * Stages the record that an entry is done.
   *
   * @param afterSync write it only when the next sync has succeeded
   */
  stageDone(number: number, afterSync = false): void {
    this.status.markDone(number, afterSync);
    this.pending--;
  }

  /**
   * The message of an entry is finished or has another entry now: stages the record that this one is done.
   *
   * @param afterSync write it only when the next sync has succeeded
   */
  finish(number: number, offset: number, owner: EntryOwnerIds, afterSync = false): void {
    this.stageDone(number, afterSync);
    if (!this.hasLoaded(offset, owner)) this.doneUnloaded.add(number);
  }

  /** An entry's message is elsewhere. @param afterSync that is written only when the next sync has succeeded; else it counts then */
  stageElsewhere(number: number, afterSync: boolean): void {
    if (afterSync) return this.stageDone(number, true);
    this.status.markElsewhere(number);
    this.pending--;
  }

  /** finish() for an entry whose message another one has, which may not be synced. */
  finishReplaced(entry: EntryOwnerIds & { readonly number: number; readonly offset: number }): void {
    this.status.markElsewhere(entry.number);
    this.finish(entry.number, entry.offset, entry, true);
  }

  /** Stages the record that an entry is about to join its topic's log at a sequence. */
  stageJoining(number: number, sequence: number): void {
    this.status.markJoining(number, sequence);
  }

  /** Stages the record that an entry did not join its topic's log after all. */
  stageNotJoined(number: number): void {
    this.status.markNotJoined(number);
  }

  /**
   * Stages the record that all entries below `offset` are in finer buckets now.
   *
   * @param entries how many of them were not done before
   * @param afterSync write it only when the next sync has succeeded; else it counts after a power cut only if one has
   */
  stageMoved(offset: number, entries: number, afterSync = false): void {
    if (afterSync) this.status.markMoved(offset, true);
    else this.status.markMovedUnsynced(offset);
    this.previousMovedTo = this.movedTo;
    this.movedTo = offset;
    this.pending -= entries;
  }

  /** Undoes a stageMoved() whose record could not be written. */
  undoMoved(offset: number, entries: number): void {
    if (this.movedTo !== offset) return;
    this.movedTo = this.previousMovedTo;
    this.pending += entries;
    this.status.undoMoved(offset);
  }

  /** Writes the staged records, in the room of the ballast if the disk is full. @returns why that failed; they stay staged then */
  commitStatus(ballast: Ballast): Error | undefined {
    if (!this.status.hasStaged) return undefined;
    try {
      ballast.use(() => this.status.commit());
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** A sync begins: the records that await one so far may be written when it has succeeded. */
  syncBegins(): void {
    this.status.syncBegins();
  }

  /** The sync has succeeded: stages the records that awaited it. */
  syncSucceeded(): void {
    this.status.syncSucceeded();
  }

  // ---- reading

  /** Whether an entry was loaded into memory, or skipped there because it is done. */
  hasLoaded(offset: number, owner: EntryOwnerIds): boolean {
    if (offset >= this.loadedTo) return false;
    return this.overflow.size === 0 || offset < (this.overflow.get(overflowKey(owner)) ?? Number.POSITIVE_INFINITY);
  }

  /** Reads the frame of the entry at `offset` into `target`, at `at`. The caller knows its length from the header. */
  readFrame(target: Buffer, at: number, offset: number, frameBytes: number): void {
    this.entries.file.read(target, at, frameBytes, offset + ENTRY_HEADER_BYTES);
  }

  /**
   * Reads the whole bucket after a restart: cuts a torn tail off and sets `length`, `pending` and `movedTo`. For each entry that
   * was about to join its topic's log, stages the record that tells whether it did.
   *
   * @param visit called for each entry that is not done
   * @param explainsTail whether a crash explains that the bytes behind the last whole entry are no entry. They are cut off then;
   *   else the caller replaces the file with replaceEntries(), or the next commit cuts them off
   * @throws UnreadableFile: nothing has changed then, and what was visited does not count
   */
  recover(
    hasJoined: HasJoined,
    visit: (entry: ScannedEntry) => void,
    explainsTail: (tail: { end: number; fileBytes: number; complete: boolean }) => boolean = () => true,
    { afterSync = false, unsynced = false, writeAgain = false, afterPowerCut = false }: RecoveredState = {},
  ): BucketFinding {
    const exists = reading(this.status.file.path, () => this.disk.exists(this.status.file.path));
    const { done, elsewhere, joining, movedTo, mayBeMovedTo, highestNumber, damaged, cutOff } = this.status.readAll(afterPowerCut);
    this.mayBeMovedTo = mayBeMovedTo;
    const mayBeLost = new Set(afterPowerCut ? elsewhere : []);
    const status = { exists, bytes: this.status.writtenBytes, fileBytes: this.status.file.fileBytes, damaged, cutOff };
    const { file } = this.entries;
    const { size } = file;
    const joined: number[] = [];
    const notJoined: number[] = [];
    const unresolved: [number, Unresolved][] = [];
    let pending = 0;
    this.highestNumber = highestNumber;
    const { end, damagedBytes, failure } = walkEntries(file, size, 0, size, (entry) => {
      this.highestNumber = Math.max(this.highestNumber, entry.number);
      if (entry.offset < movedTo || contains(done, entry.number)) return;
      pending++;
      const sequence = joining.get(entry.number);
      if (sequence !== undefined) {
        const answer = hasJoined(entry, sequence);
        if (answer === true) return void joined.push(entry.number);
        if (answer === false) notJoined.push(entry.number);
        else unresolved.push([entry.number, { topicId: entry.topicId, offset: entry.offset, sequence }]);
      } else if (mayBeLost.has(entry.number)) notJoined.push(entry.number);
      visit(entry);
    });
    if (failure !== undefined) throw failure;
    const { fileBytes } = file;
    const explained = end === size || explainsTail({ end, fileBytes, complete: isComplete(file, size, end) });
    if (end < size && explained) file.truncate(end);
    this.entries.setLength(end, damagedBytes, !explained);
    this.movedTo = movedTo;
    this.pending = pending;
    this.recovered = true;
    this.awaitsRecovery = false;
    for (const number of joined) this.stageDone(number, afterSync);
    if (unsynced && size > 0) file.markUnsynced(writeAgain);
    if (unsynced && exists) this.status.file.markUnsynced(writeAgain);
    // What was moved and not synced is here again.
    if (mayBeMovedTo > movedTo) this.status.markMoved(movedTo, false);
    for (const number of notJoined) this.stageNotJoined(number);
    for (const [number, one] of unresolved) {
      this.unresolved.set(number, one);
      // It is not elsewhere before its topic says so.
      if (mayBeLost.has(number)) this.stageJoining(number, one.sequence);
    }
    this.closeFiles();
    return { end, tailBytes: size - end, fileBytes, explained, status };
  }

  /** After recover(): replaces the entries' file by one with the whole entries that are not done. @returns the old file's new name */
  replaceEntries(): string {
    const { length, aside } = replaceEntries(this.disk, this.names, this.entries.file, this.status, this.unresolved);
    this.entries.setLength(length, 0, false);
    this.movedTo = 0;
    return aside;
  }

  /** After recover(): replaces the status file by one with the intact records, and keeps the old one. @returns its new name */
  replaceStatus(): string {
    return this.status.replace([], this.movedTo, true) ?? "";
  }

  /**
   * Visits the entries that are not done and begin in the `maxBytes` from `from` on.
   *
   * @param firstPage the first bytes are read into it; with it, the visitor may keep any page it is given
   * @returns the offset behind the last entry. If a read fails behind the first entry, that is the last one before it
   * @throws UnreadableFile if nothing was visited
   */
  scan(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void, firstPage?: Buffer): number {
    if (this.recovered) {
      this.recoveredDone = this.status.readAll().done;
      this.recovered = false;
    }
    const notDone = (entry: ScannedEntry) => {
      if (this.doneUnloaded.size > 0 && this.doneUnloaded.has(entry.number)) return;
      if (this.recoveredDone.length === 0 || !contains(this.recoveredDone, entry.number)) visit(entry);
    };
    return this.walk(from, maxBytes, notDone, firstPage);
  }

  /** Visits all whole entries that begin in the `maxBytes` from `from` on, done or not. Returns and throws what scan() does. */
  scanAll(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void): number {
    return this.walk(from, maxBytes, visit);
  }

  private walk(from: number, maxBytes: number, visit: (entry: ScannedEntry) => void, firstPage?: Buffer): number {
    const { end, failure } = walkEntries(this.entries.file, this.length, from, Math.min(this.length, from + maxBytes), visit, firstPage);
    if (failure !== undefined && end === from) throw failure;
    return end;
  }

  /**
   * Whether an entry is done.
   *
   * @param isFresh a scan has just found that it was not, and it is not loaded. Otherwise all status records of the bucket are read
   * @throws UnreadableFile
   */
  isDone(number: number, isFresh = false): boolean {
    return isFresh ? this.doneUnloaded.has(number) : contains(this.status.readAll().done, number);
  }

  /** All entries are in memory or done: drops what only scans need. */
  forgetScanState(): void {
    this.doneUnloaded.clear();
    this.recoveredDone = NO_NUMBERS;
  }

  /** After recover(): visits the entries that are not done by now. @throws UnreadableFile: what was visited does not count then */
  scanRecovered(visit: (entry: ScannedEntry) => void): void {
    const { done } = this.status.readAll();
    const { failure } = walkEntries(this.entries.file, this.length, this.movedTo, this.length, (entry) => {
      if (!contains(done, entry.number)) visit(entry);
    });
    if (failure !== undefined) throw failure;
  }

  /** @throws the error for which recover() could not read the bucket, if it has not yet */
  checkRecovered(): void {
    if (this.awaitsRecovery && this.readRetry?.failure !== undefined) throw this.readRetry.failure;
  }

  // ---- files

  get unsynced(): boolean {
    return this.entries.file.unsynced || this.status.file.unsynced || this.namesUnsynced;
  }

  private get namesUnsynced(): boolean {
    return this.entries.file.nameUnsynced || this.status.file.nameUnsynced;
  }

  /** Syncs the entries, and the names of both files. */
  syncEntries(done: (error: Error | undefined) => void): void {
    this.entries.file.sync((error) => {
      if (this.removed) done(undefined);
      else if (error !== undefined || !this.namesUnsynced) done(error);
      else this.names.sync(done);
    });
  }

  /** Syncs the status records. What they say must be on the disk before. */
  syncStatus(done: (error: Error | undefined) => void): void {
    this.status.file.sync((error) => done(this.removed ? undefined : error));
  }

  closeFiles(): void {
    this.entries.file.close();
    this.status.file.close();
  }

  /**
   * Removes both files. The status records go last: without them, entries that are done would count again.
   *
   * @param failed called with the reason why a file is still there, under another name
   * @throws the kernel's error, if a file is still there under its own name
   */
  remove(failed: (error: Error) => void): void {
    this.closeFiles();
    removeSoon(this.disk, this.entries.file.path, failed);
    removeSoon(this.disk, this.status.file.path, failed);
    this.removed = true;
    this.entries.file.forgetName();
    this.status.file.forgetName();
  }
}
