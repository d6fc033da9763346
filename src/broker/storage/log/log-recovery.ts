import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import { type Disk, removeIfThere } from "../disk/disk.ts";
import { FolderNames, listRenamed } from "../disk/folder-names.ts";
import { setAside } from "../disk/set-aside.ts";
import { isKernelError, reading } from "../disk/unreadable-file.ts";
import { type LastRun, mayBeCutOff } from "../file-notes.ts";
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, UnusableIndex } from "./index-format.ts";
import { Segment } from "./segment.ts";
import { doubtfulSegments, forgetDoubt, isBeingBuilt, noteDoubt } from "./segment-building.ts";
import { abandonIndex, adoptIndex, extendIndex, holdsRecords, rebuildSegment, syncIndex } from "./segment-rebuild.ts";

/** How many bytes at the log's end recovery checks where the synced sequence is unknown or below the end. */
const VERIFY_TAIL_BYTES = 16 * 1024 * 1024;

export interface LogRecoveryOptions {
  disk: Disk;
  directory: string;
  topicNumber: number;
  topicName: string;
  /** The beginning of the topic's ids, for the indexes that are written; undefined: unknown. */
  prefix?: number | undefined;
  /** Position of the first message of a log without files. */
  firstPosition?: number;
  logger: Logger;
  /** Called for each damaged region. */
  onCorrupt: () => void;
  /** Messages below this sequence were on the disk, so a crash cannot have torn them; undefined: unknown. */
  syncedSequence?: number | undefined;
  /** Messages below this sequence are finished in all channels: their leftover files are removed without a log line. */
  neededSequence?: number;
  /** How the run before ended. If its end cannot have torn a file, whatever is wrong with one is damage. */
  lastRun?: LastRun;
  /** Other replicas of a log that has epochs may have what is damaged: it keeps its place, and is told apart from what is proved. */
  isReplicated?: boolean;
}

/**
 * Opens the segments of one log after any end of the run before. Their files may be torn, zeroed, damaged, missing, or partly
 * created or removed.
 *
 * @throws UnreadableFile where a file cannot be read. Nothing was cut off or removed because of it, and a later call finds what
 *   this one would have found
 */
export function recoverSegments(
  options: LogRecoveryOptions,
  names: FolderNames = new FolderNames(options.disk, options.directory),
): Segment[] {
  return new LogRecovery(options, names).run();
}

/**
 * The prefix that earlier runs gave to a log's ids: the one in the newest segment's index, or else that of the first intact
 * record. Undefined for a log without either.
 */
export function recordedPrefix(segments: readonly Segment[], topicNumber: number): number | undefined {
  const known = segments.findLast(({ prefix }) => prefix !== undefined)?.prefix;
  if (known !== undefined) return known;
  for (const segment of segments) {
    const prefix = segment.entries > 0 ? segment.readFirstPrefix() : -1;
    if (prefix >= 0 && prefix % TOPIC_NUMBER_LIMIT === topicNumber) return prefix;
  }
  return undefined;
}

class LogRecovery {
  private readonly segments: Segment[] = [];
  /** Messages below this sequence were on the disk, so damage to them is not from a crash. */
  private readonly synced: number;
  /** All that the last run wrote is in the files: an index entry is written after its records, so both are whole. */
  private readonly wholeWrites: boolean;
  /** Where the next segment begins; undefined: there is none. */
  private nextBase: number | undefined;
  /** Upper bound for the sequences of records in the current segment that may count without an index entry. */
  private end = 0;

  constructor(
    private readonly options: LogRecoveryOptions,
    private readonly folderNames: FolderNames,
  ) {
    this.synced = options.syncedSequence ?? Number.POSITIVE_INFINITY;
    this.wholeWrites = options.lastRun === "clean" || options.lastRun === "killed";
  }

  run(): Segment[] {
    try {
      this.openAll();
    } finally {
      // Their next use opens them again. A thousand idle topics must not have two thousand open files.
      for (const segment of this.segments) segment.close();
    }
    return this.segments;
  }

