import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskqueueProblem } from "../../src/nsqd-data/diskqueue-problem.ts";
import { openDiskqueue, positionAfter } from "../../src/nsqd-data/diskqueue-reader.ts";
import type { SourceFiles } from "../../src/nsqd-data/files.ts";
import { systemFiles } from "../../src/nsqd-data/files.ts";
import { listQueues } from "../../src/nsqd-data/queue-files.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { mutated } from "../support/mutation.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { drain, failingFiles, message, messages, problemLines, putQueue, readQueue, record, records } from "./support/queue-fixture.ts";

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

/** Size of a record of message() with its default body. */
const RECORD = 40;
const META = "t.diskqueue.meta.dat";
const FILE0 = "t.diskqueue.000000.dat";
const FILE1 = "t.diskqueue.000001.dat";

describe("a sound queue", () => {
  test("all parts of its messages are read, in order, over its files", () => {
    const all = messages(9);
    putQueue(folder, { 3: records(all.slice(0, 4)), 4: records(all.slice(4, 5)), 5: records(all.slice(5)) }, `9\n3,0\n5,${4 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all);
    expect(read.problems).toEqual([]);
  });

  test("reading begins after the delivered messages", () => {
    const all = messages(6);
    putQueue(folder, { 0: records(all.slice(0, 3)), 1: records(all.slice(3)) }, `4\n0,${2 * RECORD}\n1,${3 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all.slice(2));
    expect(read.problems).toEqual([]);
  });

  test("a file before the read position is ignored", () => {
    putQueue(folder, { 0: records(messages(3)), 1: records(messages(2, 10, 3)) }, `2\n1,0\n1,${2 * RECORD}\n`);
    expect(readQueue(folder).messages).toEqual(messages(2, 10, 3));
  });

  test.each([
    ["never written to", {}, "0\n0,0\n0,0\n"],
    ["rolled, with nothing in the new file yet", {}, "0\n7,0\n7,0\n"],
    ["read to its end", { 2: records(messages(3)) }, `0\n2,${3 * RECORD}\n2,${3 * RECORD}\n`],
    ["read to its end, and its file removed", {}, "0\n2,120\n2,120\n"],
  ])("a queue that is empty (%s) has no messages and no problems", (_, files, metadata) => {
    putQueue(folder, files as Record<number, Uint8Array>, metadata);
    const read = readQueue(folder);
    expect(read.messages).toEqual([]);
    expect(read.problems).toEqual([]);
  });

  test("messages without a body, and timestamps from 1970 to 2116, are read", () => {
    const odd = [message(1, 0), { ...message(2), timestampNs: 0n }, { ...message(3), timestampNs: 2n ** 62n - 1n, attempts: 65535 }];
    putQueue(folder, { 0: records(odd) }, `3\n0,0\n0,${records(odd).length}\n`);
    expect(readQueue(folder).messages).toEqual(odd);
  });

  test("a buffer of any size gives the same messages", () => {
    const all = [0, 1, 5, 200, 31, 900, 0, 64].map((bytes, n) => message(n, bytes));
    const bytes = records(all);
    putQueue(folder, { 0: bytes }, `${all.length}\n0,0\n0,${bytes.length}\n`);
    for (const bufferBytes of [1, 30, 31, 60, 61, 97, 128, 500, 5000]) {
      const read = readQueue(folder, { bufferBytes });
      expect(read.messages).toEqual(all);
      expect(read.problems).toEqual([]);
    }
  });

  test("a batch has at most as many messages as its columns hold", () => {
    const all = messages(20_000, 2);
    putQueue(folder, { 0: records(all) }, `20000\n0,0\n0,${20_000 * 32}\n`);
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    const reader = openDiskqueue(folder, queue);
    const counts: number[] = [];
    for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
      counts.push(batch.count);
      expect(batch.bodyAt.length).toBe(16_384);
    }
    expect(counts).toEqual([16_384, 3616]);
  });
});

test("a large message makes the buffer grow, but not what is read for the messages after it", () => {
  const all = [message(0), message(1, 50_000), ...messages(40, 10, 2)];
  putQueue(folder, { 0: records(all) }, `42\n0,0\n0,${records(all).length}\n`);
  let most = 0;
  const files: SourceFiles = {
    ...systemFiles,
    read: (fd, buffer, at, length, position) => {
      if (position > 50_000) most = Math.max(most, length);
      return systemFiles.read(fd, buffer, at, length, position);
    },
  };
  expect(readQueue(folder, { bufferBytes: 200, files }).messages).toEqual(all);
  expect(most).toBe(200);
});

