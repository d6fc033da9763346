import { UnreadableFile } from "../../storage/disk/unreadable-file.ts";
import { timeAt } from "../../storage/log/records.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { Channel } from "../channel/channel.ts";
import type { ChannelPartition } from "../channel/channel-partition.ts";
import type { Topic } from "../topic.ts";
import type { TopicPartition } from "../topic-partition.ts";

/** The position of a message that is not in the window. */
const NO_POSITION = -1;

/** When the message that was last asked for was published: the oldest message of a backlog that nobody reads stays the same. */
export class KnownTime {
  private sequence = -1;
  private timeMs: number | undefined;

  /**
   * When a message was published, ms since 1970; if it is on disk only, when it was written.
   *
   * @param position of the message; NO_POSITION: unknown
   * @returns undefined where nothing tells it, or a file cannot be read
   */
  of(log: TopicLog, sequence: number, position: number): number | undefined {
    if (sequence === this.sequence) return this.timeMs;
    try {
      this.timeMs = timeAt(log, sequence, position);
      this.sequence = sequence;
      return this.timeMs;
    } catch (error) {
      if (error instanceof UnreadableFile) return undefined;
      throw error;
    }
  }
}

/** When the oldest message was published that waits to be delivered, for the first time or again, ms since 1970. @returns undefined: none does */
export function oldestInChannel({ partitions }: Channel): number | undefined {
  return oldestOf(partitions, oldestInChannelPartition);
}

function oldestInChannelPartition({ inFlight, backlog, partition, meter }: ChannelPartition): number | undefined {
  const { window, ready } = inFlight;
  // Those that came back are not in the order of their age; the first of them came back first.
  if (ready.length > 0 && !(backlog.freshCount > 0 && window.cursor < ready.first)) {
    const sequence = ready.first;
    const position = inFlight.isInWindow(sequence) ? window.position[sequence & window.mask] : NO_POSITION;
    return meter.oldest.of(partition.log, sequence, position);
  }
  return backlog.freshCount > 0 ? meter.oldest.of(partition.log, window.cursor, backlog.position) : undefined;
}

/** When the oldest message was published that was released to no channel, ms since 1970. @returns undefined: there is none */
export function oldestInTopic({ partitions }: Topic): number | undefined {
  return oldestOf(partitions, oldestInPartition);
}

/** What waits in a partition that another broker leads waits there. */
function oldestInPartition({ log, released, releasedPosition, meter, serving }: TopicPartition): number | undefined {
  return serving && log.committedNext > released ? meter.oldest.of(log, released, releasedPosition) : undefined;
}

function oldestOf<Part>(parts: readonly Part[], read: (part: Part) => number | undefined): number | undefined {
  let oldest: number | undefined;
  for (const part of parts) {
    const timeMs = read(part);
    if (timeMs !== undefined && (oldest === undefined || timeMs < oldest)) oldest = timeMs;
  }
  return oldest;
}
