import type { Chunk } from "../../../../src/broker/storage/log/chunk.ts";
import type { TopicLog } from "../../../../src/broker/storage/log/topic-log.ts";
import type { Channel } from "../../../../src/broker/topics/channel/channel.ts";
import type { ChannelPartition } from "../../../../src/broker/topics/channel/channel-partition.ts";
import type { Order } from "../../../../src/broker/topics/channel/channel-settings.ts";
import type { Consumer, ConsumerWishes } from "../../../../src/broker/topics/channel/consumer.ts";
import { HeaderFilter } from "../../../../src/broker/topics/channel/selective/header-filter.ts";
import { IN_ZONE } from "../../../../src/broker/topics/locality.ts";
import { TraceName } from "../../../../src/broker/trace/trace-name.ts";
import { ATTEMPTS_OFFSET, ID_OFFSET } from "../../../../src/frame/frame.ts";
import { bodyAt, encodeHeader, HeaderReader } from "../../../../src/frame/header.ts";
import { expandSequence, readPrefix, readSequence } from "../../../../src/frame/id.ts";

export interface KeyedDelivery {
  /** What the channel has of the message's partition. */
  part: ChannelPartition;
  sequence: number;
  key: string;
  body: string;
  attempts: number;
}

let nextId = 1;

/** A consumer without a connection, which tells each delivery as it comes. */
export class KeyedConsumer implements Consumer {
  readonly id = nextId++;
  nearness: number = IN_ZONE;
  sampleRate = 0;
  readonly onlyLog = undefined;
  readonly traceName = new TraceName("keyed");
  readonly wishes: ConsumerWishes;
  inFlightCount = 0;
  readonly deliveries: KeyedDelivery[] = [];
  onDelivery: (delivery: KeyedDelivery) => void = () => {};
  private readonly header = new HeaderReader();

  constructor(
    private readonly channel: Channel,
    public readyCount: number,
    readonly msgTimeoutMs: number,
    { tag, filter, order }: { tag?: string; filter?: object; order?: Order } = {},
  ) {
    this.wishes = {
      tag: tag === undefined ? undefined : Buffer.from(tag),
      filter: filter === undefined ? undefined : HeaderFilter.fromJson(filter),
      order,
    };
  }

  get capacity(): number {
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  /** The bodies that came since the last call. */
  take(): string[] {
    return this.deliveries.splice(0).map(({ body }) => body);
  }

  /** Finishes what came since the last call. @returns the bodies */
  finishAll(): string[] {
    const came = this.deliveries.splice(0);
    for (const { part, sequence, body } of came) {
      const failure = part.finish(this, sequence);
      if (failure !== undefined)
        throw new Error(`${body} (${sequence}): ${failure.message} of ${JSON.stringify(came.map((delivery) => delivery.body))}`);
    }
    return came.map(({ body }) => body);
  }

  sendRun(_log: TopicLog, chunk: Chunk, from: number, to: number, count: number): void {
    this.inFlightCount += count;
    for (let at = from; at < to; at += 4 + chunk.view.getUint32(at)) {
      this.read(chunk.buffer, at, at + 4 + chunk.view.getUint32(at), chunk.buffer.readUInt16BE(at + ATTEMPTS_OFFSET));
    }
  }

  sendAgain(_log: TopicLog, buffer: Buffer, from: number, to: number, attempts: number): void {
    this.inFlightCount++;
    this.read(buffer, from, to, attempts);
  }

  closeGracefully(): void {}

  private read(buffer: Buffer, from: number, to: number, attempts: number): void {
    const part = this.channel.partitionOf(readPrefix(buffer, from + ID_OFFSET));
    const sequence = expandSequence(readSequence(buffer, from + ID_OFFSET), part.nearSequence);
    this.header.read(buffer, from);
    const key = buffer.toString("latin1", this.header.keyFrom, this.header.keyTo);
    const delivery = { part, sequence, key, body: buffer.toString("latin1", bodyAt(buffer, from), to), attempts };
    this.deliveries.push(delivery);
    this.onDelivery(delivery);
  }
}

const NO_BYTES = new Uint8Array(0);

/** An encoded header. */
export function headerOf({ key = "", tag = "", text = "" }: { key?: string; tag?: string; text?: string }): Uint8Array {
  if (key === "" && tag === "" && text === "") return NO_BYTES;
  return encodeHeader({ traceId: 0n, key: Buffer.from(key), tag: Buffer.from(tag), text: Buffer.from(text) });
}
