import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { type Disk, removeIfThere } from "../disk/disk.ts";
import { Segment } from "./segment.ts";
import { UnusableIndex } from "./segment-index.ts";

/** Bytes at the log's end whose checksums recovery looks at where nothing says how far the disk had it. */
const VERIFY_TAIL_BYTES = 16 * 1024 * 1024;
const MAX_SET_ASIDE = 1000;

export interface LogRecoveryOptions {
  disk: Disk;
  directory: string;
  topicNumber: number;
  topicName: string;
  logger: Logger;
  /** Counts regions that are damaged. */
  onCorrupt: () => void;
  /** What is below was on the disk, so a crash cannot have torn it; undefined where nobody knows. */
  syncedSequence?: number | undefined;
  /** What is below is finished everywhere: leftovers of it are removed without a word. */
  neededSequence?: number;
}

/** Finds the segments of one log again, whatever became of their files: torn, zeroed, flipped, missing, half made or half removed. */
export function recoverSegments(options: LogRecoveryOptions): Segment[] {
  return new LogRecovery(options).run();
}

class LogRecovery {
  private readonly segments: Segment[] = [];
  /** Bound of the sequences that were on the disk: damage below it was done to bytes that were once whole. */
  private readonly synced: number;
  /** Where records end at the latest that are looked for in the segment at hand. */
  private end = 0;

  constructor(private readonly options: LogRecoveryOptions) {
    this.synced = options.syncedSequence ?? Number.POSITIVE_INFINITY;
  }

  run(): Segment[] {
    const { disk, directory } = this.options;
    const names = disk.list(directory);
    for (const name of names) if (name.endsWith(".idx.new")) removeIfThere(disk, join(directory, name));
    const found = new Set(names.filter((name) => /^[0-9a-f]{16}\.(log|idx)$/.test(name)).map((name) => name.slice(0, 16)));
    const ordered = [...found].sort();
    for (const [at, name] of ordered.entries()) {
      const next = ordered[at + 1];
      this.end = Math.min(this.synced, next === undefined ? Number.POSITIVE_INFINITY : Number.parseInt(next, 16));
      const segment = this.open(name, names.includes(`${name}.log`), names.includes(`${name}.idx`));
      if (segment !== undefined) this.append(segment);
    }
    this.placeFirst();
    this.cutTornTail();
    // They open again when needed: a thousand idle topics must not hold two thousand files.
    for (const segment of this.segments) segment.close();
    return this.segments;
  }

  private open(name: string, hasLog: boolean, hasIndex: boolean): Segment | undefined {
    const { disk, directory, topicNumber } = this.options;
    const path = join(directory, name);
    if (!hasLog) {
      const opened = Segment.open(disk, directory, name, topicNumber, 0);
      const lost = opened instanceof UnusableIndex ? undefined : opened;
      lost?.close();
      if (lost !== undefined && (lost.entries === 0 || lost.nextSequence <= this.needed)) removeIfThere(disk, `${path}.idx`);
      else {
        const messages =
          lost === undefined ? "messages" : `${lost.nextSequence - lost.baseSequence} messages from sequence ${lost.baseSequence} on`;
        this.damaged(`${path}.log is missing, and with it ${messages}; its index is kept as ${this.setAside(`${path}.idx`)}`);
      }
      return undefined;
    }
    const opened = hasIndex
      ? Segment.open(disk, directory, name, topicNumber, this.synced)
      : new UnusableIndex("its index is missing", true);
    if (opened instanceof UnusableIndex) return this.rebuild(name, hasIndex, opened);
    this.mend(opened);
    return opened;
  }

  /** The index is of no use: the records themselves say what they are. */
  private rebuild(name: string, hasIndex: boolean, problem: UnusableIndex): Segment | undefined {
    const { disk, directory, topicNumber } = this.options;
    const path = join(directory, name);
    const rebuilt = Segment.rebuild(disk, directory, name, topicNumber, this.end);
    if (rebuilt.entries > 0 && rebuilt.nextSequence <= this.needed && this.segments.length === 0) {
      // A crash in the middle of its removal.
      rebuilt.remove();
      return undefined;
    }
    if (rebuilt.entries > 0) {
      const aside = hasIndex ? `; the damaged one is kept as ${this.setAside(`${path}.idx`)}` : "";
      rebuilt.adoptIndex();
      const missing = rebuilt.damagedRecords === 0 ? "" : `, ${rebuilt.damagedRecords} more are damaged and are skipped`;
      const whole = rebuilt.nextSequence - rebuilt.baseSequence - rebuilt.damagedRecords;
      this.damaged(`${path}: ${problem.message}; it was made anew from the ${whole} messages in the log file${missing}${aside}`);
      return rebuilt;
    }
    // A whole header of another kind is nothing a crash leaves; and of records nothing says that they were ever whole.
    const keep = rebuilt.holdsRecords || !problem.unfinished;
    rebuilt.abandonIndex();
    if (keep) {
      const kept = this.setAside(`${path}.log`);
      const index = hasIndex ? ` and ${this.setAside(`${path}.idx`)}` : "";
      this.damaged(`${path} is left out: ${problem.message}; it is kept as ${kept}${index}`);
      return undefined;
    }
    // A crash while the segment was made, or while it was removed: nothing in it counts.
    removeIfThere(disk, `${path}.idx`);
    removeIfThere(disk, `${path}.log`);
    return undefined;
  }