  private openAll(): void {
    const { disk, directory } = this.options;
    const names = listRenamed(disk, directory);
    for (const name of names) if (isBeingBuilt(name)) removeIfThere(disk, join(directory, name));
    const doubtful = doubtfulSegments(names);
    const found = new Set(names.filter((name) => /^[0-9a-f]{16}\.(log|idx)$/.test(name)).map((name) => name.slice(0, 16)));
    const ordered = [...found].sort();
    for (const [at, name] of ordered.entries()) {
      const next = ordered[at + 1];
      this.nextBase = next === undefined ? undefined : Number.parseInt(next, 16);
      this.end = Math.min(this.synced, this.nextBase ?? Number.POSITIVE_INFINITY);
      const segment = this.open(name, names.includes(`${name}.log`), names.includes(`${name}.idx`));
      if (segment !== undefined && doubtful.delete(name)) segment.isDoubtful = true;
      if (segment !== undefined) this.append(segment);
    }
    for (const name of doubtful) forgetDoubt(disk, this.folderNames, name);
    this.placeFirst();
    this.cutTornTail();
  }

  private open(name: string, hasLog: boolean, hasIndex: boolean): Segment | undefined {
    const { disk, directory, topicNumber } = this.options;
    const path = join(directory, name);
    if (!hasLog) {
      const opened = Segment.open(disk, this.folderNames, name, topicNumber, 0);
      const lost = opened instanceof UnusableIndex ? undefined : opened;
      lost?.close();
      if (lost !== undefined && (lost.entries === 0 || lost.nextSequence <= this.needed)) removeIfThere(disk, `${path}.idx`);
      else {
        const messages =
          lost === undefined ? "messages" : `${lost.nextSequence - lost.baseSequence} messages from sequence ${lost.baseSequence} on`;
        this.reportDamage(`${path}.log is missing, and with it ${messages}; its index is kept as ${this.setAside(`${path}.idx`)}`);
      }
      return undefined;
    }
    const indexBytes = hasIndex ? reading(`${path}.idx`, () => disk.sizeOf(`${path}.idx`)) : 0;
    const opened = hasIndex
      ? Segment.open(disk, this.folderNames, name, topicNumber, this.wholeWrites ? Number.POSITIVE_INFINITY : this.synced)
      : new UnusableIndex("its index is missing", true);
    if (opened instanceof UnusableIndex) return this.rebuild(name, hasIndex, opened);
    try {
      this.repairIndex(opened, indexBytes);
      opened.cutIndexEnd();
    } catch (error) {
      opened.close();
      throw error;
    }
    return opened;
  }

  /** Rebuilds an index that cannot be used from the records. */
  private rebuild(name: string, hasIndex: boolean, problem: UnusableIndex): Segment | undefined {
    const { disk, directory, topicNumber, prefix } = this.options;
    const path = join(directory, name);
    // All that was written is there, acknowledged or not, and the records say themselves which they are.
    const end = this.wholeWrites ? (this.nextBase ?? Number.POSITIVE_INFINITY) : this.end;
    // Nothing but the header tells where an epoch begins, so the records count as of the one before.
    const epoch = this.segments[this.segments.length - 1]?.epoch ?? 0;
    const rebuilt = rebuildSegment(disk, this.folderNames, name, end, { topicNumber, prefix, epoch });
    try {
      return this.replaceIndex(rebuilt, path, hasIndex, problem);
    } catch (error) {
      rebuilt.close();
      throw error;
    }
  }

