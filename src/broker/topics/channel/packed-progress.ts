import { heldIn, writeHeld } from "./held-messages.ts";
import type { Progress, Range, Tries } from "./progress.ts";
import type { LeftMessage } from "./selective/left-behind.ts";
import type { Selection } from "./selective/selection.ts";
import { type VarintReader, VarintWriter } from "./varints.ts";
import { DONE, type Window } from "./window.ts";

/**
 * The progress of a window with many messages, in a form whose size and cost are bounded: a bit per message at most for what is
 * finished. Nothing in the other form begins with eight bytes of 255.
 *
 *     packed := 255 … 255  span  block …  runs:count { count attempts }  progress
 *     block  := 0: no message is finished | 1: all are | 2, bitmap | 2 + n, n × { gap length }
 *
 * The blocks have 4096 messages each, from the floor on, and the last one those that are left of the span. The runs go over the
 * messages of the span that are not finished. The progress in the other form has what is behind the span, which it counts from.
 */
export const PACKED_MARK = Buffer.alloc(8, 255);
const BLOCK_MESSAGES = 4096;
const NONE = 0;
const ALL = 1;
const BITMAP = 2;
/** With more ranges than this, a bitmap of 512 bytes is smaller. */
const MAX_BLOCK_RANGES = 128;
/** How many messages one step packs, and how many ranges behind them. */
export const STEP_MESSAGES = 8 * BLOCK_MESSAGES;
const STEP_RANGES = 16 * 1024;

/** What a ProgressPacker reads of a window. */
type PackedWindow = Pick<Window, "floor" | "cursor" | "mask" | "state" | "attempts">;

/** What a ProgressPacker reads. */
export interface PackedSource {
  readonly window: Window;
  /** Finished ranges, and delivered ones that are not finished, behind the window's cursor. */
  readonly skips: readonly Range[];
  readonly tried: readonly Tries[];
  /** In a channel that chooses its messages. */
  readonly selection?: Selection | undefined;
  /** When those of `tried` are due that are deferred, ms, by sequence. */
  readonly held?: ReadonlyMap<number, number>;
}

/**
 * Packs a channel's progress in steps, between which the channel goes on. What is said of a message holds when the packing ends: a
 * message that is finished stays so. One that is finished after the step that has read it is not among the finished ones.
 *
 * A channel that chooses its messages is packed as it was at the beginning: otherwise, of two messages of a key that are finished
 * between two steps, the second one could be among the finished ones, and the first one not.
 */
export class ProgressPacker {
  /** All messages below are finished. The packed progress counts from here. */
  readonly floor: number;
  private next: number;
  private readonly blocks = new VarintWriter();
  private readonly runs = new VarintWriter();
  private runCount = 0;
  private attempts = 0;
  private sameAttempts = 0;
  private readonly bitmap = new Uint8Array(BLOCK_MESSAGES / 8);
  private readonly ranges: number[] = [];
  private rest: RestWriter | undefined;
  private readonly window: PackedWindow;
  private readonly skips: readonly Range[];
  private readonly tried: readonly Tries[];
  /** The unfinished messages below the window, ascending, and how many of them are packed. */
  private readonly left: readonly LeftMessage[] = [];
  private packedLeft = 0;
  private readonly held: readonly (readonly [sequence: number, dueMs: number])[] = [];

  constructor({ window, skips, tried, selection, held }: PackedSource) {
    this.floor = this.next = selection === undefined ? window.floor : selection.floor;
    if (selection === undefined) {
      this.window = window;
      this.skips = skips;
      this.tried = tried;
      return;
    }
    const { floor, cursor, mask, state, attempts } = window;
    this.window = { floor, cursor, mask, state: state.slice(), attempts: attempts.slice() };
    this.skips = skips.slice();
    this.tried = tried.slice();
    if (this.floor < floor) this.left = [...selection.left.values()];
    this.held = [...heldIn(window, selection), ...(held ?? [])];
  }

  /** Goes on by one step. @returns the packed progress if that was the last one */
  step(): Buffer | undefined {
    const { window, skips, tried } = this;
    if (this.rest === undefined) {
      const end = Math.min(window.cursor, this.next + STEP_MESSAGES);
      while (this.next < end) this.packBlock(Math.min(BLOCK_MESSAGES, window.cursor - this.next));
      if (this.next < window.cursor) return undefined;
      this.endRun();
      this.rest = new RestWriter(skips, tried, this.next);
    } else {
      this.rest.step();
    }
    return this.rest.isDone ? this.concatenate(this.rest) : undefined;
  }

  private concatenate(rest: RestWriter): Buffer {
    const head = new VarintWriter();
    head.varint(this.next - this.floor);
    const runs = new VarintWriter();
    runs.varint(this.runCount);
    const end = new VarintWriter();
    writeHeld(end, this.held, this.floor);
    return Buffer.concat([PACKED_MARK, head.written, this.blocks.written, runs.written, this.runs.written, rest.written, end.written]);
  }

