import { expect, test } from "bun:test";
import { systemClock } from "../../../../src/base/clock.ts";
import type { Disk } from "../../../../src/broker/storage/disk/disk.ts";
import { ChunkPool } from "../../../../src/broker/storage/log/chunk.ts";
import { Journal } from "../../../../src/broker/storage/log/journal.ts";
import { readJournal, replayJournal } from "../../../../src/broker/storage/log/journal-reader.ts";
import { LogFiles } from "../../../../src/broker/storage/log/log-files.ts";
import { Recycler } from "../../../../src/broker/storage/log/recycler.ts";
import { TopicLog } from "../../../../src/broker/storage/log/topic-log.ts";
import { idPrefix } from "../../../../src/frame/id.ts";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";
import { MemoryLogger } from "../../../support/in-process.ts";
import { readAll, TIME } from "../../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

/** Has room for several groups of the sizes that these tests write. */
const CAPACITY = 64 * 1024;
const JOURNAL = "/data/journal";

class Killed extends Error {}

/** A disk of a process that is killed during its n-th write: a part of that write is in the file, and later calls throw. */
function killAfter(disk: FaultDisk, writes: number, random: Random): Disk {
  let left = writes;
  const alive = () => {
    if (left < 0) throw new Killed();
  };
  return new Proxy(disk, {
    get(target, name) {
      const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      if (name === "write") {
        return (fd: number, buffer: Buffer, from: number, length: number, position: number) => {
          alive();
          if (--left >= 0) return target.write(fd, buffer, from, length, position);
          target.write(fd, buffer, from, random.int(0, length), position);
          throw new Killed();
        };
      }
      return (...args: unknown[]) => {
        alive();
        return method.apply(target, args);
      };
    },
  });
}

/** Logs that share a journal, as in a broker. */
class Logs {
  readonly logs: TopicLog[];
  readonly journal: Journal;
  readonly failures: string[] = [];

  constructor(disk: Disk, count: number, budgetBytes = 8 * 1024 * 1024) {
    disk.makeDirectory("/data");
    const recycler = new Recycler(disk, "/data/recycled", 64 * 1024);
    const pool = new ChunkPool(budgetBytes);
    const journaled = readJournal(disk, JOURNAL, false, CAPACITY);
    this.journal = new Journal(disk, JOURNAL, (error) => this.failures.push(error.message), CAPACITY);
    this.logs = Array.from({ length: count }, (_, number) => {
      const logger = new MemoryLogger();
      const opened = new LogFiles(
        {
          disk,
          directory: `/data/${number}`,
          topicId: number,
          topicNumber: number,
          topicName: `t${number}`,
          maxBytesPerFile: 20_000,
          syncEvery: Number.POSITIVE_INFINITY,
          recycler,
          logger,
          onCorrupt: () => {},
        },
        0,
      );
      replayJournal(journaled.contents.of(number, number), opened.nextSequence, (...entry) => opened.restoreJournaled(...entry));
      return new TopicLog(pool, systemClock, idPrefix(1, number), opened);
    });
    this.journal.remove();
  }

  log(number: number): TopicLog {
    return this.logs[number] as TopicLog;
  }

  append(number: number, body: string): void {
    const bytes = Buffer.from(body);
    this.log(number).append(bytes, 0, bytes.length, TIME);
  }

  /** Commits as a broker does in one turn of the event loop. */
  commit(numbers: Iterable<number>, timeMs = 1000): void {
    const logs = [...numbers].map((number) => this.log(number));
    for (const log of logs) log.stageInJournal(this.journal);
    this.journal.writeStaged(timeMs, timeMs);
    for (const log of logs) log.commit(timeMs);
  }
}

const bytesOf = (disk: FaultDisk, number: number) =>
  disk
    .paths()
    .filter((path) => path.startsWith(`/data/${number}/`) && path.endsWith(".log"))
    .reduce((sum, path) => sum + disk.content(path).length, 0);

test("commits that only the journal had at a kill are in the log after the next start", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 3);
  for (let i = 0; i < 5; i++) {
    for (const number of [0, 1, 2]) run.append(number, `${number}:${i}`);
    run.commit([0, 1, 2]);
  }
  expect(bytesOf(disk, 0)).toBe(0);
  const next = new Logs(disk, 3);
  expect(readAll(next.log(1))).toEqual(["1:0", "1:1", "1:2", "1:3", "1:4"]);
  expect(disk.paths()).not.toContain(JOURNAL);
});

test("a log that caught up before the kill has no message twice", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 2);
  for (let i = 0; i < 4; i++) {
    run.append(0, `a${i}`);
    run.append(1, `b${i}`);
    run.commit([0, 1]);
    if (i === 1) expect(run.log(0).catchUp()).toBeUndefined();
  }
  const next = new Logs(disk, 2);
  expect(readAll(next.log(0))).toEqual(["a0", "a1", "a2", "a3"]);
  expect(readAll(next.log(1))).toEqual(["b0", "b1", "b2", "b3"]);
});

test("commits in the journal that follow skipped sequences are in the log after a kill", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 1);
  for (const body of ["a", "b"]) run.append(0, body);
  run.commit([0]);
  expect(run.log(0).catchUp()).toBeUndefined();
  const second = new Logs(disk, 1);
  second.log(0).skipTo(10);
  for (const body of ["c", "d"]) {
    second.append(0, body);
    second.commit([0]);
  }
  const third = new Logs(disk, 1);
  expect(readAll(third.log(0))).toEqual(["a", "b", null, "c", "d"]);
  expect(third.log(0).next).toBe(12);
});

