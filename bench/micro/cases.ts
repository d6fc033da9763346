import { systemClock } from "../../src/base/clock.ts";
import { type Chunk, ChunkPool, LARGEST_CLASS } from "../../src/broker/storage/log/chunk.ts";
import { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import { Outbox } from "../../src/broker/tcp/transport/outbox.ts";
import { IN_FLIGHT, Window } from "../../src/broker/topics/channel/window.ts";
import type { Topic } from "../../src/broker/topics/topic.ts";
import { idPrefix, readPrefix, readSequence, writeId } from "../../src/frame/id.ts";
import { repeat } from "../load/wire.ts";
import { type Bed, InFlight, NullTransport } from "./bed.ts";
import { choosing } from "./choosing.ts";
import { headers } from "./headers.ts";
import { everyByte, ID_CHARS, mpubStream, publishedBatch, pubStream, reusable } from "./streams.ts";

/** One step in the life of a message, for many messages in one call. */
export interface Case {
  group: string;
  name: string;
  /** The number of messages in a call. Results are per message. */
  messages: number;
  /** What the case shows about the rule that the hot path allocates nothing per message. */
  shows: string;
  run: () => void;
}

const MESSAGES = 1000;
const BATCH = 200;
const BODY_BYTES = 200;
/** A stream that is split at every byte takes 200 calls per message. */
const CUT_MESSAGES = 200;
/** The number of topics that a producer publishes to in turn. */
const TOPICS = 100;

/** The position of logs and chunks: the log of a topic that is busy for an hour exceeds 32 bits of bytes. */
const POSITION = 2 ** 33;
const TIME = { high: 0x18000000, low: 1 };
const NOW_MS = 1_800_000_000_000;

/** @param bed must stay open while the cases run */
export function makeCases(bed: Bed): Case[] {
  return [...ids(), ...decoding(bed), ...appending(bed), ...dispatching(), ...finishing(bed), ...choosing(bed), ...headers(bed), control()];
}

function ids(): Case[] {
  const bytes = Buffer.alloc(MESSAGES * ID_CHARS);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const prefix = idPrefix(1, 2);
  const encode = () => {
    for (let n = 0; n < MESSAGES; n++) writeId(view, n * ID_CHARS, prefix, n);
  };
  encode();
  const decode = () => {
    let sum = 0;
    for (let n = 0; n < MESSAGES; n++) sum += readPrefix(bytes, n * ID_CHARS) - prefix + readSequence(bytes, n * ID_CHARS);
    if (sum !== (MESSAGES * (MESSAGES - 1)) / 2) throw new Error("an id was read wrongly");
  };
  return [
    { group: "id", name: "encode", messages: MESSAGES, shows: "an id takes five stores from tables, no string and no BigInt", run: encode },
    {
      group: "id",
      name: "decode",
      messages: MESSAGES,
      shows: "prefix and sequence are looked up in tables, without a string or a map",
      run: decode,
    },
  ];
}

function decoding(bed: Bed): Case[] {
  const group = "decode, append to memory, tick, OK";
  const one = (name: string, messages: number, shows: string, pieces: (topic: string) => Buffer[]): Case => {
    const topic = `decode${++decodes}#ephemeral`;
    return { group, name, messages, shows, run: publishing(bed, [topic], pieces(topic), messages) };
  };
  const inTurn = Array.from({ length: TOPICS }, (_, n) => `decode-in-turn-${n}#ephemeral`);
  return [
    one("PUB stream, whole", MESSAGES, "command, topic name, size and body are read in place; the pending OK is a constant", (topic) => [
      pubStream(topic, MESSAGES, BODY_BYTES),
    ]),
    {
      group,
      name: `PUB stream, in turn to ${TOPICS} topics`,
      messages: MESSAGES,
      shows: "a topic is found by the bytes of its name, without a string; the rest is the commit of each topic",
      run: publishing(
        bed,
        inTurn,
        [repeat(Buffer.concat(inTurn.map((topic) => pubStream(topic, 1, BODY_BYTES))), MESSAGES / TOPICS)],
        MESSAGES,
      ),
    },
    one(
      "PUB stream, split at every byte",
      CUT_MESSAGES,
      "pieces are collected in a buffer of the connection and in a pooled chunk",
      (topic) => everyByte(pubStream(topic, CUT_MESSAGES, BODY_BYTES)),
    ),
    one(`MPUB of ${BATCH} stream, whole`, MESSAGES, "the check of an MPUB creates nothing per message", (topic) => [
      mpubStream(topic, MESSAGES, BATCH, BODY_BYTES),
    ]),
    one(
      `MPUB of ${BATCH} stream, split at every byte`,
      CUT_MESSAGES,
      "the check is resumed where it stopped; the body is collected in one pooled chunk",
      (topic) => everyByte(mpubStream(topic, CUT_MESSAGES, BATCH, BODY_BYTES)),
    ),
  ];
}

let decodes = 0;

/** @param messages the number of messages in all pieces together, the same for each topic */
function publishing(bed: Bed, names: string[], pieces: Buffer[], messages: number): () => void {
  const connection = bed.connect();
  const topics = names.map((name) => bed.broker.registry.topic(name));
  const streams = pieces.map(reusable);
  const [first] = topics as [Topic];
  return () => {
    const before = first.partitions[0].log.committedNext;
    for (const stream of streams) connection.receive(stream);
    bed.tick();
    for (const topic of topics) bed.forget(topic);
    if (first.partitions[0].log.committedNext !== before + messages / topics.length) throw new Error("not all messages were published");
  };
}

function appending(bed: Bed): Case[] {
  const batch = publishedBatch(BATCH, BODY_BYTES);
  const group = "append and commit";
  const memory = new TopicLog(new ChunkPool(16 * 1024 * 1024), systemClock, idPrefix(1, 3), undefined);
  memory.end = memory.committedEnd = POSITION;
  const [{ log: filed }] = bed.broker.registry.topic("filed").partitions;
  const singly = (log: TopicLog) => () => {
    for (let n = 0; n < MESSAGES; n++) log.append(batch, 4, BODY_BYTES, TIME);
    commitAndFree(log);
  };
  const inBatches = (log: TopicLog) => () => {
    for (let n = 0; n < MESSAGES; n += BATCH) log.appendBatch(batch, 0, batch.length, BATCH, TIME);
    commitAndFree(log);
  };
  const commitAndFree = (log: TopicLog) => {
    log.commit(NOW_MS);
    log.trim(log.committedEnd, log.committedNext, NOW_MS);
  };
  const through: Topic = bed.broker.registry.topic("through");
  const stream = mpubStream("through", MESSAGES, BATCH, BODY_BYTES);
  return [
    { group, name: "one by one, in memory", messages: MESSAGES, shows: "a frame is written into a pooled chunk", run: singly(memory) },
    {
      group,
      name: `batches of ${BATCH}, in memory`,
      messages: MESSAGES,
      shows: "the frames of a batch are written into a pooled chunk",
      run: inBatches(memory),
    },
    {
      group,
      name: "one by one, one write to the file",
      messages: MESSAGES,
      shows: "the objects of a commit (a list of parts, an index entry) are per write, not per message",
      run: singly(filed),
    },
    { group, name: `batches of ${BATCH}, one write to the file`, messages: MESSAGES, shows: "as above", run: inBatches(filed) },
    {
      group,
      name: `MPUB of ${BATCH} stream: decode, write, OK`,
      messages: MESSAGES,
      shows: "a whole publish without the socket",
      run: publishing(bed, [through.name], [stream], MESSAGES),
    },
  ];
}

function dispatching(): Case[] {
  const pool = new ChunkPool(16 * 1024 * 1024);
  const log = new TopicLog(pool, systemClock, idPrefix(1, 4), undefined);
  const batch = publishedBatch(1, BODY_BYTES);
  const chunk: Chunk = pool.allocate(1024 * 1024, LARGEST_CLASS);
  log.append(batch, 4, BODY_BYTES, TIME);
  const source = log.chunkAt(0, true) as Chunk;
  repeat(source.buffer.subarray(0, source.end), MESSAGES).copy(chunk.buffer);
  const end = source.end * MESSAGES;
  const outbox = new Outbox(new NullTransport(), pool);
  const window = new Window(0);
  const run = (runLength: number) => () => {
    for (let at = 0; at < end; at = window.runEnd) {
      const count = window.takeRun(chunk.view, POSITION, at, end, runLength, 1024 * 1024, 1, NOW_MS, NOW_MS + 60_000);
      if (count === 0) throw new Error("a run without messages");
      outbox.writeRun(chunk, at, window.runEnd);
    }
    outbox.flush();
    window.unfinished = 0;
    window.skipTo(window.cursor);
  };
  const group = "dispatch: Window.takeRun and Outbox, to a socket that takes all";
  return [1, 10, 100, MESSAGES].map((length) => ({
    group,
    name: `runs of ${length}`,
    messages: MESSAGES,
    shows:
      length === MESSAGES
        ? "a delivery takes six stores in typed arrays; a run is one write of bytes in the log"
        : "small runs are collected in a pooled write buffer",
    run: run(length),
  }));
}

function finishing(bed: Bed): Case[] {
  const window = new Window(0);
  const refill = () => {
    window.floor = 0;
    window.cursor = MESSAGES;
    window.state.fill(IN_FLIGHT, 0, MESSAGES);
    window.unfinished = MESSAGES;
  };
  const finished = () => {
    if (window.floor !== MESSAGES || window.unfinished !== 0) throw new Error("the floor is not where it should be");
  };
  const fin = new InFlight(bed, "fin#ephemeral", MESSAGES);
  const again = new InFlight(bed, "again#ephemeral", MESSAGES);
  fin.consumer.receive(fin.fins);
  return [
    {
      group: "finish",
      name: "window advance, in order",
      messages: MESSAGES,
      shows: "finishing a message takes one store; the floor moves with it",
      run: () => {
        refill();
        for (let sequence = 0; sequence < MESSAGES; sequence++) window.finish(sequence);
        finished();
      },
    },
    {
      group: "finish",
      name: "window advance, last one first",
      messages: MESSAGES,
      shows: "the floor passes all messages at the end, each once",
      run: () => {
        refill();
        for (let sequence = MESSAGES - 1; sequence >= 0; sequence--) window.finish(sequence);
        finished();
      },
    },
    {
      group: "finish",
      name: "FIN lines through a connection",
      messages: MESSAGES,
      shows: "the id is read from the line in place; the entry is found by arithmetic",
      run: () => {
        fin.rewind();
        fin.consumer.receive(fin.fins);
      },
    },
    {
      group: "finish",
      name: "REQ 0 and redelivery",
      messages: MESSAGES,
      shows: "off the hot path; only the frame is copied, into the write buffer, to patch its attempts",
      run: () => {
        again.consumer.receive(again.requeues);
        again.untilDelivered();
      },
    },
  ];
}

let kept: object | undefined;

function control(): Case {
  return {
    group: "control",
    name: "one object of two numbers per message",
    messages: MESSAGES,
    shows: "how an allocation per message would show in the column before",
    run: () => {
      for (let n = 0; n < MESSAGES; n++) kept = { sequence: n, position: n * 2 };
      if (kept === undefined) throw new Error("nothing was kept");
    },
  };
}
