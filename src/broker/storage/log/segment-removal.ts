import type { Logger } from "../../../base/logger.ts";
import type { Recycler } from "./recycler.ts";
import type { Segment } from "./segment.ts";

/** A segment that could not be removed is tried again after this long. */
const RETRY_MS = 1000;

export interface SegmentRemovalOptions {
  topicName: string;
  recycler: Recycler;
  logger: Logger;
}

/**
 * Removes segments whose messages are all finished, the oldest first. One that cannot be removed stays in the log, and those behind
 * it too: were they gone, the next start would miss their messages.
 */
export class SegmentRemoval {
  /** When a removal failed, by the wall clock's time for ages. */
  private failedMs = Number.NEGATIVE_INFINITY;

  /** @param segments those of the log, in order */
  constructor(
    private readonly options: SegmentRemovalOptions,
    private readonly segments: Segment[],
  ) {}

  /** A removal failed a moment ago. */
  waits(agingMs: number): boolean {
    return Math.abs(agingMs - this.failedMs) < RETRY_MS;
  }

  /** Hands a segment that is not in the log any more to the recycler. If it cannot be removed, it is put back. */
  remove(segment: Segment, agingMs: number): void {
    const { recycler, logger, topicName } = this.options;
    const failed = (error: Error) => {
      logger.error(`TOPIC(${topicName}): cannot remove ${segment.logPath}: ${error.message}`, { topic: topicName });
      if (segment.files.areThere) this.putBack(segment, agingMs);
    };
    segment.files.mayRemove = () => !this.waits(agingMs);
    try {
      recycler.recycle(segment, failed);
    } catch (error) {
      failed(error as Error);
    }
  }

  private putBack(segment: Segment, agingMs: number): void {
    this.failedMs = agingMs;
    const behind = this.segments.findIndex(({ baseSequence }) => baseSequence > segment.baseSequence);
    this.segments.splice(behind < 0 ? this.segments.length : behind, 0, segment);
  }
}
