import { closeSync, openSync } from "node:fs";
import { readPrefix, readSequence } from "../../frame/id.ts";
import type { DiskqueueProblem } from "../../nsqd-data/diskqueue-problem.ts";
import { type DiskqueueReader, type MessageBatch, openDiskqueue } from "../../nsqd-data/diskqueue-reader.ts";
import { readUpTo, systemFiles } from "../../nsqd-data/files.ts";
import { BODY_OFFSET, ID_BYTES, MESSAGE_HEADER_BYTES, SIZE_BYTES } from "../../nsqd-data/message-layout.ts";
import { fileName, type QueueFiles } from "../../nsqd-data/queue-files.ts";
import { LateMessages } from "./late-messages.ts";
import type { Pace } from "./pace.ts";

/** Largest body that is imported. nsqd's --max-msg-size is rarely above a few MiB. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
/** From the timestamp to the body. */
const HEADER_BYTES = BODY_OFFSET - SIZE_BYTES;

/** A queue that was read once, so that it is known which of its messages are late. */
export interface ScannedQueue {
  readonly folder: string;
  readonly files: QueueFiles;
  readonly late: LateMessages;
  readonly messages: number;
}

/**
 * Reads a queue, and notes the messages that come after one with a higher id.
 *
 * @param onProblem called for each problem that is found
 * @param onMessages called with the number of messages in each batch
 */
export async function scanQueue(
  folder: string,
  files: QueueFiles,
  pace: Pace,
  onProblem: (problem: DiskqueueProblem) => void,
  onMessages: (count: number) => void,
): Promise<ScannedQueue> {
  const late = new LateMessages();
  let messages = 0;
  let highestPrefix = -1;
  let highestLow = -1;
  using reader = openDiskqueue(folder, files, { onProblem, maxBodyBytes: MAX_BODY_BYTES });
  for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
    const { buffer, bodyAt, bodyBytes, attempts, count } = batch;
    const file = files.numbers.indexOf(batch.file);
    for (let i = 0; i < count; i++) {
      const at = bodyAt[i] - ID_BYTES;
      const prefix = readPrefix(buffer, at);
      const low = readSequence(buffer, at);
      if (prefix > highestPrefix || (prefix === highestPrefix && low > highestLow)) {
        highestPrefix = prefix;
        highestLow = low;
      } else {
        late.add(prefix, low, file, batch.offset + bodyAt[i] - HEADER_BYTES, HEADER_BYTES + bodyBytes[i], attempts[i]);
      }
    }
    messages += count;
    onMessages(count);
    await pace.breathe();
  }
  late.sort();
  return { folder, files, late, messages };
}

/**
 * The messages of a queue by ascending id, each once. Those in the order of the files are read as they come, and late ones are
 * read where they are. So the memory that it takes grows with the number of late messages only.
 */
export class QueueStream {
  /** The id of the current message, in two numbers: 6 and 10 hex digits. */
  prefix = 0;
  low = 0;
  /** How often the current message was delivered. If the queue has it several times, the highest number. */
  attempts = 0;
  /** Where the current message is, after locate(): its timestamp, attempts, id and body. */
  buffer: Buffer = Buffer.alloc(0);
  at = 0;
  bytes = 0;

  private readonly reader: DiskqueueReader;
  /** Undefined after the last one. */
  private batch: MessageBatch | undefined;
  private index = -1;
  private mainPrefix = -1;
  private mainLow = -1;
  private readonly late: LateMessages;
  private lateAt = 0;
  /** The current message is that of the batch, and in late.order at [lateAt, lateEnd). */
  private inBatch = false;
  private lateEnd = 0;
  private lateBuffer: Buffer = Buffer.alloc(0);
  private lateFile = -1;
  private fd = -1;

  /**
   * @param channel index of the channel that has the queue; -1 for the topic's own queue
   * @param bufferBytes how much of a file to read at once
   */
  constructor(
    private readonly queue: ScannedQueue,
    readonly channel: number,
    bufferBytes: number,
  ) {
    this.late = queue.late;
    this.reader = openDiskqueue(queue.folder, queue.files, { maxBodyBytes: MAX_BODY_BYTES, bufferBytes });
    this.nextInBatch();
  }

  /** Moves to the message with the next higher id, at first to the one with the lowest. @returns false after the last one */
  next(): boolean {
    if (this.inBatch) this.nextInBatch();
    this.lateAt = this.lateEnd;
    const { late, lateAt } = this;
    const { order, prefix, low } = late;
    const hasLate = lateAt < order.length;
    if (this.batch === undefined && !hasLate) return false;
    const first = hasLate ? order[lateAt] : 0;
    const lateDifference = !hasLate ? 1 : this.batch === undefined ? -1 : prefix[first] - this.mainPrefix || low[first] - this.mainLow;
    this.inBatch = lateDifference >= 0;
    this.prefix = this.inBatch ? this.mainPrefix : prefix[first];
    this.low = this.inBatch ? this.mainLow : low[first];
    this.attempts = this.inBatch && this.batch !== undefined ? this.batch.attempts[this.index] : 0;
    let end = lateAt;
    for (; end < order.length && prefix[order[end]] === this.prefix && low[order[end]] === this.low; end++) {
      this.attempts = Math.max(this.attempts, late.attempts[order[end]]);
    }
    this.lateEnd = end;
    return true;
  }

  /** Sets `buffer`, `at` and `bytes` for the current message. They are valid until next(). @throws the kernel's error */
  locate(): void {
    const { batch, index } = this;
    if (this.inBatch && batch !== undefined) {
      this.buffer = batch.buffer;
      this.at = batch.bodyAt[index] - HEADER_BYTES;
      this.bytes = HEADER_BYTES + batch.bodyBytes[index];
      return;
    }
    const { late, queue } = this;
    const which = late.order[this.lateAt];
    const bytes = late.bytes[which];
    if (bytes > this.lateBuffer.length) this.lateBuffer = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.lateBuffer.length));
    const file = late.file[which];
    const path = `${queue.folder}/${fileName(queue.files.prefix, queue.files.numbers[file])}`;
    if (file !== this.lateFile) {
      this.closeLate();
      this.fd = openSync(path, "r");
      this.lateFile = file;
    }
    const read = readUpTo(systemFiles, this.fd, this.lateBuffer, bytes, late.offset[which]);
    if (read < bytes || bytes < MESSAGE_HEADER_BYTES) throw new Error(`${path} changed while it was read`);
    this.buffer = this.lateBuffer;
    this.at = 0;
    this.bytes = bytes;
  }

  close(): void {
    this.reader.close();
    this.closeLate();
  }

  /** Moves to the next message in the files that is not late. */
  private nextInBatch(): void {
    for (;;) {
      this.index++;
      if (this.batch === undefined || this.index >= this.batch.count) {
        this.batch = this.reader.next();
        this.index = 0;
        if (this.batch === undefined) return;
      }
      const at = this.batch.bodyAt[this.index] - ID_BYTES;
      const prefix = readPrefix(this.batch.buffer, at);
      const low = readSequence(this.batch.buffer, at);
      if (prefix < this.mainPrefix || (prefix === this.mainPrefix && low <= this.mainLow)) continue;
      this.mainPrefix = prefix;
      this.mainLow = low;
      return;
    }
  }

  private closeLate(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
    this.lateFile = -1;
  }
}
