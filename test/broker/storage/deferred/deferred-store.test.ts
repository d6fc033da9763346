import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { DeferredStore } from "../../../../src/broker/storage/deferred/deferred-store.ts";
import { DueHeap } from "../../../../src/broker/storage/deferred/due-heap.ts";
import { KIND_REQUEUE, type StoredEntry } from "../../../../src/broker/storage/deferred/entry.ts";
import type { StagedEntries } from "../../../../src/broker/storage/deferred/staged-entries.ts";
import { StoredMessage } from "../../../../src/broker/storage/deferred/stored-message.ts";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { HEAD_BYTES } from "../../../../src/broker/storage/file-head.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";
import { until } from "../../../support/server.ts";

const START = 1_700_000_000_000;
const SECOND = 1000;
const HOUR = 3600 * SECOND;

let folder: string;
let nowMs = START;

beforeEach(() => {
  folder = temporaryFolder();
  nowMs = START;
});

afterEach(() => {
  removeFolder(folder);
});

/** A store in the place of a broker's: the fixture owns all messages, and all that are due are delivered to it. */
class Fixture {
  readonly log = new MemoryLogger();
  readonly due: StoredMessage[] = [];
  readonly refused: Error[] = [];
  readonly recovered: StoredEntry[] = [];
  /** The message that was stored last. */
  last: StoredMessage | undefined;
  unwanted = new Set<number>();
  room = Number.POSITIVE_INFINITY;
  /** Bytes that the disk accepts before it is full; reading and truncating still work then. */
  bytesFree = Number.POSITIVE_INFINITY;
  store: DeferredStore;

  constructor() {
    const clock = { currentMs: () => nowMs };
    const disk: Disk = { ...systemDisk, write: (...write) => this.write(...write) };
    this.store = new DeferredStore({ directory: folder, disk, logger: this.log, ballast: NO_BALLAST, clock });
    this.store.target = {
      wanted: (entry) => !this.unwanted.has(entry.sequence),
      dropped: () => {},
      underWay: () => false,
      room: () => this.room,
      due: (message) => this.due.push(message),
    };
    this.store.recover(
      () => false,
      (entry) => this.recovered.push({ ...entry }),
    );
  }

  stage(sequence: number, delayMs: number, memoryOnly = false): void {
    const frame = Buffer.alloc(34 + 6, `f${sequence}`);
    frame.writeUInt32BE(36, 0);
    frame.writeUInt32BE(2, 4);
    const header = { kind: KIND_REQUEUE, attempts: 1, topicId: 1, channelId: 1, dueMs: nowMs + delayMs, sequence };
    this.store.writer.stage(this, header, frame, 0, frame.length, memoryOnly);
  }

  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    if (error !== undefined) return void this.refused.push(error);
    this.last = staged.message(at);
    this.store.deliverStagedWhenDue(staged, at);
  }

  put(sequence: number, delayMs: number): StoredMessage {
    this.stage(sequence, delayMs);
    this.store.commit();
    return this.last as StoredMessage;
  }

  /** Lets time pass in steps, as the broker's timer would. */
  pass(ms: number, stepMs = 200): void {
    const end = nowMs + ms;
    while (nowMs < end) {
      nowMs = Math.min(end, nowMs + stepMs);
      this.store.process(nowMs);
      this.store.commit();
      if (this.store.needsSync) this.sync();
    }
  }

  sync(): void {
    this.store.syncBegins();
    this.store.syncEnded(undefined);
  }

  private write(fd: number, buffer: Buffer, from: number, length: number, position: number): number {
    const take = Math.min(this.bytesFree, length);
    if (take === 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    this.bytesFree -= take;
    return systemDisk.write(fd, buffer, from, take, position);
  }

  /** Sequences that fell due since the last call. */
  takeDue(): number[] {
    return this.due.splice(0).map(({ sequence }) => sequence);
  }
}

function bodyOf(store: DeferredStore, message: StoredMessage): string {
  const frame = Buffer.alloc(message.frameBytes);
  store.readFrame(message, frame, 0);
  return frame.toString("latin1", 34);
}

