import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { systemClock } from "../../../../src/base/clock.ts";
import { ChunkPool } from "../../../../src/broker/storage/log/chunk.ts";
import { TopicLog } from "../../../../src/broker/storage/log/topic-log.ts";
import { writeId } from "../../../../src/frame/id.ts";
import { FillingDisk, LogFixture, readAll, readBySequence, TIME } from "../../../support/log-fixture.ts";
import { sized } from "../../../support/raw-client.ts";

const MIB = 1024 * 1024;

function many(count: number, bytes: number, first = 0): string[] {
  return Array.from({ length: count }, (_, i) => String(first + i).padEnd(bytes, "."));
}

function appendMany(log: TopicLog, bodies: string[]): void {
  const source = Buffer.concat([Buffer.from("head"), ...bodies.map(sized)]);
  log.appendBatch(source, 4, source.length, bodies.length, TIME);
}

test("an appended message can be read after its commit", () => {
  using fixture = new LogFixture();
  const { log } = fixture;
  log.append(Buffer.from("..abc.."), 2, 3, TIME);
  expect([log.next, log.committedNext]).toEqual([1, 0]);
  expect(readAll(log)).toBeEmpty();
  log.commit(1);
  expect([log.next, log.committedNext]).toEqual([1, 1]);
  expect(readAll(log)).toEqual(["abc"]);
  log.commit(2);
  expect(readAll(log)).toEqual(["abc"]);
});

test("single messages, batches, and batches larger than any chunk are in order, in memory and in the files", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 3 * MIB });
  const expected: string[] = [];
  for (let round = 0; round < 12; round++) {
    const batch = many(200, 200, expected.length);
    appendMany(fixture.log, batch);
    expected.push(...batch);
    fixture.commit(...many(3, 50_000, expected.length));
    expected.push(...many(3, 50_000, expected.length));
  }
  const large = many(40, 40_000, expected.length);
  appendMany(fixture.log, large);
  fixture.log.commit(1);
  expected.push(...large);
  expect(readAll(fixture.log)).toEqual(expected);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(expected);
});

test("a body larger than any chunk is accepted and read back", async () => {
  using fixture = new LogFixture();
  const bodies = ["a", "x".repeat(3 * MIB), "b"];
  fixture.commit(...bodies);
  expect(readAll(fixture.log)).toEqual(bodies);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(bodies);
});

test("a complete frame that is appended gets the id of its sequence", () => {
  using fixture = new LogFixture();
  const { log } = fixture;
  fixture.commit("first");
  const chunk = log.chunkAt(0, true);
  if (chunk.isGap) throw new Error("a gap");
  const frame = Buffer.from(chunk.buffer.subarray(0, 39));
  log.appendFrame(frame, (view, at) => writeId(view, at + 18, log.prefix, log.next));
  log.commit(1);
  expect(readAll(log)).toEqual(["first", "first"]);
});

test("evicted chunks are read back from the files", () => {
  using fixture = new LogFixture({ budgetBytes: 2 * MIB, maxBytesPerFile: MIB });
  const expected = many(200, 40_000);
  for (const body of expected) fixture.commit(body);
  expect(fixture.log.cachedSequence).toBeGreaterThan(100);
  expect(fixture.pool.usedBytes).toBeLessThan(2 * MIB + 200_000);
  expect(readAll(fixture.log)).toEqual(expected);
  expect(fixture.pool.usedBytes).toBeLessThan(3 * MIB + 200_000);
});

test("the position of every record can be found by its sequence, in memory and in the files", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 100_000 });
  const positions: number[] = [];
  for (let i = 0; i < 50; i++) {
    for (const body of many(7, 10 + 100 * i)) {
      positions.push(fixture.log.end);
      fixture.log.append(Buffer.from(body), 0, body.length, TIME);
    }
    fixture.log.commit(1);
  }
  const located = (): number[] => positions.map((_, sequence) => fixture.log.locate(sequence));
  expect(located()).toEqual(positions);
  await fixture.reopen();
  expect(located()).toEqual(positions);
  expect(fixture.log.locate(positions.length)).toBe(fixture.log.committedEnd);
});

test("a failed commit of several chunks leaves nothing behind, and sequences and positions continue as before it", async () => {
  const filling = new FillingDisk();
  using fixture = new LogFixture({ disk: filling.disk });
  fixture.commit("kept");
  const { log } = fixture;
  const before = { next: log.next, end: log.end };
  const used = fixture.pool.usedBytes;
  filling.full = ".log";
  for (const body of many(30, 100_000)) log.append(Buffer.from(body), 0, body.length, TIME);
  expect(() => log.commit(1)).toThrow("ENOSPC");
  filling.full = "";
  expect({ next: log.next, end: log.end }).toEqual(before);
  expect(fixture.pool.usedBytes).toBe(used);
  fixture.commit(...many(3, 100_000));
  expect(readAll(log)).toEqual(["kept", ...many(3, 100_000)]);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(["kept", ...many(3, 100_000)]);
});

