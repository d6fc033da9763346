import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { UnreadableFile } from "../disk/unreadable-file.ts";
import type { IndexEntry } from "./index-format.ts";
import { isDamage } from "./mender.ts";
import { EntryMending, type Mending, SegmentMending } from "./mending.ts";
import type { Segment } from "./segment.ts";

/** The most bytes of damaged records that are looked for at once. */
const RANGE_BYTES = 1024 * 1024;

/** Messages [from, to) of a log are to be read from another replica. */
export interface DamagedRange {
  readonly from: number;
  readonly to: number;
  /** What is wrong with them, for log lines. */
  readonly problem: string;
}

/** How far a search for damage has come. */
export interface Scrubbed {
  /** The first sequence that was not looked at, or that is damaged. */
  readonly next: number;
  readonly bytes: number;
  readonly isDamaged: boolean;
}

export interface LogRepairOptions {
  disk: Disk;
  topicNumber: number;
  maxBytesPerFile: number;
}

/** What the repair needs of the log's files. */
export interface RepairedFiles {
  readonly names: FolderNames;
  readonly prefix: number | undefined;
  readonly syncs: { add(segment: Segment): void };
  /** Adds an empty segment. @throws the kernel's error */
  startSegment(): Segment;
  /** A segment is in the log no more. */
  forget(segment: Segment): void;
}

/** What is damaged: some entries of a segment, a whole one, or one that is missing. */
type Finding = DamagedRange & {
  readonly segment: Segment | undefined;
  /** Empty: all of them. */
  readonly entries: readonly IndexEntry[];
};

/**
 * Finds the damaged records of a replicated log, and writes what other replicas have in their place: the same bytes at the same sequences
 * and positions. Where index entries are intact, the records under them are overwritten, since the entries say whether they are right.
 * Otherwise segments are built anew.
 */
export class LogRepair {
  /** Called when other bytes than before may be under the same positions. */
  onReplaced = (): void => {};
  /** Segments of which the entries in the index do not fit what other replicas have, or whose files cannot be written. */
  private readonly toReplace = new WeakSet<Segment>();

  /** @param segments those of the log, in order */
  constructor(
    private readonly options: LogRepairOptions,
    private readonly segments: Segment[],
    private readonly files: RepairedFiles,
  ) {}

  /** What is damaged from a sequence on, as far as it is mended at once; undefined: the message is whole, or not in the log. */
  damageAt(sequence: number): DamagedRange | undefined {
    return this.find(sequence);
  }

  /** What the start has found: sequences without records, and segments whose records nothing proves. */
  known(): DamagedRange[] {
    const found: DamagedRange[] = [];
    for (const [at, segment] of this.segments.entries()) {
      const before = this.segments[at - 1];
      if (before !== undefined && before.nextSequence < segment.baseSequence) found.push(missing(before, segment));
      if (segment.isDoubtful) found.push(whole(segment, "its index was lost"));
    }
    return found;
  }

  /** Compares commits with their checksums. @returns undefined: the log ends at the sequence. @throws UnreadableFile for what is no damage */
  scrub(sequence: number, maxBytes: number): Scrubbed | undefined {
    const segment = this.segments.find(({ nextSequence }) => sequence < nextSequence);
    if (segment === undefined) return undefined;
    if (sequence < segment.baseSequence) return { next: sequence, bytes: 0, isDamaged: segment !== this.segments[0] };
    let next = sequence;
    let bytes = 0;
    const { isOpen } = segment.file;
    try {
      for (const entry of segment.entriesFrom(segment.findBySequence(sequence), maxBytes, true)) {
        if (!segment.verify(entry)) return { next, bytes, isDamaged: true };
        next = entry.firstSequence + entry.count;
        bytes += entry.length;
      }
      return { next, bytes, isDamaged: next === sequence };
    } catch (error) {
      if (!(error instanceof UnreadableFile && isDamage(error))) throw error;
      return { next, bytes, isDamaged: true };
    } finally {
      // Nobody else may need it for long.
      if (!isOpen) segment.close();
    }
  }

  /**
   * Begins to mend what is damaged at a sequence.
   *
   * @returns undefined where nothing is damaged any more
   * @throws the kernel's error
   */
  begin(sequence: number): Mending | undefined {
    const finding = this.find(sequence);
    if (finding === undefined) return undefined;
    const { segment, entries } = finding;
    if (segment !== undefined && entries.length > 0) {
      return new EntryMending(segment, entries, {
        isThere: () => this.segments.includes(segment),
        written: () => this.files.syncs.add(segment),
        unfit: () => this.toReplace.add(segment),
      });
    }
    // Nothing is written to a segment while another one takes its place.
    if (segment !== undefined && segment === this.segments.at(-1)) this.files.startSegment();
    return new SegmentMending(finding, segment, this.options, this.segments, this.files, () => this.onReplaced());
  }

  private find(sequence: number): Finding | undefined {
    const at = this.segments.findIndex(({ nextSequence }) => sequence < nextSequence);
    if (at < 0) return undefined;
    const segment = this.segments[at];
    if (sequence < segment.baseSequence) return at === 0 ? undefined : missing(this.segments[at - 1], segment);
    if (segment.isDoubtful) return whole(segment, "its index was lost");
    if (segment.isIndexDamaged) return whole(segment, "its index is damaged");
    if (this.toReplace.has(segment)) return whole(segment, "it cannot be mended in place");
    try {
      return findEntries(segment, sequence);
    } catch (error) {
      if (!(error instanceof UnreadableFile && isDamage(error))) throw error;
      return whole(segment, error.message);
    }
  }
}

function missing(before: Segment, after: Segment): Finding {
  return { from: before.nextSequence, to: after.baseSequence, problem: "missing", segment: undefined, entries: [] };
}

function whole(segment: Segment, problem: string): Finding {
  return { from: segment.baseSequence, to: segment.nextSequence, problem: `in ${segment.logPath}: ${problem}`, segment, entries: [] };
}

/** The damaged entries from the one that has a sequence on. @throws UnreadableFile where the segment has to be replaced */
function findEntries(segment: Segment, sequence: number): Finding | undefined {
  const [first, ...others] = segment.entriesFrom(segment.findBySequence(sequence), RANGE_BYTES, true);
  if (sequence < first.firstSequence || sequence >= first.firstSequence + first.count) throw segment.damagedIndex();
  if (isIntact(segment, first)) return undefined;
  const entries = [first];
  for (const entry of others) {
    if (isIntact(segment, entry)) break;
    entries.push(entry);
  }
  const last = entries[entries.length - 1];
  return {
    from: first.firstSequence,
    to: last.firstSequence + last.count,
    problem: `in ${segment.logPath} at byte ${first.offset}`,
    segment,
    entries,
  };
}

/** @throws UnreadableFile where the file is gone, or cannot be read for another reason than damage */
function isIntact(segment: Segment, entry: IndexEntry): boolean {
  try {
    return segment.verify(entry);
  } catch (error) {
    if (error instanceof UnreadableFile && isDamage(error) && error.code !== "ENOENT") return false;
    throw error;
  }
}
