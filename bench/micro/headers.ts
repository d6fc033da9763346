import { systemClock } from "../../src/base/clock.ts";
import { ScratchBuffer } from "../../src/base/scratch-buffer.ts";
import { type Chunk, ChunkPool } from "../../src/broker/storage/log/chunk.ts";
import { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import { ExtendedEncoder, type MessageEncoder } from "../../src/broker/tcp/message-encoder.ts";
import { MessageFraming } from "../../src/broker/tcp/message-framing.ts";
import { Outbox } from "../../src/broker/tcp/transport/outbox.ts";
import { encodeHeader } from "../../src/frame/header.ts";
import { idPrefix } from "../../src/frame/id.ts";
import { repeat, sized } from "../load/wire.ts";
import { type Bed, NullTransport } from "./bed.ts";
import type { Case } from "./cases.ts";
import { mpubStream, pubStream, reusable } from "./streams.ts";

const MESSAGES = 1000;
const BATCH = 200;
const BODY = Buffer.alloc(200, "x");
const TIME = { high: 0x18000000, low: 1 };
const NO_BYTES = new Uint8Array(0);
/** Texts of 100 bytes, each with another key. */
const TEXTS = Array.from({ length: BATCH }, (_, i) =>
  Buffer.from(JSON.stringify({ "##key": `customer-${1000 + i}`, "content-type": "application/json", region: "eu-west", source: "shop" })),
);

/** Messages with headers of 100 bytes beside plain ones: published, and delivered to both kinds of clients. */
export function headers(bed: Bed): Case[] {
  return [...published(bed), ...delivered()];
}

function published(bed: Bed): Case[] {
  const group = "headers: decode, append to memory, tick, OK";
  const single = TEXTS.map((text) => Buffer.concat([Buffer.from("PUB_EXT header-singles#ephemeral\n"), sized(withText(text))]));
  return [
    {
      group,
      name: `MPUB of ${BATCH}, plain`,
      messages: MESSAGES,
      shows: "to compare with",
      run: publishing(bed, "header-none#ephemeral", mpubStream("header-none#ephemeral", MESSAGES, BATCH, BODY.length)),
    },
    {
      group,
      name: `MPUB_EXT of ${BATCH}, ${TEXTS[0].length} bytes of header`,
      messages: MESSAGES,
      shows: "a header is checked in place, and nothing is made for a message",
      run: publishing(bed, "header-batches#ephemeral", batchStream("header-batches#ephemeral")),
    },
    {
      group,
      name: `MPUB_EXT of ${BATCH}, split to 8 partitions`,
      messages: MESSAGES,
      shows: "a part of a batch is a chain of its messages",
      run: publishing(bed, "header-split#ephemeral", batchStream("header-split#ephemeral"), 8),
    },
    {
      group,
      name: "PUB, plain",
      messages: MESSAGES,
      shows: "to compare with",
      run: publishing(bed, "header-plain#ephemeral", pubStream("header-plain#ephemeral", MESSAGES, BODY.length)),
    },
    {
      group,
      name: `PUB_EXT, ${TEXTS[0].length} bytes of header`,
      messages: MESSAGES,
      shows: "the same, one by one",
      run: publishing(bed, "header-singles#ephemeral", repeat(Buffer.concat(single), MESSAGES / BATCH)),
    },
  ];
}

function withText(text: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return Buffer.concat([length, text, BODY]);
}

function batchStream(topic: string): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(BATCH);
  const body = Buffer.concat([count, ...TEXTS.map((text) => sized(withText(text)))]);
  return repeat(Buffer.concat([Buffer.from(`MPUB_EXT ${topic}\n`), sized(body)]), MESSAGES / BATCH);
}

function publishing(bed: Bed, name: string, bytes: Buffer, partitions = 1): () => void {
  const connection = bed.connect();
  const topic = bed.broker.registry.topicWith(name, partitions);
  const stream = reusable(bytes);
  return () => {
    const before = topic.messageCount;
    connection.receive(stream);
    bed.tick();
    bed.forget(topic);
    if (topic.messageCount !== before + MESSAGES) throw new Error("not all messages were published");
  };
}

function delivered(): Case[] {
  const group = "headers: delivery, to a socket that takes all";
  const youzan = new ExtendedEncoder(0, true, false, false);
  const detailed = new ExtendedEncoder(0, true, true, false);
  return [
    delivery(group, "plain, to a plain client", false, undefined, "a run goes out as it is in the log"),
    delivery(group, "with headers, to a plain client", true, undefined, "each message is copied once without its header"),
    delivery(group, "plain, to a client with headers", false, youzan, "each message is copied once in the other form"),
    delivery(group, "with headers, to a client with headers", true, youzan, "JSON and body are copied together"),
    delivery(group, "with headers, with offsets", true, detailed, "JSON and body are copied one by one"),
  ];
}

function delivery(group: string, name: string, hasHeaders: boolean, encoder: MessageEncoder | undefined, shows: string): Case {
  const pool = new ChunkPool(16 * 1024 * 1024);
  const log = new TopicLog(pool, systemClock, idPrefix(1, 5), undefined);
  const key = Buffer.from("customer-1000");
  const header = hasHeaders ? encodeHeader({ traceId: 0n, key, tag: NO_BYTES, text: TEXTS[0] }) : NO_BYTES;
  const outbox = new Outbox(new NullTransport(), pool);
  const framing = new MessageFraming(outbox, new ScratchBuffer());
  if (encoder !== undefined) framing.encoderFor = () => encoder;
  const records: Chunk[] = [];
  for (let i = 0; i < MESSAGES; i++) log.appendWithHeader(header, BODY, 0, BODY.length, TIME);
  for (let at = 0; at < log.end; at = records[records.length - 1].end) records.push(log.chunkAt(at, true) as Chunk);
  const run = () => {
    for (const chunk of records) framing.sendRun(log, chunk, 0, chunk.offsetOf(chunk.end));
    outbox.flush();
  };
  return { group, name, messages: MESSAGES, shows, run };
}
