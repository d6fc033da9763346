import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { Bucket } from "../../../../src/broker/storage/deferred/bucket.ts";
import { parseBucketName } from "../../../../src/broker/storage/deferred/bucket-name.ts";
import {
  ENTRY_HEADER_BYTES,
  KIND_PUBLISH,
  KIND_REQUEUE,
  type ScannedEntry,
  type StoredEntry,
} from "../../../../src/broker/storage/deferred/entry.ts";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { HEAD_BYTES } from "../../../../src/broker/storage/file-head.ts";
import { writeMessage } from "../../../../src/frame/layout.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { until } from "../../../support/server.ts";

let folder: string;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => {
  removeFolder(folder);
});

const START = 1_700_000_000_000;
const BODY_BYTES = 20;
const ENTRY_BYTES = ENTRY_HEADER_BYTES + 34 + BODY_BYTES;

function frameOf(number: number): Buffer {
  const frame = Buffer.alloc(34 + BODY_BYTES);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  writeMessage(frame, view, 0, Buffer.alloc(BODY_BYTES, `body ${number} `), 0, BODY_BYTES, 1, number, { high: 1, low: 2 });
  return frame;
}

function header(number: number): StoredEntry {
  const requeue = number % 2 === 1;
  return {
    kind: requeue ? KIND_REQUEUE : KIND_PUBLISH,
    attempts: requeue ? 7 : 0,
    topicId: requeue ? 0 : 3,
    channelId: requeue ? 4 : 0,
    dueMs: START + number * 10.5,
    number,
    sequence: requeue ? 2 ** 41 + number : 0,
  };
}

/** A disk that accepts no writes while it is full; reading and truncating still work. */
function fullableDisk(): Disk & { full: boolean } {
  const disk = {
    ...systemDisk,
    full: false,
    write(fd: number, buffer: Buffer, from: number, length: number, position: number): number {
      if (disk.full) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      return systemDisk.write(fd, buffer, from, length, position);
    },
  };
  return disk;
}

/** Writes entries and status records. @returns why that failed */
function commit(bucket: Bucket): Error | undefined {
  return bucket.commitEntries() ?? bucket.commitStatus(NO_BALLAST);
}

function fill(count: number, disk: Disk = systemDisk): Bucket {
  const bucket = new Bucket(disk, folder, START, 1000);
  for (let number = 0; number < count; number++) bucket.stage(header(number), number, frameOf(number), 0, 34 + BODY_BYTES);
  expect(commit(bucket)).toBeUndefined();
  return bucket;
}

function recover(joined = (_entry: ScannedEntry, _sequence: number) => false): { bucket: Bucket; entries: ScannedEntry[]; cut: number } {
  const bucket = new Bucket(systemDisk, folder, START, 1000);
  const entries: ScannedEntry[] = [];
  const { tailBytes: cut } = bucket.recover(joined, (entry) => entries.push({ ...entry }));
  expect(commit(bucket)).toBeUndefined();
  return { bucket, entries, cut };
}

function numbers(entries: ScannedEntry[]): number[] {
  return entries.map(({ number }) => number);
}

function path(ending: string): string {
  return `${folder}/${START}-1000.${ending}`;
}

/** @param at counts from behind the file's head */
function flip(ending: string, at: number): void {
  const bytes = readFileSync(path(ending));
  bytes[HEAD_BYTES + at]++;
  writeFileSync(path(ending), bytes);
}

test("entries are read back with their headers and frames", () => {
  fill(10).closeFiles();
  const { bucket, entries, cut } = recover();
  expect([cut, bucket.pending, bucket.length]).toEqual([0, 10, 10 * ENTRY_BYTES]);
  for (const [number, entry] of entries.entries()) {
    expect(entry).toMatchObject({ ...header(number), offset: number * ENTRY_BYTES, frameBytes: 34 + BODY_BYTES });
    const frame = Buffer.alloc(entry.frameBytes + 2);
    bucket.readFrame(frame, 1, entry.offset, entry.frameBytes);
    expect(frame.subarray(1, -1).equals(frameOf(number))).toBeTrue();
  }
  bucket.closeFiles();
});