test("a message falls due at its time, and its frame is what was stored", () => {
  const fixture = new Fixture();
  fixture.put(5, 3 * SECOND);
  fixture.pass(2990, 10);
  expect(fixture.takeDue()).toBeEmpty();
  fixture.pass(10);
  expect(fixture.due).toHaveLength(1);
  expect(bodyOf(fixture.store, fixture.due[0])).toBe(Buffer.alloc(40, "f5").toString("latin1", 34));
});

test("messages fall due in the order of their times, whatever the order they came in", () => {
  const fixture = new Fixture();
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const delays = Array.from({ length: 500 }, () => random.int(1, 200 * SECOND));
  for (const delay of delays) fixture.put(delay, delay);
  fixture.pass(201 * SECOND, 100);
  const expected = delays.toSorted((a, b) => a - b);
  expect(fixture.takeDue(), `BUNSQ_SEED=${seed}`).toEqual(expected);
});

test("process() returns when to call it again", () => {
  const fixture = new Fixture();
  expect(fixture.store.process(START)).toBe(Number.POSITIVE_INFINITY);
  fixture.put(1, 100);
  expect(fixture.store.process(START + 50)).toBe(START + 100);
  fixture.put(2, 30 * SECOND);
  expect(fixture.store.process(START + 60)).toBeLessThanOrEqual(START + 300);
});

test("messages that are due far ahead move through ever finer buckets and still fall due on time", () => {
  const fixture = new Fixture();
  const delays = [63 * SECOND, 65 * SECOND, 128 * SECOND, 2 * HOUR, 100 * HOUR];
  for (const delay of delays) fixture.put(delay, delay);
  expect(new Set(readdirSync(folder).map((name) => name.split("-")[1].split(".")[0])).size).toBeGreaterThanOrEqual(3);
  let passed = 0;
  for (const delay of delays) {
    fixture.pass(delay - passed - SECOND, 60 * SECOND);
    expect(fixture.takeDue()).toBeEmpty();
    fixture.pass(SECOND, 100);
    expect(fixture.takeDue()).toEqual([delay]);
    passed = delay;
  }
});

test("buckets whose messages are all done leave no files", async () => {
  const fixture = new Fixture();
  for (const delay of [SECOND, 70 * SECOND, 2 * HOUR]) fixture.put(delay, delay);
  for (let i = 0; i < 3; i++) {
    fixture.pass(i === 2 ? 2 * HOUR : 75 * SECOND, SECOND);
    for (const message of fixture.due.splice(0)) fixture.store.finish(message);
    fixture.store.commit();
  }
  fixture.pass(5 * SECOND);
  await until("no file is left", () => readdirSync(folder).length === 0);
});

test.each([false, true])("moved messages leave the wide bucket only when they are synced in the finer one (strict: %p)", (strict) => {
  const fixture = new Fixture();
  fixture.store.strict = strict;
  fixture.stage(1, 100 * SECOND);
  fixture.store.commit();
  fixture.sync();
  const wide = readdirSync(folder).find((name) => name.endsWith("-64000.msg")) as string;
  const turn = () => {
    nowMs += SECOND;
    fixture.store.process(nowMs);
    fixture.store.commit();
  };
  expect(fixture.store.needsSync).toBeFalse();
  for (let second = 0; second < 90; second++) turn();
  expect(fixture.store.needsSync).toBeTrue();
  expect(readdirSync(folder)).toContain(wide);
  // A sync that fails proves nothing.
  fixture.store.syncBegins();
  expect(fixture.store.needsSync).toBeFalse();
  fixture.store.syncEnded(new Error("EIO"));
  expect(fixture.store.needsSync).toBeTrue();
  turn();
  expect(readdirSync(folder)).toContain(wide);
  for (let syncs = 0; syncs < 2; syncs++) {
    fixture.sync();
    turn();
    turn();
  }
  expect(readdirSync(folder)).not.toContain(wide);
  fixture.pass(12 * SECOND);
  expect(fixture.takeDue()).toEqual([1]);
});