  /** @returns undefined if the segment is not used */
  private replaceIndex(rebuilt: Segment, path: string, hasIndex: boolean, problem: UnusableIndex): Segment | undefined {
    const { disk } = this.options;
    if (rebuilt.entries > 0 && rebuilt.nextSequence <= this.needed && this.segments.length === 0) {
      // A crash interrupted the removal of this segment.
      rebuilt.remove();
      return undefined;
    }
    if (rebuilt.entries > 0) {
      tryToSync(() => syncIndex(rebuilt));
      const aside = hasIndex ? `; the damaged index is kept as ${this.setAside(`${path}.idx`)}` : "";
      this.doubt(rebuilt);
      adoptIndex(rebuilt, this.folderNames);
      tryToSync(() => this.folderNames.syncNow());
      const damaged = rebuilt.damagedRecords === 0 ? "" : `, ${rebuilt.damagedRecords} more are damaged and are skipped`;
      const intact = rebuilt.nextSequence - rebuilt.baseSequence - rebuilt.damagedRecords;
      this.reportDamage(
        `${path}.idx: ${problem.message}; the index was rebuilt from the ${intact} messages in the log file${damaged}${aside}`,
      );
      return rebuilt;
    }
    // Records without an index may be torn, so they are not used; they may be needed, so they are kept. A crash cannot leave an
    // intact header of another kind, so a log file beside such a header is kept too.
    const finished = !hasIndex && this.nextBase !== undefined && this.nextBase <= this.needed && this.segments.length === 0;
    // A crash that interrupts the removal of a segment leaves its log file, whether it was synced or not.
    const keep = !finished && (holdsRecords(rebuilt) || !problem.unfinished);
    abandonIndex(rebuilt);
    if (keep) {
      const kept = this.setAside(`${path}.log`);
      const index = hasIndex ? ` and ${this.setAside(`${path}.idx`)}` : "";
      this.reportDamage(`${path}.log is not used: ${problem.message}; it is kept as ${kept}${index}`);
      return undefined;
    }
    // A crash interrupted the creation or the removal of this segment: nothing in it counts.
    removeIfThere(disk, `${path}.idx`);
    removeIfThere(disk, `${path}.log`);
    return undefined;
  }

  /** Where index entries are damaged or missing, finds the records that were on the disk in the log file. */
  private repairIndex(segment: Segment, indexBytes: number): void {
    const { indexPath, bridgedEntries, droppedEntries } = segment;
    if (bridgedEntries > 0) {
      this.doubt(segment);
      this.reportDamage(`${bridgedEntries} entries of ${indexPath} are damaged; their messages are kept where they are intact`);
    }
    const cut = this.isCut(indexBytes);
    const short = this.nextBase === undefined && segment.nextSequence < this.end && Number.isFinite(this.end);
    if (droppedEntries === 0 && !cut && !short) return;
    const before = segment.nextSequence;
    const end = this.wholeWrites && (droppedEntries > 0 || cut) ? (this.nextBase ?? Number.POSITIVE_INFINITY) : this.end;
    if (before < end) extendIndex(segment, end);
    const found = segment.nextSequence - before;
    const what =
      droppedEntries > 0 ? `the last ${droppedEntries} entries of ${indexPath} are damaged` : `the end of ${indexPath} is missing`;
    if (found > 0) this.doubt(segment);
    // A crash leaves zeros in place of entries that did not reach the disk. Those were not synced.
    if (found > 0) this.reportDamage(`${what}; ${found} messages were found without them`);
    else if (before < end && (droppedEntries > 0 || cut)) this.reportDamage(`${what}; their messages are dropped`);
    else if (droppedEntries > 0)
      this.reportTorn(
        `the last ${droppedEntries} entries of ${indexPath} were torn by a crash before they reached the disk; they are dropped`,
      );
  }

  /** Whether an index file of `bytes` bytes ends in a part of an entry that no crash explains. */
  private isCut(bytes: number): boolean {
    const part = Math.max(0, bytes - INDEX_HEADER_BYTES) % INDEX_ENTRY_BYTES;
    return this.wholeWrites && part > 0 && !mayBeCutOff(this.options.lastRun ?? "unknown", bytes);
  }

  private append(segment: Segment): void {
    const before = this.segments[this.segments.length - 1];
    if (before !== undefined) {
      if (segment.baseSequence < before.nextSequence) {
        segment.close();
        const kept = [segment.logPath, segment.indexPath].map((path) => this.setAside(path));
        this.reportDamage(`${segment.logPath} overlaps the segment before it; it is kept as ${kept.join(" and ")}`);
        return;
      }
      this.joinOn(before, segment);
      const end = before.endPosition + (segment.baseSequence > before.nextSequence ? 1 : 0);
      // Any position above the end of the segment before will do. Where sequences are missing, one position at least is left out.
      if (!segment.positionKnown || segment.basePosition < end || segment.baseSequence === before.nextSequence)
        segment.setBasePosition(end);
    }
    this.segments.push(segment);
    // Its next use opens it again. A log may have more segments than a process may have open files.
    before?.close();
  }

