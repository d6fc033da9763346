import type { Clock } from "../../../base/clock.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../../frame/frame.ts";
import { layMessage, layMessages, type Timestamp } from "../../../frame/layout.ts";
import { type Chunk, type ChunkPool, type Gap, LARGEST_CLASS, UNPOOLED } from "./chunk.ts";
import { type Journal, type JournaledLog, MAX_JOURNALED_BYTES } from "./journal.ts";
import type { LogFiles } from "./log-files.ts";
import type { CommitPart } from "./segment.ts";

/** What one read of a lagging channel brings into memory, at most (one commit larger than this is read whole). */
const READ_AHEAD_BYTES = 512 * 1024;
/** A redelivery reads around its message only. */
const READ_NEAR_BYTES = 32 * 1024;
/** Blocks read back from files that one log keeps: channels that lag together share them. */
const MAX_READ_BLOCKS = 4;
/** With more than this in the journal only, a log writes to its own files again. */
const MAX_BEHIND_BYTES = 4 * MAX_JOURNALED_BYTES;
/** A chunk that filled faster than this asks for a larger one next time. */
const FAST_FILL_MS = 250;

/**
 * A topic's messages in publish order: appended once, read by every channel at its own pace.
 *
 * A record's sequence counts messages, its position counts bytes. The newest records are in chunks in
 * memory; file-backed logs also have all of them in segments, an ephemeral topic's log has only the chunks.
 */
export class TopicLog implements JournaledLog {
  /** Sequence the next record will get. */
  next: number;
  /** Position the next record will get. */
  end: number;
  /** As far as records are written, and may be acknowledged and delivered. */
  committedNext: number;
  committedEnd: number;
  /** As far as records are in the log's own files; what is committed beyond stands in the journal (and in the chunks). */
  private writtenNext: number;
  private writtenEnd: number;
  private journal: Journal | undefined;
  /** What was appended since the last commit stands in the journal. */
  private inJournal = false;
  /** When the last of what stands in the journal only was committed. */
  private journaledMs = 0;
  /** Contiguous chunks, oldest first; the last is the tail that is appended to. */
  private readonly chunks: Chunk[] = [];
  /** Blocks of older records, most recently used first. */
  private readonly readBlocks: Chunk[] = [];
  private sizeClass = 0;
  /** Messages of one MPUB are being appended, and the first is. */
  private insideBatch = false;
  private tailSinceMs = 0;

  /**
   * @param prefix what all ids of this topic begin with (frame/id.ts)
   * @param files undefined for a log that lives in memory only
   * @param firstSequence where a memory-only log starts; a file-backed one goes on where its files end
   */
  constructor(
    private readonly pool: ChunkPool,
    private readonly clock: Pick<Clock, "steadyMs">,
    readonly prefix: number,
    readonly files: LogFiles | undefined,
    firstSequence = 0,
  ) {
    this.next = this.committedNext = this.writtenNext = files?.nextSequence ?? firstSequence;
    this.end = this.committedEnd = this.writtenEnd = files?.endPosition ?? 0;
  }

  get topicNumber(): number {
    return this.files?.topicNumber ?? 0;
  }

  /** Recovery, before anything is appended: sequences that are known of elsewhere are not given again. */
  skipTo(sequence: number): void {
    this.files?.skipTo(sequence);
    this.next = this.committedNext = this.writtenNext = this.files?.nextSequence ?? this.next;
    this.end = this.committedEnd = this.writtenEnd = this.files?.endPosition ?? this.end;
  }

  /** First sequence that can still be read. */
  get startSequence(): number {
    if (this.files !== undefined) return this.files.startSequence;
    return this.chunks.length > 0 ? this.chunks[0].firstSequence : this.next;
  }

  /** First sequence from which on all is in memory. */
  get cachedSequence(): number {
    return this.chunks.length > 0 ? this.chunks[0].firstSequence : this.next;
  }