test("a journal of a newer version is refused and left as it is", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 1);
  run.append(0, "a");
  run.commit([0]);
  const fd = disk.open(JOURNAL, "r+");
  const header = Buffer.from(disk.content(JOURNAL).subarray(0, 20));
  header.writeUInt32LE(3, 4);
  header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 16)), 16);
  disk.write(fd, header, 0, header.length, 0);
  disk.close(fd);
  expect(() => new Logs(disk, 1)).toThrow("written by a newer bunsq");
  expect(disk.paths()).toContain(JOURNAL);
});

test("a large commit goes to the log's own files, and so do the commits that only the journal had before", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 1);
  run.append(0, "small");
  run.commit([0]);
  expect(bytesOf(disk, 0)).toBe(0);
  run.append(0, "x".repeat(20_000));
  run.commit([0]);
  expect(bytesOf(disk, 0)).toBeGreaterThan(20_000);
  expect(readAll(new Logs(disk, 1).log(0))).toEqual(["small", "x".repeat(20_000)]);
});

test("a journal that overwrites its first groups loses nothing that a log's own files lack", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 4);
  const expected: string[][] = [[], [], [], []];
  for (let i = 0; i < 200; i++) {
    // The last log is rarely written to, so its entries are the oldest ones.
    const numbers = i % 50 === 0 ? [0, 1, 2, 3] : [0, 1, 2];
    for (const number of numbers) {
      const body = `${number}:${i}:${"x".repeat(300)}`;
      run.append(number, body);
      expected[number]?.push(body);
    }
    run.commit(numbers);
  }
  const next = new Logs(disk, 4);
  for (const number of [0, 1, 2, 3]) expect(readAll(next.log(number))).toEqual(expected[number] as string[]);
});

test("when the journal cannot be written, each log writes to its own files and no commit is refused", () => {
  const disk = new FaultDisk();
  const open = disk.open.bind(disk);
  disk.open = (path, flags) => {
    if (path === JOURNAL && flags === "w+") throw new Error("ENOSPC");
    return open(path, flags);
  };
  const run = new Logs(disk, 2);
  run.append(0, "a");
  run.append(1, "b");
  run.commit([0, 1]);
  expect(run.failures).toEqual(["ENOSPC"]);
  expect(bytesOf(disk, 0)).toBeGreaterThan(0);
  expect(readAll(new Logs(disk, 2).log(1))).toEqual(["b"]);
});

test("a message that looks like a group of the journal is not taken for one", () => {
  const disk = new FaultDisk();
  const run = new Logs(disk, 2);
  run.append(0, "first");
  run.commit([0]);
  const group = Buffer.from(disk.content(JOURNAL).subarray(4096));
  // Everything is right except the nonce, which only the run knows.
  group.fill(7, 8, 16);
  group.writeUInt32LE(Bun.hash.crc32(group.subarray(8, group.readUInt32LE(0))), 4);
  const fd = disk.open(JOURNAL, "r+");
  disk.write(fd, group, 0, group.length, 2 * 4096);
  disk.close(fd);
  expect(readJournal(disk, JOURNAL, false, CAPACITY).contents.size).toBe(1);
});

test("after a kill during any write, the logs have all committed messages, in order and complete", () => {
  const seed = seedFromEnvironment();
  for (let round = 0; round < 60; round++) {
    const random = new Random(seed + round);
    const disk = new FaultDisk();
    const acknowledged: string[][] = Array.from({ length: 8 }, () => []);
    const sent: string[][] = Array.from({ length: 8 }, () => []);
    for (let life = 0; life < 3; life++) {
      const killing = killAfter(disk, random.int(1, 120), random);
      try {
        const run = new Logs(killing, 8, random.pick([40_000, 8_000_000]));
        for (let turn = 0; turn < 200; turn++) {
          const numbers = Array.from({ length: 8 }, (_, number) => number).filter(() => random.chance(0.6));
          for (const number of numbers) {
            for (let i = random.int(1, 3); i > 0; i--) {
              const body = `${number}:${sent[number]?.length}:${"x".repeat(random.chance(0.05) ? 6000 : random.int(0, 300))}`;
              sent[number]?.push(body);
              run.append(number, body);
            }
          }
          run.commit(numbers, 1000 + turn);
          for (const number of numbers) acknowledged[number] = [...(sent[number] as string[])];
          if (random.chance(0.05)) run.log(random.int(0, 7)).shrink();
          if (random.chance(0.05)) {
            const number = random.int(0, 7);
            // A kill during a write whose failure is tolerated has not thrown yet. These calls do.
            killing.list("/data");
            const read = readAll(run.log(number));
            killing.list("/data");
            expect(read).toEqual(acknowledged[number] as string[]);
          }
        }
      } catch (error) {
        if (!(error instanceof Killed)) throw new Error(`round ${round}, BUNSQ_SEED=${seed}`, { cause: error });
      }
      const after = new Logs(disk, 8);
      for (let number = 0; number < 8; number++) {
        const found = readAll(after.log(number)) as string[];
        const known = acknowledged[number] as string[];
        expect(found.slice(0, known.length), `log ${number}, round ${round}, BUNSQ_SEED=${seed}`).toEqual(known);
        // Messages that were being committed may be there or not, but no others.
        expect((sent[number] as string[]).slice(0, found.length)).toEqual(found);
        sent[number] = found;
        acknowledged[number] = [...found];
      }
      for (const log of after.logs) log.catchUp();
    }
  }
}, 60_000);
