import type { Clock } from "../../base/clock.ts";
import { closeQuietly, type Disk } from "../storage/disk/disk.ts";
import { isKernelError, unreadable } from "../storage/disk/unreadable-file.ts";
import {
  COUNT_AT,
  isAboutEntry,
  KIND_AT,
  KIND_DELETED,
  KIND_EMPTIED,
  KIND_JOINED,
  KIND_MOVED,
  RECORD_BYTES,
  SEQUENCE_AT,
  TOPIC_AT,
} from "./record.ts";
import { batchAt, judgeFileHead, nextBatch, type TraceBatch, visitNames } from "./trace-batch.ts";
import { eventAt, type TraceEvent } from "./trace-event.ts";
import { readUpTo, type SequenceRange, type TraceFile, type TraceFiles } from "./trace-files.ts";
import type { Tracer } from "./tracer.ts";

/** So many bytes are read and looked at in one turn of the event loop, which takes less than a millisecond if they are in memory. */
const PIECE_BYTES = 512 * 1024;
/** The most events of one message. The first FIRST_EVENTS and the newest are kept. */
const MOST_EVENTS = 1000;
const FIRST_EVENTS = 100;
/** How many searches may run at the same time. Each has a piece in memory. */
const MOST_SEARCHES = 4;
/** Files whose ranges are of more topics are read each time. */
const MOST_RANGES = 10_000;

/** An event with its names. */
export interface NamedEvent extends TraceEvent {
  readonly byName: string | undefined;
  readonly channelName: string | undefined;
}

/** What was found of one message. */
export interface FoundTrace {
  readonly events: NamedEvent[];
  /** How many events were left out. */
  readonly leftOut: number;
}

/** What a search needs. */
export interface TraceSearchParts {
  readonly disk: Disk;
  readonly files: TraceFiles;
  readonly tracer: Tracer;
  readonly clock: Pick<Clock, "callAfterTurn">;
}

/** Looks for a record in a batch. */
interface Wanted {
  readonly topicNumber: number;
  readonly sequence: number;
  /** What is looked for: records about a sequence, or about the entry of a deferred publish. */
  readonly isEntry: boolean;
}

/**
 * Finds what was recorded about one message. All files that may have it are read in pieces, and between two pieces the event loop
 * does its other work. Where a whole file was read, it is noted which sequences it has, and a later search may pass it over.
 */
export class TraceSearch {
  private searches = 0;

  constructor(private readonly parts: TraceSearchParts) {}

  get isBusy(): boolean {
    return this.searches >= MOST_SEARCHES;
  }

  /**
   * Finds the events of a message, oldest first.
   *
   * @returns "busy" if too many searches run
   * @throws UnreadableFile
   */
  async find(topicNumber: number, sequence: number): Promise<FoundTrace | "busy"> {
    if (this.isBusy) return "busy";
    this.searches++;
    try {
      this.parts.tracer.flush();
      const search = new OneSearch(this.parts);
      await search.run({ topicNumber, sequence, isEntry: false });
      const joined = search.events.find(({ kind }) => kind === KIND_JOINED);
      if (joined === undefined) return search;
      const before = new OneSearch(this.parts);
      await before.run({ topicNumber, sequence: joined.entry, isEntry: true });
      return { events: [...before.events, ...search.events], leftOut: before.leftOut + search.leftOut };
    } finally {
      this.searches--;
    }
  }
}

/** One walk through the files. */
class OneSearch implements FoundTrace {
  readonly events: NamedEvent[] = [];
  leftOut = 0;
  private readonly piece = Buffer.allocUnsafeSlow(PIECE_BYTES);

  constructor(private readonly parts: TraceSearchParts) {}

  async run(wanted: Wanted): Promise<void> {
    for (const file of [...this.parts.files.list]) {
      const range = file.ranges?.get(wanted.topicNumber);
      if (file.ranges !== undefined && !wanted.isEntry && (range === undefined || !isIn(range, wanted.sequence))) continue;
      if (file.ranges !== undefined && wanted.isEntry && range === undefined) continue;
      await this.searchFile(file, wanted);
    }
  }