test("files whose removal was cut short by a kill are removed by the next start", () => {
  const fixture = new Fixture();
  fixture.put(1, 5 * SECOND);
  const [name] = readdirSync(folder);
  writeFileSync(`${folder}/${name?.replace(/^\d+/, "1699999999000")}.gone`, "rest");
  expect(new Fixture().recovered.map(({ sequence }) => sequence)).toEqual([1]);
  expect(readdirSync(folder).filter((left) => left.endsWith(".gone"))).toBeEmpty();
});

test("messages are kept over a clean stop, without those that were done", async () => {
  const fixture = new Fixture();
  for (let sequence = 0; sequence < 10; sequence++) fixture.put(sequence, 500 + sequence);
  fixture.pass(504, 4);
  const due = fixture.due.splice(0);
  expect(due.map(({ sequence }) => sequence)).toEqual([0, 1, 2, 3, 4]);
  fixture.store.finish(due[1]);
  fixture.store.finish(due[3]);
  fixture.store.commit();
  await fixture.store.close();
  const again = new Fixture();
  expect(again.recovered.map(({ sequence }) => sequence)).toEqual([0, 2, 4, 5, 6, 7, 8, 9]);
  again.pass(20, 1);
  expect(again.takeDue()).toEqual([0, 2, 4, 5, 6, 7, 8, 9]);
});

test("messages are kept over a crash, and those that fell due meanwhile are delivered at once", () => {
  const fixture = new Fixture();
  fixture.put(1, 90 * SECOND);
  fixture.put(2, 5 * SECOND);
  fixture.put(3, 3 * HOUR);
  nowMs = START + 100 * SECOND;
  const again = new Fixture();
  again.pass(10, 10);
  again.pass(400, 200);
  expect(again.takeDue().toSorted()).toEqual([1, 2]);
  again.pass(3 * HOUR - 101 * SECOND, 30 * SECOND);
  expect(again.takeDue()).toBeEmpty();
  again.pass(SECOND, 100);
  expect(again.takeDue()).toEqual([3]);
});

test("numbers go on above those of an earlier run, even when the clock was set back", () => {
  const fixture = new Fixture();
  fixture.put(1, HOUR);
  const before = fixture.store.nextNumber;
  nowMs = START - 24 * HOUR;
  expect(new Fixture().store.nextNumber).toBeGreaterThanOrEqual(before);
});

test("messages whose topic or channel is gone when their time is near are dropped", () => {
  const fixture = new Fixture();
  for (const sequence of [1, 2, 3]) fixture.put(sequence, 10 * SECOND);
  for (const sequence of [11, 12, 13]) fixture.put(sequence, 100 * SECOND);
  fixture.unwanted = new Set([2, 12]);
  fixture.pass(11 * SECOND);
  expect(fixture.takeDue()).toEqual([1, 3]);
  fixture.pass(90 * SECOND);
  expect(fixture.takeDue()).toEqual([11, 13]);
});

test("messages in memory only fall due too, and leave no file", () => {
  const fixture = new Fixture();
  fixture.stage(1, 200 * SECOND, true);
  fixture.stage(2, SECOND, true);
  fixture.store.commit();
  fixture.pass(SECOND);
  expect(fixture.takeDue()).toEqual([2]);
  fixture.pass(199 * SECOND);
  expect(bodyOf(fixture.store, fixture.due[0])).toBe(Buffer.alloc(40, "f1").toString("latin1", 34));
  expect(readdirSync(folder)).toBeEmpty();
});

test("a crash between two steps of a move delivers each message once, and a second crash loses none", () => {
  const fixture = new Fixture();
  fixture.put(1, 100 * SECOND);
  fixture.put(2, 101 * SECOND);
  const wide = readdirSync(folder).find((name) => name.endsWith("-64000.msg")) as string;
  copyFileSync(`${folder}/${wide}`, `${folder}/${wide}.copy`);
  fixture.pass(90 * SECOND, SECOND);
  expect(readdirSync(folder)).not.toContain(wide);
  // The wide bucket still exists, as if the crash had come before the record that its messages were moved.
  copyFileSync(`${folder}/${wide}.copy`, `${folder}/${wide}`);
  const second = new Fixture();
  second.pass(9 * SECOND, 100);
  expect(second.takeDue()).toBeEmpty();
  const third = new Fixture();
  third.pass(5 * SECOND, 100);
  expect(third.takeDue()).toEqual([1, 2]);
});