  /** Appends one message; it is not written before commit(). */
  append(source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    const chunk = this.tail(MESSAGE_OVERHEAD_BYTES + bodyBytes);
    const at = (chunk.end - chunk.start) | 0;
    const to = layMessage(chunk.buffer, chunk.view, at, source, from, bodyBytes, this.prefix, this.next, time);
    this.next++;
    this.end = chunk.end = chunk.start + to;
  }

  /**
   * Appends the messages of an MPUB body that was checked (frame/mpub.ts).
   *
   * @param from offset of the first message's size word
   * @param to offset after the last message
   */
  appendBatch(source: Buffer, from: number, to: number, count: number, time: Timestamp): void {
    // Each message's size word of 4 bytes becomes a frame header.
    const bytes = to - from + count * (MESSAGE_OVERHEAD_BYTES - 4);
    let chunk = this.chunks.length > 0 ? this.chunks[this.chunks.length - 1] : undefined;
    if (chunk === undefined || chunk.freeBytes < bytes) {
      if (bytes > 1024 * 1024) return this.appendOneByOne(source, from, count, time);
      chunk = this.newTail(bytes);
    }
    const at = (chunk.end - chunk.start) | 0;
    const ended = layMessages(chunk.buffer, chunk.view, at, source, from, count, this.prefix, this.next, time);
    this.next += count;
    this.end = chunk.end = chunk.start + ended;
  }

  /** Appends a whole frame that was laid out before (a deferred publish that falls due); its id must be `this.next`. */
  appendFrame(frame: Buffer, writeId: (view: DataView, at: number) => void): void {
    const chunk = this.tail(frame.length);
    const at = (chunk.end - chunk.start) | 0;
    frame.copy(chunk.buffer, at);
    writeId(chunk.view, at);
    this.next++;
    this.end = chunk.end = chunk.start + at + frame.length;
  }

  /**
   * Adds what was appended since the last commit to a journal's group, if it is small. commit() must follow, when the
   * group is written.
   */
  stageInJournal(journal: Journal): void {
    if (this.files === undefined || this.chunks.length === 0) return;
    const tail = this.chunks[this.chunks.length - 1];
    const pending = this.end - this.writtenEnd;
    if (tail.start > this.committedEnd || pending > MAX_BEHIND_BYTES) return;
    const count = this.next - this.committedNext;
    this.journal = journal;
    journal.stage(this, this.committedNext, count, tail.buffer, tail.offsetOf(this.committedEnd), tail.offsetOf(this.end));
  }

  onJournalWritten(written: boolean): void {
    this.inJournal = written;
  }

  /**
   * Writes what was appended since the last commit, as one group.
   * When the write fails, none of the group is in the log and this throws what the kernel said.
   */
  commit(timeMs: number): void {
    if (this.next === this.committedNext) return;
    if (this.inJournal) {
      this.inJournal = false;
      this.journaledMs = timeMs;
    } else if (this.files !== undefined) {
      try {
        this.writeUpTo(this.files, this.next, this.end, timeMs);
      } catch (error) {
        this.rollBack();
        throw error;
      }
    }
    this.committedNext = this.next;
    this.committedEnd = this.end;
  }

