import { expect, test } from "bun:test";
import { Outbox } from "../../src/client/outbox.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const SEED = seedFromEnvironment();

test("what is written is sent once, in order, whether or not the socket keeps the bytes", () => {
  console.log(`seed of the bodies: ${SEED}`);
  const random = new Random(SEED);
  const outbox = new Outbox();
  /** What the socket keeps and reads later. */
  const kept: Uint8Array[] = [];
  const sent: Buffer[] = [];
  const expected: Buffer[] = [];
  const drain = () => {
    for (const bytes of kept.splice(0)) sent.push(Buffer.from(bytes));
  };
  const sink = {
    write: (bytes: Uint8Array) => {
      if (random.chance(0.3)) drain();
      kept.push(bytes);
      if (kept.length > 1 || random.chance(0.5)) return false;
      drain();
      return true;
    },
  };
  for (let i = 0; i < 2_000; i++) {
    const text = random.pick(["", "short", "längér é😀", "x".repeat(random.int(0, 50_000))]);
    const body = random.chance(0.5) ? text : new TextEncoder().encode(text);
    outbox.ascii("PUB t\n").sized(body);
    const bytes = Buffer.from(text);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(bytes.length);
    expected.push(Buffer.from("PUB t\n"), size, bytes);
    if (random.chance(0.3)) outbox.flush(sink);
  }
  outbox.flush(sink);
  drain();
  expect(outbox.isEmpty).toBe(true);
  expect(Buffer.concat(sent).equals(Buffer.concat(expected))).toBe(true);
});

test("a batch has its size, its count, and each body with its size", () => {
  const outbox = new Outbox();
  let sent = "";
  outbox.batch(["a", new Uint8Array([98, 98])]);
  outbox.flush({
    write: (bytes) => {
      sent = Buffer.from(bytes).toString("hex");
      return true;
    },
  });
  expect(sent).toBe(["0000000f", "00000002", "00000001", "61", "00000002", "6262"].join(""));
});
