import { ID_OFFSET } from "../../frame/frame.ts";
import { useIdPrefix, writeId } from "../../frame/id.ts";
import { KIND_PUBLISH, type ScannedEntry } from "../storage/deferred/entry.ts";
import { publishedMs, visitRecords } from "../storage/log/records.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { DeferredExport } from "./deferred-export.ts";
import { ExportedChannel } from "./exported-channel.ts";
import { ABSENT } from "./topic-merge.ts";
import type { ExportCounts, TopicQueues } from "./topic-queues.ts";

export interface PartitionExportParts {
  readonly queues: TopicQueues;
  readonly deferred: DeferredExport;
  readonly counts: ExportCounts;
}

/**
 * Writes what one partition of a topic has to the topic's queues: what each channel has still to deliver to the channel's own queue, and
 * what waits for a first channel or for the end of a pause to the topic's queue, which nsqd passes on to all channels.
 */
export class PartitionExport {
  /** When the message was published that was looked at last, ms. */
  reachedMs = 0;
  private readonly channels: ExportedChannel[];
  private readonly attempts: Int32Array;
  private readonly released: number;
  /** The next message of the log that is looked at. */
  private next: number;
  /** All messages below are written, not wanted or counted as unreadable. */
  private counted: number;
  private nextSequence: number;

  /** @param rows its rows of the topic's channels, in the order of the queues */
  constructor(
    private readonly parts: PartitionExportParts,
    private readonly row: TopicRow,
    private readonly rows: readonly ChannelRow[],
    private readonly log: TopicLog,
  ) {
    this.channels = rows.map((channel) => new ExportedChannel(channel, parts.deferred.stored.get(channel.id)));
    this.attempts = new Int32Array(rows.length);
    this.released = rows.length > 0 && !row.paused ? log.committedNext : Math.min(row.released, log.committedNext);
    // Deferred publishes get an id when they join the log, and here those that come next.
    this.nextSequence = Math.max(log.committedNext, row.released, ...rows.map(({ floor }) => floor));
    this.next = Math.max(log.startSequence, Math.min(this.released, ...rows.map(({ floor }) => floor)));
    this.counted = this.next;
  }

  /** Whether all of its log is written. */
  get isDone(): boolean {
    return this.next >= this.log.committedNext;
  }

  /** Writes the next run of messages of the log. */
  writeRun(): void {
    const { log } = this;
    const end = log.committedNext;
    this.next = visitRecords(
      log,
      this.next,
      end,
      (record) => {
        const { sequence, buffer, from, to } = record;
        this.countUnreadable(sequence);
        this.counted = sequence + 1;
        this.reachedMs = publishedMs(record);
        if (this.look(sequence)) this.parts.queues.write(buffer, from, to - from, this.attempts, sequence >= this.released);
        return false;
      },
      1,
    );
    if (this.isDone) this.countUnreadable(end);
  }

  writeDeferred(): void {
    this.parts.deferred.visit(this.row.id, (entry) => this.writeEntry(entry));
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

  private countUnreadable(to: number): void {
    for (; this.counted < to; this.counted++) if (this.look(this.counted)) this.parts.counts.unreadable++;
  }

  private writeEntry(entry: ScannedEntry): void {
    const { page, frameAt, frameBytes, kind, number } = entry;
    const { counts, deferred, queues } = this.parts;
    const { attempts, rows } = this;
    const before = counts.messages;
    if (kind === KIND_PUBLISH) {
      if (rows.length === 0 && !deferred.isHeld(this.row.id, number)) return;
      const frame = Buffer.from(page.subarray(frameAt, frameAt + frameBytes));
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
      writeId(view, ID_OFFSET, useIdPrefix(this.log.prefix), this.nextSequence++);
      for (const [i, { voidBefore }] of rows.entries()) attempts[i] = number >= voidBefore ? 0 : ABSENT;
      queues.write(frame, 0, frameBytes, attempts, true);
    } else {
      for (const [i, { id }] of rows.entries()) attempts[i] = id === entry.channelId ? entry.attempts : ABSENT;
      queues.write(page, frameAt, frameBytes, attempts, false);
    }
    counts.deferred += counts.messages - before;
  }
}