test("a trimmed log frees memory, and its files still have the messages that are not finished", () => {
  using fixture = new LogFixture({ budgetBytes: 64 * MIB });
  const expected = many(60, 50_000);
  for (const body of expected) fixture.commit(body);
  fixture.trimBelow(0);
  expect(fixture.log.cachedSequence).toBeGreaterThan(20);
  expect(readAll(fixture.log)).toEqual(expected);
});

test("an idle log needs no memory, and continues from its files", () => {
  using fixture = new LogFixture();
  fixture.commit("a", "b");
  readAll(fixture.log);
  fixture.log.shrink();
  expect(fixture.pool.usedBytes).toBe(0);
  fixture.commit("c");
  expect(readAll(fixture.log)).toEqual(["a", "b", "c"]);
});

test("a disposed log frees all its memory", () => {
  using fixture = new LogFixture({ budgetBytes: MIB });
  for (const body of many(100, 50_000)) fixture.commit(body);
  readAll(fixture.log);
  fixture.log.dispose();
  expect(fixture.pool.usedBytes).toBe(0);
});

test("a log in memory starts at the given sequence, keeps unfinished messages, and has no others", () => {
  const pool = new ChunkPool(64 * MIB);
  const log = new TopicLog(pool, systemClock, 0, undefined, 500);
  const bodies = many(100, 10_000, 500);
  for (const body of bodies) {
    log.append(Buffer.from(body), 0, body.length, TIME);
    log.commit(1);
  }
  expect(readAll(log)).toEqual(bodies);
  // The cursor is at the end, but the message with sequence 530 is still in flight.
  log.trim(log.committedEnd, 530, 1);
  expect(log.startSequence).toBeLessThanOrEqual(530);
  expect(readAll(log, 530)).toEqual(bodies.slice(30));
  log.shrink();
  expect(readAll(log, 530)).toEqual(bodies.slice(30));
  log.trim(log.committedEnd, 600, 1);
  expect(pool.usedBytes).toBeLessThan(1.5 * MIB);
  expect(() => log.chunkAt(0, true)).toThrow("memory log has no position 0");
});

test("a large commit has an index entry for about each mebibyte, so that a flipped bit costs no more", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 64 * 1024 * 1024, budgetBytes: 32 * 1024 * 1024 });
  const bodies = Array.from({ length: 40 }, (_, i) => Buffer.alloc(200_000, 65 + (i % 26)));
  fixture.commit(...bodies);
  const [name] = readdirSync(fixture.directory).filter((file) => file.endsWith(".log"));
  const path = `${fixture.directory}/${name}`;
  await fixture.files.close();
  const bytes = readFileSync(path);
  bytes[4_000_000]++;
  writeFileSync(path, bytes);
  fixture.open({ syncedSequence: 40 });
  const found = readBySequence(fixture.log);
  expect(found.size).toBeGreaterThanOrEqual(34);
  expect(found.size).toBeLessThan(40);
  for (const [sequence, body] of found) expect(body === bodies[sequence]?.toString()).toBeTrue();
  expect(fixture.logger.matching(/[1-6] messages from sequence \d+ on are damaged/)).toHaveLength(1);
});

test("an MPUB larger than an index entry usually covers still has one entry, so it is kept or lost as a whole", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 64 * 1024 * 1024, budgetBytes: 32 * 1024 * 1024 });
  const batch = Array.from({ length: 12 }, (_, i) => Buffer.alloc(300_000, 65 + i));
  fixture.log.append(Buffer.alloc(900_000, 48), 0, 900_000, TIME);
  const body = Buffer.concat(batch.map((one) => sized(one)));
  fixture.log.appendBatch(body, 0, body.length, batch.length, TIME);
  fixture.log.append(Buffer.alloc(900_000, 49), 0, 900_000, TIME);
  fixture.log.commit(1000);
  fixture.commit("next");
  const [name] = readdirSync(fixture.directory).filter((file) => file.endsWith(".log"));
  const path = `${fixture.directory}/${name}`;
  await fixture.files.close();
  const bytes = readFileSync(path);
  bytes[4_000_000]++;
  writeFileSync(path, bytes);
  fixture.open({ syncedSequence: 15 });
  expect([...readBySequence(fixture.log).keys()].filter((sequence) => sequence >= 1 && sequence <= 12)).toBeEmpty();
  expect([...readBySequence(fixture.log).keys()]).toContain(14);
});
