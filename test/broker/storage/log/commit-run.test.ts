import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type CommitRun, CommitRunError } from "../../../../src/broker/storage/log/commit-run.ts";
import type { TopicLog } from "../../../../src/broker/storage/log/topic-log.ts";
import { headerFor } from "../../../support/headed-message.ts";
import { FillingDisk, LogFixture, readAll, TIME } from "../../../support/log-fixture.ts";

/** A leader's log with commits of one and of several messages. */
function leader(options: ConstructorParameters<typeof LogFixture>[0] = {}): LogFixture {
  const fixture = new LogFixture(options);
  fixture.files.beginEpoch(1);
  fixture.commit("a");
  fixture.commit("b", "c");
  fixture.commit("d", "e", "f");
  return fixture;
}

function follower(options: ConstructorParameters<typeof LogFixture>[0] = {}): LogFixture {
  const fixture = new LogFixture(options);
  fixture.files.beginEpoch(1);
  return fixture;
}

function runFrom(log: TopicLog, sequence: number, maxBytes = 1024 * 1024): CommitRun {
  const run = log.commitsFrom(sequence, maxBytes);
  if (run === undefined || run.isGap) throw new Error(`no commits from ${sequence}`);
  return { ...run, bytes: Buffer.from(run.bytes) };
}

/** Copies what the follower lacks, and begins epochs as the leader did. */
function copy(from: TopicLog, to: TopicLog, maxBytes = 1024 * 1024): void {
  for (let run = from.commitsFrom(to.next, maxBytes); run !== undefined; run = from.commitsFrom(to.next, maxBytes)) {
    if (run.isGap) {
      to.skipTo(run.nextSequence);
      continue;
    }
    if (to.files !== undefined && run.epoch > to.files.epoch) to.files.beginEpoch(run.epoch);
    to.appendCommits(run);
  }
}

/** The log's files by name, without what recycled files have behind their records. */
function filesOf({ directory }: LogFixture): Map<string, string> {
  const names = readdirSync(directory).sort();
  return new Map(names.map((name) => [name, readFileSync(`${directory}/${name}`).toString("hex")]));
}

