import { afterEach, expect, test } from "bun:test";
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { Segment } from "../../../../src/broker/storage/log/segment.ts";
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES } from "../../../../src/broker/storage/log/segment-index.ts";
import { FillingDisk, LogFixture, readAll } from "../../../support/log-fixture.ts";
import { until } from "../../../support/server.ts";

const realSync = Segment.prototype.sync;

afterEach(() => {
  Segment.prototype.sync = realSync;
});

/** A record's bytes with a body of 10. */
const RECORD = 44;
const BODIES = Array.from({ length: 10 }, (_, i) => `body-${String(i).padStart(5, "0")}`);

function filesOf(log: LogFixture, ending: string): string[] {
  return readdirSync(log.directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${log.directory}/${name}`);
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]++;
  writeFileSync(path, bytes);
}

test("what was committed is there after a clean close, in order, and goes on at the next sequence", async () => {
  using log = new LogFixture();
  for (const body of BODIES.slice(0, 5)) log.commit(body);
  log.commit(...BODIES.slice(5));
  await log.reopen();
  expect(readAll(log.log)).toEqual(BODIES);
  log.commit("next");
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES, "next"]);
  expect(log.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("an empty log starts at the sequence it is told", () => {
  using log = new LogFixture({ firstSequence: 70_000 });
  expect([log.log.startSequence, log.log.next]).toEqual([70_000, 70_000]);
  log.commit("a");
  expect(readAll(log.log)).toEqual(["a"]);
});

test("without a close, as after a crash, nothing that was committed is missing", () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES);
});

test("a log file that lost its end is cut back to its last whole commit, and says so", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  truncateSync(filesOf(log, ".log")[0], 8 * RECORD + 20);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES.slice(0, 8));
  expect(log.logger.matching(/the last 2 messages .* torn/)).toHaveLength(1);
  log.commit("new");
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 8), "new"]);
});

test("a flipped byte in the last commit drops that commit", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  flip(filesOf(log, ".log")[0], 9 * RECORD + 40);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES.slice(0, 9));
  expect(log.logger.matching(/the last 1 messages .* torn/)).toHaveLength(1);
});

test("a flipped byte in the middle costs its own commit: it is counted, logged and skipped", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  flip(filesOf(log, ".log")[0], 4 * RECORD + 40);
  log.open();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
  expect(log.corrupt).toBe(1);
  expect(log.logger.matching(/1 messages from sequence 4 on are damaged .* at byte 176 \(checksum does not match\)/)).toHaveLength(1);
});

test("a full segment's file that lost its end costs only the commits that are gone", async () => {
  using log = new LogFixture({ maxBytesPerFile: 5 * RECORD });
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  truncateSync(filesOf(log, ".log")[0], 4 * RECORD + 20);
  log.open();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
});

test("half an index entry at the end is forgotten with the commit it was for", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  truncateSync(filesOf(log, ".idx")[0], INDEX_HEADER_BYTES + 9 * INDEX_ENTRY_BYTES + 13);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES.slice(0, 9));
  log.commit("new");
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 9), "new"]);
});

test("a damaged index entry in the middle costs nothing when its records are whole", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  flip(filesOf(log, ".idx")[0], INDEX_HEADER_BYTES + 4 * INDEX_ENTRY_BYTES + 5);
  flip(filesOf(log, ".idx")[0], INDEX_HEADER_BYTES + 5 * INDEX_ENTRY_BYTES + 5);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES);
  expect(log.corrupt).toBe(1);
  expect(log.logger.matching(/2 entries of .* are damaged/)).toHaveLength(1);
  log.commit("new");
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES, "new"]);
  expect(log.corrupt).toBe(1);
});

test("a damaged index entry over damaged records costs that commit and no other", async () => {
  using log = new LogFixture();
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  flip(filesOf(log, ".idx")[0], INDEX_HEADER_BYTES + 4 * INDEX_ENTRY_BYTES + 5);
  flip(filesOf(log, ".log")[0], 4 * RECORD + 30);
  log.open();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
});

test("an index of a full segment that lost its end is made good from where the next segment begins", async () => {
  using log = new LogFixture({ maxBytesPerFile: 5 * RECORD });
  for (const body of BODIES) log.commit(body);
  await log.files.close();
  truncateSync(filesOf(log, ".idx")[0], INDEX_HEADER_BYTES + 2 * INDEX_ENTRY_BYTES);
  log.open();
  expect(readAll(log.log)).toEqual(BODIES);
  expect(log.corrupt).toBe(1);
});

test("a recycled file's older records behind the end are never read as new ones", async () => {
  using log = new LogFixture({ maxBytesPerFile: 4 * RECORD });
  for (const body of BODIES.slice(0, 8)) log.commit(body);
  log.releaseBelow(4);
  expect(readdirSync(`${log.folder}/recycled`)).toHaveLength(1);
  await until("the old name is gone from the disk", () => log.recycler.hasReady);
  log.commit("new 1");
  expect(readdirSync(`${log.folder}/recycled`)).toBeEmpty();
  const newest = filesOf(log, ".log")[1];
  // The older records stand there still, whole, at the very place where the next record will.
  expect(readFileSync(newest).length).toBe(4 * RECORD);
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES.slice(4, 8), "new 1"]);
  log.commit("new 2");
  log.open();
  expect(readAll(log.log)).toEqual([...BODIES.slice(4, 8), "new 1", "new 2"]);
});

test("recycled files are kept up to their bound, across restarts, and one that vanished is done without", async () => {
  using log = new LogFixture({ maxBytesPerFile: RECORD, recycledBytes: 2 * RECORD });
  for (const body of BODIES) log.commit(body);
  log.releaseBelow(9);
  expect(readdirSync(`${log.folder}/recycled`)).toHaveLength(2);
  await log.reopen();
  for (const name of readdirSync(`${log.folder}/recycled`)) await Bun.file(`${log.folder}/recycled/${name}`).delete();
  log.commit("new");
  expect(readAll(log.log)).toEqual([BODIES[9], "new"]);
});

test("segments that are not kept are removed one after the other, each behind its index", async () => {
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
  using log = new LogFixture({ disk, maxBytesPerFile: RECORD, recycledBytes: 0 });
  for (const body of BODIES.slice(0, 4)) log.commit(body);
  const [first, second, third] = filesOf(log, ".log").map((path) => basename(path, ".log"));
  log.releaseBelow(2);
  log.releaseBelow(3);
  await log.reopen();
  expect(removed).toEqual([first, second, third].flatMap((name) => [`${name}.idx`, `${name}.log`]));
  expect(readAll(log.log)).toEqual([BODIES[3]]);
  expect(log.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("segments are released once everything in them is finished, and not before", () => {
  using log = new LogFixture({ maxBytesPerFile: 2 * RECORD });
  for (const body of BODIES) log.commit(body);
  log.releaseBelow(5);
  expect(log.log.startSequence).toBe(4);
  expect(filesOf(log, ".log")).toHaveLength(3);
  expect(readAll(log.log)).toEqual(BODIES.slice(4));
});

test("a large segment in which all is finished is given back early, and the next sequence survives that", async () => {
  using log = new LogFixture({ maxBytesPerFile: 10 * RECORD });
  for (const body of BODIES) log.commit(body);
  log.releaseBelow(10);
  expect(log.log.startSequence).toBe(10);
  expect(filesOf(log, ".log")).toHaveLength(1);
  await log.reopen();
  expect([log.log.startSequence, log.log.next]).toEqual([10, 10]);
  log.commit("next");
  await log.reopen();
  expect(readAll(log.log)).toEqual(["next"]);
  expect(log.log.startSequence).toBe(10);
});

test("removing a log gives its files to the recycler and takes its folder away", () => {
  using log = new LogFixture();
  log.commit("a");
  log.files.remove();
  expect(existsSync(log.directory)).toBeFalse();
  expect(readdirSync(`${log.folder}/recycled`)).toHaveLength(1);
});

test("a write that the disk does not take throws, nothing of the group counts, and the log goes on", async () => {
  const filling = new FillingDisk();
  using log = new LogFixture({ disk: filling.disk });
  log.commit(...BODIES.slice(0, 3));
  filling.full = ".log";
  expect(() => log.commit("lost 1", "lost 2")).toThrow("ENOSPC");
  filling.full = "";
  expect([log.log.next, log.log.committedNext]).toEqual([3, 3]);
  log.commit("after");
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 3), "after"]);
  await log.reopen();
  expect(readAll(log.log)).toEqual([...BODIES.slice(0, 3), "after"]);
});

test("an index that the disk does not take rolls the commit back too", async () => {
  const filling = new FillingDisk();
  using log = new LogFixture({ disk: filling.disk });
  log.commit("a");
  filling.full = ".idx";
  expect(() => log.commit("lost")).toThrow("ENOSPC");
  filling.full = "";
  log.commit("after");
  await log.reopen();
  expect(readAll(log.log)).toEqual(["a", "after"]);
});

test("a sync waits for the disk also where the segment was rolled since, and where an earlier sync is under way", async () => {
  using log = new LogFixture({ maxBytesPerFile: RECORD });
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
  log.commit(BODIES[0]);
  log.files.sync();
  expect(waiting).toHaveLength(1);
  log.commit(BODIES[1]);
  let synced = false;
  log.files.sync(() => {
    synced = true;
  });
  expect(waiting).toHaveLength(2);
  waiting[1]();
  await until("the second segment is synced", () => segmentsSynced === 1);
  let later = false;
  log.files.sync(() => {
    later = true;
  });
  await Bun.sleep(1);
  expect([synced, later, log.files.hasUnsynced]).toEqual([false, false, true]);
  waiting[0]();
  await until("both hear of it", () => synced && later);
  expect(log.files.hasUnsynced).toBeFalse();
});

test("a sync that fails is told to who waits for it, and is in the log", async () => {
  using log = new LogFixture();
  Segment.prototype.sync = (done: (error: Error | undefined) => void) => done(new Error("input/output error"));
  log.commit("a");
  const failure = await new Promise<Error | undefined>((resolve) => log.files.sync(resolve));
  expect(failure?.message).toBe("input/output error");
  expect(log.logger.matching(/sync of .* failed: input\/output error/)).toHaveLength(1);
  Segment.prototype.sync = realSync;
  log.commit("b");
  expect(await new Promise((resolve) => log.files.sync(resolve))).toBeUndefined();
});

test("a log that is removed while it is synced is no failure of the disk", async () => {
  using log = new LogFixture();
  log.commit(...BODIES);
  const synced = Promise.withResolvers<Error | undefined>();
  log.files.sync(synced.resolve);
  log.files.remove();
  expect(await synced.promise).toBeUndefined();
  expect(existsSync(log.directory)).toBe(false);
  expect(log.logger.matching(/ERROR/)).toBeEmpty();
});

test("files that are not needed are closed: those of a full segment once synced, all of them at rest", async () => {
  using log = new LogFixture({ maxBytesPerFile: RECORD });
  for (const body of BODIES) log.commit(body);
  const { segments } = log.files as unknown as { segments: Segment[] };
  expect(segments.every((segment) => segment.isOpen)).toBeTrue();
  log.files.sync();
  await until("the full ones are closed", () => segments.filter((segment) => segment.isOpen).length === 1);
  log.files.rest();
  await until("all are closed", () => !segments.some((segment) => segment.isOpen));
  log.commit("again");
  expect(readAll(log.log)).toEqual([...BODIES, "again"]);
});

test("an index entry is written behind its records, so a file is never shorter than its index says", () => {
  using log = new LogFixture();
  log.commit("a", "b");
  const fd = openSync(filesOf(log, ".idx")[0], "r");
  expect(fstatSync(fd).size).toBe(INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES);
  closeSync(fd);
  expect(readFileSync(filesOf(log, ".log")[0]).length).toBe(2 * 35);
});
