import type { DiskqueueProblem, DiskqueueProblemKind } from "./diskqueue-problem.ts";
import { isMissing, readUpTo, type SourceFiles, systemFiles } from "./files.ts";
import { ATTEMPTS_OFFSET, BODY_OFFSET, MAX_MESSAGE_BYTES, MESSAGE_HEADER_BYTES, SIZE_BYTES, TIMESTAMP_OFFSET } from "./message-layout.ts";
import { fileName, metadataName, type QueueFiles } from "./queue-files.ts";
import { type QueueMetadata, type QueuePosition, readQueueMetadata } from "./queue-metadata.ts";
import { missingFiles, planReading, type ReadPlan } from "./read-plan.ts";
import { findRecord, isFollowed, recordBytesAt } from "./record-search.ts";

/** How much of a file is read at once, in bytes. */
const BUFFER_BYTES = 1024 * 1024;
/** Default limit for a body. nsqd's own default for --max-msg-size is 1 MiB; few raise it beyond this. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** Most messages in one batch: with bodies of 34 bytes or more, a buffer is used up before its columns are. */
const BATCH_MESSAGES = 16384;

/**
 * Consecutive messages of one file. A reader has one batch and one buffer, and each call of next() overwrites both.
 * Entry `i` of each column, for 0 ≤ i < count, belongs to message `i`.
 */
export interface MessageBatch {
  /** Raw bytes of the file: the record of message `i` begins 30 bytes before bodyAt[i], its id 16 bytes before. */
  readonly buffer: Buffer;
  /** Number of the file. */
  readonly file: number;
  /** Offset in the file of the buffer's first byte. */
  readonly offset: number;
  readonly count: number;
  /** Time of publishing: ns since 1970, an int64 in two halves. */
  readonly timestampHigh: Uint32Array;
  readonly timestampLow: Uint32Array;
  /** How often the message was sent to a consumer, 0 for never. The frame of its next delivery carries one more. */
  readonly attempts: Uint16Array;
  /** Offset in the buffer of the body. */
  readonly bodyAt: Uint32Array;
  readonly bodyBytes: Uint32Array;
}

export interface DiskqueueReaderOptions {
  /** Where to begin, from positionAfter() of an earlier reader. Default: where the metadata says. */
  from?: QueuePosition | undefined;
  /** Called for each problem when the reader reaches it, in order. */
  onProblem?: ((problem: DiskqueueProblem) => void) | undefined;
  /** Largest body to accept. Default: 64 MiB. The buffer grows to the largest message that is found. */
  maxBodyBytes?: number | undefined;
  /** How much to read at once. Default: 1 MiB. */
  bufferBytes?: number | undefined;
  files?: SourceFiles | undefined;
}

/**
 * Opens a queue of Go's nsqd for reading (go-diskqueue v1.1.0: New, retrieveMetaData). The reader changes no file and takes
 * no lock; the caller keeps nsqd away with lockDataPath().
 *
 * @param folder the data path
 * @param queue an entry of listQueues()
 * @throws the kernel's error if the metadata file cannot be read
 */
export function openDiskqueue(folder: string, queue: QueueFiles, options: DiskqueueReaderOptions = {}): DiskqueueReader {
  const metadata = readQueueMetadata(folder, queue.prefix, options.files);
  const plan = planReading(queue, metadata, options.from);
  for (const problem of plan.problems) options.onProblem?.(problem);
  return new DiskqueueReader(folder, queue.prefix, plan, metadata instanceof Error ? undefined : metadata, options);
}

