import type { Chunk } from "../../storage/log/chunk.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import { DETAIL_DAMAGED, DETAIL_TOO_MANY } from "../../trace/record.ts";
import type { Deferrals } from "./deferrals.ts";
import type { InFlight } from "./in-flight.ts";
import { notePublished } from "./latency-recorder.ts";
import { ProgressPacker } from "./packed-progress.ts";
import { addRange, cutRanges, type Progress, progressOf, type Range, type Tries } from "./progress.ts";
import type { Selection } from "./selective/selection.ts";
import type { ChannelSignals } from "./signals.ts";
import { READY } from "./window.ts";

/** The longest run that one consumer gets at a time. Longer ones would keep the others waiting. */
const MAX_RUN_BYTES = 1024 * 1024;
/** How many messages that an earlier run delivered may be ready at a time. */
const TRIED_PER_TURN = 512;
/** How many a channel that chooses its messages takes into the window in one turn. */
const ADMITTED_PER_TURN = 4096;
/** Largest distance between floor and cursor in a topic without files, where everything between them is in memory. */
const MAX_MEMORY_SPAN_BYTES = 8 * 1024 * 1024;

/** A progress of more messages in the window, and ranges behind it, is packed. */
const LARGE_PROGRESS = 16 * 1024;

/** The topic, or part of it, that a backlog reads. */
export interface BacklogSource {
  readonly log: TopicLog;
  /** Messages with a lower sequence may be delivered. */
  readonly released: number;
}

/**
 * What a channel has to deliver next: all messages from its cursor on, except ranges that are finished already (skips). Ranges
 * that an earlier run of the broker delivered but did not see finished (tries) go to the window as ready messages, with their
 * attempts. The window has the cursor's sequence, this class its position in the log.
 */
export class Backlog {
  /** Finished ranges at or above the cursor, ascending. */
  skips: Range[] = [];
  private skippedCount = 0;
  /** How many of the skipped messages the source had not released when its `released` was `countedAt`; -1: to be counted again. */
  private unreleasedCount = 0;
  private countedAt = 0;
  /** How often it went on at another position. */
  restarts = 0;
  /** Ranges above the cursor that an earlier run delivered but did not see finished, ascending. */
  private tried: Tries[] = [];
  /** When those of them are due that an earlier run had deferred without the deferred store, ms, by sequence. */
  private held = new Map<number, number>();

  /** @param position of the record at the window's cursor */
  constructor(
    private readonly source: BacklogSource,
    private readonly inFlight: InFlight,
    private readonly deferrals: Deferrals,
    private readonly signals: ChannelSignals,
    public position: number,
  ) {}

  /** How many messages may be delivered for the first time. */
  get freshCount(): number {
    const ahead = this.source.released - this.inFlight.window.cursor;
    // Asked several times for each delivery, and mostly nothing is skipped.
    return Math.max(0, this.skips.length === 0 ? ahead : ahead - this.skippedCount + this.unreleasedSkips);
  }

  /**
   * How many messages are skipped that the source has not released yet: a paused topic holds them back, and the channel was emptied,
   * moved or created behind them.
   */
  get unreleasedSkips(): number {
    const { released } = this.source;
    if (this.countedAt === released) return this.unreleasedCount;
    const from = Math.max(released, this.inFlight.window.cursor);
    let count = 0;
    for (let i = this.skips.length - 1; i >= 0 && this.skips[i].to > from; i--)
      count += this.skips[i].to - Math.max(this.skips[i].from, from);
    this.countedAt = released;
    this.unreleasedCount = count;
    return count;
  }

  /** How many of these are on disk only. */
  get freshOnDisk(): number {
    return Math.max(0, Math.min(this.freshCount, this.source.log.cachedSequence - this.inFlight.window.cursor));
  }

  // ---- messages that are not delivered

  /** The finished ranges from a sequence on. */
  skipsFrom(sequence: number): Range[] {
    return this.skips.filter(({ to }) => to > sequence).map(({ from, to }) => ({ from: Math.max(from, sequence), to }));
  }

  /** Counts messages as finished without delivering them. */
  skip(from: number, to: number): void {
    this.skippedCount += addRange(this.skips, from, to);
    if (to > this.source.released) this.countedAt = -1;
    this.signals.markUnsaved();
  }

