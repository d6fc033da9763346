import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createDiskqueue } from "../../src/nsqd-data/diskqueue-writer.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { type Message, message, messages, payload, readQueue, record, records } from "./support/queue-fixture.ts";

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

/** Writes a queue of topic "t". */
function write(list: readonly Message[], options: { maxBytesPerFile?: number; bufferBytes?: number } = {}): void {
  const writer = createDiskqueue(folder, "t", undefined, options);
  for (const one of list) writer.append(payload(one), 0, payload(one).length, one.attempts);
  writer.close();
}

function text(name: string): string {
  return readFileSync(join(folder, name), "latin1");
}

test("a file holds the records, and the metadata their number and end", () => {
  write(messages(3));
  expect(text("t.diskqueue.000000.dat")).toBe(records(messages(3)).toString("latin1"));
  expect(text("t.diskqueue.meta.dat")).toBe("3\n0,0\n0,120\n");
  expect(readdirSync(folder).sort()).toEqual(["t.diskqueue.000000.dat", "t.diskqueue.meta.dat"]);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
});

test("the file names of a channel's queue contain the channel", () => {
  const writer = createDiskqueue(folder, "t", "c");
  writer.append(payload(message(1)), 0, 36, 0);
  writer.close();
  expect(readdirSync(folder).sort()).toEqual(["t:c.diskqueue.000000.dat", "t:c.diskqueue.meta.dat"]);
});

test("a queue without messages has only a metadata file, as from nsqd", () => {
  write([]);
  expect(text("t.diskqueue.meta.dat")).toBe("0\n0,0\n0,0\n");
  expect(readdirSync(folder)).toEqual(["t.diskqueue.meta.dat"]);
});

test("a file is filled up to its limit, and a larger message gets its own file", () => {
  write([...messages(4), message(4, 100), message(5)], { maxBytesPerFile: 80 });
  const sizes = readdirSync(folder)
    .filter((name) => !name.includes("meta"))
    .sort()
    .map((name) => statSync(join(folder, name)).size);
  expect(sizes).toEqual([80, 80, 130, 40]);
  expect(text("t.diskqueue.meta.dat")).toBe("6\n0,0\n3,40\n");
  expect(readQueue(folder).messages).toEqual([...messages(4), message(4, 100), message(5)]);
});

test("buffers and files of any size give the same messages", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  for (let round = 0; round < 60; round++) {
    const list = Array.from({ length: random.int(0, 30) }, (_, n) => message(n, random.pick([0, 1, 20, 90, 200, 1000])));
    write(list, { bufferBytes: random.pick([1, 40, 100, 1000, 100_000]), maxBytesPerFile: random.pick([1, 60, 500, 5000]) });
    const read = readQueue(folder);
    expect(read.messages, `BUNSQ_SEED=${seed}, round ${round}`).toEqual(list);
    expect(read.problems).toEqual([]);
    removeFolder(folder);
    folder = temporaryFolder();
  }
});

test("a message is copied from any offset, with the attempts given", () => {
  const bytes = Buffer.concat([Buffer.from("noise"), payload(message(4)), Buffer.from("noise")]);
  const writer = createDiskqueue(folder, "t");
  for (const attempts of [0, 7, 65535, 70_000]) writer.append(bytes, 5, 36, attempts);
  writer.close();
  const [first, ...rest] = readQueue(folder).messages;
  expect(first).toEqual({ ...message(4), attempts: 0 });
  expect(rest.map(({ attempts }) => attempts)).toEqual([7, 65535, 65535]);
});

test("impossible sizes are refused", () => {
  const writer = createDiskqueue(folder, "t");
  expect(() => writer.append(Buffer.alloc(100), 0, 25, 0)).toThrow(RangeError);
  expect(() => writer.append(Buffer.alloc(100), 80, 30, 0)).toThrow(RangeError);
  expect(() => writer.append(Buffer.alloc(100), 0, 2 ** 31, 0)).toThrow(RangeError);
  writer.abort();
  expect(readdirSync(folder)).toEqual([]);
});

test("an invalid name is refused", () => {
  expect(() => createDiskqueue(folder, "../t")).toThrow(RangeError);
  expect(() => createDiskqueue(folder, "t", "a:b")).toThrow(RangeError);
});

test("an existing queue is not overwritten", () => {
  write(messages(2));
  const writer = createDiskqueue(folder, "t");
  expect(() => writer.append(payload(message(1)), 0, 36, 0)).toThrow("EEXIST");
  writer.abort();
  expect(readQueue(folder).messages).toEqual(messages(2));
});

test("abort removes the files that the writer created", () => {
  writeFileSync(join(folder, "t.diskqueue.000002.dat"), "not ours");
  const writer = createDiskqueue(folder, "t", undefined, { maxBytesPerFile: 40 });
  writer.append(payload(message(1)), 0, 36, 0);
  writer.append(payload(message(2)), 0, 36, 0);
  expect(() => writer.append(payload(message(3)), 0, 36, 0)).toThrow("EEXIST");
  writer.abort();
  writer.abort();
  expect(readdirSync(folder)).toEqual(["t.diskqueue.000002.dat"]);
});

test("abort after close removes nothing", () => {
  const writer = createDiskqueue(folder, "t");
  writer.append(payload(message(1)), 0, 36, 1);
  writer.close();
  writer.abort();
  expect(text("t.diskqueue.000000.dat")).toBe(record(message(1)).toString("latin1"));
});
