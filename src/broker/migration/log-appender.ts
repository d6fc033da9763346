import { ATTEMPTS_OFFSET, BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { useIdPrefix, writeId } from "../../frame/id.ts";
import { MESSAGE_HEADER_BYTES } from "../../nsqd-data/message-layout.ts";
import type { LogFiles } from "../storage/log/log-files.ts";

/** How many bytes become one commit. A redelivery reads a whole one. */
const COMMIT_BYTES = 256 * 1024;

/** Writes messages with their own timestamps to the files of a log that no broker has open. */
export class LogAppender {
  private buffer = Buffer.allocUnsafeSlow(COMMIT_BYTES);
  private view = viewOf(this.buffer);
  private used = 0;
  private count = 0;
  private newestMs: number;

  /**
   * @param prefix the beginning of all ids of the topic
   * @param nowMs commits are in order of time, and none is later than this
   */
  constructor(
    private readonly files: LogFiles,
    private readonly prefix: number,
    private readonly nowMs: number,
  ) {
    this.newestMs = files.newestMs;
    useIdPrefix(prefix);
  }

  /** The sequence of the next message. */
  get next(): number {
    return this.files.nextSequence + this.count;
  }

  /** Appends a message. Its timestamp, attempts, id and body are at [at, at + bytes) in `source`. @throws the kernel's error */
  append(source: Buffer, at: number, bytes: number): void {
    const frameBytes = bytes + TIMESTAMP_OFFSET;
    if (this.used + frameBytes > this.buffer.length) this.commit();
    if (frameBytes > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(frameBytes);
      this.view = viewOf(this.buffer);
    }
    const { buffer, view, used } = this;
    view.setUint32(used, frameBytes - 4);
    view.setUint32(used + 4, FRAME_TYPE_MESSAGE);
    source.copy(buffer, used + TIMESTAMP_OFFSET, at, at + 8);
    view.setUint16(used + ATTEMPTS_OFFSET, 1);
    writeId(view, used + ID_OFFSET, this.prefix, this.next);
    source.copy(buffer, used + BODY_OFFSET, at + MESSAGE_HEADER_BYTES, at + bytes);
    const publishedMs = (view.getUint32(used + TIMESTAMP_OFFSET) * 4294967296 + view.getUint32(used + TIMESTAMP_OFFSET + 4)) / 1e6;
    this.newestMs = Math.max(this.newestMs, Math.min(publishedMs, this.nowMs));
    this.used += frameBytes;
    this.count++;
  }

  /** Commits what was appended. @throws the kernel's error */
  commit(): void {
    const { buffer, used, count, files } = this;
    if (count === 0) return;
    files.commit([{ buffer, from: 0, to: used, firstSequence: files.nextSequence, continuesBatch: false }], count, this.newestMs);
    this.used = this.count = 0;
  }
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}
