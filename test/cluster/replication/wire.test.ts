import { expect, test } from "bun:test";
import { WireError } from "../../../src/cluster/replication/fields.ts";
import { FrameSplitter } from "../../../src/cluster/replication/frame-splitter.ts";
import { KEYS_PER_FRAME } from "../../../src/cluster/replication/state/state-frames.ts";
import { decodeFrame, encodeFrame, type Frame, LENGTH_BYTES, MAX_FRAME_BYTES } from "../../../src/cluster/replication/wire.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { randomFrame, times } from "./random-frame.ts";

const ROUNDS = 20_000;

test("frames come out as they went in, whatever the pieces", () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  for (let round = 0; round < ROUNDS / 20; round++) {
    const frames = times(random, 20, () => randomFrame(random));
    const stream = Buffer.concat(frames.map(encodeFrame));
    const splitter = new FrameSplitter(MAX_FRAME_BYTES);
    const got: Frame[] = [];
    for (let at = 0; at < stream.length; ) {
      const to = Math.min(stream.length, at + random.pick([1, 3, 4, 5, 100, 10_000]));
      splitter.push(stream.subarray(at, to), (bytes) => got.push(decodeFrame(bytes)));
      at = to;
    }
    expect(got).toEqual(frames);
  }
});

test("a frame with more keys than a follower tells at once is refused", () => {
  const keys = Array.from({ length: KEYS_PER_FRAME + 1 }, (_, i) => ({ key: `k${i + 10_000}`, epoch: 1, number: i }));
  const frame = encodeFrame({ kind: "state-keys", partition: 1, epoch: 1, ask: 1, after: "", isLast: true, keys });
  expect(() => decodeFrame(frame.subarray(LENGTH_BYTES))).toThrow(WireError);
});

test("bytes that no broker sends are refused with a WireError, and nothing else happens", () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = Buffer.from(encodeFrame(randomFrame(random)));
    for (let i = random.int(1, 4); i > 0; i--) bytes[random.int(0, bytes.length - 1)] = random.pick([0, 1, 255, random.int(0, 255)]);
    const cut = random.chance(0.3) ? bytes.subarray(0, random.int(0, bytes.length)) : bytes;
    try {
      new FrameSplitter(MAX_FRAME_BYTES).push(cut, (frame) => decodeFrame(frame));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(ROUNDS / 20);
});

test("a length that is only announced takes no memory", () => {
  const splitter = new FrameSplitter(MAX_FRAME_BYTES);
  const announced = Buffer.alloc(LENGTH_BYTES + 1);
  announced.writeUInt32BE(MAX_FRAME_BYTES);
  const before = process.memoryUsage().arrayBuffers;
  splitter.push(announced, () => {});
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MAX_FRAME_BYTES / 100);
  expect(() => new FrameSplitter(100).push(announced, () => {})).toThrow(WireError);
});
