import { afterEach, expect, test } from "bun:test";
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { FolderRemover } from "../../../../src/broker/storage/disk/folder-remover.ts";
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES } from "../../../../src/broker/storage/log/index-format.ts";
import { Segment } from "../../../../src/broker/storage/log/segment.ts";
import { FillingDisk, LogFixture, readAll } from "../../../support/log-fixture.ts";
import { until } from "../../../support/server.ts";

const realSync = Segment.prototype.sync;

afterEach(() => {
  Segment.prototype.sync = realSync;
});

/** Bytes of a record with a body of 10 bytes. */
const RECORD = 44;
const BODIES = Array.from({ length: 10 }, (_, i) => `body-${String(i).padStart(5, "0")}`);

function filesOf(fixture: LogFixture, ending: string): string[] {
  return readdirSync(fixture.directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${fixture.directory}/${name}`);
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]++;
  writeFileSync(path, bytes);
}

test("after a clean close all commits are there in order, and the log continues with the next sequence", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES.slice(0, 5)) fixture.commit(body);
  fixture.commit(...BODIES.slice(5));
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(BODIES);
  fixture.commit("next");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES, "next"]);
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("a new log starts at the given sequence", () => {
  using fixture = new LogFixture({ firstSequence: 70_000 });
  expect([fixture.log.startSequence, fixture.log.next]).toEqual([70_000, 70_000]);
  fixture.commit("a");
  expect(readAll(fixture.log)).toEqual(["a"]);
});

test("without a close, as after a crash, no commit is missing", () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES);
});

test("a log file that lost its end is cut after its last intact commit, with a log line", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  truncateSync(filesOf(fixture, ".log")[0], 8 * RECORD + 20);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 8));
  expect(fixture.logger.matching(/the last 2 messages .* torn/)).toHaveLength(1);
  fixture.commit("new");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 8), "new"]);
});

test("a flipped byte in the last commit drops that commit", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  flip(filesOf(fixture, ".log")[0], 9 * RECORD + 40);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 9));
  expect(fixture.logger.matching(/the last 1 messages .* torn/)).toHaveLength(1);
});

test("a flipped byte in the middle costs one commit, which is counted, logged and skipped", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  flip(filesOf(fixture, ".log")[0], 4 * RECORD + 40);
  fixture.open();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
  expect(fixture.corrupt).toBe(1);
  expect(fixture.logger.matching(/1 messages from sequence 4 on are damaged .* at byte 176 \(checksum does not match\)/)).toHaveLength(1);
});

test("when the file of a full segment loses its end, only the lost commits are missing", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 5 * RECORD });
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  truncateSync(filesOf(fixture, ".log")[0], 4 * RECORD + 20);
  fixture.open();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
});

test("half an index entry at the end is dropped, with its commit", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  truncateSync(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 9 * INDEX_ENTRY_BYTES + 13);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 9));
  fixture.commit("new");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 9), "new"]);
});

test("a damaged index entry in the middle costs nothing when its records are intact", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  flip(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 4 * INDEX_ENTRY_BYTES + 5);
  flip(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 5 * INDEX_ENTRY_BYTES + 5);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES);
  expect(fixture.corrupt).toBe(1);
  expect(fixture.logger.matching(/2 entries of .* are damaged/)).toHaveLength(1);
  fixture.commit("new");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES, "new"]);
  expect(fixture.corrupt).toBe(1);
});

test("a damaged index entry with damaged records costs that commit and no other", async () => {
  using fixture = new LogFixture();
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  flip(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 4 * INDEX_ENTRY_BYTES + 5);
  flip(filesOf(fixture, ".log")[0], 4 * RECORD + 30);
  fixture.open();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
});

test("when the index of a full segment loses its end, the missing entries are rebuilt up to the next segment", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 5 * RECORD });
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  truncateSync(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 2 * INDEX_ENTRY_BYTES);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(BODIES);
  expect(fixture.corrupt).toBe(1);
});

test("older records in a recycled file are never read as new ones", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 4 * RECORD });
  for (const body of BODIES.slice(0, 8)) fixture.commit(body);
  fixture.trimBelow(4);
  expect(readdirSync(`${fixture.folder}/recycled`)).toHaveLength(1);
  await until("the file may be overwritten", () => fixture.recycler.hasReady);
  fixture.commit("new 1");
  expect(readdirSync(`${fixture.folder}/recycled`)).toBeEmpty();
  const newest = filesOf(fixture, ".log")[1];
  // The older records are still in the file, intact, and the next record will overwrite one of them.
  expect(readFileSync(newest).length).toBe(4 * RECORD);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(4, 8), "new 1"]);
  fixture.commit("new 2");
  fixture.open();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(4, 8), "new 1", "new 2"]);
});

test("recycled files are kept up to their bound and over restarts, and a missing one does no harm", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: RECORD, recycledBytes: 2 * RECORD });
  for (const body of BODIES) fixture.commit(body);
  fixture.trimBelow(9);
  expect(readdirSync(`${fixture.folder}/recycled`)).toHaveLength(2);
  await fixture.reopen();
  for (const name of readdirSync(`${fixture.folder}/recycled`)) await Bun.file(`${fixture.folder}/recycled/${name}`).delete();
  fixture.commit("new");
  expect(readAll(fixture.log)).toEqual([BODIES[9], "new"]);
});

test("segments that are not recycled are removed one after the other, each after its index", async () => {
  const removed: string[] = [];
  let underWay = 0;
  const disk: Disk = {
    ...systemDisk,
    removeLater: (path, done) => {
      expect(++underWay).toBe(1);
      removed.push(basename(path));
      systemDisk.removeLater(path, (error) => {
        underWay--;
        done(error);
      });
    },
  };
  using fixture = new LogFixture({ disk, maxBytesPerFile: RECORD, recycledBytes: 0 });
  for (const body of BODIES.slice(0, 4)) fixture.commit(body);
  const [first, second, third] = filesOf(fixture, ".log").map((path) => basename(path, ".log"));
  fixture.trimBelow(2);
  fixture.trimBelow(3);
  await fixture.reopen();
  expect(removed).toEqual([first, second, third].flatMap((name) => [`${name}.idx`, `${name}.log`]));
  expect(readAll(fixture.log)).toEqual([BODIES[3]]);
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("a segment is removed when all its messages are finished, and not before", () => {
  using fixture = new LogFixture({ maxBytesPerFile: 2 * RECORD });
  for (const body of BODIES) fixture.commit(body);
  fixture.trimBelow(5);
  expect(fixture.log.startSequence).toBe(4);
  expect(filesOf(fixture, ".log")).toHaveLength(3);
  expect(readAll(fixture.log)).toEqual(BODIES.slice(4));
});

test("a large segment is recycled as soon as all its messages are finished, and the next sequence is not lost", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 10 * RECORD });
  for (const body of BODIES) fixture.commit(body);
  fixture.trimBelow(10);
  expect(fixture.log.startSequence).toBe(10);
  expect(filesOf(fixture, ".log")).toHaveLength(1);
  await fixture.reopen();
  expect([fixture.log.startSequence, fixture.log.next]).toEqual([10, 10]);
  fixture.commit("next");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(["next"]);
  expect(fixture.log.startSequence).toBe(10);
});

function expectNoFailure(error: Error): void {
  throw error;
}

test("a log of many segments is removed off the event loop, one file after the other", async () => {
  const removed: string[] = [];
  let underWay = 0;
  let onLoop = 0;
  const disk: Disk = {
    ...systemDisk,
    remove: (path) => {
      onLoop++;
      systemDisk.remove(path);
    },
    removeLater: (path, done) => {
      expect(++underWay).toBe(1);
      removed.push(path);
      systemDisk.removeLater(path, (error) => {
        underWay--;
        done(error);
      });
    },
  };
  using fixture = new LogFixture({ disk, maxBytesPerFile: RECORD, recycledBytes: 3 * RECORD });
  for (let i = 0; i < 300; i++) fixture.commit(BODIES[i % BODIES.length]);
  fixture.files.remove(expectNoFailure);
  expect(readdirSync(`${fixture.folder}/recycled`)).toHaveLength(3);
  // Those of the segments that are kept: their indexes.
  expect(onLoop).toBe(3);
  await fixture.recycler.folders.done();
  expect(existsSync(fixture.directory)).toBeFalse();
  expect(removed).toHaveLength(2 * 297);
  expect(onLoop).toBe(3);
});

test("the end of a broker does not wait for the removal of many files, and the next start goes on with it", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: RECORD, recycledBytes: 0 });
  for (let i = 0; i < 300; i++) fixture.commit(BODIES[i % BODIES.length]);
  fixture.files.remove(expectNoFailure);
  await fixture.recycler.folders.close();
  const left = readdirSync(fixture.directory).length;
  expect(left).toBeGreaterThan(500);
  const remover = new FolderRemover(systemDisk);
  remover.remove(fixture.directory, () => true, expectNoFailure);
  remover.remove(fixture.directory, () => true, expectNoFailure);
  await remover.done();
  expect(existsSync(fixture.directory)).toBeFalse();
});

test("removing a log gives its files to the recycler and removes its folder", () => {
  using fixture = new LogFixture();
  fixture.commit("a");
  fixture.files.remove(expectNoFailure);
  expect(existsSync(fixture.directory)).toBeFalse();
  expect(readdirSync(`${fixture.folder}/recycled`)).toHaveLength(1);
});

test("when the disk refuses a write, the commit throws, nothing of it counts, and the log continues", async () => {
  const filling = new FillingDisk();
  using fixture = new LogFixture({ disk: filling.disk });
  fixture.commit(...BODIES.slice(0, 3));
  filling.full = ".log";
  expect(() => fixture.commit("lost 1", "lost 2")).toThrow("ENOSPC");
  filling.full = "";
  expect([fixture.log.next, fixture.log.committedNext]).toEqual([3, 3]);
  fixture.commit("after");
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 3), "after"]);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 3), "after"]);
});

test("when the disk refuses the index entry, nothing of the commit counts either", async () => {
  const filling = new FillingDisk();
  using fixture = new LogFixture({ disk: filling.disk });
  fixture.commit("a");
  filling.full = ".idx";
  expect(() => fixture.commit("lost")).toThrow("ENOSPC");
  filling.full = "";
  fixture.commit("after");
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual(["a", "after"]);
});

test("a sync also waits for earlier segments and for an earlier sync that is still running", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: RECORD });
  const waiting: (() => void)[] = [];
  let segmentsSynced = 0;
  Segment.prototype.sync = function (this: Segment, done: (error: Error | undefined) => void) {
    waiting.push(() =>
      realSync.call(this, (error) => {
        segmentsSynced++;
        done(error);
      }),
    );
  };
  fixture.commit(BODIES[0]);
  fixture.files.sync();
  expect(waiting).toHaveLength(1);
  fixture.commit(BODIES[1]);
  let synced = false;
  fixture.files.sync(() => {
    synced = true;
  });
  expect(waiting).toHaveLength(2);
  waiting[1]();
  await until("the second segment is synced", () => segmentsSynced === 1);
  let later = false;
  fixture.files.sync(() => {
    later = true;
  });
  await Bun.sleep(1);
  expect([synced, later, fixture.files.hasUnsynced]).toEqual([false, false, true]);
  waiting[0]();
  await until("both syncs have ended", () => synced && later);
  expect(fixture.files.hasUnsynced).toBeFalse();
});

test("a failed sync is reported to its caller and logged", async () => {
  using fixture = new LogFixture();
  Segment.prototype.sync = (done: (error: Error | undefined) => void) => done(new Error("input/output error"));
  fixture.commit("a");
  const failure = await new Promise<Error | undefined>((resolve) => fixture.files.sync(resolve));
  expect(failure?.message).toBe("input/output error");
  expect(fixture.logger.matching(/sync of .* failed: input\/output error/)).toHaveLength(1);
  Segment.prototype.sync = realSync;
  fixture.commit("b");
  expect(await new Promise((resolve) => fixture.files.sync(resolve))).toBeUndefined();
});

test("removing a log during a sync is not reported as a failed sync", async () => {
  using fixture = new LogFixture();
  fixture.commit(...BODIES);
  const synced = Promise.withResolvers<Error | undefined>();
  fixture.files.sync(synced.resolve);
  fixture.files.remove(expectNoFailure);
  expect(await synced.promise).toBeUndefined();
  expect(existsSync(fixture.directory)).toBe(false);
  expect(fixture.logger.matching(/ERROR/)).toBeEmpty();
});

/** The machine's disk, which knows the descriptors that are open. */
function watchedDisk(): { disk: Disk; open: Set<number> } {
  const open = new Set<number>();
  const disk: Disk = {
    ...systemDisk,
    open: (path, flags) => {
      const fd = systemDisk.open(path, flags);
      open.add(fd);
      return fd;
    },
    close: (fd) => {
      open.delete(fd);
      systemDisk.close(fd);
    },
  };
  return { disk, open };
}

test("files are closed when they are not needed: those of a full segment when it is synced, and all of an idle log", async () => {
  const { disk, open } = watchedDisk();
  using fixture = new LogFixture({ disk, maxBytesPerFile: RECORD });
  for (const body of BODIES) fixture.commit(body);
  expect(open.size).toBe(2 * BODIES.length);
  fixture.files.sync();
  await until("the full segments are closed", () => open.size === 2);
  fixture.files.closeIdle();
  await until("all are closed", () => open.size === 0);
  fixture.commit("again");
  expect(readAll(fixture.log)).toEqual([...BODIES, "again"]);
});

test("an index entry is written after its records, so that a log file is never shorter than its index says", () => {
  using fixture = new LogFixture();
  fixture.commit("a", "b");
  const fd = openSync(filesOf(fixture, ".idx")[0], "r");
  expect(fstatSync(fd).size).toBe(INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES);
  closeSync(fd);
  expect(readFileSync(filesOf(fixture, ".log")[0]).length).toBe(2 * 35);
});

test("segments that are recycled while they wait for their turn in a sync leave no file open", async () => {
  const held: (() => void)[] = [];
  const { disk: watched, open } = watchedDisk();
  const disk: Disk = {
    ...watched,
    sync: (_fd, done) => void held.push(() => done(null)),
  };
  using fixture = new LogFixture({ maxBytesPerFile: RECORD, disk });
  for (let i = 0; i < 60; i++) fixture.commit(BODIES[0] as string);
  fixture.files.sync();
  fixture.files.trim(59, 0);
  for (let end = held.shift(); end !== undefined; end = held.shift()) {
    end();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until("the end of the syncs", () => held.length === 0 && !fixture.files.hasUnsynced);
  fixture.files.closeSegments();
  expect([...open]).toBeEmpty();
});
