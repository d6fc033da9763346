import { heldIn, readHeld, writeHeld } from "./held-messages.ts";
import { PACKED_MARK, unpackProgress } from "./packed-progress.ts";
import type { Selection } from "./selective/selection.ts";
import { VarintReader, VarintWriter } from "./varints.ts";
import { DONE, type Window } from "./window.ts";

/**
 * A channel's progress above its floor, as the metadata store keeps it: which messages are finished, and how often the
 * unfinished ones were delivered. Numbers are LEB128 varints, each relative to the one before, so a window with thousands of
 * messages in flight takes a few bytes. That of a larger window is packed (packed-progress.ts).
 *
 *     progress := ranges:count { gap length }  tries:count { gap length attempts }  [held:count { gap due }]
 *
 * Held are the messages that wait for their due time (ms) without the deferred store, in a channel that chooses its messages.
 * Releases that do not know them take no notice: these messages are delivered at once there.
 */

export interface Range {
  from: number;
  /** Exclusive. */
  to: number;
}

/** Removes what ranges, which ascend, have from a sequence on. @returns how much that was */
export function cutRanges(ranges: Range[], sequence: number): number {
  let removed = 0;
  for (let last = ranges.at(-1); last !== undefined && last.to > sequence; last = ranges.at(-1)) {
    removed += last.to - Math.max(last.from, sequence);
    if (last.from < sequence) last.to = sequence;
    else ranges.pop();
  }
  return removed;
}

export interface Tries extends Range {
  attempts: number;
}

export interface Progress {
  /** Finished, ascending, above the floor. */
  finished: Range[];
  /** Delivered but not finished, ascending. */
  tried: Tries[];
  /** When deferred ones are due, ms, by ascending sequence: those that the deferred store has not. */
  held?: [sequence: number, dueMs: number][];
}

/** Adds the messages below a window that are not finished, and the finished ones between them. */
function addLeft(selection: Selection, to: number, finished: Range[], tried: Tries[]): void {
  let sequence = selection.floor;
  for (const left of selection.left.values()) {
    if (left.frame !== undefined) continue;
    if (left.sequence > sequence) finished.push({ from: sequence, to: left.sequence });
    sequence = left.sequence + 1;
    const last = tried.at(-1);
    if (last?.to === left.sequence && last.attempts === left.attempts) last.to = sequence;
    else tried.push({ from: left.sequence, to: sequence, attempts: left.attempts });
  }
  if (to > sequence) finished.push({ from: sequence, to });
}

/** The progress of a window, and of what it has left behind. @param beyond finished ranges at or above its cursor, ascending */
export function progressOf(window: Window, beyond: readonly Range[], selection?: Selection): Progress {
  const finished: Range[] = [];
  const tried: Tries[] = [];
  if (selection !== undefined) addLeft(selection, window.floor, finished, tried);
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
  const progress: Progress = { finished: finished.concat(beyond), tried };
  if (selection !== undefined) progress.held = heldIn(window, selection);
  return progress;
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
  writeHeld(writer, progress.held ?? [], floor);
  return Buffer.from(writer.written);
}

/** @throws if neither encodeProgress() nor a ProgressPacker can have made the bytes */
export function decodeProgress(bytes: Uint8Array, floor: number): Progress {
  if (bytes.length === 0) return { finished: [], tried: [] };
  const reader = new VarintReader(bytes);
  const progress = reader.skip(PACKED_MARK) ? unpackProgress(reader, floor, decodeRanges) : decodeRanges(reader, floor);
  if (!reader.isAtEnd) progress.held = readHeld(reader, floor);
  return progress;
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
