import { expect, test } from "bun:test";
import { FrameReader } from "../../src/client/frame-reader.ts";
import { encodeFrame } from "../../src/frame/frame.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const SEED = seedFromEnvironment();
console.log(`seed of the cuts: ${SEED}`);
const MAX_BYTES = 1_000_000;

function readerOf(limit = MAX_BYTES) {
  const frames: [number, string][] = [];
  const sink = {
    onFrame: (type: number, bytes: Uint8Array, from: number, to: number) =>
      void frames.push([type, Buffer.from(bytes.subarray(from, to)).toString("latin1")]),
  };
  return { frames, reader: new FrameReader(sink, limit) };
}

test("frames come whole and in order, wherever their bytes are cut", () => {
  const random = new Random(SEED);
  for (let round = 0; round < 300; round++) {
    const expected = Array.from({ length: random.int(1, 20) }, (): [number, string] => [
      random.int(0, 2),
      "x".repeat(random.chance(0.1) ? random.int(0, 5_000) : random.int(0, 20)),
    ]);
    const bytes = Buffer.concat(expected.map(([type, text]) => encodeFrame(type, text)));
    const { frames, reader } = readerOf();
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + (random.chance(0.5) ? random.int(1, 9) : random.int(1, 3_000)));
      reader.feed(Uint8Array.from(bytes.subarray(at, end)));
      at = end;
    }
    expect(frames).toEqual(expected);
  }
});

test("a frame that is whole in its piece is not copied, and one that is cut is copied once", () => {
  const seen: Uint8Array[] = [];
  const reader = new FrameReader({ onFrame: (_type, bytes) => void seen.push(bytes) }, MAX_BYTES);
  const bytes = new Uint8Array(Buffer.concat([encodeFrame(2, "first"), encodeFrame(2, "second"), encodeFrame(2, "third")]));
  const [head, tail] = [bytes.slice(0, 20), bytes.slice(20)];
  reader.feed(head);
  reader.feed(tail);
  expect(seen[0]?.buffer).toBe(head.buffer);
  expect(seen[1]?.buffer).not.toBe(tail.buffer);
  expect(seen[2]?.buffer).toBe(tail.buffer);
});

test("a halted reader leaves the rest unread", () => {
  const { frames, reader } = readerOf();
  const sink = {
    onFrame: () => {
      halting.isHalted = true;
    },
  };
  const halting: FrameReader = new FrameReader(sink, MAX_BYTES);
  const first = encodeFrame(0, "OK");
  expect(halting.feed(Buffer.concat([first, Buffer.from("something else")]))).toBe(first.length);
  expect(reader.feed(first)).toBe(first.length);
  expect(frames).toEqual([[0, "OK"]]);
});

test("a size that cannot be right is refused before anything is kept for it", () => {
  for (const size of [0, 3, 101, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const { reader } = readerOf(100);
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32BE(size);
    expect(() => reader.feed(bytes)).toThrow("a frame of");
    const { reader: bytewise } = readerOf(100);
    expect(() => {
      for (const byte of bytes) bytewise.feed(Uint8Array.of(byte));
    }).toThrow("a frame of");
  }
});
