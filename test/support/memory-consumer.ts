import type { Chunk } from "../../src/broker/storage/log/chunk.ts";
import type { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import type { Channel } from "../../src/broker/topics/channel/channel.ts";
import type { ChannelPartition } from "../../src/broker/topics/channel/channel-partition.ts";
import type { Consumer, ConsumerWishes } from "../../src/broker/topics/channel/consumer.ts";
import { IN_ZONE } from "../../src/broker/topics/locality.ts";
import { TraceName } from "../../src/broker/trace/trace-name.ts";
import { ID_OFFSET } from "../../src/frame/frame.ts";
import { expandSequence, readPrefix, readSequence } from "../../src/frame/id.ts";
import { bodyOf } from "./headed-message.ts";

export interface Delivery {
  /** What the channel has of the message's partition. */
  part: ChannelPartition;
  sequence: number;
  /** Which delivery it was, of those of all consumers together. */
  number: number;
  body: string;
}

let deliveryCount = 0;

/** A consumer without a connection. What it gets waits in `deliveries` until the test answers for it. */
export class MemoryConsumer implements Consumer {
  readonly nearness = IN_ZONE;
  readonly sampleRate = 0;
  readonly onlyLog = undefined;
  readonly traceName = new TraceName("memory");
  wishes: ConsumerWishes | undefined;
  inFlightCount = 0;
  readyCount = 5;
  readonly deliveries: Delivery[] = [];

  constructor(
    readonly id: number,
    private readonly channel: Channel,
    readonly msgTimeoutMs: number,
  ) {}

  get capacity(): number {
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  sendRun(_log: TopicLog, chunk: Chunk, from: number, to: number, count: number): void {
    this.inFlightCount += count;
    for (let at = from; at < to; at += 4 + chunk.view.getUint32(at)) this.read(chunk.buffer, at);
  }

  sendAgain(_log: TopicLog, buffer: Buffer, from: number): void {
    this.inFlightCount++;
    this.read(buffer, from);
  }

  closeGracefully(): void {}

  private read(buffer: Buffer, at: number): void {
    const part = this.channel.partitionOf(readPrefix(buffer, at + ID_OFFSET));
    const sequence = expandSequence(readSequence(buffer, at + ID_OFFSET), part.nearSequence);
    const end = at + 4 + buffer.readUInt32BE(at);
    this.deliveries.push({ part, sequence, number: deliveryCount++, body: bodyOf(buffer, at, end) });
  }
}