describe("a reader that was stopped", () => {
  test("can be resumed after any message, with no message twice and none missing", () => {
    const all = messages(7);
    putQueue(folder, { 0: records(all.slice(0, 3)), 1: records(all.slice(3)) }, `6\n0,${RECORD}\n1,${4 * RECORD}\n`);
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    let seen = 1;
    using reader = openDiskqueue(folder, queue, { bufferBytes: 100 });
    for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
      for (let i = 0; i < batch.count; i++) {
        seen++;
        const rest = readQueue(folder, { from: positionAfter(batch, i) });
        expect(rest.messages).toEqual(all.slice(seen));
        expect(rest.problems).toEqual([]);
      }
    }
    expect(seen).toBe(7);
  });
});

describe("metadata that does not match the files", () => {
  const all = messages(6);
  const files = () => ({ 2: records(all.slice(0, 3)), 3: records(all.slice(3)) });

  test("without metadata all files are read, in ascending order", () => {
    putQueue(folder, files());
    const read = readQueue(folder);
    expect(read.messages).toEqual(all);
    expect(problemLines(read.problems)).toEqual([`noMetadata ${META} 0+0`]);
    expect(read.reader.metadata).toBeUndefined();
  });

  test.each([
    ["empty", ""],
    ["no text", "\0\0\0\0"],
    ["cut", "3\n2,0\n3,"],
    ["negative places", "3\n-2,0\n3,0\n"],
    ["numbers that no double holds", "3\n2,0\n3,99999999999999999999\n"],
    ["reading ahead of writing", "3\n3,80\n3,40\n"],
    ["reading in a file behind the one being written", "3\n4,0\n3,40\n"],
  ])("with unusable metadata (%s) all files are read", (_, metadata) => {
    putQueue(folder, files(), metadata);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all);
    expect(problemLines(read.problems)).toEqual([`badMetadata ${META} 0+0`]);
  });

  test("messages after the write position are read, as nsqd does", () => {
    putQueue(folder, { 0: records(all) }, `2\n0,${RECORD}\n0,${3 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all.slice(1));
    expect(problemLines(read.problems)).toEqual([`unsynced ${FILE0} ${3 * RECORD}+${3 * RECORD}`, `depth ${META} 0+0`]);
  });

  test("files after the write position are read, which nsqd would overwrite", () => {
    putQueue(folder, { 0: records(all.slice(0, 2)), 1: records(all.slice(2)) }, `2\n0,0\n0,${2 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all);
    expect(problemLines(read.problems)).toEqual([`unsynced ${FILE1} 0+${4 * RECORD}`, `depth ${META} 0+0`]);
  });

  test("a depth that differs from the number of messages is reported", () => {
    putQueue(folder, { 0: records(all) }, `-1\n0,0\n0,${6 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all);
    expect(read.problems[0]?.message).toBe("t.diskqueue.meta.dat counts -1 messages, but 6 were read");
  });
});

describe("missing files", () => {
  test("a gap is reported once, and reading continues after it", () => {
    putQueue(folder, { 1: records(messages(2)), 5: records(messages(1, 10, 2)) }, `3\n0,0\n5,${RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(messages(3));
    expect(read.problems.map(({ message }) => message)).toEqual([
      "t.diskqueue.000000.dat is missing: its messages are lost",
      "t.diskqueue.000002.dat to t.diskqueue.000004.dat are missing: their messages are lost",
    ]);
  });

  test("a missing last file is reported if it had messages", () => {
    putQueue(folder, { 0: records(messages(2)) }, "4\n0,0\n1,80\n");
    const read = readQueue(folder);
    expect(read.messages).toEqual(messages(2));
    expect(problemLines(read.problems)).toEqual([`missingFiles ${FILE1} 0+0`, `depth ${META} 0+0`]);
  });

  test("a gap of 2^53 files costs no time", () => {
    putQueue(folder, { 0: records(messages(1)) }, "1\n0,0\n9007199254740991,80\n");
    expect(readQueue(folder).messages).toEqual(messages(1));
  });

  test("a file that vanished after the listing is reported as missing", () => {
    putQueue(folder, { 0: records(messages(1)), 1: records(messages(1, 10, 1)) }, "2\n0,0\n1,40\n");
    const files: SourceFiles = {
      ...systemFiles,
      open: (path) => {
        if (path.endsWith(FILE0)) throw Object.assign(new Error("ENOENT"), { code: "ENOENT" });
        return systemFiles.open(path);
      },
    };
    const read = readQueue(folder, { files });
    expect(read.messages).toEqual(messages(1, 10, 1));
    expect(problemLines(read.problems)).toEqual([`missingFiles ${FILE0} 0+0`, `depth ${META} 0+0`]);
  });
});

describe("damage", () => {
  const all = messages(6);

  test("a torn last message is reported, wherever it is torn", () => {
    const bytes = records(all);
    for (let cut = 1; cut < RECORD; cut++) {
      putQueue(folder, { 0: bytes.subarray(0, bytes.length - cut) }, `6\n0,0\n0,${bytes.length}\n`);
      const read = readQueue(folder);
      expect(read.messages).toEqual(all.slice(0, 5));
      expect(problemLines(read.problems)).toEqual([
        `shortFile ${FILE0} ${bytes.length - cut}+${cut}`,
        `torn ${FILE0} ${5 * RECORD}+${RECORD - cut}`,
        `depth ${META} 0+0`,
      ]);
    }
  });

  test("after a torn file the next files are read", () => {
    putQueue(folder, { 0: records(all).subarray(0, -3), 1: records(messages(2, 10, 6)) }, `8\n0,0\n1,${2 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual([...all.slice(0, 5), ...messages(2, 10, 6)]);
    expect(problemLines(read.problems)).toEqual([`torn ${FILE0} ${5 * RECORD}+${RECORD - 3}`, `depth ${META} 0+0`]);
  });

  test("zeros at the end of a file are reported", () => {
    putQueue(folder, { 0: Buffer.concat([records(all), Buffer.alloc(5000)]) }, `6\n0,0\n0,${6 * RECORD}\n`);
    const read = readQueue(folder, { bufferBytes: 100 });
    expect(read.messages).toEqual(all);
    expect(problemLines(read.problems)).toEqual([`unsynced ${FILE0} ${6 * RECORD}+5000`, `torn ${FILE0} ${6 * RECORD}+5000`]);
  });

  test.each([
    ["zero", 0],
    ["smaller than any message", 25],
    ["negative", -1],
    ["larger than the file", 100_000],
    ["above the limit", 2 ** 30],
  ])("a size that is %s costs only its own message, with any buffer", (_, size) => {
    const bytes = records(all);
    bytes.writeInt32BE(size, 2 * RECORD);
    putQueue(folder, { 0: bytes }, `6\n0,0\n0,${bytes.length}\n`);
    for (const bufferBytes of [30, 75, 1000]) {
      const read = readQueue(folder, { bufferBytes });
      expect(read.messages).toEqual([...all.slice(0, 2), ...all.slice(3)]);
      expect(problemLines(read.problems)).toEqual([`damaged ${FILE0} ${2 * RECORD}+${RECORD}`, `depth ${META} 0+0`]);
    }
  });

  test("a size that includes other messages costs only its own message", () => {
    const bytes = records(all);
    bytes.writeUInt32BE(RECORD - 4 + RECORD + 20, RECORD);
    putQueue(folder, { 0: bytes }, `6\n0,0\n0,${bytes.length}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual([...all.slice(0, 1), ...all.slice(2)]);
    expect(problemLines(read.problems)).toEqual([`damaged ${FILE0} ${RECORD}+${RECORD}`, `depth ${META} 0+0`]);
  });

  test("an id that no nsqd wrote is damage", () => {
    const bytes = records(all);
    bytes.write("G", 3 * RECORD + 20);
    putQueue(folder, { 0: bytes }, `6\n0,0\n0,${bytes.length}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual([...all.slice(0, 3), ...all.slice(4)]);
    expect(problemLines(read.problems)).toEqual([`damaged ${FILE0} ${3 * RECORD}+${RECORD}`, `depth ${META} 0+0`]);
  });

  test("a read position inside a message costs only that message", () => {
    putQueue(folder, { 0: records(all) }, `5\n0,${RECORD + 7}\n0,${6 * RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(all.slice(2));
    expect(problemLines(read.problems)).toEqual([`damaged ${FILE0} ${RECORD + 7}+${RECORD - 7}`, `depth ${META} 0+0`]);
  });

  test("a read position after the end of the file is reported", () => {
    putQueue(folder, { 0: records(all), 1: records(messages(1, 10, 6)) }, `1\n0,999\n1,${RECORD}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual(messages(1, 10, 6));
    expect(problemLines(read.problems)).toEqual([`shortFile ${FILE0} ${6 * RECORD}+${999 - 6 * RECORD}`]);
  });

  test("hex digits or a lone record inside a body are not mistaken for messages", () => {
    const hex = { ...message(9), body: Buffer.alloc(3000, "0123456789abcdef") };
    const lone = { ...message(10), body: Buffer.concat([Buffer.alloc(11), record(message(77)), Buffer.alloc(50)]) };
    const bytes = records([hex, lone, message(11), message(12)]);
    // The first two lose their sizes.
    bytes.writeUInt32BE(0, 0);
    bytes.writeUInt32BE(0, record(hex).length);
    putQueue(folder, { 0: bytes }, `4\n0,0\n0,${bytes.length}\n`);
    const read = readQueue(folder);
    expect(read.messages).toEqual([message(11), message(12)]);
    expect(problemLines(read.problems)).toEqual([`damaged ${FILE0} 0+${bytes.length - 2 * RECORD}`, `depth ${META} 0+0`]);
  });

  test("a file of other text has no messages", () => {
    const noise = Buffer.alloc(50_000, "the quick brown fox, 0123456789abcdef0123 ");
    putQueue(folder, { 0: noise }, `1\n0,0\n0,${noise.length}\n`);
    for (const bufferBytes of [64, 4096]) {
      const read = readQueue(folder, { bufferBytes });
      expect(read.messages).toEqual([]);
      expect(problemLines(read.problems)).toEqual([`torn ${FILE0} 0+${noise.length}`, `depth ${META} 0+0`]);
    }
  });

  test("a message above the limit is skipped, and one at the limit is read", () => {
    const large = { ...message(3, 501), body: Buffer.concat([record(message(77)), record(message(78)), Buffer.alloc(421)]) };
    const mixed = [message(0), message(1, 500), large, message(4)];
    const bytes = records(mixed);
    putQueue(folder, { 0: bytes }, `4\n0,0\n0,${bytes.length}\n`);
    const read = readQueue(folder, { maxBodyBytes: 500, bufferBytes: 100 });
    expect(read.messages).toEqual([mixed[0], mixed[1], mixed[3]] as typeof mixed);
    expect(problemLines(read.problems)).toEqual([`tooLarge ${FILE0} ${RECORD + 530}+531`, `depth ${META} 0+0`]);
    expect(read.problems[0]?.message).toBe("t.diskqueue.000000.dat has a message of 501 bytes at byte 570: the limit is 500");
  });

  test("a size that exceeds the file allocates no memory", () => {
    const bytes = records(all);
    bytes.writeUInt32BE(60 * 1024 * 1024, 5 * RECORD);
    putQueue(folder, { 0: bytes }, `6\n0,0\n0,${bytes.length}\n`);
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    const reader = openDiskqueue(folder, queue, { bufferBytes: 1000 });
    let count = 0;
    for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
      expect(batch.buffer.length).toBe(1000);
      count += batch.count;
    }
    expect(count).toBe(5);
  });
});

test("after any single change to a file, the unchanged messages are read", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  for (let round = 0; round < 300; round++) {
    const all = Array.from({ length: random.int(1, 12) }, (_, n) => message(n, random.pick([0, 3, 40, 300])));
    const bytes = records(all);
    const changed = mutated(random, bytes);
    putQueue(folder, { 0: changed }, random.pick([undefined, `${all.length}\n0,0\n0,${bytes.length}\n`]));
    const read = readQueue(folder, { bufferBytes: random.pick([30, 100, 10_000]), maxBodyBytes: 100_000 });
    // Count the unchanged records at both ends.
    const originals = all.map(record);
    const isThere = (n: number, at: number) => at >= 0 && changed.subarray(at, at + originals[n]!.length).equals(originals[n]!);
    let front = 0;
    for (let at = 0; front < all.length && isThere(front, at); front++) at += originals[front]!.length;
    let back = 0;
    for (let end = changed.length; back < all.length - front; back++) {
      const n = all.length - 1 - back;
      end -= originals[n]!.length;
      if (!isThere(n, end)) break;
    }
    const ids = read.messages.map(({ id }) => id);
    const where = `BUNSQ_SEED=${seed}, round ${round}`;
    expect(ids.slice(0, front), where).toEqual(all.slice(0, front).map(({ id }) => id));
    const bytesRead = read.messages.reduce((sum, one) => sum + 30 + one.body.length, 0);
    const bytesPassed = read.problems.reduce((sum, { kind, bytes: count }) => sum + (kind === "damaged" || kind === "torn" ? count : 0), 0);
    expect(bytesRead + bytesPassed, where).toBe(changed.length);
    // A change may produce a message that ends exactly where another one does, and then looks like a published one.
    const known = new Set(originals.map((one) => one.toString("latin1")));
    const isMadeUp = read.messages.some((one) => !known.has(record(one).toString("latin1")));
    if (back > 0 && !isMadeUp) expect(ids.slice(-back), where).toEqual(all.slice(-back).map(({ id }) => id));
    rmSync(join(folder, META), { force: true });
  }
});

describe("a disk that fails", () => {
  test("its error is thrown and not taken for damage, and the next call continues", () => {
    const all = messages(8);
    const bytes = records(all);
    bytes.writeUInt32BE(0, 3 * RECORD);
    putQueue(folder, { 0: bytes.subarray(0, 5 * RECORD), 1: bytes.subarray(5 * RECORD) }, `8\n0,0\n1,${3 * RECORD}\n`);
    const expected = readQueue(folder, { bufferBytes: 90 });
    expect(expected.messages).toHaveLength(7);
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    for (let failing = 2; ; failing++) {
      const problems: string[] = [];
      const reader = openDiskqueue(folder, queue, {
        bufferBytes: 90,
        files: failingFiles(failing),
        onProblem: (problem) => problems.push(...problemLines([problem])),
      });
      const read = [];
      let thrown = 0;
      for (let more = true; more; ) {
        try {
          for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
            for (let i = 0; i < batch.count; i++) read.push(positionAfter(batch, i));
          }
          more = false;
        } catch (error) {
          expect((error as NodeJS.ErrnoException).code).toBe("EIO");
          thrown++;
        }
      }
      if (thrown === 0) break;
      expect(thrown).toBe(1);
      expect(read).toHaveLength(7);
      expect(problems).toEqual(problemLines(expected.problems));
    }
  });

  test("an unreadable metadata file is an error, not damage", () => {
    putQueue(folder, { 0: records(messages(2)) }, "2\n0,0\n0,80\n");
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    expect(() => openDiskqueue(folder, queue, { files: failingFiles(1) })).toThrow("EIO");
  });

  test("a file that is truncated meanwhile between two messages ends there, without damage", () => {
    const bytes = records(messages(6));
    putQueue(folder, { 0: bytes }, "2\n0,0\n0,80\n");
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    const problems: string[] = [];
    const onProblem = (problem: DiskqueueProblem) => problems.push(...problemLines([problem]));
    const reader = openDiskqueue(folder, queue, { bufferBytes: 3 * RECORD, onProblem });
    expect(reader.next()?.count).toBe(2);
    writeFileSync(join(folder, FILE0), bytes.subarray(0, 2 * RECORD));
    expect(reader.next()).toBeUndefined();
    expect(problems).toEqual([`unsynced ${FILE0} ${2 * RECORD}+${4 * RECORD}`]);
  });

  test("a file that is truncated meanwhile ends there", () => {
    const bytes = records(messages(6));
    putQueue(folder, { 0: bytes }, `6\n0,0\n0,${bytes.length}\n`);
    const [queue] = listQueues(folder);
    if (queue === undefined) throw new Error("no queue");
    const problems: string[] = [];
    const onProblem = (problem: DiskqueueProblem) => problems.push(...problemLines([problem]));
    const reader = openDiskqueue(folder, queue, { bufferBytes: 3 * RECORD, onProblem });
    expect(reader.next()?.count).toBe(2);
    writeFileSync(join(folder, FILE0), bytes.subarray(0, 3 * RECORD + 5));
    expect(drain(reader)).toEqual(messages(1, 10, 2));
    expect(problems).toEqual([`torn ${FILE0} ${3 * RECORD}+5`, `depth ${META} 0+0`]);
  });
});