  /** Writes what stands in the journal only to the log's own files. @returns what went wrong; nothing is lost by it */
  catchUp(): Error | undefined {
    if (this.files === undefined || this.writtenNext === this.committedNext) return undefined;
    try {
      this.writeUpTo(this.files, this.committedNext, this.committedEnd, this.journaledMs);
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /** Takes back what was appended since the last commit. @throws why */
  refuseAppended(why: Error): never {
    this.rollBack();
    throw why;
  }

  /**
   * The chunk that holds the record at `position`, from memory or read back from its file.
   * The records up to `chunk.end` are contiguous and whole.
   *
   * @param ahead whether the reader goes on from there (dispatch) or wants this one record (redelivery)
   * @returns a Gap where the records' bytes are damaged; the caller skips them
   */
  chunkAt(position: number, ahead: boolean): Chunk | Gap {
    const cached = this.cachedAt(position);
    if (cached !== undefined) return cached;
    if (this.files === undefined) {
      throw new Error(`memory log has no position ${position}: it holds ${this.chunks[0]?.start} to ${this.end}`);
    }
    const block = this.files.read(position, ahead ? READ_AHEAD_BYTES : READ_NEAR_BYTES, this.pool);
    if (block.isGap) return block;
    this.readBlocks.unshift(block);
    this.pool.markEvictable(block, this);
    if (this.readBlocks.length > MAX_READ_BLOCKS) this.pool.free(this.readBlocks.pop() as Chunk);
    return block;
  }

  /**
   * Like chunkAt(), for a look that leaves no trace: what is not in memory is read beside all caches, and damage is not
   * reported.
   */
  peekAt(position: number): Chunk | Gap {
    const cached = this.cachedAt(position);
    if (cached !== undefined) return cached;
    if (this.files === undefined) throw new Error(`memory log has no position ${position}`);
    return this.files.read(position, READ_NEAR_BYTES, UNPOOLED, true);
  }

  /** Position from which peekAt() comes upon a record: that of a run of records in which it is, or of a gap. */
  runAt(sequence: number): { position: number; sequence: number } {
    const chunk = this.chunks.findLast((candidate) => candidate.firstSequence <= sequence);
    if (chunk !== undefined) return { position: chunk.start, sequence: chunk.firstSequence };
    if (this.files === undefined) throw new Error(`memory log has no sequence ${sequence}`);
    return this.files.runAt(sequence);
  }

  /** Position of a record. `startSequence ≤ sequence ≤ committedNext`. */
  locate(sequence: number): number {
    if (sequence >= this.committedNext) return this.committedEnd;
    const chunk = this.chunks.findLast((candidate) => candidate.firstSequence <= sequence);
    if (chunk !== undefined) return walk(chunk, sequence);
    if (this.files === undefined) throw new Error(`memory log has no sequence ${sequence}`);
    const position = this.files.locate(sequence);
    const block = this.chunkAt(position, false);
    return block.isGap ? position : walk(block, sequence);
  }

  /**
   * Lets go of what nobody needs any more.
   *
   * @param cursorPosition the smallest cursor of all channels: chunks below it are only needed for redeliveries
   * @param floorSequence everything below it is finished in every channel
   * @param wallMs the wall clock, for what is retained
   */
  trim(cursorPosition: number, floorSequence: number, wallMs: number): void {
    const before = this.files === undefined ? this.committedEnd : this.writtenEnd;
    while (this.chunks.length > 1 && this.chunks[0].end <= cursorPosition && this.chunks[0].end <= before) {
      if (this.files === undefined && this.chunks[1].firstSequence > floorSequence) break;
      this.pool.free(this.chunks.shift() as Chunk);
    }
    this.files?.trim(floorSequence, wallMs);
  }

  /** Frees what an idle topic holds: its chunks are in the file, the next message starts a small one. */
  shrink(): void {
    this.sizeClass = 0;
    if (this.files === undefined || this.committedNext !== this.next || this.catchUp() !== undefined) return;
    for (const chunk of this.chunks.splice(0)) this.pool.free(chunk);
    for (const block of this.readBlocks.splice(0)) this.pool.free(block);
    this.files.closeIdle();
  }

  evict(chunk: Chunk): void {
    const block = this.readBlocks.indexOf(chunk);
    if (block >= 0) {
      this.readBlocks.splice(block, 1);
      this.pool.free(chunk);
      return;
    }
    // Only the oldest may go, or the chunks would no longer be contiguous; and nothing that is not in the file. The tail
    // may: of a thousand topics each has one, and together they would be most of the memory.
    if (this.chunks[0] !== chunk || chunk.end > this.committedEnd) return;
    if (chunk.end > this.writtenEnd && this.catchUp() !== undefined) return;
    this.chunks.shift();
    this.pool.free(chunk);
  }

  /** Gives all memory back. Pinned chunks follow with their last pin. */
  dispose(): void {
    this.journal?.caughtUp(this);
    this.writtenNext = this.committedNext;
    for (const chunk of this.chunks.splice(0)) this.pool.free(chunk);
    for (const block of this.readBlocks.splice(0)) this.pool.free(block);
  }

  private cachedAt(position: number): Chunk | undefined {
    const chunks = this.chunks;
    if (chunks.length > 0 && position >= chunks[0].start) {
      let low = 0;
      let high = chunks.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (chunks[middle].start <= position) low = middle;
        else high = middle - 1;
      }
      return position < chunks[low].end ? chunks[low] : undefined;
    }
    for (const block of this.readBlocks) {
      if (position >= block.start && position < block.end) return block;
    }
    return undefined;
  }

  private tail(bytes: number): Chunk {
    const last = this.chunks.length > 0 ? this.chunks[this.chunks.length - 1] : undefined;
    return last !== undefined && last.freeBytes >= bytes ? last : this.newTail(bytes);
  }

  private newTail(bytes: number): Chunk {
    const now = this.clock.steadyMs();
    const full = this.chunks.length > 0 ? this.chunks[this.chunks.length - 1] : undefined;
    if (full !== undefined) {
      if (now - this.tailSinceMs < FAST_FILL_MS && this.sizeClass < LARGEST_CLASS) this.sizeClass++;
    }
    this.tailSinceMs = now;
    const chunk = this.pool.allocate(bytes, this.sizeClass);
    chunk.start = chunk.end = this.end;
    chunk.firstSequence = this.next;
    chunk.continuesBatch = this.insideBatch;
    this.chunks.push(chunk);
    if (this.files !== undefined) this.pool.markEvictable(chunk, this);
    return chunk;
  }

  /** An MPUB larger than a chunk: its messages go into as many chunks as they need, still one commit. */
  private appendOneByOne(source: Buffer, from: number, count: number, time: Timestamp): void {
    for (let i = 0; i < count; i++) {
      const bodyBytes = source.readUInt32BE(from);
      this.append(source, from + 4, bodyBytes, time);
      this.insideBatch = true;
      from += 4 + bodyBytes;
    }
    this.insideBatch = false;
  }

  /** Writes to the log's own files what is not there yet, up to a record. @throws what the kernel said; then none of it is there */
  private writeUpTo(files: LogFiles, next: number, end: number, timeMs: number): void {
    files.commit(this.partsUpTo(end), next - this.writtenNext, timeMs);
    this.writtenNext = next;
    this.writtenEnd = end;
    this.journal?.caughtUp(this);
  }

  private partsUpTo(end: number): CommitPart[] {
    const parts: CommitPart[] = [];
    for (let i = this.chunks.length - 1; i >= 0; i--) {
      const chunk = this.chunks[i];
      if (chunk.end <= this.writtenEnd) break;
      if (chunk.start >= end) continue;
      parts.unshift({
        buffer: chunk.buffer,
        from: chunk.offsetOf(Math.max(chunk.start, this.writtenEnd)),
        to: chunk.offsetOf(Math.min(chunk.end, end)),
        firstSequence: Math.max(chunk.firstSequence, this.writtenNext),
        continuesBatch: chunk.continuesBatch,
      });
    }
    return parts;
  }

  private rollBack(): void {
    while (this.chunks.length > 0 && this.chunks[this.chunks.length - 1].start >= this.committedEnd) {
      this.pool.free(this.chunks.pop() as Chunk);
    }
    if (this.chunks.length > 0) this.chunks[this.chunks.length - 1].end = this.committedEnd;
    this.next = this.committedNext;
    this.end = this.committedEnd;
    this.inJournal = false;
  }
}

/** Position of `sequence` in a chunk that holds it, by walking the frames' sizes. */
function walk(chunk: Chunk, sequence: number): number {
  let at = 0;
  for (let i = chunk.firstSequence; i < sequence; i++) at += 4 + chunk.view.getUint32(at);
  return chunk.start + at;
}