test("a follower has the leader's commits at the same sequences, and its files are equal to the byte", async () => {
  using from = leader();
  using to = follower();
  copy(from.log, to.log);
  expect([to.log.next, to.log.committedNext, to.log.end]).toEqual([6, 6, from.log.end]);
  expect(readAll(to.log)).toEqual(["a", "b", "c", "d", "e", "f"]);
  from.commit("g".repeat(300));
  copy(from.log, to.log);
  await from.files.close();
  await to.files.close();
  expect(filesOf(to)).toEqual(filesOf(from));
  to.open();
  expect(readAll(to.log)).toHaveLength(7);
  to.commit("its own, once it leads");
  expect(readAll(to.log, 7)).toEqual(["its own, once it leads"]);
  expect(to.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("what is in memory is not read from files, and no cache changes", async () => {
  using from = leader();
  const used = from.pool.usedBytes;
  const { bytes, commits, startsSegment, epoch } = from.log.commitsFrom(1, 200) as CommitRun;
  expect([commits.map(({ firstSequence, count }) => [firstSequence, count]), startsSegment, epoch]).toEqual([
    [
      [1, 2],
      [3, 3],
    ],
    false,
    1,
  ]);
  expect(bytes.buffer).toBe(
    from.log.chunkAt(0, false).isGap ? bytes.buffer : (from.log.chunkAt(0, false) as { buffer: Buffer }).buffer.buffer,
  );
  await from.reopen();
  expect(from.log.cachedSequence).toBe(6);
  const stored = from.log.commitsFrom(1, 200) as CommitRun;
  expect(stored.bytes.equals(bytes)).toBe(true);
  expect(stored.commits.map(({ crc }) => crc)).toEqual(commits.map(({ crc }) => crc));
  expect(from.pool.usedBytes).toBe(0);
  expect(used).toBeGreaterThan(0);
});

test("a run has no more bytes than asked for, but one commit at least, and ends with its segment", () => {
  using from = leader({ maxBytesPerFile: 200 });
  from.commit("next segment");
  expect(runFrom(from.log, 0, 1).commits).toHaveLength(1);
  expect(runFrom(from.log, 0, 110).commits).toHaveLength(2);
  const all = runFrom(from.log, 0);
  expect([all.commits.length, all.startsSegment]).toEqual([3, true]);
  expect(runFrom(from.log, 6)).toMatchObject({ startsSegment: true, commits: [{ firstSequence: 6, count: 1 }] });
  expect(from.log.commitsFrom(7, 100)).toBeUndefined();
});

test("a follower's segments begin where the leader's do, whatever its own limits are", async () => {
  using from = leader({ maxBytesPerFile: 100 });
  using to = follower({ maxBytesPerFile: 1 });
  for (let i = 0; i < 20; i++) from.commit("x".repeat(40));
  copy(from.log, to.log, 60);
  await from.files.close();
  await to.files.close();
  expect(filesOf(to)).toEqual(filesOf(from));
  expect(filesOf(to).size).toBeGreaterThan(10);
});

test("a commit that the follower has in part is cut", () => {
  using from = leader();
  const run = runFrom(from.log, 4);
  expect(run.commits.map(({ firstSequence, count }) => [firstSequence, count])).toEqual([[4, 2]]);
  using to = follower({ firstSequence: 4 });
  to.log.appendCommits({ ...run, startsSegment: true });
  expect(readAll(to.log)).toEqual(["e", "f"]);
});

test("what does not follow on the log, or is not what it says, is refused, and nothing changes", () => {
  using from = leader();
  using to = follower();
  copy(from.log, to.log);
  from.commit("g", "h");
  const run = runFrom(from.log, 6);
  const [commit] = run.commits;
  if (commit === undefined) throw new Error("no commit");
  const changed = (at: number) => {
    const bytes = Buffer.from(run.bytes);
    bytes[at]++;
    return bytes;
  };
  const withSum = (bytes: Buffer) => ({ bytes, commits: [{ ...commit, length: bytes.length, crc: Bun.hash.crc32(bytes) }] });
  const wrong: Partial<CommitRun>[] = [
    { epoch: 2 },
    { epoch: 0 },
    { commits: [] },
    { bytes: Buffer.alloc(0) },
    { bytes: run.bytes.subarray(0, -1) },
    { bytes: Buffer.concat([run.bytes, run.bytes]) },
    { bytes: changed(40) },
    { commits: [{ ...commit, firstSequence: 5 }] },
    { commits: [{ ...commit, firstSequence: 7 }] },
    { commits: [{ ...commit, count: 1 }] },
    { commits: [{ ...commit, count: 3 }] },
    { commits: [{ ...commit, length: 0 }] },
    { commits: [{ ...commit, length: -1 }] },
    { commits: [{ ...commit, length: 1e9 }] },
    { commits: [{ ...commit, crc: 1 }] },
    { commits: [{ ...commit, timeMs: Number.NaN }] },
    { commits: [commit, commit] },
    // The checksum fits, and the records do not.
    withSum(changed(0)),
    withSum(changed(3)),
    withSum(changed(7)),
    withSum(changed(33)),
    withSum(run.bytes.subarray(0, 20)),
    withSum(run.bytes.subarray(35)),
  ];
  for (const change of wrong) {
    expect(() => to.log.appendCommits({ ...run, ...change })).toThrow(CommitRunError);
    expect([to.log.next, to.log.end, to.files.nextSequence]).toEqual([6, from.log.locate(6), 6]);
  }
  to.log.appendCommits(run);
  expect(readAll(to.log)).toEqual(readAll(from.log));
});

test("a log with messages that are not committed is not that of a follower", () => {
  using from = leader();
  using to = follower();
  to.log.append(Buffer.from("x"), 0, 1, TIME);
  expect(() => to.log.appendCommits(runFrom(from.log, 0))).toThrow(CommitRunError);
});

test.each([".log", ".idx"])("when the follower's disk refuses a write to %s, nothing of the run counts", async (full) => {
  const filling = new FillingDisk();
  using from = leader();
  using to = follower({ disk: filling.disk });
  filling.full = full;
  expect(() => copy(from.log, to.log)).toThrow("ENOSPC");
  expect([to.log.next, to.log.end, to.files.nextSequence]).toEqual([0, 0, 0]);
  filling.full = "";
  await to.reopen();
  copy(from.log, to.log);
  expect(readAll(to.log)).toEqual(readAll(from.log));
});

test("damaged and missing messages are gaps, and what follows them can be read", async () => {
  using from = leader();
  await from.files.close();
  const path = `${from.directory}/0000000000000000.log`;
  const bytes = readFileSync(path);
  bytes[34]++;
  writeFileSync(path, bytes);
  from.open({ lastRun: "clean" });
  expect(from.log.commitsFrom(0, 1000)).toMatchObject({ isGap: true, nextSequence: 1 });
  from.log.skipTo(9);
  from.commit("j");
  expect(from.log.commitsFrom(6, 1000)).toMatchObject({ isGap: true, nextSequence: 9 });
  using to = follower();
  copy(from.log, to.log);
  expect(readAll(to.log)).toEqual([null, "b", "c", "d", "e", "f", null, "j"]);
});

test("the first damaged commit ends a run", async () => {
  using from = leader();
  await from.files.close();
  const path = `${from.directory}/0000000000000000.log`;
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]++;
  writeFileSync(path, bytes);
  from.open({ lastRun: "clean" });
  expect(runFrom(from.log, 0).commits.map(({ firstSequence }) => firstSequence)).toEqual([0, 1]);
  expect(from.log.commitsFrom(3, 1000)).toMatchObject({ isGap: true, nextSequence: 6 });
});

test("a follower of messages with headers knows that it has some", () => {
  using from = leader();
  using to = follower();
  copy(from.log, to.log);
  expect(to.log.mayHaveHeaders).toBe(false);
  from.log.appendWithHeader(headerFor("with a header"), Buffer.from("with a header"), 0, 13, TIME);
  from.log.commit(2000);
  copy(from.log, to.log);
  expect(to.log.mayHaveHeaders).toBe(true);
  expect(readAll(to.log, 6)).toEqual(["with a header"]);
});

test("a commit with several index entries has as many with the follower, and an MPUB one", () => {
  using from = new LogFixture({ maxBytesPerFile: 64 * 1024 * 1024 });
  using to = new LogFixture({ maxBytesPerFile: 64 * 1024 * 1024 });
  for (let i = 0; i < 40; i++) from.log.append(Buffer.alloc(100_000, i), 0, 100_000, TIME);
  from.log.commit(1000);
  const entries = runFrom(from.log, 0, 2 ** 30).commits.length;
  expect(entries).toBeGreaterThan(1);
  copy(from.log, to.log);
  expect(runFrom(to.log, 0, 2 ** 30).commits).toHaveLength(entries);
  expect(filesOf(to)).toEqual(filesOf(from));
});
