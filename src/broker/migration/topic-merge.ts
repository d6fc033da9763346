import type { QueueStream } from "./queue-stream.ts";

/** How often a channel was sent the current message, if it does not have it. */
export const ABSENT = -1;

/** Joins the queues of a topic: each message once, by ascending id, with the channels that have it. */
export class TopicMerge {
  /** The current message's id. */
  prefix = -1;
  low = -1;
  /** The topic's own queue has the current message. */
  inTopic = false;
  /** A channel's queue has it. */
  inChannel = false;
  /** For each channel how often it was sent the current message; ABSENT if it does not get it. A message in the topic's own queue goes to all. */
  readonly attempts: Int32Array;
  /** Streams that are not at their end. */
  private readonly open: QueueStream[] = [];
  /** The stream that the current message is read from. */
  private source: QueueStream | undefined;

  constructor(
    private readonly streams: readonly QueueStream[],
    channels: number,
  ) {
    this.attempts = new Int32Array(channels);
    for (const stream of streams) if (stream.next()) this.open.push(stream);
  }

  /** Moves to the message with the next higher id. @returns false after the last one */
  next(): boolean {
    const { open } = this;
    this.step();
    const [first] = open;
    this.source = first;
    if (first === undefined) return false;
    let lowest = first;
    for (const stream of open) {
      if (stream.prefix < lowest.prefix || (stream.prefix === lowest.prefix && stream.low < lowest.low)) lowest = stream;
    }
    const { prefix, low } = lowest;
    this.source = lowest;
    this.prefix = prefix;
    this.low = low;
    this.inTopic = this.inChannel = false;
    for (const stream of open) {
      if (stream.prefix !== prefix || stream.low !== low) continue;
      if (stream.channel < 0) this.inTopic = true;
      else this.inChannel = true;
    }
    // nsqd hands the attempts in a topic's own queue to one of the channels, which is not known. They are 0 but for an accident.
    this.attempts.fill(this.inTopic ? 0 : ABSENT);
    for (const { channel, prefix: itsPrefix, low: itsLow, attempts } of open) {
      if (channel >= 0 && itsPrefix === prefix && itsLow === low) this.attempts[channel] = Math.max(this.attempts[channel], attempts);
    }
    return true;
  }

  /** The stream with the current message, located. */
  locate(): QueueStream {
    const { source } = this;
    if (source === undefined) throw new Error("there is no current message");
    source.locate();
    return source;
  }

  close(): void {
    for (const stream of this.streams) stream.close();
  }

  /** Moves all streams on that are at the current message. */
  private step(): void {
    const { open, prefix, low } = this;
    if (prefix < 0) return;
    for (let i = open.length - 1; i >= 0; i--) {
      const stream = open[i];
      if (stream.prefix === prefix && stream.low === low && !stream.next()) open.splice(i, 1);
    }
  }
}
