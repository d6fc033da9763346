import { expect, test } from "bun:test";
import {
  countAscending,
  expandSequence,
  idPrefix,
  idTail,
  NODE_LIMIT,
  readPrefix,
  readSequence,
  SEQUENCE_SPAN,
  TOPIC_NUMBER_LIMIT,
  writeId,
} from "../../src/frame/id.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const BORDERS = [0, 1, 15, 16, 255, 256, 65_535, 65_536, 2 ** 20 - 1, 2 ** 20, 2 ** 32 - 1, 2 ** 32, 2 ** 36, 2 ** 39, SEQUENCE_SPAN - 1];

function idOf(prefix: number, sequence: number): string {
  const bytes = Buffer.alloc(18, "!");
  writeId(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 1, prefix, sequence);
  expect([bytes[0], bytes[17]]).toEqual([0x21, 0x21]);
  return bytes.toString("latin1", 1, 17);
}

test("an id is node, topic number and sequence in 16 lower-case hex characters", () => {
  expect(idOf(idPrefix(0, 0), 0)).toBe("0000000000000000");
  expect(idOf(idPrefix(1, 2), 3)).toBe("0040020000000003");
  expect(idOf(idPrefix(NODE_LIMIT - 1, TOPIC_NUMBER_LIMIT - 1), SEQUENCE_SPAN - 1)).toBe("ffffffffffffffff");
});

test("prefix and sequence are read back from an id, at every boundary", () => {
  for (const node of [0, 1, 511, 1023]) {
    for (const topic of [0, 1, 255, 256, 16_383]) {
      for (const sequence of BORDERS) {
        const prefix = idPrefix(node, topic);
        const id = Buffer.from(idOf(prefix, sequence), "latin1");
        expect([readPrefix(id, 0), readSequence(id, 0)]).toEqual([prefix, sequence]);
        const expected = (BigInt(prefix) << 40n) | BigInt(sequence);
        expect(id.toString("latin1")).toBe(expected.toString(16).padStart(16, "0"));
      }
    }
  }
});

test("a sequence wraps to zero at 2^40", () => {
  expect(idOf(0, SEQUENCE_SPAN)).toBe("0000000000000000");
  expect(idOf(0, 5 * SEQUENCE_SPAN + 0xabcdef)).toBe("0000000000abcdef");
});

test("the last four characters are those of the whole id", () => {
  for (const sequence of [...BORDERS, 0xbeef, 0x123456789a]) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(idTail(sequence));
    expect(bytes.toString("latin1")).toBe(idOf(0, sequence).slice(12));
  }
});

test("an id with another character than lower-case hex digits has no prefix or no sequence", () => {
  const good = "0123456789abcdef";
  for (let at = 0; at < 16; at++) {
    for (const bad of ["A", "F", "g", "/", ":", "`", " ", "\n", "\0", "\xff"]) {
      const id = Buffer.from(good.slice(0, at) + bad + good.slice(at + 1), "latin1");
      if (at < 6) expect(readPrefix(id, 0)).toBe(-1);
      else expect(readSequence(id, 0)).toBe(-1);
    }
  }
});

test("the full sequence is found from its value modulo 2^40, within 2^39 of a near one", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const limit = 2 ** 39;
  for (let i = 0; i < 50_000; i++) {
    const turns = Math.floor(random.next() * 4);
    const near = turns * SEQUENCE_SPAN + Math.floor(random.next() * SEQUENCE_SPAN);
    const reach = Math.floor(random.next() ** 4 * (limit - 1));
    const sequence = Math.max(0, near + (random.next() < 0.5 ? -reach : reach));
    if (expandSequence(sequence % SEQUENCE_SPAN, near) !== sequence) {
      throw new Error(`BUNSQ_SEED=${seed}: near ${near}, sequence ${sequence}: got ${expandSequence(sequence % SEQUENCE_SPAN, near)}`);
    }
  }
  expect(expandSequence(SEQUENCE_SPAN - 1, SEQUENCE_SPAN)).toBe(SEQUENCE_SPAN - 1);
  expect(expandSequence(0, SEQUENCE_SPAN - 1)).toBe(SEQUENCE_SPAN);
  // There is no message before sequence 0, so the result is a message that never existed, not a negative number.
  expect(expandSequence(SEQUENCE_SPAN - 1, 0)).toBe(SEQUENCE_SPAN - 1);
});

test("lines are counted as long as their ids count up", () => {
  const lines = (sequences: number[]): DataView => {
    const bytes = Buffer.from(`x${sequences.map((sequence) => `FIN ${idOf(idPrefix(3, 9), sequence)}\n`).join("")}`, "latin1");
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  };
  const count = (view: DataView, sequence: number, end = view.byteLength): number => countAscending(view, 1, end, 21, 4, sequence);
  expect(count(lines([7]), 7)).toBe(1);
  expect(count(lines([7, 8, 9]), 7)).toBe(3);
  expect(count(lines([7, 8, 9]), 7, 1 + 62)).toBe(2);
  expect(count(lines([7, 8, 10, 11]), 7)).toBe(2);
  expect(count(lines([7, 7]), 7)).toBe(1);
  expect(count(lines([65_534, 65_535, 65_536]), 65_534)).toBe(2);
  expect(count(lines([2 ** 40 - 2, 2 ** 40 - 1, 0]), 2 ** 40 - 2)).toBe(2);
  // Any other difference in a line ends the run.
  for (let at = 21; at < 42; at++) {
    const view = lines([7, 8, 9]);
    view.setUint8(1 + at, view.getUint8(1 + at) ^ 1);
    expect(count(view, 7)).toBe(1);
  }
});