/** The position after message `index` of a batch. Another reader can begin there, in this or a later process. */
export function positionAfter(batch: MessageBatch, index: number): QueuePosition {
  return { file: batch.file, offset: batch.offset + batch.bodyAt[index] + batch.bodyBytes[index] };
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Reads the messages of a queue in file order, in bounded memory (go-diskqueue: readOne, handleReadError). */
export class DiskqueueReader {
  private readonly files: SourceFiles;
  private readonly onProblem: (problem: DiskqueueProblem) => void;
  private readonly maxMessageBytes: number;
  private readonly resumed: boolean;
  private readonly chunkBytes: number;
  private readonly batch: Writable<MessageBatch>;
  private view: DataView;
  /** Index in plan.numbers of the next file. */
  private nextFile = 0;
  /** -1 while no file is open. */
  private fd = -1;
  /** Offset of the next record in the open file, and the file's size. */
  private offset = 0;
  private fileBytes = 0;
  /** Offset of a record that is accepted although no record follows it; -1 for none. */
  private acceptedAt = -1;
  private messages = 0;
  private finished = false;

  /** For openDiskqueue(). */
  constructor(
    private readonly folder: string,
    private readonly prefix: string,
    private readonly plan: ReadPlan,
    /** Undefined if there is no usable metadata file. */
    readonly metadata: QueueMetadata | undefined,
    options: DiskqueueReaderOptions,
  ) {
    this.files = options.files ?? systemFiles;
    this.onProblem = options.onProblem ?? (() => {});
    this.maxMessageBytes = Math.min(MESSAGE_HEADER_BYTES + (options.maxBodyBytes ?? MAX_BODY_BYTES), MAX_MESSAGE_BYTES);
    this.resumed = options.from !== undefined;
    this.chunkBytes = Math.max(options.bufferBytes ?? BUFFER_BYTES, BODY_OFFSET);
    const buffer = Buffer.allocUnsafeSlow(this.chunkBytes);
    const capacity = Math.min(BATCH_MESSAGES, Math.floor(buffer.length / BODY_OFFSET));
    this.batch = {
      buffer,
      file: 0,
      offset: 0,
      count: 0,
      timestampHigh: new Uint32Array(capacity),
      timestampLow: new Uint32Array(capacity),
      attempts: new Uint16Array(capacity),
      bodyAt: new Uint32Array(capacity),
      bodyBytes: new Uint32Array(capacity),
    };
    this.view = viewOf(buffer);
  }

  /**
   * Reads the next batch, which invalidates the one before. A call reads at most one buffer of messages, but skips all
   * damage before them, which may be a whole file.
   *
   * @returns at least one message; undefined after the last
   * @throws the kernel's error if a read fails. A failing disk is not damage: nothing is skipped, and the next call tries again
   */
  next(): MessageBatch | undefined {
    this.batch.count = 0;
    while (this.fd >= 0 || this.openNext()) {
      while (this.offset < this.fileBytes) {
        if (this.readRecords() > 0) return this.batch;
        if (this.offset < this.fileBytes) this.skipDamage();
      }
      this.close();
    }
    this.finish();
    return undefined;
  }

  /** Closes the open file. Do not use the reader afterwards. */
  close(): void {
    if (this.fd < 0) return;
    this.files.close(this.fd);
    this.fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Opens the next file of the plan. @returns false if there is none */
  private openNext(): boolean {
    while (this.nextFile < this.plan.numbers.length) {
      const number = this.plan.numbers[this.nextFile] ?? 0;
      try {
        this.fd = this.files.open(`${this.folder}/${fileName(this.prefix, number)}`);
      } catch (error) {
        if (!isMissing(error)) throw error;
        // A dangling link, or a file that was removed after the listing.
        this.nextFile++;
        this.onProblem(missingFiles(this.prefix, number, number));
        continue;
      }
      try {
        this.begin(number, this.files.size(this.fd));
      } catch (error) {
        this.close();
        throw error;
      }
      this.nextFile++;
      return true;
    }
    return false;
  }

  /** Starts on the file that was just opened, and compares its size with the metadata. */
  private begin(number: number, fileBytes: number): void {
    const { start, end } = this.plan;
    this.batch.file = number;
    this.fileBytes = fileBytes;
    this.offset = number === start.file ? start.offset : 0;
    this.acceptedAt = -1;
    const due = end !== undefined && end.file === number ? Math.max(end.offset, this.offset) : this.offset;
    if (due > fileBytes)
      this.report(
        "shortFile",
        fileBytes,
        due - fileBytes,
        `ends at byte ${fileBytes}, ${due - fileBytes} bytes before the position in its metadata`,
      );
    else if (end !== undefined && number >= end.file && fileBytes > due)
      this.report("unsynced", due, fileBytes - due, `has ${fileBytes - due} bytes after the end in its metadata: reading them, too`);
  }

  /** Fills the batch with the sound records at the current offset. @returns how many; 0 at damage */
  private readRecords(): number {
    const { batch, fileBytes, offset, maxMessageBytes } = this;
    const loaded = this.loadRecords();
    const { view } = this;
    const capacity = batch.bodyAt.length;
    let count = 0;
    let at = 0;
    let bytes = this.recordBytesAt(0, loaded);
    while (bytes > 0 && bytes <= SIZE_BYTES + maxMessageBytes && count < capacity) {
      const end = at + bytes;
      if (end > loaded) break;
      // A record has no checksum. Only a record or the file's end right after it confirms its size.
      const bytesAfter = this.recordBytesAt(end, loaded);
      if (bytesAfter === 0 && offset + end !== fileBytes && offset + at !== this.acceptedAt) break;
      batch.timestampHigh[count] = view.getUint32(at + TIMESTAMP_OFFSET);
      batch.timestampLow[count] = view.getUint32(at + TIMESTAMP_OFFSET + 4);
      batch.attempts[count] = view.getUint16(at + ATTEMPTS_OFFSET);
      batch.bodyAt[count] = at + BODY_OFFSET;
      batch.bodyBytes[count] = end - at - BODY_OFFSET;
      count++;
      at = end;
      bytes = bytesAfter;
    }
    batch.offset = offset;
    batch.count = count;
    this.offset += at;
    this.messages += count;
    return count;
  }

  /**
   * Fills the buffer from the current offset: always with the first record and the header of the next one, unless the first
   * record is above the limit. @returns bytes read
   */
  private loadRecords(): number {
    const loaded = this.load(Math.min(this.chunkBytes, this.fileBytes - this.offset));
    const bytes = this.recordBytesAt(0, loaded);
    const needed = Math.min(bytes + BODY_OFFSET, this.fileBytes - this.offset);
    if (bytes === 0 || needed <= loaded || bytes > SIZE_BYTES + this.maxMessageBytes) return loaded;
    if (needed > this.batch.buffer.length) this.grow(needed);
    return this.load(needed);
  }

  /** Handles an offset without a sound record: moves on to the next record or the end of the file, and reports it. */
  private skipDamage(): void {
    const { offset, fileBytes, fd, files, maxMessageBytes } = this;
    const { buffer } = this.batch;
    const bytes = this.recordBytesAt(0, Math.min(this.chunkBytes, fileBytes - offset));
    const isWhole = bytes > 0 && bytes <= SIZE_BYTES + maxMessageBytes;
    if (bytes > 0 && !isWhole && isFollowed(files, fd, offset + bytes, fileBytes)) {
      this.offset += bytes;
      const limit = maxMessageBytes - MESSAGE_HEADER_BYTES;
      return this.report(
        "tooLarge",
        offset,
        bytes,
        `has a message of ${bytes - BODY_OFFSET} bytes at byte ${offset}: the limit is ${limit}`,
      );
    }
    // A whole record that no record follows: either its size is wrong, and then other records are inside it, or the bytes
    // after it are damaged.
    const next = findRecord(files, fd, buffer, offset + (isWhole ? BODY_OFFSET : 1), fileBytes, maxMessageBytes);
    if (isWhole && next >= offset + bytes) {
      this.acceptedAt = offset;
      return;
    }
    this.offset = next;
    const skipped = next - offset;
    if (next < fileBytes)
      this.report("damaged", offset, skipped, `is damaged at byte ${offset}: skipped ${skipped} bytes to the next message`);
    else this.report("torn", offset, skipped, `has no whole message in its last ${skipped} bytes, from byte ${offset} on`);
  }

  /** Size of the record at an offset in the buffer, if one begins there and the file has all of it; else 0. */
  private recordBytesAt(at: number, loaded: number): number {
    return at + BODY_OFFSET > loaded ? 0 : recordBytesAt(this.batch.buffer, at, this.fileBytes - this.offset - at);
  }

  /** Reads from the current offset into the buffer. @returns bytes read */
  private load(length: number): number {
    const loaded = readUpTo(this.files, this.fd, this.batch.buffer, length, this.offset);
    // The file was truncated after it was opened.
    if (loaded < length) this.fileBytes = this.offset + loaded;
    return loaded;
  }

  private grow(bytes: number): void {
    this.batch.buffer = Buffer.allocUnsafeSlow(bytes);
    this.view = viewOf(this.batch.buffer);
  }

  /** Compares the number of messages with the metadata, once. */
  private finish(): void {
    if (this.finished) return;
    this.finished = true;
    const { metadata, messages } = this;
    if (metadata === undefined || this.resumed || metadata.depth === messages) return;
    const file = metadataName(this.prefix);
    const message = `${file} counts ${metadata.depth} messages, but ${messages} were read`;
    this.onProblem({ kind: "depth", file, offset: 0, bytes: 0, message });
  }

  /** @param text the sentence after the file's name */
  private report(kind: DiskqueueProblemKind, offset: number, bytes: number, text: string): void {
    const file = fileName(this.prefix, this.batch.file);
    this.onProblem({ kind, file, offset, bytes, message: `${file} ${text}` });
  }
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}
