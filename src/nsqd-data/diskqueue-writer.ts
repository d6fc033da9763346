import { closeSync, fsyncSync, openSync, unlinkSync } from "node:fs";
import { isValidName } from "../frame/names.ts";
import { OWN_FILE, writeAll, writeAnew } from "./files.ts";
import { ATTEMPTS_OFFSET, BODY_OFFSET, MAX_MESSAGE_BYTES, MESSAGE_HEADER_BYTES, SIZE_BYTES } from "./message-layout.ts";
import { fileName, metadataName, queuePrefix } from "./queue-files.ts";
import { formatQueueMetadata } from "./queue-metadata.ts";

/** nsqd's default for --max-bytes-per-file. */
const MAX_BYTES_PER_FILE = 100 * 1024 * 1024;
/** Bytes to collect before a write. */
const BUFFER_BYTES = 1024 * 1024;

export interface DiskqueueWriterOptions {
  /** Size at which a new file begins. Default: 100 MiB. It may differ from the flag of the nsqd that reads the files. */
  maxBytesPerFile?: number | undefined;
  /** Default: 1 MiB. */
  bufferBytes?: number | undefined;
}

/**
 * Creates a queue that Go's nsqd reads when it starts (go-diskqueue v1.1.0: writeOne, sync). The folder must have no older
 * files of the queue, which nsqd would take for a part of it, and no running nsqd, which would overwrite the new ones: check
 * with isNsqdDataPath() and lock with lockDataPath() before the first queue.
 *
 * @param folder the data path
 * @param channel undefined for the topic's own queue, whose messages nsqd passes to all channels of the topic
 * @throws RangeError for an invalid name
 */
export function createDiskqueue(folder: string, topic: string, channel?: string, options: DiskqueueWriterOptions = {}): DiskqueueWriter {
  const name = [topic, channel ?? topic].find((one) => !isValidName(one));
  if (name !== undefined) throw new RangeError(`${JSON.stringify(name)} is not a valid name of a topic or channel`);
  return new DiskqueueWriter(folder, queuePrefix(topic, channel), options);
}

/** Writes the messages of one queue. After an error, only abort() may be called. */
export class DiskqueueWriter {
  private readonly buffer: Buffer;
  private readonly maxBytesPerFile: number;
  private fd = -1;
  private file = 0;
  private filesMade = 0;
  /** Bytes of the current file, including those in the buffer. */
  private fileBytes = 0;
  private buffered = 0;
  private messages = 0;
  private closed = false;

  /** For createDiskqueue(). */
  constructor(
    private readonly folder: string,
    private readonly prefix: string,
    options: DiskqueueWriterOptions,
  ) {
    this.buffer = Buffer.allocUnsafeSlow(Math.max(options.bufferBytes ?? BUFFER_BYTES, BODY_OFFSET));
    this.maxBytesPerFile = options.maxBytesPerFile ?? MAX_BYTES_PER_FILE;
  }

  /**
   * Appends a message. `source` has it in the layout that records of nsqd and of bunsq share: timestamp (8 bytes), attempts (2),
   * id (16), body. Do not write an id twice to a queue: of two messages with one id, nsqd keeps only the first in its list of
   * messages in flight, and never redelivers the second.
   *
   * @param at offset of the timestamp in `source`
   * @param bytes from the timestamp to the end of the body. nsqd gives up a file with a body above its --max-msg-size
   * @param attempts how often the message was sent to a consumer, 0 for never. It replaces the attempts in `source`
   * @throws RangeError for a size that is not possible; the kernel's error if a write fails, EEXIST if the queue exists
   */
  append(source: Uint8Array, at: number, bytes: number, attempts: number): void {
    if (bytes < MESSAGE_HEADER_BYTES || bytes > MAX_MESSAGE_BYTES || at + bytes > source.length)
      throw new RangeError(`${bytes} bytes at offset ${at} of ${source.length} are not a message`);
    const recordBytes = SIZE_BYTES + bytes;
    if (this.fileBytes > 0 && this.fileBytes + recordBytes > this.maxBytesPerFile) this.roll();
    if (this.fd < 0) this.begin();
    const { buffer } = this;
    if (this.buffered + recordBytes > buffer.length) this.flush();
    const start = this.buffered;
    buffer.writeUInt32BE(bytes, start);
    // The rest of a message that is larger than the buffer is written from `source`.
    const copied = Math.min(bytes, buffer.length - start - SIZE_BYTES);
    buffer.set(source.subarray(at, at + copied), start + SIZE_BYTES);
    buffer.writeUInt16BE(Math.min(attempts, 0xffff), start + ATTEMPTS_OFFSET);
    this.buffered += SIZE_BYTES + copied;
    this.fileBytes += SIZE_BYTES + copied;
    if (copied < bytes) {
      this.flush();
      writeAll(this.fd, source, at + copied, bytes - copied, this.fileBytes);
      this.fileBytes += bytes - copied;
    }
    this.messages++;
  }

  /**
   * Writes and syncs the rest of the messages, and then the metadata file, without which nsqd ignores them. The names of the
   * files survive a power cut only after writeNsqdMetadata(), which syncs the folder.
   *
   * @throws the kernel's error if a write fails
   */
  close(): void {
    if (this.closed) return;
    this.finishFile();
    const write = { file: this.file, offset: this.fileBytes };
    const text = formatQueueMetadata({ depth: this.messages, read: { file: 0, offset: 0 }, write });
    writeAnew(`${this.folder}/${metadataName(this.prefix)}`, text);
    this.closed = true;
  }

  /** Removes the files again. Does nothing after close(). */
  abort(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
    while (this.filesMade > 0) unlinkSync(this.path(--this.filesMade));
  }

  /** Creates the current file. */
  private begin(): void {
    this.fd = openSync(this.path(this.file), "wx", OWN_FILE);
    this.filesMade++;
  }

  private roll(): void {
    this.finishFile();
    this.file++;
    this.fileBytes = 0;
  }

  /** Writes the buffer to the current file, syncs and closes it. */
  private finishFile(): void {
    if (this.fd < 0) return;
    this.flush();
    fsyncSync(this.fd);
    closeSync(this.fd);
    this.fd = -1;
  }

  private flush(): void {
    writeAll(this.fd, this.buffer, 0, this.buffered, this.fileBytes - this.buffered);
    this.buffered = 0;
  }

  private path(file: number): string {
    return `${this.folder}/${fileName(this.prefix, file)}`;
  }
}
