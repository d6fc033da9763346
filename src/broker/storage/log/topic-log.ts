import type { Clock } from "../../../base/clock.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../../frame/frame.ts";
import { hasHeader } from "../../../frame/header.ts";
import { recordBytes, type Timestamp, writeMessage, writeMessages, writeRecord } from "../../../frame/layout.ts";
import type { MessageBatch } from "../../../frame/message-batch.ts";
import { type Chunk, type ChunkPool, type Gap, LARGEST_CLASS, positionIn } from "./chunk.ts";
import { chunkWith, cutChunks, partsBetween } from "./chunk-row.ts";
import { type CommitRun, CommitRunError, checkRun } from "./commit-run.ts";
import { IdPrefixes } from "./id-prefixes.ts";
import { type Journal, type JournaledLog, MAX_JOURNALED_BYTES } from "./journal.ts";
import type { LogFiles } from "./log-files.ts";
import { ReadBlocks } from "./read-blocks.ts";

/** A redelivery reads about this many bytes around its message. */
const READ_NEAR_BYTES = 32 * 1024;
/** A log whose own files are behind by more than this writes to them instead of the journal. */
const MAX_BEHIND_BYTES = 4 * MAX_JOURNALED_BYTES;
/** When a chunk is full earlier than this, the next one is larger. */
const FAST_FILL_MS = 250;

/**
 * A topic's messages in the order in which they were published. Each is appended once, and every channel reads at its own pace.
 *
 * A record's sequence counts messages, and its position counts bytes. The newest records are in chunks in memory. A log with
 * files also has all records in segments; the log of an ephemeral topic only has the chunks.
 */
export class TopicLog implements JournaledLog {
  /** Sequence of the next record. */
  next: number;
  /** Position of the next record. */
  end: number;
  /** Records below this sequence and position are committed: they may be acknowledged and delivered. */
  committedNext: number;
  committedEnd: number;
  /** Records below this sequence are from earlier runs, if there are any. */
  firstOfRun: number;
  /** Records below this sequence and position are in the log's own files. Those committed above are in the journal and in chunks. */
  private writtenNext: number;
  private writtenEnd: number;
  private journal: Journal | undefined;
  /** The journal has what was appended since the last commit. */
  private inJournal = false;
  /** When the last commit to the journal was made. */
  private journaledMs = 0;
  /** Contiguous chunks, oldest first. The last one is the tail, which gets the next records. */
  private readonly chunks: Chunk[] = [];
  /** Blocks of older records. */
  private readonly readBlocks = new ReadBlocks();
  readonly prefixes: IdPrefixes;
  private sizeClass = 0;
  /** Some of its records may have headers, so that runs of them have to be looked at. Of an earlier run's records nothing is known. */
  mayHaveHeaders: boolean;
  /** The next message to be appended belongs to the same MPUB as the one before. */
  private insideBatch = false;
  private tailSinceMs = 0;

  /**
   * @param prefix the beginning of the ids that new messages get (frame/id.ts)
   * @param files undefined for a log in memory only
   * @param firstSequence the first sequence of a log in memory; a log with files continues where these end
   */
  constructor(
    private readonly pool: ChunkPool,
    private readonly clock: Pick<Clock, "steadyMs">,
    readonly prefix: number,
    readonly files: LogFiles | undefined,
    firstSequence = 0,
  ) {
    this.prefixes = new IdPrefixes(prefix);
    this.next = this.committedNext = this.writtenNext = this.firstOfRun = files?.nextSequence ?? firstSequence;
    this.end = this.committedEnd = this.writtenEnd = files?.endPosition ?? 0;
    this.mayHaveHeaders = files !== undefined && files.nextSequence > files.startSequence;
  }

  get topicId(): number {
    return this.files?.topicId ?? 0;
  }

  /** Skips sequences that were given before, as is known from elsewhere. To be called while nothing is appended that is not written. */
  skipTo(sequence: number): void {
    this.freeMemory();
    this.files?.skipTo(sequence);
    if (this.files !== undefined) this.takeEnd(this.files);
  }

  /** First sequence that can still be read. */
  get startSequence(): number {
    return this.files?.startSequence ?? this.cachedSequence;
  }

  /** All records from this sequence on are in memory. */
  get cachedSequence(): number {
    return this.chunks.length > 0 ? this.chunks[0].firstSequence : this.next;
  }

  /** Appends one message. commit() writes it. */
  append(source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    const chunk = this.tail(MESSAGE_OVERHEAD_BYTES + bodyBytes);
    const at = (chunk.end - chunk.start) | 0;
    const to = writeMessage(chunk.buffer, chunk.view, at, source, from, bodyBytes, this.prefix, this.next, time);
    this.next++;
    this.end = chunk.end = chunk.start + to;
  }