  /** A segment ends where the next one begins. If it ends earlier, index entries were lost, or sequences were skipped. */
  private joinOn(before: Segment, next: Segment): void {
    if (before.nextSequence === next.baseSequence) return;
    const skipped = next.positionKnown && before.positionKnown && next.basePosition - before.endPosition === 1;
    if (skipped) return;
    const was = before.nextSequence;
    if (was < this.synced) extendIndex(before, Math.min(next.baseSequence, this.synced));
    const found = before.nextSequence - was;
    if (found > 0) this.doubt(before);
    if (found > 0) this.reportDamage(`entries at the end of ${before.indexPath} are missing; ${found} messages were found without them`);
    const missing = next.baseSequence - before.nextSequence;
    if (missing > 0) {
      const isReplica = this.options.isReplicated === true && Math.max(before.epoch, next.epoch) > 0;
      const what = isReplica ? "another replica may have them" : "they are skipped";
      this.reportDamage(`${missing} messages from sequence ${before.nextSequence} on are missing before ${next.logPath}; ${what}`);
      if (isReplica) return;
      // Written down, so that the next start knows the gap.
      next.setBasePosition(before.endPosition + 1, true);
    }
  }

  private placeFirst(): void {
    const [first, second] = this.segments;
    if (first === undefined || first.positionKnown) return;
    if (second === undefined) first.setBasePosition(this.options.firstPosition ?? 0);
    else first.setBasePosition(second.basePosition - first.length - (second.baseSequence > first.nextSequence ? 1 : 0));
  }

  /**
   * Cuts off the commits at the end that do not match their checksum: the crash tore them. A torn commit with intact ones behind
   * it stays, and readers skip it. Cutting the log there could lose acknowledged messages, since more may have been synced
   * than the metadata store knows.
   */
  private cutTornTail(): void {
    const tail = this.segments[this.segments.length - 1];
    // What does not match its checksum is damage then. It stays, and readers report and skip it.
    if (tail === undefined || tail.entries === 0 || this.wholeWrites) return;
    const known = this.options.syncedSequence ?? 0;
    let number = tail.entries - 1;
    let bytes = 0;
    let torn = 0;
    for (; number >= 0 && bytes < VERIFY_TAIL_BYTES; number--) {
      const entry = tail.entryAt(number);
      if (entry.firstSequence < known) break;
      bytes += entry.length;
      if (tail.verify(entry)) break;
      torn++;
    }
    if (torn === 0) return;
    const before = tail.nextSequence;
    tail.truncate(tail.entries - torn);
    this.reportTorn(
      `the last ${before - tail.nextSequence} messages of ${tail.logPath} were torn by a crash before they reached the disk; they are dropped`,
    );
  }

  /** Nothing proves that the records of a segment are what was written: they were found without index entries, and bodies have no checksum. */
  private doubt(segment: Segment): void {
    if (this.options.isReplicated === true) noteDoubt(this.options.disk, this.folderNames, segment);
  }

  private get needed(): number {
    return this.options.neededSequence ?? 0;
  }

  /** @returns the new name of a file that cannot be used */
  private setAside(path: string): string {
    return setAside(this.options.disk, path);
  }

  private reportDamage(line: string): void {
    this.options.onCorrupt();
    this.options.logger.error(`TOPIC(${this.options.topicName}): ${line}`, { topic: this.options.topicName });
  }

  private reportTorn(line: string): void {
    this.options.logger.warn(`TOPIC(${this.options.topicName}): ${line}`, { topic: this.options.topicName });
  }
}

/**
 * Runs a sync of a rebuilt index: should a power cut take it, only records would count that are known to have been synced. Where it
 * fails, the log's next sync makes up for it.
 */
function tryToSync(sync: () => void): void {
  try {
    sync();
  } catch (error) {
    if (!isKernelError(error)) throw error;
  }
}
