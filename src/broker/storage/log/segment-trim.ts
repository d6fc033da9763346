import type { Logger } from "../../../base/logger.ts";
import { type Ballast, NO_BALLAST } from "../disk/ballast.ts";
import { isRetained, isRetaining, MAX_AGED_SEGMENTS, NO_RETENTION, type Retention, segmentAgeMs, segmentBytes } from "./retention.ts";
import type { Segment } from "./segment.ts";
import { SegmentRemoval, type SegmentRemovalOptions } from "./segment-removal.ts";

/** A segment of at least this size is replaced by an empty one when all its messages are finished, so that few dead bytes are on disk. */
const EARLY_ROLL_BYTES = 8 * 1024 * 1024;

export interface SegmentTrimOptions extends SegmentRemovalOptions {
  topicName: string;
  logger: Logger;
  /** When a segment has reached this size, a new one follows it. */
  maxBytesPerFile: number;
  ballast?: Ballast;
}

/** What the trimming needs of the log's files. */
export interface TrimmedFiles {
  /** False: publishers wait for a sync of every commit. */
  readonly syncsByItself: boolean;
  readonly endPosition: number;
  /** Adds an empty segment. @throws the kernel's error */
  startSegment(): Segment;
  /** Has the newest segment synced, off the event loop. */
  syncNewest(done: (failure: Error | undefined) => void): void;
  /** A segment is in the log no more. */
  forget(segment: Segment): void;
}

/** Says when a new segment follows the newest one of a log, and removes those that nobody needs any more. */
export class SegmentTrim {
  private retention = NO_RETENTION;
  private segmentBytes: number;
  /** The next commit after this time starts a new segment, so that the old one can be removed in time. */
  private rollAtMs = Number.POSITIVE_INFINITY;
  private readonly removal: SegmentRemoval;

  /** @param segments those of the log, in order */
  constructor(
    private readonly options: SegmentTrimOptions,
    private readonly segments: Segment[],
    private readonly files: TrimmedFiles,
  ) {
    this.segmentBytes = options.maxBytesPerFile;
    this.removal = new SegmentRemoval(options, segments);
  }

  /** Finished messages are kept for a while. */
  get isRetaining(): boolean {
    return isRetaining(this.retention);
  }

  /** Applies from now on; the next trim() removes what is no longer retained. */
  setRetention(retention: Retention): void {
    this.retention = retention;
    this.segmentBytes = segmentBytes(retention, this.options.maxBytesPerFile);
    const tail = this.segments[this.segments.length - 1];
    this.rollAtMs = tail === undefined || tail.entries === 0 ? Number.POSITIVE_INFINITY : this.nextRollMs(tail);
  }

  /** Whether a commit at a time goes to a new segment, because the newest one is large or old enough. */
  endsBefore(tail: Segment, timeMs: number): boolean {
    return tail.length >= this.segmentBytes || (timeMs >= this.rollAtMs && tail.entries > 0);
  }

  /** To be called when a segment has got its first commit. */
  onFirstCommit(tail: Segment): void {
    this.rollAtMs = this.nextRollMs(tail);
  }

  /**
   * Recycles the segments whose messages are all finished and not retained.
   *
   * @param floorSequence all messages below this sequence are finished
   * @param agingMs wall-clock time by which messages are too old for retention
   */
  trim(floorSequence: number, agingMs: number): void {
    const { segments, files } = this;
    if (this.removal.waits(agingMs)) return;
    while (segments.length > 1 && segments[0].nextSequence <= floorSequence && !this.isRetained(segments[0], agingMs)) {
      // The next segment remembers which ids were given. With fsync it must be on the disk before this one is removed.
      if (!files.syncsByItself && !segments[1].survivesPowerCut) return;
      this.recycleOldest(agingMs);
      if (this.removal.waits(agingMs)) return;
    }
    const tail = segments[0];
    if (tail === undefined || segments.length > 1 || tail.nextSequence > floorSequence || this.isRetained(tail, agingMs)) return;
    // All messages are finished. A large file of dead bytes is of more use as the next segment of any topic.
    if (tail.length >= Math.min(EARLY_ROLL_BYTES, this.options.maxBytesPerFile)) this.replaceFinishedTail(floorSequence, agingMs);
  }

  private isRetained(segment: Segment, agingMs: number): boolean {
    return isRetained(this.retention, agingMs - segment.newestMs, this.files.endPosition - segment.endPosition);
  }

  private nextRollMs(tail: Segment): number {
    return this.segments.length > MAX_AGED_SEGMENTS ? Number.POSITIVE_INFINITY : tail.oldestMs + segmentAgeMs(this.retention);
  }

  private replaceFinishedTail(floorSequence: number, agingMs: number): void {
    const { ballast = NO_BALLAST, logger, topicName: topic } = this.options;
    try {
      // The new segment is started before the old one is recycled, because its header remembers the next sequence. If the disk
      // is full, the ballast makes room for it; the old segment gives more room back.
      ballast.use(() => this.files.startSegment());
    } catch (error) {
      logger.warn(`TOPIC(${topic}): cannot start a new segment, so the finished one is kept: ${(error as Error).message}`, { topic });
      return;
    }
    if (this.files.syncsByItself) return this.recycleOldest(agingMs);
    this.files.syncNewest((error) => {
      if (error === undefined) this.trim(floorSequence, agingMs);
    });
  }

  private recycleOldest(agingMs: number): void {
    const segment = this.segments.shift() as Segment;
    this.files.forget(segment);
    this.removal.remove(segment, agingMs);
  }
}