  /** Appends one message with a header (frame/header.ts). @param header encoded; empty: none */
  appendWithHeader(header: Uint8Array, source: Uint8Array, from: number, bodyBytes: number, time: Timestamp): void {
    const chunk = this.tail(recordBytes(header, bodyBytes));
    if (header.length > 0) this.mayHaveHeaders = true;
    const at = (chunk.end - chunk.start) | 0;
    const to = writeRecord(chunk.buffer, chunk.view, at, header, source, from, bodyBytes, this.prefix, this.next, time);
    this.next++;
    this.end = chunk.end = chunk.start + to;
  }

  /** Appends `count` messages of a batch from `first` on, which are in `source`. */
  appendMessages(batch: MessageBatch, first: number, count: number, source: Uint8Array, time: Timestamp): void {
    if (batch.hasHeaders) this.mayHaveHeaders = true;
    for (let i = first, left = count; left > 0; left--, i = batch.nextOf(i)) {
      const chunk = this.tail(batch.recordBytes(i));
      const at = (chunk.end - chunk.start) | 0;
      const to = batch.write(i, source, chunk.buffer, chunk.view, at, this.prefix, this.next, time);
      this.next++;
      this.end = chunk.end = chunk.start + to;
      this.insideBatch = true;
    }
    this.insideBatch = false;
  }

  /**
   * Appends the messages of an MPUB body whose lengths were checked (frame/mpub.ts).
   *
   * @param from offset of the first message's size word @param to offset after the last message
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
    const ended = writeMessages(chunk.buffer, chunk.view, at, source, from, count, this.prefix, this.next, time);
    this.next += count;
    this.end = chunk.end = chunk.start + ended;
  }

  /** Appends a complete frame, that of a deferred publish that falls due. @param writeId writes the id for the sequence `next` into it */
  appendFrame(frame: Buffer, writeId: (view: DataView, at: number) => void): void {
    if (hasHeader(frame, 0)) this.mayHaveHeaders = true;
    const chunk = this.tail(frame.length);
    const at = (chunk.end - chunk.start) | 0;
    frame.copy(chunk.buffer, at);
    writeId(chunk.view, at);
    this.next++;
    this.end = chunk.end = chunk.start + at + frame.length;
  }