test("status records that a removed bucket left behind do not count for a later one", () => {
  const fixture = new Fixture();
  fixture.put(1, 100 * SECOND);
  const name = (readdirSync(folder).find((candidate) => candidate.endsWith(".msg")) as string).replace("msg", "done");
  const stale = Buffer.alloc(24);
  stale.writeDoubleLE(1e6, 0);
  stale.writeUInt32LE(2, 16);
  stale.writeUInt32LE(Bun.hash.crc32(stale.subarray(0, 20)), 20);
  const orphan = name.replace(/^\d+/, (start) => String(Number(start) + 64_000));
  writeFileSync(`${folder}/${orphan}`, stale);
  const second = new Fixture();
  expect(readdirSync(folder)).not.toContain(orphan);
  second.put(2, 164 * SECOND);
  expect(new Fixture().recovered.map(({ sequence }) => sequence).toSorted()).toEqual([1, 2]);
});

test("a torn tail and a damaged entry are told apart, and both are logged", () => {
  const fixture = new Fixture();
  for (const sequence of [1, 2, 3]) fixture.put(sequence, 10 * SECOND);
  const file = `${folder}/${readdirSync(folder).find((name) => name.endsWith(".msg"))}`;
  const bytes = readFileSync(file);
  bytes[HEAD_BYTES + 100]++;
  writeFileSync(file, Buffer.concat([bytes, Buffer.from("torn")]));
  const again = new Fixture();
  expect(again.recovered.map(({ sequence }) => sequence)).toEqual([1, 3]);
  expect(again.log.matching(/WARNING: .*the last 4 bytes of .* were torn/)).toHaveLength(1);
  expect(again.log.matching(/ERROR: .*88 bytes in .* are damaged/)).toHaveLength(1);
});

test("messages leave the heap unchanged, in the order of their due times, whatever is removed in between", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const heap = new DueHeap();
  const model: StoredMessage[] = [];
  const expectSame = (message: StoredMessage | undefined, expected: StoredMessage | undefined) => {
    if (!Bun.deepEquals(message, expected)) throw new Error(`BUNSQ_SEED=${seed}: ${Bun.inspect(message)}, not ${Bun.inspect(expected)}`);
  };
  for (let i = 0; i < 6000; i++) {
    // The heap grows, and is emptied from time to time.
    if (random.chance(i % 2000 < 1200 ? 0.6 : 0.2)) {
      const frame = random.chance(0.2) ? Buffer.from(`frame ${i}`) : undefined;
      const kind = random.int(1, 2);
      const message = new StoredMessage(kind, i + 1, i + 2, i, i + 3, random.next() * 1000, i + 4, undefined, i + 5, i + 6, frame);
      if (random.chance(0.5)) {
        message.page = { buffer: Buffer.alloc(0), messages: i };
        message.pageAt = i + 7;
      }
      heap.push(message);
      model.push(message);
    } else if (model.length > 0 && random.chance(0.2)) {
      const [expected] = model.splice(random.int(0, model.length - 1), 1);
      expectSame(heap.remove((expected as StoredMessage).number), expected);
      expect(heap.remove(-1)).toBeUndefined();
    } else {
      model.sort((x, y) => x.dueMs - y.dueMs);
      expect(heap.nextDueMs, `BUNSQ_SEED=${seed}`).toBe(model[0]?.dueMs ?? Number.POSITIVE_INFINITY);
      expectSame(heap.pop(), model.shift());
    }
    if (heap.size !== model.length) throw new Error(`BUNSQ_SEED=${seed}: ${heap.size} in the heap, not ${model.length}`);
    if (i % 500 === 0) {
      const selected = heap.select(({ number, dueMs }) => number % 3 === 0 && dueMs < 500).map(({ number }) => number);
      const expected = model.filter(({ number, dueMs }) => number % 3 === 0 && dueMs < 500).map(({ number }) => number);
      expect(selected.sort(), `BUNSQ_SEED=${seed}`).toEqual(expected.sort());
    }
  }
});