test("a staged entry counts when it is committed", () => {
  const bucket = new Bucket(systemDisk, folder, START, 1000);
  expect(bucket.stage(header(0), 0, frameOf(0), 0, 54)).toBe(0);
  expect(bucket.stage(header(1), 1, frameOf(1), 0, 54)).toBe(ENTRY_BYTES);
  expect([bucket.dirty, bucket.pending, bucket.length, readdirSync(folder).length]).toEqual([true, 0, 0, 0]);
  expect(commit(bucket)).toBeUndefined();
  expect([bucket.dirty, bucket.pending, bucket.length]).toEqual([false, 2, 2 * ENTRY_BYTES]);
  expect(bucket.stage(header(2), 2, frameOf(2), 0, 54)).toBe(2 * ENTRY_BYTES);
  bucket.closeFiles();
});

test("entries that are done are not recovered", () => {
  const bucket = fill(10);
  for (const number of [0, 3, 4, 9]) bucket.stageDone(number);
  expect(commit(bucket)).toBeUndefined();
  expect(bucket.pending).toBe(6);
  bucket.closeFiles();
  expect(numbers(recover().entries)).toEqual([1, 2, 5, 6, 7, 8]);
});

test("a status record that is staged but not written counts in a scan", () => {
  const bucket = fill(3);
  bucket.finish(1, ENTRY_BYTES, { topicId: 1, channelId: 4 });
  const seen: ScannedEntry[] = [];
  bucket.scan(0, Number.POSITIVE_INFINITY, (entry) => seen.push({ ...entry }));
  expect(numbers(seen)).toEqual([0, 2]);
  bucket.closeFiles();
});

test("entries that were moved to finer buckets are not recovered", () => {
  const bucket = fill(10);
  bucket.stageMoved(4 * ENTRY_BYTES, 4);
  expect(commit(bucket)).toBeUndefined();
  bucket.closeFiles();
  const { bucket: again, entries } = recover();
  expect(numbers(entries)).toEqual([4, 5, 6, 7, 8, 9]);
  expect([again.movedTo, again.pending]).toEqual([4 * ENTRY_BYTES, 6]);
});

test("an entry that was about to join its log is done if the log has it, and is recovered if not", () => {
  const bucket = fill(6);
  bucket.stageJoining(2, 100);
  bucket.stageJoining(4, 101);
  bucket.stageJoining(5, 102);
  bucket.stageNotJoined(5);
  expect(commit(bucket)).toBeUndefined();
  bucket.closeFiles();
  expect(numbers(recover((_entry, sequence) => sequence <= 100).entries)).toEqual([0, 1, 3, 4, 5]);
  // The log may have grown past 101 by other messages: the first answer is kept.
  expect(numbers(recover((_entry, sequence) => sequence <= 101).entries)).toEqual([0, 1, 3, 4, 5]);
});

