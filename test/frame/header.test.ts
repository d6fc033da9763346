import { describe, expect, test } from "bun:test";
import { BODY_OFFSET } from "../../src/frame/frame.ts";
import {
  bodyAt,
  encodeHeader,
  HEADER_LENGTH_BYTES,
  HeaderReader,
  hasHeader,
  headerSpace,
  isWellFormed,
  MAX_HEADER_BYTES,
  MAX_HEADER_TEXT_BYTES,
  MAX_MESSAGE_KEY_BYTES,
  MAX_TAG_BYTES,
  type MessageHeader,
  NO_BYTES,
  textStart,
  traceIdAt,
} from "../../src/frame/header.ts";
import { writeMessage, writeRecord } from "../../src/frame/layout.ts";
import { Random } from "../support/random.ts";

const RANDOM_SEED = 20_261;
const TIME = { high: 1, low: 2 };
const BODY = Buffer.from("the body");

function recordWith(header: MessageHeader, offset = 0): Buffer {
  const encoded = encodeHeader(header);
  const record = Buffer.alloc(offset + BODY_OFFSET + 4 + encoded.length + BODY.length);
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  expect(writeRecord(record, view, offset, encoded, BODY, 0, BODY.length, 5, 77, TIME)).toBe(record.length);
  return record;
}

function partsOf(record: Buffer, at: number): MessageHeader {
  const reader = new HeaderReader();
  expect(reader.read(record, at)).toBe(true);
  return {
    traceId: reader.traceId,
    key: record.subarray(reader.keyFrom, reader.keyTo),
    tag: record.subarray(reader.tagFrom, reader.tagTo),
    text: record.subarray(reader.textFrom, reader.textTo),
  };
}

function asTexts({ traceId, key, tag, text }: MessageHeader): unknown {
  return {
    traceId,
    key: Buffer.from(key).toString("latin1"),
    tag: Buffer.from(tag).toString("latin1"),
    text: Buffer.from(text).toString("latin1"),
  };
}

describe("a record with a header", () => {
  const part = (bytes: number): Uint8Array => Buffer.alloc(bytes, "k");
  const cases: [string, MessageHeader][] = [
    ["text only", { traceId: 0n, key: NO_BYTES, tag: NO_BYTES, text: Buffer.from('{"a":"b"}') }],
    ["nothing", { traceId: 0n, key: NO_BYTES, tag: NO_BYTES, text: NO_BYTES }],
    ["key only", { traceId: 0n, key: Buffer.from("order-7"), tag: NO_BYTES, text: NO_BYTES }],
    ["tag only", { traceId: 0n, key: NO_BYTES, tag: Buffer.from("red"), text: NO_BYTES }],
    ["trace id only", { traceId: 2n ** 64n - 1n, key: NO_BYTES, tag: NO_BYTES, text: NO_BYTES }],
    ["all", { traceId: 5n, key: Buffer.from([0, 255]), tag: Buffer.from("t"), text: Buffer.from("[1]") }],
    ["the largest", { traceId: 1n, key: part(MAX_MESSAGE_KEY_BYTES), tag: part(MAX_TAG_BYTES), text: part(MAX_HEADER_TEXT_BYTES) }],
  ];
  test.each(cases)("keeps its parts: %s", (_, header) => {
    const record = recordWith(header, 3);
    expect(asTexts(partsOf(record, 3))).toEqual(asTexts(header));
    expect(hasHeader(record, 3)).toBe(true);
    expect(record.subarray(bodyAt(record, 3)).toString()).toBe("the body");
    expect(isWellFormed(record, 3, record.length - 3)).toBe(true);
    expect(encodeHeader(header).length).toBeLessThanOrEqual(MAX_HEADER_BYTES);
  });

  test("a record without one has none", () => {
    const record = Buffer.alloc(BODY_OFFSET + BODY.length);
    writeMessage(record, new DataView(record.buffer, record.byteOffset), 0, BODY, 0, BODY.length, 5, 77, TIME);
    expect(hasHeader(record, 0)).toBe(false);
    expect(headerSpace(record, 0)).toBe(0);
    expect(bodyAt(record, 0)).toBe(BODY_OFFSET);
    const reader = new HeaderReader();
    expect(reader.read(record, 0)).toBe(false);
    expect(reader.traceId).toBe(0n);
  });

  test("its text and trace id are where the reader finds them, whatever the bytes are", () => {
    const random = new Random(RANDOM_SEED);
    const reader = new HeaderReader();
    const parts = { key: Buffer.from("key"), tag: Buffer.from("tag"), text: Buffer.from('{"a":1}') };
    for (const traceId of [0n, 0x1122334455667788n]) {
      const whole = recordWith({ traceId, ...parts });
      for (let i = 0; i < 5_000; i++) {
        const record = Buffer.from(whole);
        const from = BODY_OFFSET + HEADER_LENGTH_BYTES;
        if (i > 0) record[random.int(from, from + 16)] = random.int(0, 255);
        const to = bodyAt(record, 0);
        const isRead = reader.read(record, 0);
        expect(textStart(record, from, to)).toBe(isRead ? reader.textFrom : to);
        const at = traceIdAt(record, from, to);
        if (isRead) expect(at < 0 ? 0n : record.readBigUInt64BE(at)).toBe(reader.traceId);
      }
    }
  });

  test("lengths that do not fit are noticed, and no part is read beyond the header", () => {
    const random = new Random(RANDOM_SEED);
    const whole = recordWith({ traceId: 7n, key: Buffer.from("key"), tag: Buffer.from("tag"), text: Buffer.from("{}") });
    const reader = new HeaderReader();
    for (let i = 0; i < 20_000; i++) {
      const record = Buffer.from(whole);
      const at = BODY_OFFSET + random.int(0, record.length - BODY_OFFSET - 1);
      record[at] = random.int(0, 255);
      if (!isWellFormed(record, 0, record.length)) continue;
      const end = bodyAt(record, 0);
      expect(end).toBeLessThanOrEqual(record.length);
      if (!reader.read(record, 0)) continue;
      for (const [from, to] of [
        [reader.keyFrom, reader.keyTo],
        [reader.tagFrom, reader.tagTo],
        [reader.textFrom, reader.textTo],
      ]) {
        expect(from).toBeLessThanOrEqual(to);
        expect(to).toBeLessThanOrEqual(end);
      }
    }
  });

  test("one of another version is skipped as a whole", () => {
    const record = recordWith({ traceId: 7n, key: NO_BYTES, tag: NO_BYTES, text: Buffer.from("{}") });
    record[BODY_OFFSET + 4] = 2;
    const reader = new HeaderReader();
    expect(reader.read(record, 0)).toBe(false);
    expect(reader.traceId).toBe(0n);
    expect(record.subarray(bodyAt(record, 0)).toString()).toBe("the body");
  });
});
