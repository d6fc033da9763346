import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { type CommitRun, CommitRunError, checkRun, runBelow } from "./commit-run.ts";
import { type IndexEntry, segmentName } from "./index-format.ts";
import type { Segment } from "./segment.ts";
import { forgetDoubt, SegmentBuilding } from "./segment-building.ts";

/** Puts commits of another replica in the place of damaged records. Nothing has changed before it is finished. */
export interface Mending {
  /** The sequence of the next message that is wanted. */
  readonly next: number;
  /** No more commits are wanted. */
  readonly isComplete: boolean;
  /** Takes commits from `next` on, of which there may be too many. @throws CommitRunError; the kernel's error */
  add(run: CommitRun): void;
  /** @param done gets why nothing has changed; undefined: the records are in the log. Where some are still damaged, another mending follows. */
  finish(done: (failure: Error | undefined) => void): void;
  abandon(): void;
}

interface EntryMendingEvents {
  /** The segment is still in the log. */
  isThere(): boolean;
  written(): void;
  /** The entries do not fit, or the file cannot be written: the segment has to be replaced. */
  unfit(): void;
}

/**
 * Overwrites the records of consecutive index entries, which say whether the new ones are right. Whatever ends it in between leaves them
 * damaged, or mended.
 */
export class EntryMending implements Mending {
  next: number;
  private readonly parts: Buffer[] = [];
  private readonly end: number;

  constructor(
    private readonly segment: Segment,
    private readonly entries: readonly IndexEntry[],
    private readonly events: EntryMendingEvents,
  ) {
    this.next = entries[0].firstSequence;
    const last = entries[entries.length - 1];
    this.end = last.firstSequence + last.count;
  }

  get isComplete(): boolean {
    return this.next >= this.end;
  }

  add(run: CommitRun): void {
    checkRun(run, this.next);
    const { commits, bytes } = runBelow(run, this.end);
    this.parts.push(Buffer.from(bytes));
    this.next = endOf(commits);
  }

  finish(done: (failure: Error | undefined) => void): void {
    const { segment, entries, events } = this;
    const bytes = Buffer.concat(this.parts);
    const [{ offset }] = entries;
    if (!events.isThere()) return done(new Error("the segment was removed"));
    if (
      !entries.every((entry) => Bun.hash.crc32(bytes.subarray(entry.offset - offset, entry.offset - offset + entry.length)) === entry.crc)
    ) {
      events.unfit();
      return done(new CommitRunError("what another replica has does not match the index"));
    }
    try {
      segment.overwrite(offset, bytes);
    } catch (error) {
      events.unfit();
      return done(error as Error);
    }
    events.written();
    done(undefined);
  }

  abandon(): void {}
}

interface SegmentMendingParts {
  disk: Disk;
  topicNumber: number;
  maxBytesPerFile: number;
}

interface MendedFiles {
  readonly names: FolderNames;
  readonly prefix: number | undefined;
  readonly syncs: { add(segment: Segment): void };
  forget(segment: Segment): void;
}

/** A segment's place in the log is not as large as what other replicas have there: where the messages behind it are is not known. */
export class PlaceError extends Error {
  override name = "PlaceError";
}

/** Builds a segment in the place of one that is damaged or missing. */
export class SegmentMending implements Mending {
  next: number;
  private building: SegmentBuilding | undefined;
  /** What follows belongs to another segment. */
  private hasEnded = false;

  /**
   * @param range all messages of the damaged segment, or those that are missing
   * @param old the damaged segment; undefined: it is missing
   * @param segments those of the log, in order
   */
  constructor(
    private readonly range: { readonly from: number; readonly to: number },
    private readonly old: Segment | undefined,
    private readonly parts: SegmentMendingParts,
    private readonly segments: Segment[],
    private readonly files: MendedFiles,
    private readonly onReplaced: () => void,
  ) {
    this.next = range.from;
  }

  get isComplete(): boolean {
    return this.hasEnded || this.next >= this.range.to;
  }

  add(run: CommitRun): void {
    checkRun(run, this.next);
    const { segment } = this.building ?? {};
    if (segment !== undefined) {
      const isFull = this.old === undefined && (run.startsSegment || segment.length >= this.parts.maxBytesPerFile);
      if (isFull || segment.epoch !== run.epoch) {
        this.hasEnded = true;
        return;
      }
    } else if (this.old !== undefined && !this.old.isDoubtful && this.old.epoch !== run.epoch) {
      throw new CommitRunError(`messages from ${this.next} on are of epoch ${run.epoch} there, and of ${this.old.epoch} here`);
    }
    this.building ??= this.begin(run.epoch);
    const wanted = runBelow(run, this.range.to);
    this.building.add(wanted);
    this.next = endOf(wanted.commits);
  }

  finish(done: (failure: Error | undefined) => void): void {
    const { building } = this;
    if (building === undefined) return done(new Error("no commits"));
    const end = (failure: Error | undefined) => {
      if (failure !== undefined) building.abandon();
      done(failure);
    };
    building.sync((failure) => end(failure ?? this.adopt(building)));
  }

  abandon(): void {
    this.building?.abandon();
  }

  private begin(epoch: number): SegmentBuilding {
    const { disk, topicNumber } = this.parts;
    const { names, prefix } = this.files;
    const basePosition = this.old?.basePosition ?? this.segments.findLast((one) => one.nextSequence <= this.range.from)?.endPosition ?? 0;
    return new SegmentBuilding(disk, names, { topicNumber, prefix, baseSequence: this.range.from, basePosition, epoch });
  }

  /** Puts the new segment into the log. @returns why it cannot be */
  private adopt(building: SegmentBuilding): Error | undefined {
    const { old, segments, range, files } = this;
    const { segment } = building;
    // Meanwhile the log may have been truncated, or its beginning removed.
    const at = old === undefined ? segments.findIndex(({ baseSequence }) => baseSequence >= range.to) : segments.indexOf(old);
    const before = segments[at - 1];
    const isThere = at >= 0 && (old === undefined ? before?.nextSequence === range.from : old.nextSequence === range.to);
    if (!isThere) return new Error("the log has changed");
    const after = segments[old === undefined ? at : at + 1];
    const isWhole = segment.nextSequence === after.baseSequence;
    if (isWhole ? segment.endPosition !== after.basePosition : segment.endPosition >= after.basePosition)
      return new PlaceError(`${segment.length} bytes from ${segment.basePosition} on do not fit before ${after.basePosition}`);
    try {
      building.adopt();
    } catch (error) {
      return error as Error;
    }
    if (old !== undefined) {
      files.forget(old);
      old.files.forgetNames();
      old.close();
      forgetDoubt(this.parts.disk, files.names, segmentName(range.from));
    }
    segments.splice(at, old === undefined ? 0 : 1, segment);
    files.syncs.add(segment);
    this.onReplaced();
    return undefined;
  }
}

function endOf(commits: CommitRun["commits"]): number {
  const last = commits[commits.length - 1];
  return last.firstSequence + last.count;
}
