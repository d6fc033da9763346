import type { Segment } from "./segment.ts";

/**
 * A replicated log's messages from a sequence on were given to it by one leader. Each leader has an epoch, which is higher than those of
 * all leaders before it.
 */
export interface Epoch {
  readonly epoch: number;
  /** The first message of the epoch; of the first one that is known, the first message that the log still has. */
  readonly firstSequence: number;
}

/** The epochs of a log, oldest first, as the headers of its segments say. The last one may have no messages yet. */
export function epochsOf(segments: readonly Segment[]): Epoch[] {
  const epochs: Epoch[] = [];
  for (const { epoch, baseSequence } of segments) {
    const last = epochs[epochs.length - 1];
    if (last === undefined || epoch > last.epoch) epochs.push({ epoch, firstSequence: baseSequence });
  }
  return epochs;
}
