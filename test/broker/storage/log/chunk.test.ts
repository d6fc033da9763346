import { expect, test } from "bun:test";
import { type Chunk, type ChunkOwner, ChunkPool, LARGEST_CLASS } from "../../../../src/broker/storage/log/chunk.ts";

const MIB = 1024 * 1024;

/** An owner that frees every chunk that it is asked for. */
function owner(pool: ChunkPool): ChunkOwner & { evicted: Chunk[] } {
  const evicted: Chunk[] = [];
  return {
    evicted,
    evict(chunk) {
      evicted.push(chunk);
      pool.free(chunk);
    },
    chunkAt() {
      throw new Error("nothing is read here");
    },
  };
}

test("a chunk has the wished size, or the next larger one that the bytes fit into", () => {
  const pool = new ChunkPool(64 * MIB);
  expect(pool.allocate(10, 0).buffer.length).toBe(16 * 1024);
  expect(pool.allocate(10, LARGEST_CLASS).buffer.length).toBe(MIB);
  expect(pool.allocate(20 * 1024, 0).buffer.length).toBe(128 * 1024);
  expect(pool.allocate(MIB + 1, 0).buffer.length).toBe(MIB + 1);
  expect(pool.usedBytes).toBe(16 * 1024 + MIB + 128 * 1024 + MIB + 1);
});

test("the memory of a freed chunk is reused", () => {
  const pool = new ChunkPool(64 * MIB);
  const chunk = pool.allocate(10, 1);
  pool.free(chunk);
  expect(pool.usedBytes).toBe(0);
  expect(pool.allocate(10, 1)).toBe(chunk);
  expect(chunk.freed).toBeFalse();
});

test("a pinned chunk is not reused before its last pin is gone", () => {
  const pool = new ChunkPool(64 * MIB);
  const chunk = pool.allocate(10, 1);
  pool.pin(chunk);
  pool.pin(chunk);
  pool.free(chunk);
  pool.unpin(chunk);
  expect(pool.allocate(10, 1)).not.toBe(chunk);
  pool.unpin(chunk);
  expect(pool.allocate(10, 1)).toBe(chunk);
});

test("when the budget is used up, the oldest cached chunks are evicted; the memory of a pinned one is freed with its last pin", () => {
  const pool = new ChunkPool(3 * MIB);
  const keeper = owner(pool);
  const chunks = [0, 1, 2].map(() => pool.allocate(1, LARGEST_CLASS));
  for (const chunk of chunks) pool.markEvictable(chunk, keeper);
  pool.pin(chunks[0]);
  pool.allocate(1, LARGEST_CLASS);
  expect(keeper.evicted).toEqual([chunks[0], chunks[1]]);
  expect(pool.usedBytes).toBe(3 * MIB);
  pool.unpin(chunks[0]);
  expect(pool.usedBytes).toBe(2 * MIB);
});

test("when nothing can be evicted, chunks are small, and a request that needs more memory exceeds the budget", () => {
  const pool = new ChunkPool(MIB + 200 * 1024);
  pool.allocate(1, LARGEST_CLASS);
  expect(pool.allocate(1, LARGEST_CLASS).buffer.length).toBe(128 * 1024);
  expect(pool.allocate(1, LARGEST_CLASS).buffer.length).toBe(16 * 1024);
  expect(pool.allocate(500_000, LARGEST_CLASS).buffer.length).toBe(MIB);
  expect(pool.usedBytes).toBeGreaterThan(pool.budgetBytes);
});

test("of many freed chunks, only some are kept for reuse", () => {
  const pool = new ChunkPool(1024 * MIB);
  const chunks = Array.from({ length: 40 }, () => pool.allocate(1, LARGEST_CLASS));
  for (const chunk of chunks) pool.free(chunk);
  const again = Array.from({ length: 40 }, () => pool.allocate(1, LARGEST_CLASS));
  expect(again.filter((chunk) => chunks.includes(chunk))).toHaveLength(24);
});

test("offsets in a chunk are relative to its first position", () => {
  const chunk = new ChunkPool(MIB).allocate(1, 0);
  chunk.start = 2 ** 40;
  chunk.end = chunk.start + 100;
  expect([chunk.offsetOf(chunk.start + 7), chunk.freeBytes]).toEqual([7, 16 * 1024 - 100]);
});
