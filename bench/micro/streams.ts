import { MESSAGE_ID_BYTES } from "../../src/frame/frame.ts";
import { writeId } from "../../src/frame/id.ts";
import { repeat, sized } from "../load/wire.ts";

export const ID_CHARS = MESSAGE_ID_BYTES;

/** `count` PUBs to a topic, in a row. */
export function pubStream(topic: string, count: number, bodyBytes: number): Buffer {
  return repeat(Buffer.concat([Buffer.from(`PUB ${topic}\n`), sized(body(bodyBytes))]), count);
}

/** MPUBs of `batch` messages each, with `count` messages in all. */
export function mpubStream(topic: string, count: number, batch: number, bodyBytes: number): Buffer {
  const countWord = Buffer.alloc(4);
  countWord.writeUInt32BE(batch);
  const mpub = Buffer.concat([Buffer.from(`MPUB ${topic}\n`), sized(Buffer.concat([countWord, publishedBatch(batch, bodyBytes)]))]);
  return repeat(mpub, count / batch);
}

/** Messages in MPUB's form, without the count in front of them. */
export function publishedBatch(count: number, bodyBytes: number): Buffer {
  return repeat(sized(body(bodyBytes)), count);
}

/** Copies bytes into a part of a larger buffer. A connection would free the memory of a whole buffer. */
export function reusable(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(1)]).subarray(0, bytes.length);
}

/** Splits a stream into single bytes, the worst that a socket can do. */
export function everyByte(stream: Buffer): Buffer[] {
  return Array.from(stream, (_, at) => stream.subarray(at, at + 1));
}

/** `count` lines with ids, whose sequences count up from `first`. */
export function idLines(before: string, after: string, prefix: number, first: number, count: number): Buffer {
  const line = Buffer.from(`${before}${"0".repeat(ID_CHARS)}${after}`);
  const lines = repeat(line, count);
  const view = new DataView(lines.buffer, lines.byteOffset, lines.byteLength);
  for (let n = 0; n < count; n++) writeId(view, n * line.length + before.length, prefix, first + n);
  return lines;
}

function body(bytes: number): Buffer {
  return Buffer.alloc(bytes, "x");
}