  private async searchFile(file: TraceFile, wanted: Wanted): Promise<void> {
    const { disk, files } = this.parts;
    // Other records may be written meanwhile; they are not looked for.
    const { bytes } = file;
    const names = new Names();
    const ranges = files.isOpen(file) ? undefined : new Map<number, SequenceRange>();
    let fd: number;
    try {
      fd = disk.open(file.path, "r");
    } catch (error) {
      // It was the oldest, and was removed.
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw unreadable(file.path, error);
    }
    try {
      let position = 0;
      while (position < bytes) {
        const next = this.searchPiece(fd, position, bytes, wanted, names, ranges);
        if (next <= position) break;
        position = next;
        await new Promise<void>((resolve) => this.parts.clock.callAfterTurn(resolve));
      }
    } catch (error) {
      throw isKernelError(error) ? unreadable(file.path, error) : error;
    } finally {
      closeQuietly(disk, fd);
    }
    if (ranges !== undefined && ranges.size <= MOST_RANGES) file.ranges = ranges;
  }

  /** @returns where the next piece begins; `position` if there is nothing more */
  private searchPiece(
    fd: number,
    position: number,
    end: number,
    wanted: Wanted,
    names: Names,
    ranges: Map<number, SequenceRange> | undefined,
  ): number {
    const { piece } = this;
    const read = readUpTo(this.parts.disk, fd, piece, Math.min(PIECE_BYTES, end - position), position);
    let at = 0;
    if (position === 0) {
      if (judgeFileHead(piece, read) !== "sound") return position;
      at = RECORD_BYTES;
    }
    while (at + RECORD_BYTES <= read) {
      const batch = batchAt(piece, at, read);
      if (batch === "damaged") {
        at = nextBatch(piece, at, read);
        continue;
      }
      if (batch === "incomplete") break;
      names.add(piece, batch);
      this.searchBatch(batch, wanted, names, ranges);
      at = batch.end;
    }
    // No batch is larger than a piece. So one that is incomplete at the beginning of a piece is the torn end of the file.
    return position + at;
  }

  private searchBatch(batch: TraceBatch, wanted: Wanted, names: Names, ranges: Map<number, SequenceRange> | undefined): void {
    const { piece } = this;
    const end = batch.from + batch.records * RECORD_BYTES;
    for (let at = batch.from; at < end; at += RECORD_BYTES) {
      const topicNumber = piece.readUInt32LE(at + TOPIC_AT);
      const kind = piece[at + KIND_AT];
      const sequence = piece.readDoubleLE(at + SEQUENCE_AT);
      const count = piece.readUInt32LE(at + COUNT_AT);
      const isEntry = isAboutEntry(kind);
      const isWide = kind === KIND_EMPTIED || kind === KIND_MOVED || kind === KIND_DELETED;
      if (ranges !== undefined) {
        if (isEntry) noteRange(ranges, topicNumber, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
        else noteRange(ranges, topicNumber, isWide ? 0 : sequence, isWide ? Number.POSITIVE_INFINITY : sequence + count);
      }
      if (topicNumber !== wanted.topicNumber || isEntry !== wanted.isEntry) continue;
      if (isWide || (wanted.sequence >= sequence && wanted.sequence < sequence + count)) this.add(names.name(eventAt(piece, at)));
    }
  }

  private add(event: NamedEvent): void {
    if (this.events.length >= MOST_EVENTS) {
      this.events.splice(FIRST_EVENTS, 1);
      this.leftOut++;
    }
    this.events.push(event);
  }
}

/** The names of the file that is searched. */
class Names {
  private readonly texts = new Map<number, string>();

  add(bytes: Buffer, batch: TraceBatch): void {
    if (batch.namesTo > batch.namesFrom) visitNames(bytes, batch, (number, text) => this.texts.set(number, text));
  }

  name(event: TraceEvent): NamedEvent {
    return { ...event, byName: this.texts.get(event.by), channelName: this.texts.get(event.channel) };
  }
}

function isIn({ lowest, highest }: SequenceRange, sequence: number): boolean {
  return sequence >= lowest && sequence < highest;
}

function noteRange(ranges: Map<number, SequenceRange>, topicNumber: number, lowest: number, highest: number): void {
  const range = ranges.get(topicNumber);
  if (range === undefined) {
    if (ranges.size <= MOST_RANGES) ranges.set(topicNumber, { lowest, highest });
    return;
  }
  if (lowest < range.lowest) range.lowest = lowest;
  if (highest > range.highest) range.highest = highest;
}