  private packBlock(count: number): void {
    const { left } = this;
    const { state, attempts, mask, floor } = this.window;
    const { bitmap, ranges, next } = this;
    let nextLeft = left[this.packedLeft]?.sequence ?? Number.POSITIVE_INFINITY;
    if (next + count <= floor && nextLeft >= next + count) {
      this.next += count;
      return this.blocks.varint(ALL);
    }
    bitmap.fill(0);
    ranges.length = 0;
    let finished = 0;
    let wasDone = false;
    for (let i = 0; i < count; i++) {
      const slot = (next + i) & mask;
      // The floor may have moved up since the packing began, and slots below it have other messages.
      const isLeft = next + i === nextLeft;
      const isDone = next + i < floor ? !isLeft : state[slot] === DONE;
      const tries = isLeft ? left[this.packedLeft].attempts : attempts[slot];
      if (isLeft) nextLeft = left[++this.packedLeft]?.sequence ?? Number.POSITIVE_INFINITY;
      if (isDone) {
        bitmap[i >> 3] |= 1 << (i & 7);
        finished++;
      } else if (this.sameAttempts > 0 && tries === this.attempts) {
        this.sameAttempts++;
      } else {
        this.endRun();
        this.attempts = tries;
        this.sameAttempts = 1;
      }
      if (isDone !== wasDone && ranges.length < 2 * MAX_BLOCK_RANGES) ranges.push(i);
      wasDone = isDone;
    }
    this.next += count;
    if (finished === 0 || finished === count) return this.blocks.varint(finished === 0 ? NONE : ALL);
    if (ranges.length === 2 * MAX_BLOCK_RANGES) {
      this.blocks.varint(BITMAP);
      return this.blocks.bytes(bitmap.subarray(0, (count + 7) >> 3));
    }
    if (wasDone) ranges.push(count);
    this.blocks.varint(BITMAP + ranges.length / 2);
    let last = 0;
    for (const bound of ranges) {
      this.blocks.varint(bound - last);
      last = bound;
    }
  }

  private endRun(): void {
    if (this.sameAttempts === 0) return;
    this.runs.varint(this.sameAttempts);
    this.runs.varint(this.attempts);
    this.runCount++;
    this.sameAttempts = 0;
  }
}

/** Writes the ranges behind the window, in steps. */
class RestWriter {
  private readonly writer = new VarintWriter();
  private readonly finished: readonly Range[];
  private readonly tried: readonly Tries[];
  private count = 0;
  private last: number;

  constructor(
    finished: readonly Range[],
    tried: readonly Tries[],
    private readonly from: number,
  ) {
    // The channel may take ranges away between two steps.
    this.finished = finished.slice();
    this.tried = tried.slice();
    this.last = from;
    this.writer.varint(this.finished.length);
    this.step();
  }

  get isDone(): boolean {
    return this.count === this.finished.length + this.tried.length;
  }

  get written(): Buffer {
    if (this.tried.length === 0) this.writer.varint(0);
    return this.writer.written;
  }

  step(): void {
    const { finished, tried, writer } = this;
    for (let left = STEP_RANGES; left > 0 && !this.isDone; left--) {
      const i = this.count++;
      if (i === finished.length) {
        writer.varint(tried.length);
        this.last = this.from;
      }
      const range = i < finished.length ? finished[i] : tried[i - finished.length];
      // The first one may reach into the span: its beginning is in the window by now.
      const from = Math.max(this.last, range.from);
      const to = Math.max(from, range.to);
      writer.varint(from - this.last);
      writer.varint(to - from);
      if (i >= finished.length) writer.varint(tried[i - finished.length].attempts);
      this.last = to;
    }
  }
}

/** @throws if no ProgressPacker can have made the bytes */
export function unpackProgress(
  reader: VarintReader,
  floor: number,
  decodeRest: (reader: VarintReader, from: number) => Progress,
): Progress {
  const span = reader.varint();
  const finished: Range[] = [];
  for (let at = 0; at < span; at += BLOCK_MESSAGES) unpackBlock(reader, floor + at, Math.min(BLOCK_MESSAGES, span - at), finished);
  const tried: Tries[] = [];
  let index = 0;
  let sequence = floor;
  for (let runs = reader.varint(); runs > 0; runs--) {
    let count = reader.varint();
    const attempts = reader.varint();
    while (count > 0) {
      while (index < finished.length && finished[index].from <= sequence) sequence = finished[index++].to;
      const to = Math.min(sequence + count, finished[index]?.from ?? floor + span);
      if (to <= sequence) throw new Error("damaged progress");
      tried.push({ from: sequence, to, attempts });
      count -= to - sequence;
      sequence = to;
    }
  }
  const rest = decodeRest(reader, floor + span);
  for (const { from, to } of rest.finished) addTo(finished, from, to);
  for (const range of rest.tried) tried.push(range);
  return { finished, tried };
}

function unpackBlock(reader: VarintReader, from: number, count: number, finished: Range[]): void {
  const kind = reader.varint();
  if (kind === NONE) return;
  if (kind === ALL) return addTo(finished, from, from + count);
  if (kind > BITMAP) {
    let last = from;
    for (let ranges = kind - BITMAP; ranges > 0; ranges--) {
      const start = last + reader.varint();
      last = start + reader.varint();
      if (last > from + count) throw new Error("damaged progress");
      addTo(finished, start, last);
    }
    return;
  }
  const bitmap = reader.bytes((count + 7) >> 3);
  for (let i = 0; i < count; i++) {
    if ((bitmap[i >> 3] & (1 << (i & 7))) !== 0) addTo(finished, from + i, from + i + 1);
  }
}

/** Adds a range behind all others of a list, or touching the last one. */
function addTo(ranges: Range[], from: number, to: number): void {
  const last = ranges[ranges.length - 1];
  if (last !== undefined && last.to >= from) last.to = Math.max(last.to, to);
  else ranges.push({ from, to });
}