  /** Entries of the index are damaged or gone: what was on the disk is found in the log file. */
  private mend(segment: Segment): void {
    const { indexPath, bridgedEntries, droppedEntries } = segment;
    if (bridgedEntries > 0) {
      this.damaged(`${bridgedEntries} entries of ${indexPath} are damaged; their messages are kept as far as they are whole`);
    }
    if (droppedEntries === 0) return;
    const before = segment.nextSequence;
    if (before < this.end) segment.extend(this.end);
    const found = segment.nextSequence - before;
    // Zeros at the end are what a crash leaves of entries that did not reach the disk: those were not synced.
    if (found > 0)
      this.damaged(`the last ${droppedEntries} entries of ${indexPath} are damaged; ${found} messages were found without them`);
    else if (before < this.end) this.damaged(`the last ${droppedEntries} entries of ${indexPath} are damaged; their messages are dropped`);
    else
      this.torn(`the last ${droppedEntries} entries of ${indexPath} were torn by a crash before they reached the disk; they are dropped`);
  }

  private append(segment: Segment): void {
    const before = this.segments[this.segments.length - 1];
    if (before !== undefined) {
      if (segment.baseSequence < before.nextSequence) {
        segment.close();
        const kept = [segment.logPath, segment.indexPath].map((path) => this.setAside(path));
        this.damaged(`${segment.logPath} does not follow on the segment before; it is kept as ${kept.join(" and ")}`);
        return;
      }
      this.joinOn(before, segment);
      const end = before.endPosition + (segment.baseSequence > before.nextSequence ? 1 : 0);
      // Positions only have to grow, with at least one left out where sequences are.
      if (!segment.positionKnown || segment.basePosition < end || segment.baseSequence === before.nextSequence)
        segment.setBasePosition(end);
    }
    this.segments.push(segment);
    // It opens again when needed: a log may have more segments than a process files.
    before?.close();
  }

  /** A full segment ends where the next one begins: if it ends earlier, entries of it were lost, or numbers passed over. */
  private joinOn(before: Segment, next: Segment): void {
    if (before.nextSequence === next.baseSequence) return;
    const passedOver = next.positionKnown && before.positionKnown && next.basePosition - before.endPosition === 1;
    if (passedOver) return;
    const was = before.nextSequence;
    if (was < this.synced) before.extend(Math.min(next.baseSequence, this.synced));
    const found = before.nextSequence - was;
    if (found > 0) this.damaged(`entries at the end of ${before.indexPath} are missing; ${found} messages were found without them`);
    const missing = next.baseSequence - before.nextSequence;
    if (missing > 0) {
      this.damaged(`${missing} messages from sequence ${before.nextSequence} on are missing before ${next.logPath}; they are skipped`);
    }
  }

  private placeFirst(): void {
    const [first, second] = this.segments;
    if (first === undefined || first.positionKnown) return;
    if (second === undefined) first.setBasePosition(0);
    else first.setBasePosition(second.basePosition - first.length - (second.baseSequence > first.nextSequence ? 1 : 0));
  }

  /**
   * Commits at the end whose bytes do not match their checksum were torn by the crash. Those with whole ones behind them
   * stay, and are skipped when they are read: to cut the log there could cost what was acknowledged, since the note on how
   * far it was synced may be older than the truth.
   */
  private cutTornTail(): void {
    const tail = this.segments[this.segments.length - 1];
    if (tail === undefined || tail.entries === 0) return;
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
    this.torn(
      `the last ${before - tail.nextSequence} messages of ${tail.logPath} were torn by a crash before they reached the disk; they are dropped`,
    );
  }

  private get needed(): number {
    return this.options.neededSequence ?? 0;
  }

  /** Gives a file that is of no use another name: an operator may know more than we do. @returns the name */
  private setAside(path: string): string {
    const { disk } = this.options;
    for (let i = 1; i < MAX_SET_ASIDE; i++) {
      const aside = `${path}.damaged${i === 1 ? "" : `-${i}`}`;
      if (disk.exists(aside)) continue;
      disk.rename(path, aside);
      return aside;
    }
    throw new Error(`there are ${MAX_SET_ASIDE} damaged files beside ${path}; remove those that are not needed any more`);
  }

  private damaged(what: string): void {
    this.options.onCorrupt();
    this.options.logger.error(`TOPIC(${this.options.topicName}): ${what}`);
  }

  private torn(what: string): void {
    this.options.logger.warn(`TOPIC(${this.options.topicName}): ${what}`);
  }
}
