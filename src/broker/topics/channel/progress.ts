import { DONE, type Window } from "./window.ts";

/**
 * A channel's progress above its floor, as the metadata store keeps it: which messages are finished, and how often the
 * unfinished ones were delivered. Numbers are LEB128 varints, each relative to the one before, so a window with thousands of
 * messages in flight takes a few bytes.
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
  const bytes: number[] = [];
  writeVarint(bytes, progress.finished.length);
  let last = floor;
  for (const { from, to } of progress.finished) {
    writeVarint(bytes, from - last);
    writeVarint(bytes, to - from);
    last = to;
  }
  writeVarint(bytes, progress.tried.length);
  last = floor;
  for (const { from, to, attempts } of progress.tried) {
    writeVarint(bytes, from - last);
    writeVarint(bytes, to - from);
    writeVarint(bytes, attempts);
    last = to;
  }
  return Buffer.from(bytes);
}

/** @throws if encodeProgress() cannot have made the bytes */
export function decodeProgress(bytes: Uint8Array, floor: number): Progress {
  const progress: Progress = { finished: [], tried: [] };
  if (bytes.length === 0) return progress;
  const reader = { bytes, at: 0 };
  let last = floor;
  for (let left = readVarint(reader); left > 0; left--) {
    const from = last + readVarint(reader);
    last = from + readVarint(reader);
    progress.finished.push({ from, to: last });
  }
  last = floor;
  for (let left = readVarint(reader); left > 0; left--) {
    const from = last + readVarint(reader);
    last = from + readVarint(reader);
    progress.tried.push({ from, to: last, attempts: readVarint(reader) });
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

function writeVarint(bytes: number[], value: number): void {
  while (value >= 128) {
    bytes.push((value % 128) | 128);
    value = Math.floor(value / 128);
  }
  bytes.push(value);
}

function readVarint(reader: { bytes: Uint8Array; at: number }): number {
  let value = 0;
  for (let scale = 1; ; scale *= 128) {
    if (reader.at >= reader.bytes.length || scale > 2 ** 49) throw new Error("damaged progress");
    const byte = reader.bytes[reader.at++];
    value += (byte & 127) * scale;
    if (byte < 128) return value;
  }
}
