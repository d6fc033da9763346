import { expect, test } from "bun:test";
import { writeMessage, writeMessages } from "../../src/frame/layout.ts";
import { sized } from "../support/raw-client.ts";

const PREFIX = 0x40_00_03;
const TIME = { high: 0x18a1_b2c3, low: 0xd4e5_f607 };

/** A message frame as the protocol page describes it, built in the simplest way. */
function frame(body: Uint8Array, sequence: number): Buffer {
  const id = ((BigInt(PREFIX) << 40n) | (BigInt(sequence) % (1n << 40n))).toString(16).padStart(16, "0");
  const size = Buffer.alloc(4);
  size.writeUInt32BE(4 + 8 + 2 + 16 + body.length);
  const timestamp = Buffer.alloc(8);
  timestamp.writeBigUInt64BE((BigInt(TIME.high) << 32n) | BigInt(TIME.low));
  return Buffer.concat([size, Buffer.from([0, 0, 0, 2]), timestamp, Buffer.from([0, 1]), Buffer.from(id), body]);
}

function target(bytes: number): { buffer: Buffer; view: DataView } {
  const buffer = Buffer.alloc(bytes, 0xee);
  return { buffer, view: new DataView(buffer.buffer, buffer.byteOffset, buffer.length) };
}

const SIZES = [1, 2, 3, 4, 22, 23, 24, 25, 26, 100, 1000, 70_000];

test("a message is written as the protocol's frame, with bodies of all sizes around the copy threshold", () => {
  for (const size of SIZES) {
    const body = Buffer.from(Array.from({ length: size }, (_, i) => (i * 7 + size) & 255));
    const padded = Buffer.concat([Buffer.from("before"), body, Buffer.from("after")]);
    for (const source of [padded, new Uint8Array(padded)]) {
      const { buffer, view } = target(size + 100);
      const end = writeMessage(buffer, view, 11, source, 6, size, PREFIX, 12_345_678_901, TIME);
      expect(end).toBe(11 + 34 + size);
      expect(buffer.subarray(11, end).equals(frame(body, 12_345_678_901))).toBeTrue();
      expect([buffer[10], buffer[end]]).toEqual([0xee, 0xee]);
    }
  }
});

test("many messages are written as each alone would be, also where more than the id's last four characters change", () => {
  const bodies = Array.from({ length: 40 }, (_, i) => Buffer.alloc(SIZES[i % SIZES.length], i));
  const source = Buffer.concat([Buffer.from("head"), ...bodies.map(sized)]);
  for (const first of [0, 65_520, 2 ** 20 - 5, 2 ** 32 - 17, 2 ** 40 - 3]) {
    const expected = Buffer.concat(bodies.map((body, i) => frame(body, first + i)));
    const { buffer, view } = target(expected.length + 10);
    const end = writeMessages(buffer, view, 5, source, 4, bodies.length, PREFIX, first, TIME);
    expect(end).toBe(5 + expected.length);
    expect(buffer.subarray(5, end).equals(expected)).toBeTrue();
    expect([buffer[4], buffer[end]]).toEqual([0xee, 0xee]);
  }
});
