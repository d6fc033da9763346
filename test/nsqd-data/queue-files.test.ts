import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isNsqdDataPath } from "../../src/nsqd-data/data-path.ts";
import { fileName, listQueues, metadataName, queuePrefix } from "../../src/nsqd-data/queue-files.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

function put(...names: string[]): void {
  for (const name of names) writeFileSync(join(folder, name), "");
}

test("files are grouped by topic and channel, and ordered by number", () => {
  put("b.diskqueue.000010.dat", "b.diskqueue.000009.dat", "b.diskqueue.meta.dat", "b.diskqueue.1000000.dat", "b.diskqueue.000007.dat.bad");
  put("a:x.diskqueue.000000.dat", "a:b.diskqueue.meta.dat", "a.diskqueue.000003.dat");
  expect(listQueues(folder)).toEqual([
    { topic: "a", channel: undefined, prefix: "a", hasMetadata: false, numbers: [3], bad: [] },
    { topic: "a", channel: "b", prefix: "a:b", hasMetadata: true, numbers: [], bad: [] },
    { topic: "a", channel: "x", prefix: "a:x", hasMetadata: false, numbers: [0], bad: [] },
    { topic: "b", channel: undefined, prefix: "b", hasMetadata: true, numbers: [9, 10, 1_000_000], bad: ["b.diskqueue.000007.dat.bad"] },
  ]);
});

test("a topic that is named like a file is not mistaken for the file's topic", () => {
  put("a.diskqueue.000000.dat", "a.diskqueue.000000.dat.diskqueue.000002.dat", "a.diskqueue.meta.dat:x.diskqueue.000001.dat");
  expect(listQueues(folder).map(({ topic, channel, numbers }) => [topic, channel, ...numbers])).toEqual([
    ["a", undefined, 0],
    ["a.diskqueue.000000.dat", undefined, 2],
    ["a.diskqueue.meta.dat", "x", 1],
  ]);
});

test("a channel in a data path from Windows has a semicolon", () => {
  put("a;x.diskqueue.000000.dat");
  expect(listQueues(folder)).toEqual([{ topic: "a", channel: "x", prefix: "a;x", hasMetadata: false, numbers: [0], bad: [] }]);
});

test("a channel of an ephemeral topic has a queue", () => {
  put("a#ephemeral:x.diskqueue.meta.dat");
  expect(listQueues(folder)).toMatchObject([{ topic: "a#ephemeral", channel: "x" }]);
});

test("other files are ignored", () => {
  put("nsqd.dat", "nsqd.dat.77.tmp", "a.diskqueue.meta.dat.123.tmp", "a.diskqueue.meta.dat.bad", "a.diskqueue.00000.dat", "notes.txt");
  put(
    "a.diskqueue.0000001.dat",
    "a.diskqueue.000000.dat.old",
    "a:b:c.diskqueue.000000.dat",
    ":a.diskqueue.000000.dat",
    "ä.diskqueue.000000.dat",
  );
  put(`${"x".repeat(65)}.diskqueue.000000.dat`, "a.diskqueue.-00001.dat", "a.diskqueue.99999999999999999999.dat", ".diskqueue.000000.dat");
  mkdirSync(join(folder, "folder.diskqueue.000000.dat"));
  expect(listQueues(folder)).toEqual([]);
});

test("file names round-trip", () => {
  for (const [topic, channel, number] of [
    ["a", undefined, 0],
    ["a.b", "c#ephemeral", 1_234_567],
    ["x".repeat(64), "y".repeat(64), 999_999],
  ] as const) {
    const prefix = queuePrefix(topic, channel);
    put(fileName(prefix, number), metadataName(prefix));
    expect(listQueues(folder)).toContainEqual({ topic, channel, prefix, hasMetadata: true, numbers: [number], bad: [] });
  }
});

test("a data path of nsqd has metadata or at least one file of a queue", () => {
  expect(isNsqdDataPath(join(folder, "none"))).toBe(false);
  expect(isNsqdDataPath(folder)).toBe(false);
  put("notes.txt");
  expect(isNsqdDataPath(folder)).toBe(false);
  for (const name of ["nsqd.dat", "nsqd.512.dat", "a.diskqueue.000000.dat.bad"]) {
    const own = join(folder, `of-${name}`);
    mkdirSync(own);
    writeFileSync(join(own, name), "");
    expect(isNsqdDataPath(own)).toBe(true);
  }
  expect(() => isNsqdDataPath(join(folder, "notes.txt"))).toThrow("ENOTDIR");
});