  /** Skips the `count` messages that come next. @param detail why, for a trace @returns whether there were any */
  dropOldest(count: number, detail = DETAIL_TOO_MANY): boolean {
    const { window } = this.inFlight;
    const to = Math.min(this.source.released, window.cursor + count);
    if (to <= window.cursor) return false;
    this.inFlight.trace?.discarded(window.cursor, to - window.cursor, detail);
    this.skip(window.cursor, to);
    this.advance();
    return true;
  }

  // ---- progress

  /** Applies the progress of an earlier run. */
  restore({ finished, tried, held }: Progress): void {
    for (const { from, to } of finished) this.skip(from, to);
    this.tried = tried;
    this.held = new Map(held);
  }

  /** The log has lost its messages from a sequence on: others that get these sequences are not finished. */
  unskipFrom(sequence: number): void {
    this.skippedCount -= cutRanges(this.skips, sequence);
    this.countedAt = -1;
  }

  /** What the next run gets. @param skipped more messages that are skipped, behind all that is finished */
  progressWith(skipped: Range | undefined): Progress {
    const progress = progressOf(this.inFlight.window, this.skips, this.inFlight.selection);
    progress.tried = progress.tried.concat(this.tried);
    if (this.held.size > 0) progress.held = (progress.held ?? []).concat([...this.held]);
    if (skipped !== undefined && skipped.to > skipped.from) addRange(progress.finished, skipped.from, skipped.to);
    return progress;
  }

  /** Whether the progress is so large that it is packed, in steps. */
  get isLarge(): boolean {
    const { window, selection } = this.inFlight;
    const left = selection === undefined ? 0 : selection.left.size;
    return window.cursor - window.floor + left + this.skips.length + this.tried.length > LARGE_PROGRESS;
  }

  /** Packs the progress. */
  packer(): ProgressPacker {
    const { window, selection } = this.inFlight;
    return new ProgressPacker({ window, selection, skips: this.skips, tried: this.tried, held: this.held });
  }

  /** Goes on at another position. The caller has moved the window's cursor there. */
  restartAt(position: number): void {
    this.restarts++;
    this.position = position;
    this.skips = [];
    this.skippedCount = 0;
    this.countedAt = -1;
    this.tried = [];
    this.held = new Map();
  }

  // ---- messages that are delivered

  /** Moves the cursor over skips, and over tries, which it takes into the window. @throws UnreadableFile; a later call goes on */
  advance(): void {
    const { window } = this.inFlight;
    let readmitted = 0;
    for (;;) {
      const skip = this.skips[0];
      const tries = this.tried[0];
      if (skip !== undefined && window.cursor >= skip.from) {
        const to = window.unfinished === 0 ? skip.to : Math.min(skip.to, window.cursor + window.room);
        if (to > window.cursor) {
          // This may read a file, and fail: nothing has changed then.
          const position = this.source.log.locate(to);
          this.skippedCount -= to - Math.max(window.cursor, skip.from);
          window.skipTo(to);
          this.position = position;
          if (to > this.source.released) this.countedAt = -1;
        }
        if (to < skip.to) {
          // Whoever has a copy of the list keeps the old one.
          this.skips[0] = { from: to, to: skip.to };
          if (!this.deferrals.makeRoom()) return;
          continue;
        }
        this.skips.shift();
      } else if (tries !== undefined && window.cursor >= tries.from) {
        if (window.cursor >= tries.to) {
          this.tried.shift();
          continue;
        }
        if (this.hasEnough(readmitted)) return;
        const end = Math.min(tries.to, this.source.released, skip?.from ?? Number.POSITIVE_INFINITY);
        const from = window.cursor;
        if (from >= end || !this.readmit(end, tries.attempts)) return;
        this.tried[0] = { ...tries, from: window.cursor };
        readmitted += window.cursor - from;
      } else {
        return;
      }
    }
  }

  /** Whether no more of an earlier run's messages are taken into the window for now. @param readmitted how many this turn has taken */
  private hasEnough(readmitted: number): boolean {
    const { ready, selection } = this.inFlight;
    if (selection === undefined) return ready.length >= TRIED_PER_TURN;
    // Most of them may have to wait for others of their key.
    return readmitted >= ADMITTED_PER_TURN || selection.room <= 0;
  }

