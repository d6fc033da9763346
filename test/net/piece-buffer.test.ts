import { expect, test } from "bun:test";
import { ChunkPool } from "../../src/broker/storage/log/chunk.ts";
import { PieceBuffer, UNKNOWN_LENGTH } from "../../src/net/piece-buffer.ts";

const MEBIBYTE = 1024 * 1024;

test("pieces of any size come together, and pooled memory goes back", () => {
  const pool = new ChunkPool(16 * MEBIBYTE);
  const whole = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
  const pieces = new PieceBuffer(pool);
  for (let at = 0, size = 1; at < whole.length; size = (3 * size) % 70_001) {
    const to = Math.min(whole.length, at + size);
    pieces.append(whole, at, to, whole.length);
    at = to;
  }
  expect(pieces.length).toBe(whole.length);
  expect(pieces.buffer.subarray(0, pieces.length).equals(whole)).toBeTrue();
  expect(pool.usedBytes).toBe(pieces.buffer.length);
  pieces.clear();
  expect(pieces.length).toBe(0);
  expect(pool.usedBytes).toBe(0);
});

test("a length that is only announced takes little memory, and an unknown one none of the pool", () => {
  const pool = new ChunkPool(16 * MEBIBYTE);
  const pieces = new PieceBuffer(pool);
  pieces.append(Buffer.from("head"), 0, 4, UNKNOWN_LENGTH);
  expect(pool.usedBytes).toBe(0);
  expect(pieces.buffer.length).toBe(512);
  pieces.append(Buffer.alloc(1000, "x"), 0, 1000, 100 * MEBIBYTE);
  expect(pool.usedBytes).toBe(128 * 1024);
  expect(pieces.buffer.toString("latin1", 0, pieces.length)).toBe(`head${"x".repeat(1000)}`);
  pieces.clear();
  expect(pool.usedBytes).toBe(0);
});
