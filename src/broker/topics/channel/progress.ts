import { PACKED_MARK, unpackProgress } from "./packed-progress.ts";
import { VarintReader, VarintWriter } from "./varints.ts";
import { DONE, type Window } from "./window.ts";

/**
 * A channel's progress above its floor, as the metadata store keeps it: which messages are finished, and how often the
 * unfinished ones were delivered. Numbers are LEB128 varints, each relative to the one before, so a window with thousands of
 * messages in flight takes a few bytes. That of a larger window is packed (packed-progress.ts).
 *
 *     progress := ranges:count { gap length }  tries:count { gap length attempts }
 */

export interface Range {
  from: number;
  /** Exclusive. */
  to: number;
}

export interface Tries extends Range {
  attempts: number;
}

export interface Progress {
  /** Finished, ascending, above the floor. */
  finished: Range[];
  /** Delivered but not finished, ascending. */
  tried: Tries[];
}

/** The progress of a window. @param beyond finished ranges at or above its cursor, ascending */
export function progressOf(window: Window, beyond: readonly Range[]): Progress {
  const finished: Range[] = [];
  const tried: Tries[] = [];
  const { state, attempts, mask } = window;
  for (let sequence = window.floor; sequence < window.cursor; ) {
    const from = sequence;
    const first = sequence & mask;
    if (state[first] === DONE) {
      while (sequence < window.cursor && state[sequence & mask] === DONE) sequence++;
      finished.push({ from, to: sequence });
    } else {
      const tries = attempts[first];
      while (sequence < window.cursor && state[sequence & mask] !== DONE && attempts[sequence & mask] === tries) sequence++;
      tried.push({ from, to: sequence, attempts: tries });
    }
  }
  return { finished: [...finished, ...beyond], tried };
}

export function encodeProgress(progress: Progress, floor: number): Buffer {
  const writer = new VarintWriter();
  writer.varint(progress.finished.length);
  let last = floor;
  for (const { from, to } of progress.finished) {
    writer.varint(from - last);
    writer.varint(to - from);
    last = to;
  }
  writer.varint(progress.tried.length);
  last = floor;
  for (const { from, to, attempts } of progress.tried) {
    writer.varint(from - last);
    writer.varint(to - from);
    writer.varint(attempts);
    last = to;
  }
  return Buffer.from(writer.written);
}

/** @throws if neither encodeProgress() nor a ProgressPacker can have made the bytes */
export function decodeProgress(bytes: Uint8Array, floor: number): Progress {
  if (bytes.length === 0) return { finished: [], tried: [] };
  const reader = new VarintReader(bytes);
  return reader.skip(PACKED_MARK) ? unpackProgress(reader, floor, decodeRanges) : decodeRanges(reader, floor);
}

function decodeRanges(reader: VarintReader, floor: number): Progress {
  const progress: Progress = { finished: [], tried: [] };
  let last = floor;
  for (let left = reader.varint(); left > 0; left--) {
    const from = last + reader.varint();
    last = from + reader.varint();
    progress.finished.push({ from, to: last });
  }
  last = floor;
  for (let left = reader.varint(); left > 0; left--) {
    const from = last + reader.varint();
    last = from + reader.varint();
    progress.tried.push({ from, to: last, attempts: reader.varint() });
  }
  return progress;
}

/** Adds a range to an ascending list, and merges ranges that touch. @returns how many sequences were not in the list before */
export function addRange(ranges: Range[], from: number, to: number): number {
  let i = ranges.length;
  while (i > 0 && ranges[i - 1].to >= from) i--;
  let j = i;
  let covered = 0;
  while (j < ranges.length && ranges[j].from <= to) {
    covered += ranges[j].to - ranges[j].from;
    from = Math.min(from, ranges[j].from);
    to = Math.max(to, ranges[j].to);
    j++;
  }
  ranges.splice(i, j - i, { from, to });
  return to - from - covered;
}
