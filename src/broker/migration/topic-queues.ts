import { BODY_OFFSET, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { hasHeader } from "../../frame/header.ts";
import { writeWithoutHeader } from "../../frame/layout.ts";
import { createDiskqueue, type DiskqueueWriter } from "../../nsqd-data/diskqueue-writer.ts";
import { ABSENT } from "./topic-merge.ts";

/** Write buffers of all queues of a topic together, and of each. */
const WRITE_BYTES = 64 * 1024 * 1024;
const MAX_WRITE_BYTES = 1024 * 1024;
const MIN_WRITE_BYTES = 64 * 1024;

/** Counts what is exported, over all topics. */
export interface ExportCounts {
  /** Written to queues: a message that three channels have counts three times. */
  messages: number;
  /** Those of them that were deferred. nsqd delivers them at once. */
  deferred: number;
  /** Messages that a channel has still to get and that cannot be read. */
  unreadable: number;
  largestBodyBytes: number;
  /** Messages whose header was left out: nsqd has none. */
  headersLost: number;
}

/** nsqd's queues of one topic: its own and those of its channels. They are made when the first message is written to them. */
export class TopicQueues {
  private readonly writers: (DiskqueueWriter | undefined)[];
  private topicWriter: DiskqueueWriter | undefined;

  /** @param target the folder to write to */
  constructor(
    private readonly topic: string,
    private readonly channels: readonly string[],
    private readonly target: string,
    private readonly maxBytesPerFile: number,
    private readonly counts: ExportCounts,
  ) {
    this.writers = channels.map(() => undefined);
  }

  /**
   * Writes the message in [at, at + bytes) to the queues of the channels that have it.
   *
   * @param attempts of each channel; ABSENT if it does not have the message
   * @param throughTopic if all channels are to get it, nsqd passes it on from the topic's queue, when there is a channel and no pause
   */
  write(buffer: Buffer, at: number, bytes: number, attempts: Int32Array, throughTopic: boolean): void {
    const { counts } = this;
    if (hasHeader(buffer, at)) {
      // nsqd has no headers.
      const plain = Buffer.alloc(bytes);
      const record = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
      const plainBytes = writeWithoutHeader(buffer, record, at, at + bytes, plain, new DataView(plain.buffer, plain.byteOffset), 0);
      counts.headersLost++;
      return this.write(plain, 0, plainBytes, attempts, throughTopic);
    }
    counts.largestBodyBytes = Math.max(counts.largestBodyBytes, bytes - BODY_OFFSET);
    const from = at + TIMESTAMP_OFFSET;
    const length = bytes - TIMESTAMP_OFFSET;
    if (throughTopic && !attempts.includes(ABSENT)) {
      this.topicWriter ??= this.newWriter();
      this.topicWriter.append(buffer, from, length, 0);
      counts.messages++;
      return;
    }
    for (let i = 0; i < attempts.length; i++) {
      if (attempts[i] === ABSENT) continue;
      let writer = this.writers[i];
      if (writer === undefined) {
        writer = this.newWriter(this.channels[i]);
        this.writers[i] = writer;
      }
      writer.append(buffer, from, length, attempts[i]);
      counts.messages++;
    }
  }

  close(): void {
    for (const writer of this.all()) writer.close();
  }

  abort(): void {
    for (const writer of this.all()) writer.abort();
  }

  private newWriter(channel?: string): DiskqueueWriter {
    const { target, maxBytesPerFile } = this;
    const bufferBytes = Math.max(MIN_WRITE_BYTES, Math.min(MAX_WRITE_BYTES, Math.floor(WRITE_BYTES / (this.channels.length + 1))));
    return createDiskqueue(target, this.topic, channel, { maxBytesPerFile, bufferBytes });
  }

  private all(): DiskqueueWriter[] {
    return [this.topicWriter, ...this.writers].filter((writer) => writer !== undefined);
  }
}