test("entries that a full disk refuses are in no bucket, though parts of them were written and a kill comes at once", () => {
  const fixture = new Fixture();
  fixture.put(1, 5 * SECOND);
  // Two whole entries and a piece of the third fit; those in the other bucket do not.
  fixture.bytesFree = 2 * 88 + 30;
  for (const sequence of [2, 3, 4]) fixture.stage(sequence, 5 * SECOND);
  fixture.stage(5, 10 * SECOND);
  fixture.store.commit();
  expect(fixture.refused.map(({ message }) => message)).toEqual(Array.from({ length: 4 }, () => "ENOSPC: no space left on device, write"));
  expect(fixture.store.failure?.message).toStartWith("ENOSPC");
  // Now the second bucket's part does not fit.
  fixture.bytesFree = 3 * 88 + 30;
  for (const sequence of [6, 7, 8]) fixture.stage(sequence, 5 * SECOND);
  for (const sequence of [9, 10]) fixture.stage(sequence, 10 * SECOND);
  fixture.store.commit();
  expect(fixture.refused).toHaveLength(9);
  fixture.bytesFree = Number.POSITIVE_INFINITY;
  expect(new Fixture().recovered.map(({ sequence }) => sequence)).toEqual([1]);
  fixture.put(11, 5 * SECOND);
  expect(fixture.store.failure).toBeUndefined();
  expect(new Fixture().recovered.map(({ sequence }) => sequence).toSorted((a, b) => a - b)).toEqual([1, 11]);
});

test("status records that a full disk refuses are written when there is room, and until then the store reports it", () => {
  const fixture = new Fixture();
  const messages = [1, 2].map((sequence) => fixture.put(sequence, 5 * SECOND));
  fixture.bytesFree = 10;
  fixture.store.finish(messages[0]);
  fixture.store.commit();
  expect(fixture.store.statusFailure?.message).toStartWith("ENOSPC");
  expect(fixture.store.failure).toBeUndefined();
  expect(fixture.store.hasWork).toBeTrue();
  fixture.bytesFree = Number.POSITIVE_INFINITY;
  fixture.store.commit();
  expect(fixture.store.statusFailure).toBeUndefined();
  expect(new Fixture().recovered.map(({ sequence }) => sequence)).toEqual([2]);
});

test("in strict mode an entry is stored after a sync, and done after the next one when it has joined its log", () => {
  const fixture = new Fixture();
  fixture.store.strict = true;
  const stored: StoredMessage[] = [];
  const owner = { stored: (staged: StagedEntries, at: number) => void stored.push(staged.message(at)) };
  const frame = Buffer.alloc(40);
  frame.writeUInt32BE(36, 0);
  frame.writeUInt32BE(2, 4);
  const header = { kind: KIND_REQUEUE, attempts: 1, topicId: 1, channelId: 1, dueMs: START + SECOND, sequence: 7 };
  fixture.store.writer.stage(owner, header, frame, 0, frame.length, false);
  fixture.store.commit();
  expect(stored).toBeEmpty();
  expect(fixture.store.needsSyncNow).toBeTrue();
  fixture.store.syncBegins();
  expect(fixture.store.needsSyncNow).toBeFalse();
  fixture.store.syncEnded(undefined);
  expect(stored.map(({ sequence }) => sequence)).toEqual([7]);
  fixture.store.markJoined(stored[0]);
  fixture.store.commit();
  // No status record says so before the log that it joined is synced.
  expect(new Fixture().recovered).toHaveLength(1);
  fixture.store.syncBegins();
  fixture.store.syncEnded(undefined);
  fixture.store.commit();
  expect(new Fixture().recovered).toBeEmpty();
});