  /**
   * Stages what was appended since the last commit in the journal, if it is small. To be called before the journal's
   * writeStaged(), and that before commit().
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
   * Commits what was appended since the last commit. Writes it to the log's own files, unless the journal has it.
   * If the write fails, none of it is in the log. @throws the kernel's error
   */
  commit(timeMs: number): void {
    if (this.next === this.committedNext) return;
    const journaled = this.inJournal;
    if (journaled) {
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
    // The journal is never synced, so --sync-every counts what is in it.
    if (journaled && this.files?.needsSync(this.next, this.end) === true && this.catchUp() === undefined) this.files.sync();
  }

  /** Writes what only the journal has to the log's own files. @returns the error if that failed; the journal keeps the commits then */
  catchUp(): Error | undefined {
    if (this.files === undefined || this.writtenNext === this.committedNext) return undefined;
    try {
      this.writeUpTo(this.files, this.committedNext, this.committedEnd, this.journaledMs);
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  /**
   * Reads what followers lack from a sequence on, and leaves all caches as they are.
   *
   * @param maxBytes the most bytes of records, but for a single commit that has more
   * @returns a Gap where the first commit is damaged or missing; undefined at the end of the log, or if it is in memory only
   * @throws UnreadableFile
   */
  commitsFrom(sequence: number, maxBytes: number): CommitRun | Gap | undefined {
    this.catchUp();
    return this.files?.reader.commitsFrom(sequence, maxBytes, (position) => this.cachedAt(position));
  }

  /**
   * Appends and commits what commitsFrom() returned of the leader's log: the same bytes at the same sequences, and the same commits.
   * @throws CommitRunError if it does not follow on the log or is damaged, and the kernel's error: nothing has changed then
   */
  appendCommits(run: CommitRun): void {
    const { files } = this;
    this.catchUp();
    if (files === undefined || this.next !== this.writtenNext) throw new CommitRunError("the log is not that of a follower");
    if (run.epoch !== files.epoch) throw new CommitRunError(`commits are of epoch ${run.epoch}, and the log is in epoch ${files.epoch}`);
    const anyHeader = checkRun(run, this.next);
    files.commitRun(run);
    if (anyHeader) this.mayHaveHeaders = true;
    const chunk = this.tail(run.bytes.length);
    chunk.end += run.bytes.copy(chunk.buffer, chunk.end - chunk.start);
    // Nobody reads a follower's log, so its chunks must not evict those of others.
    while (this.chunks.length > 1) this.pool.free(this.chunks.shift() as Chunk);
    this.takeEnd(files);
  }

  /**
   * Removes the records from a sequence on, which nobody may have been given, the epochs that begin there or later, and what is not
   * committed. A crash may leave some of the records, and takes none below the sequence.
   * @throws RangeError for a sequence that the log does not reach; UnreadableFile or the kernel's error, and a later call goes on
   */
  truncateTo(sequence: number): void {
    const { files } = this;
    if (files === undefined || !(sequence >= this.startSequence && sequence <= this.committedNext))
      throw new RangeError(`sequence ${sequence} is not in the log`);
    this.rollBack();
    if (this.writtenNext < this.committedNext) this.writeUpTo(files, this.committedNext, this.committedEnd, this.journaledMs);
    this.freeMemory();
    try {
      files.truncateTo(sequence, this.pool.pieces);
    } finally {
      this.takeEnd(files);
      this.firstOfRun = Math.min(this.firstOfRun, this.next);
    }
  }

  /** Removes all records; the next one has a sequence, which may be lower or higher, and a position. @throws as truncateTo() does */
  restartAt(sequence: number, position: number): void {
    this.truncateTo(this.startSequence);
    try {
      this.files?.restartAt(sequence, position);
    } finally {
      if (this.files !== undefined) this.takeEnd(this.files);
    }
  }

  /** Removes what was appended since the last commit. @throws `why` */
  refuseAppended(why: Error): never {
    this.rollBack();
    throw why;
  }

  /**
   * The chunk that has the record at `position`, from memory or read from the files.
   * The records up to `chunk.end` are contiguous and complete.
   *
   * @param ahead true: the reader continues from there (dispatch). False: it needs only this record (redelivery)
   * @returns a Gap where the records are damaged or missing; the caller skips them
   * @throws UnreadableFile where they cannot be read; the caller waits
   */
  chunkAt(position: number, ahead: boolean): Chunk | Gap {
    const cached = this.cachedAt(position);
    if (cached !== undefined) {
      if (cached.isRead) this.useBlock(cached, position, ahead);
      return cached;
    }
    if (this.files === undefined)
      throw new Error(`memory log has no position ${position}: it holds ${this.chunks[0]?.start} to ${this.end}`);
    const { pool, readBlocks } = this;
    if (ahead) this.passBlockBefore(position);
    const wanted = ahead ? pool.readAhead.bytes : Math.min(READ_NEAR_BYTES, pool.readAhead.bytes);
    // What follows is in memory already.
    const block = this.files.reader.read(position, Math.min(wanted, readBlocks.startAfter(position) - position), pool);
    if (block.isGap) return block;
    for (const covered of readBlocks.add(block)) pool.free(covered);
    pool.keepRead(block, this, ahead);
    return block;
  }

  private useBlock(block: Chunk, position: number, ahead: boolean): void {
    this.pool.useRead(block);
    if (ahead && position === block.start) this.passBlockBefore(position);
  }

  /** A reader has come to a position: the block in front of it, if there is one, has served that reader. */
  private passBlockBefore(position: number): void {
    const before = this.readBlocks.endingAt(position);
    if (before !== undefined) this.pool.passRead(before);
  }

  /** The chunk in memory that has a position. */
  cachedAt(position: number): Chunk | undefined {
    const chunks = this.chunks;
    return chunks.length > 0 && position >= chunks[0].start ? chunkWith(chunks, position) : this.readBlocks.at(position);
  }

  /** Position and first sequence of the run of records that has a sequence, or of the gap that it is in. peekAt() reads from there. */
  runAt(sequence: number): { position: number; sequence: number } {
    const chunk = this.chunks.findLast((candidate) => candidate.firstSequence <= sequence);
    if (chunk !== undefined) return { position: chunk.start, sequence: chunk.firstSequence };
    if (this.files === undefined) throw new Error(`memory log has no sequence ${sequence}`);
    return this.files.reader.runAt(sequence);
  }

  /** Position of a record. `startSequence ≤ sequence ≤ committedNext`. @throws UnreadableFile */
  locate(sequence: number): number {
    if (sequence >= this.committedNext) return this.committedEnd;
    const chunk = this.chunks.findLast((candidate) => candidate.firstSequence <= sequence);
    if (chunk !== undefined) return positionIn(chunk, sequence);
    if (this.files === undefined) throw new Error(`memory log has no sequence ${sequence}`);
    const { pieces } = this.pool;
    for (let position = this.files.reader.locate(sequence, pieces); ; ) {
      const block = this.chunkAt(position, false);
      const found = block.isGap ? position : positionIn(block, sequence);
      if (found >= 0) return found;
      // The block is a part of a large commit. By now its pieces are known.
      position = Math.max(this.files.reader.locate(sequence, pieces), block.isGap ? 0 : block.end);
    }
  }

  /**
   * Frees chunks and recycles segments that nobody needs.
   *
   * @param cursorPosition the lowest cursor of all channels: chunks below it are only needed for redeliveries
   * @param floorSequence all messages below it are finished in every channel
   * @param agingMs wall-clock time by which messages are too old for retention
   */
  trim(cursorPosition: number, floorSequence: number, agingMs: number): void {
    const before = this.files === undefined ? this.committedEnd : this.writtenEnd;
    while (this.chunks.length > 1 && this.chunks[0].end <= cursorPosition && this.chunks[0].end <= before) {
      if (this.files === undefined && this.chunks[1].firstSequence > floorSequence) break;
      this.pool.free(this.chunks.shift() as Chunk);
    }
    this.files?.trim(floorSequence, agingMs);
  }

  /** Frees the memory of an idle topic and closes its files. The next message starts with a small chunk. */
  shrink(): void {
    this.sizeClass = 0;
    if (this.files === undefined || this.committedNext !== this.next || this.catchUp() !== undefined) return;
    this.freeMemory();
    this.files.closeIdle();
  }

  evict(chunk: Chunk): void {
    if (chunk.isRead) {
      if (this.readBlocks.remove(chunk)) this.pool.free(chunk);
      return;
    }
    // Only the oldest chunk may be evicted, since chunks must be contiguous, and only if the log's own files have it. The tail may
    // be evicted too: each of a thousand topics has one, and together they would take most of the memory.
    if (this.chunks[0] !== chunk || chunk.end > this.committedEnd) return;
    if (chunk.end > this.writtenEnd && this.catchUp() !== undefined) return;
    this.chunks.shift();
    this.pool.free(chunk);
  }

  /** Frees all memory. Pinned chunks go back to the pool with their last pin. */
  dispose(): void {
    this.journal?.caughtUp(this);
    this.writtenNext = this.committedNext;
    this.freeMemory();
  }

  private takeEnd({ nextSequence, endPosition }: LogFiles): void {
    this.next = this.committedNext = this.writtenNext = nextSequence;
    this.end = this.committedEnd = this.writtenEnd = endPosition;
  }

  private freeMemory(): void {
    for (const chunk of this.chunks.splice(0)) this.pool.free(chunk);
    this.freeReadBlocks();
  }

  /** Other bytes may be in the files than those that were read from them. */
  freeReadBlocks(): void {
    for (const block of this.readBlocks.clear()) this.pool.free(block);
  }

  private tail(bytes: number): Chunk {
    const last = this.chunks.length > 0 ? this.chunks[this.chunks.length - 1] : undefined;
    return last !== undefined && last.freeBytes >= bytes ? last : this.newTail(bytes);
  }

  private newTail(bytes: number): Chunk {
    const now = this.clock.steadyMs();
    if (this.chunks.length > 0 && now - this.tailSinceMs < FAST_FILL_MS && this.sizeClass < LARGEST_CLASS) this.sizeClass++;
    this.tailSinceMs = now;
    const chunk = this.pool.allocate(bytes, this.sizeClass);
    chunk.start = chunk.end = this.end;
    chunk.firstSequence = this.next;
    chunk.continuesBatch = this.insideBatch;
    this.chunks.push(chunk);
    if (this.files !== undefined) this.pool.markEvictable(chunk, this);
    return chunk;
  }

  /** Appends an MPUB that is larger than a chunk. It takes as many chunks as it needs, and is still one commit. */
  private appendOneByOne(source: Buffer, from: number, count: number, time: Timestamp): void {
    for (let i = 0; i < count; i++) {
      const bodyBytes = source.readUInt32BE(from);
      this.append(source, from + 4, bodyBytes, time);
      this.insideBatch = true;
      from += 4 + bodyBytes;
    }
    this.insideBatch = false;
  }

  /** Writes records to the log's own files, from those they lack up to `next`. If that fails, none of them counts. @throws the kernel's error */
  private writeUpTo(files: LogFiles, next: number, end: number, timeMs: number): void {
    files.commit(partsBetween(this.chunks, this.writtenEnd, this.writtenNext, end), next - this.writtenNext, timeMs);
    this.writtenNext = next;
    this.writtenEnd = end;
    this.journal?.caughtUp(this);
  }

  private rollBack(): void {
    cutChunks(this.chunks, this.committedEnd, this.pool);
    this.next = this.committedNext;
    this.end = this.committedEnd;
    this.inJournal = false;
  }
}
