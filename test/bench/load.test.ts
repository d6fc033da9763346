import { describe, expect, test } from "bun:test";
import { MessageWalker } from "../../bench/load/message-walker.ts";
import { HttpReplyCounter, OkFrameCounter, type ReplyCounter } from "../../bench/load/replies.ts";
import { RingWriter } from "../../bench/load/ring-writer.ts";
import { HTTP_OK, messageFrame, mpubCommand, OK_FRAME, repeat } from "../../bench/load/wire.ts";
import { ATTEMPTS_OFFSET, encodeFrame, FRAME_TYPE_ERROR, ID_OFFSET } from "../../src/frame/frame.ts";

/** A socket that accepts at most `most` bytes per call, and nothing while `blocked`. */
class Sink {
  taken = Buffer.alloc(0);
  blocked = false;
  constructor(private readonly most = Number.POSITIVE_INFINITY) {}
  write(bytes: Buffer, offset: number, length: number): number {
    const taking = this.blocked ? 0 : Math.min(length, this.most);
    this.taken = Buffer.concat([this.taken, bytes.subarray(offset, offset + taking)]);
    return taking;
  }
}

function message(id: string, bodyBytes: number, attempts = 1): Buffer {
  const frame = messageFrame(bodyBytes);
  frame.write(id.padStart(16, "0"), ID_OFFSET, "latin1");
  frame.writeUInt16BE(attempts, ATTEMPTS_OFFSET);
  return frame;
}

function pieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size));
}

describe("MessageWalker", () => {
  const ids = ["a", "b1", "c22", "d333", "0123456789abcdef"];
  const stream = Buffer.concat(ids.map((id, n) => message(id, [0, 1, 200, 5, 34][n] ?? 0)));
  const fins = ids.map((id) => `FIN ${id.padStart(16, "0")}\n`).join("");

  test("answers each message with its FIN, however the stream is split", () => {
    for (let size = 1; size <= stream.length; size++) {
      const walker = new MessageWalker(ids.length);
      const sink = new Sink();
      for (const piece of pieces(stream, size)) walker.walk(piece);
      walker.flush(sink);
      expect(walker.messages).toBe(ids.length);
      expect(sink.taken.toString()).toBe(fins);
    }
  });

  test("keeps the FINs that a socket does not accept, over many rounds of its ring", () => {
    const walker = new MessageWalker(2);
    const sink = new Sink(5);
    let expected = "";
    for (let n = 0; n < 50; n++) {
      walker.walk(message(`${n}`, 3));
      expected += `FIN ${`${n}`.padStart(16, "0")}\n`;
      for (let calls = 0; calls < 5; calls++) walker.flush(sink);
    }
    expect(sink.taken.toString()).toBe(expected);
  });

  test("detects more messages in flight than RDY", () => {
    const walker = new MessageWalker(2);
    const tooMany = repeat(message("1", 3), 4);
    expect(() => walker.walk(tooMany)).toThrow("more messages in flight than RDY allows");
  });

  test("counts messages that were delivered before", () => {
    const walker = new MessageWalker(3);
    walker.walk(Buffer.concat([message("1", 3), message("2", 3, 2), message("3", 3)]));
    expect(walker.redelivered).toBe(1);
  });

  test("detects an error frame between messages, even one shorter than a message's head", () => {
    for (const size of [1, 7, 8, 1000]) {
      const bytes = Buffer.concat([message("1", 3), encodeFrame(FRAME_TYPE_ERROR, "E_FIN")]);
      const walker = new MessageWalker(3);
      expect(() => {
        for (const piece of pieces(bytes, size)) walker.walk(piece);
      }).toThrow("not a message");
    }
  });
});

describe.each<[string, () => ReplyCounter, Buffer]>([
  ["OkFrameCounter", () => new OkFrameCounter(), OK_FRAME],
  ["HttpReplyCounter", () => new HttpReplyCounter(), HTTP_OK],
])("%s", (_name, create, reply) => {
  test("counts replies, however the stream is split", () => {
    const stream = repeat(reply, 7);
    for (let size = 1; size <= stream.length; size++) {
      const counter = create();
      expect(pieces(stream, size).reduce((sum, piece) => sum + counter.count(piece), 0)).toBe(7);
    }
  });

  test("counts more replies than fit into its pattern", () => {
    expect(create().count(repeat(reply, 10_001))).toBe(10_001);
  });
});

test("an error frame instead of an OK is detected, complete or split", () => {
  const error = encodeFrame(FRAME_TYPE_ERROR, "E_MPUB_FAILED");
  expect(() => new OkFrameCounter().count(Buffer.concat([OK_FRAME, error]))).toThrow("E_MPUB_FAILED");
  const counter = new OkFrameCounter();
  counter.count(OK_FRAME.subarray(0, 4));
  expect(() => counter.count(error.subarray(4))).toThrow("not OK");
});

test("an HTTP reply with another status or body is detected", () => {
  const counter = new HttpReplyCounter();
  counter.count(HTTP_OK);
  expect(() => counter.count(Buffer.from(HTTP_OK.toString().replace(" 200 ", " 503 ")))).toThrow("not 200 OK");
  expect(() => new HttpReplyCounter().count(Buffer.from(HTTP_OK.toString().replace(/OK$/, "NO")))).toThrow("not 200 OK");
});

test("a ring continues where the socket stopped accepting", () => {
  const writer = new RingWriter(Buffer.from("abcde"));
  const sink = new Sink(3);
  writer.owedBytes = 12;
  for (let calls = 0; writer.owedBytes > 0 && calls < 20; calls++) writer.flush(sink);
  sink.blocked = true;
  writer.owedBytes = 4;
  writer.flush(sink);
  expect(writer.owedBytes).toBe(4);
  sink.blocked = false;
  for (let calls = 0; writer.owedBytes > 0 && calls < 20; calls++) writer.flush(sink);
  expect(sink.taken.toString()).toBe("abcdeabcdeabcdea");
});

test("an MPUB has the protocol's format: topic, size, count, then each message with its size", () => {
  expect(mpubCommand(2, 3).toString("latin1")).toBe("MPUB bench\n\0\0\0\x12\0\0\0\x02\0\0\0\x03xxx\0\0\0\x03xxx");
});