test("a scan in pieces returns where the next piece begins", () => {
  const bucket = fill(10);
  const seen: ScannedEntry[] = [];
  let from = 0;
  let pieces = 0;
  while (from < bucket.length) {
    from = bucket.scan(from, 3 * ENTRY_BYTES - 5, (entry) => seen.push({ ...entry }));
    pieces++;
  }
  expect(numbers(seen)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(pieces).toBe(4);
  bucket.closeFiles();
});

test("a torn tail is cut off wherever it is torn, and new entries follow the whole ones", () => {
  fill(3).closeFiles();
  const whole = readFileSync(path("msg"));
  for (let length = 2 * ENTRY_BYTES; length < 3 * ENTRY_BYTES; length++) {
    writeFileSync(path("msg"), whole);
    truncateSync(path("msg"), HEAD_BYTES + length);
    const { bucket, entries, cut } = recover();
    expect([numbers(entries), cut, bucket.damagedBytes]).toEqual([[0, 1], length - 2 * ENTRY_BYTES, 0]);
    if (length % 20 !== 0) continue;
    bucket.stage(header(7), 7, frameOf(7), 0, 54);
    expect(commit(bucket)).toBeUndefined();
    bucket.closeFiles();
    expect(numbers(recover().entries)).toEqual([0, 1, 7]);
  }
});

test("a flipped byte costs only its own entry, whichever byte it is", () => {
  fill(5).closeFiles();
  const whole = readFileSync(path("msg"));
  for (let at = 2 * ENTRY_BYTES; at < 3 * ENTRY_BYTES; at++) {
    writeFileSync(path("msg"), whole);
    flip("msg", at);
    const { bucket, entries, cut } = recover();
    expect([at, numbers(entries), cut, bucket.damagedBytes]).toEqual([at, [0, 1, 3, 4], 0, ENTRY_BYTES]);
  }
});

test("a flipped byte in the last entry cuts it off", () => {
  fill(5).closeFiles();
  flip("msg", 4 * ENTRY_BYTES + 60);
  const { entries, cut } = recover();
  expect([numbers(entries), cut]).toEqual([[0, 1, 2, 3], ENTRY_BYTES]);
});

test("a damaged status record costs only itself, and a torn one is overwritten", () => {
  const bucket = fill(5);
  for (const number of [0, 1, 2]) bucket.stageDone(number);
  expect(commit(bucket)).toBeUndefined();
  bucket.closeFiles();
  flip("done", 24 + 3);
  truncateSync(path("done"), HEAD_BYTES + 3 * 24 - 1);
  const { bucket: again, entries } = recover();
  expect(numbers(entries)).toEqual([1, 2, 3, 4]);
  again.stageDone(3);
  expect(commit(again)).toBeUndefined();
  again.closeFiles();
  expect(numbers(recover().entries)).toEqual([1, 2, 4]);
});

test("entries that a full disk refuses do not count, and the bucket goes on", () => {
  const disk = fullableDisk();
  const bucket = fill(1, disk);
  disk.full = true;
  bucket.stage(header(1), 1, frameOf(1), 0, 54);
  expect(commit(bucket)?.message).toStartWith("ENOSPC");
  disk.full = false;
  expect([bucket.dirty, bucket.pending, bucket.length]).toEqual([false, 1, ENTRY_BYTES]);
  expect(bucket.stage(header(2), 2, frameOf(2), 0, 54)).toBe(ENTRY_BYTES);
  expect(commit(bucket)).toBeUndefined();
  bucket.closeFiles();
  expect(numbers(recover().entries)).toEqual([0, 2]);
});

test("status records that a full disk refuses are written by a later commit", () => {
  const disk = fullableDisk();
  const bucket = fill(2, disk);
  bucket.stageDone(0);
  expect(commit(bucket)).toBeUndefined();
  disk.full = true;
  bucket.stageDone(1);
  expect(commit(bucket)?.message).toStartWith("ENOSPC");
  disk.full = false;
  expect(bucket.dirty).toBeTrue();
  expect(commit(bucket)).toBeUndefined();
  bucket.closeFiles();
  expect(recover().entries).toBeEmpty();
});

test("entries and the names of the files are synced before the status records that rely on them", async () => {
  const synced: string[] = [];
  const paths = new Map<number, string>();
  const disk: Disk = {
    ...systemDisk,
    open: (name, flags) => {
      const fd = systemDisk.open(name, flags);
      paths.set(fd, name.slice(folder.length + 1).replace(/.*\./, ""));
      return fd;
    },
    sync: (fd, done) => {
      synced.push(paths.get(fd) as string);
      systemDisk.sync(fd, done);
    },
    syncDirectory: (name, done) => {
      synced.push(name === folder ? "names" : name);
      systemDisk.syncDirectory(name, done);
    },
  };
  const bucket = fill(2, disk);
  bucket.stageDone(0);
  expect(commit(bucket)).toBeUndefined();
  expect(bucket.unsynced).toBeTrue();
  await new Promise<void>((resolve, reject) => bucket.syncEntries((error) => (error ? reject(error) : resolve())));
  expect(synced).toEqual(["msg", "names"]);
  await new Promise<void>((resolve, reject) => bucket.syncStatus((error) => (error ? reject(error) : resolve())));
  expect(synced).toEqual(["msg", "names", "done"]);
  expect(bucket.unsynced).toBeFalse();
  bucket.closeFiles();
});

test("a removed bucket leaves no file, and its name is free at once", async () => {
  const bucket = fill(2);
  bucket.stageDone(0);
  expect(commit(bucket)).toBeUndefined();
  bucket.remove((error) => expect.unreachable(error.message));
  expect(existsSync(path("msg")) || existsSync(path("done"))).toBeFalse();
  await until("the files are gone", () => readdirSync(folder).length === 0);
});

test("a bucket's span is read from its file name, and other files are not buckets", () => {
  expect(parseBucketName("1700000000000-64000.msg")).toEqual({ startMs: 1_700_000_000_000, widthMs: 64_000 });
  for (const name of ["1700000000000-64000.done", "x-1.msg", "1-1.msg.bak", ".msg"]) expect(parseBucketName(name)).toBeUndefined();
});