  /** Takes messages that an earlier run delivered into the window, as ready. @returns false if the window has no room */
  private readmit(end: number, attempts: number): boolean {
    const { inFlight } = this;
    const { window } = inFlight;
    const chunk = this.chunk();
    if (chunk === undefined) return true;
    const limit = Math.min(end - window.cursor, window.room, TRIED_PER_TURN);
    if (limit <= 0) return this.deferrals.makeRoom();
    const from = window.cursor;
    const to = from + this.take(chunk, limit, 0, 0, 0);
    for (let sequence = from; sequence < to; sequence++) {
      const i = sequence & window.mask;
      window.attempts[i] = attempts;
      inFlight.selection?.admit(sequence, chunk.buffer, chunk.offsetOf(window.position[i]));
      this.readmitOne(sequence);
    }
    this.signals.markDirty();
    return true;
  }

  private readmitOne(sequence: number): void {
    const dueMs = this.held.size === 0 ? undefined : this.held.get(sequence);
    if (dueMs === undefined) return this.inFlight.makeReady(sequence);
    this.held.delete(sequence);
    this.deferrals.defer(sequence, dueMs, Number.POSITIVE_INFINITY);
  }

  /** Takes up to `limit` messages from the cursor on into the window, as ready, for a channel that chooses its messages. */
  admit(chunk: Chunk, limit: number, selection: Selection): void {
    const { window, ready } = this.inFlight;
    const from = window.cursor;
    const to = from + this.take(chunk, limit, 0, 0, 0);
    const { state, attempts, position, mask } = window;
    for (let sequence = from; sequence < to; sequence++) {
      const i = sequence & mask;
      state[i] = READY;
      attempts[i] = 0;
      selection.admit(sequence, chunk.buffer, chunk.offsetOf(position[i]));
      if (selection.isFirst(sequence)) ready.push(sequence);
      else selection.blocked++;
    }
  }

  /** Counts the `count` messages at the cursor as finished. @param position of the record behind them */
  passOver(count: number, position: number): void {
    const { window } = this.inFlight;
    window.skipTo(window.cursor + count);
    this.position = position;
  }

  /** How many messages in a row can be taken now, up to `want`. Makes room for them in the window. @throws UnreadableFile */
  runLimit(want: number): number {
    const { window } = this.inFlight;
    if (this.skips.length > 0 || this.tried.length > 0) this.advance();
    const bound = Math.min(this.skips[0]?.from ?? Number.POSITIVE_INFINITY, this.tried[0]?.from ?? Number.POSITIVE_INFINITY);
    const limit = Math.min(want, this.source.released - window.cursor, bound - window.cursor);
    if (limit <= 0) return 0;
    if (window.room < limit || window.room < window.capacity / 8) this.deferrals.makeRoom();
    else if (this.spansTooMuchMemory()) this.deferrals.moveStragglers();
    return Math.min(limit, window.room);
  }

  /** The chunk at the cursor; undefined if the records there are damaged, and then they are skipped. @throws UnreadableFile */
  chunk(): Chunk | undefined {
    const chunk = this.source.log.chunkAt(this.position, true);
    if (!chunk.isGap) return chunk;
    const { window, trace } = this.inFlight;
    trace?.discarded(window.cursor, chunk.nextSequence - window.cursor, DETAIL_DAMAGED);
    this.skip(window.cursor, chunk.nextSequence);
    this.signals.markDirty();
    return undefined;
  }

  /**
   * Marks up to `limit` messages from the cursor on as delivered to `owner`, as far as they are in `chunk`.
   *
   * @param limit at most what runLimit() returned
   * @returns how many; the window's `runEnd` is the offset of the last one's end
   */
  take(chunk: Chunk, limit: number, owner: number, nowMs: number, deadlineMs: number): number {
    const { window } = this.inFlight;
    const { start, end, view } = chunk;
    const first = window.cursor;
    const count = window.takeRun(view, start, chunk.offsetOf(this.position), end - start, limit, MAX_RUN_BYTES, owner, nowMs, deadlineMs);
    this.position = start + window.runEnd;
    if (window.publishedNs !== undefined) notePublished(window, view, start, first, count);
    return count;
  }

  /** Whether the topic has no files, and an old unfinished message keeps too much of it in memory. */
  private spansTooMuchMemory(): boolean {
    const { window } = this.inFlight;
    if (this.source.log.files !== undefined || window.floor === window.cursor) return false;
    return this.position - window.position[window.floor & window.mask] > MAX_MEMORY_SPAN_BYTES;
  }
}
