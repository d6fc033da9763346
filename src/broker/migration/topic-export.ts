import { BODY_OFFSET, ID_OFFSET, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { hasHeader } from "../../frame/header.ts";
import { useIdPrefix, writeId } from "../../frame/id.ts";
import { writeWithoutHeader } from "../../frame/layout.ts";
import { createDiskqueue, type DiskqueueWriter } from "../../nsqd-data/diskqueue-writer.ts";
import { KIND_PUBLISH, type ScannedEntry } from "../storage/deferred/entry.ts";
import { visitRecords } from "../storage/log/records.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { DeferredExport } from "./deferred-export.ts";
import { ExportedChannel } from "./exported-channel.ts";
import type { Pace } from "./pace.ts";
import { ABSENT } from "./topic-merge.ts";

/** Write buffers of all queues of a topic together, and of each. */
const WRITE_BYTES = 64 * 1024 * 1024;
const MAX_WRITE_BYTES = 1024 * 1024;
const MIN_WRITE_BYTES = 64 * 1024;
/** Runs of records that are read before others get their turn. */
const READS_PER_STEP = 16;

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

export interface TopicExportParts {
  /** The folder to write to. */
  readonly target: string;
  readonly maxBytesPerFile: number;
  readonly deferred: DeferredExport;
  readonly counts: ExportCounts;
  readonly pace: Pace;
}

/**
 * Writes the queues of one topic: what each channel has still to deliver to the channel's own queue, and what waits for a first
 * channel or for the end of a pause to the topic's queue, which nsqd passes on to all channels.
 */
export class TopicExport {
  private readonly channels: ExportedChannel[];
  private readonly attempts: Int32Array;
  private readonly writers: (DiskqueueWriter | undefined)[] = [];
  private topicWriter: DiskqueueWriter | undefined;
  private readonly released: number;
  private nextSequence: number;

  constructor(
    private readonly parts: TopicExportParts,
    private readonly topic: TopicRow,
    private readonly rows: readonly ChannelRow[],
    private readonly log: TopicLog,
  ) {
    this.channels = rows.map((row) => new ExportedChannel(row, parts.deferred.stored.get(row.id)));
    this.attempts = new Int32Array(rows.length);
    this.released = rows.length > 0 && !topic.paused ? log.committedNext : Math.min(topic.released, log.committedNext);
    // Deferred publishes get an id when they join the log, and here those that come next.
    this.nextSequence = Math.max(log.committedNext, topic.released, ...rows.map(({ floor }) => floor));
  }

  /** @throws the kernel's error */
  async run(): Promise<void> {
    try {
      await this.exportLog();
      this.parts.deferred.visit(this.topic.id, (entry) => this.exportDeferred(entry));
      for (const writer of this.allWriters()) writer.close();
    } catch (error) {
      for (const writer of this.allWriters()) writer.abort();
      throw error;
    }
  }

  private async exportLog(): Promise<void> {
    const { log, parts } = this;
    const end = log.committedNext;
    const floors = this.channels.map(({ floor }) => floor);
    let next = Math.max(log.startSequence, Math.min(this.released, ...floors));
    for (let from = next; from < end; ) {
      from = visitRecords(
        log,
        from,
        end,
        ({ sequence, buffer, from: at, to }) => {
          this.countUnreadable(next, sequence);
          next = sequence + 1;
          if (this.look(sequence)) this.write(buffer, at, to - at, sequence >= this.released);
          return false;
        },
        READS_PER_STEP,
      );
      await parts.pace.breathe();
    }
    this.countUnreadable(next, end);
  }

  /** Sets `attempts` for a message. @returns whether anybody has still to get it */
  private look(sequence: number): boolean {
    const { channels, attempts } = this;
    let wanted = channels.length === 0;
    for (let i = 0; i < channels.length; i++) {
      attempts[i] = channels[i].attemptsOf(sequence);
      if (attempts[i] !== ABSENT) wanted = true;
    }
    return wanted;
  }

  private countUnreadable(from: number, to: number): void {
    for (let sequence = from; sequence < to; sequence++) if (this.look(sequence)) this.parts.counts.unreadable++;
  }

  private exportDeferred(entry: ScannedEntry): void {
    const { page, frameAt, frameBytes, kind, number } = entry;
    const { counts, deferred } = this.parts;
    const before = counts.messages;
    if (kind === KIND_PUBLISH) {
      if (this.rows.length === 0 && !deferred.isHeld(this.topic.id, number)) return;
      const frame = Buffer.from(page.subarray(frameAt, frameAt + frameBytes));
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
      writeId(view, ID_OFFSET, useIdPrefix(this.log.prefix), this.nextSequence++);
      for (const [i, { voidBefore }] of this.rows.entries()) this.attempts[i] = number >= voidBefore ? 0 : ABSENT;
      this.write(frame, 0, frameBytes, true);
    } else {
      for (const [i, { id }] of this.rows.entries()) this.attempts[i] = id === entry.channelId ? entry.attempts : ABSENT;
      this.write(page, frameAt, frameBytes, false);
    }
    counts.deferred += counts.messages - before;
  }

  /**
   * Writes a message to the queues of the channels that have `attempts` for it.
   *
   * @param throughTopic if all channels are to get it, nsqd passes it on from the topic's queue, when there is a channel and no pause
   */
  private write(buffer: Buffer, at: number, bytes: number, throughTopic: boolean): void {
    const { counts } = this.parts;
    if (hasHeader(buffer, at)) {
      // nsqd has no headers.
      const plain = Buffer.alloc(bytes);
      const plainBytes = writeWithoutHeader(buffer, at, at + bytes, plain, new DataView(plain.buffer, plain.byteOffset), 0);
      counts.headersLost++;
      return this.write(plain, 0, plainBytes, throughTopic);
    }
    counts.largestBodyBytes = Math.max(counts.largestBodyBytes, bytes - BODY_OFFSET);
    const from = at + TIMESTAMP_OFFSET;
    const length = bytes - TIMESTAMP_OFFSET;
    if (throughTopic && !this.attempts.includes(ABSENT)) {
      this.topicWriter ??= this.newWriter();
      this.topicWriter.append(buffer, from, length, 0);
      counts.messages++;
      return;
    }
    for (let i = 0; i < this.attempts.length; i++) {
      if (this.attempts[i] === ABSENT) continue;
      let writer = this.writers[i];
      if (writer === undefined) {
        writer = this.newWriter(this.channels[i].name);
        this.writers[i] = writer;
      }
      writer.append(buffer, from, length, this.attempts[i]);
      counts.messages++;
    }
  }

  private newWriter(channel?: string): DiskqueueWriter {
    const { target, maxBytesPerFile } = this.parts;
    const bufferBytes = Math.max(MIN_WRITE_BYTES, Math.min(MAX_WRITE_BYTES, Math.floor(WRITE_BYTES / (this.rows.length + 1))));
    return createDiskqueue(target, this.topic.name, channel, { maxBytesPerFile, bufferBytes });
  }

  private allWriters(): DiskqueueWriter[] {
    return [this.topicWriter, ...this.writers].filter((writer) => writer !== undefined);
  }
}
