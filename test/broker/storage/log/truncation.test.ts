import { expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { BODY_OFFSET } from "../../../../src/frame/frame.ts";
import { FillingDisk, LogFixture, readAll, TIME } from "../../../support/log-fixture.ts";

/** Messages 0 to 19 in commits of two, three commits in a segment. */
function filled(): LogFixture {
  const fixture = new LogFixture({ maxBytesPerFile: 6 * (BODY_OFFSET + 3) - 10 });
  fixture.files.beginEpoch(1);
  for (let i = 0; i < 20; i += 2) fixture.commit(body(i), body(i + 1));
  return fixture;
}

function body(sequence: number): string {
  return `m${String(sequence).padStart(2, "0")}`;
}

const BODIES = Array.from({ length: 20 }, (_, i) => body(i));

test.each(Array.from({ length: 21 }, (_, to) => to))("what is below %d stays, and the log goes on there", async (to) => {
  using fixture = filled();
  readAll(fixture.log);
  fixture.log.truncateTo(to);
  const { log } = fixture;
  expect([log.next, log.committedNext, fixture.files.nextSequence, log.end]).toEqual([to, to, to, to * (BODY_OFFSET + 3)]);
  expect(readAll(log)).toEqual(BODIES.slice(0, to));
  expect(log.commitsFrom(to, 1000)).toBeUndefined();
  if (to > 0) fixture.files.beginEpoch(5);
  fixture.commit("new");
  expect(readAll(log)).toEqual([...BODIES.slice(0, to), "new"]);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, to), "new"]);
  expect(fixture.files.epochs().at(-1)).toEqual(to > 0 ? { epoch: 5, firstSequence: to } : { epoch: 0, firstSequence: 0 });
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("a truncated log has no bytes of what it lost", () => {
  using fixture = filled();
  fixture.log.truncateTo(7);
  const bytes = readdirSync(fixture.directory)
    .filter((name) => name.endsWith(".log"))
    .map((name) => statSync(`${fixture.directory}/${name}`).size);
  expect(bytes.reduce((sum, size) => sum + size, 0)).toBe(7 * (BODY_OFFSET + 3));
});

test("epochs that begin at the sequence or later are gone, and lower ones may begin", () => {
  using fixture = new LogFixture();
  for (const epoch of [1, 2, 3]) {
    fixture.files.beginEpoch(epoch);
    fixture.commit("a", "b");
  }
  fixture.log.truncateTo(4);
  expect(fixture.files.epochs().map(({ epoch }) => epoch)).toEqual([1, 2]);
  fixture.log.truncateTo(0);
  expect(fixture.files.epochs()).toEqual([{ epoch: 0, firstSequence: 0 }]);
  fixture.files.beginEpoch(1);
  fixture.commit("c");
  expect(readAll(fixture.log)).toEqual(["c"]);
});

test("messages that are not committed go in any case", () => {
  using fixture = filled();
  fixture.log.append(Buffer.from("x"), 0, 1, TIME);
  fixture.log.truncateTo(20);
  expect([fixture.log.next, fixture.log.committedNext]).toEqual([20, 20]);
  fixture.commit("y");
  expect(readAll(fixture.log)).toEqual([...BODIES, "y"]);
});

test("a sequence that the log does not reach is refused", () => {
  using fixture = filled();
  fixture.trimBelow(9);
  const start = fixture.log.startSequence;
  expect(start).toBeGreaterThan(5);
  for (const to of [start - 1, 21, -1, Number.NaN]) expect(() => fixture.log.truncateTo(to)).toThrow(RangeError);
  expect(readAll(fixture.log)).toEqual(BODIES.slice(start));
  fixture.log.truncateTo(start);
  expect([fixture.log.startSequence, fixture.log.next]).toEqual([start, start]);
});

test("the log is synced no further than it reaches, whatever a sync under way covers", async () => {
  using fixture = filled();
  const synced = () => new Promise<void>((resolve) => fixture.files.sync(() => resolve()));
  await synced();
  expect(fixture.files.takeSyncedSequence()).toBe(20);
  expect(fixture.files.syncs.savedSequence).toBe(20);
  fixture.commit("z");
  const underWay = synced();
  fixture.log.truncateTo(9);
  await underWay;
  expect(fixture.files.takeSyncedSequence()).toBe(9);
  expect(fixture.files.hasUnsynced).toBe(true);
  fixture.commit("new");
  await synced();
  expect(fixture.files.takeSyncedSequence()).toBe(10);
});

test("pieces of a large commit that were read are not those of the commit that takes its place", () => {
  using fixture = new LogFixture({ maxBytesPerFile: 64 * 1024 * 1024, budgetBytes: 1024 * 1024 });
  const append = (bytes: number, fill: number) => {
    for (let i = 0; i < 30; i++) fixture.log.append(Buffer.alloc(bytes, fill), 0, bytes, TIME);
    fixture.log.commit(1000);
  };
  append(30_000, 65);
  fixture.log.shrink();
  readAll(fixture.log);
  fixture.log.truncateTo(0);
  append(20_000, 66);
  fixture.log.shrink();
  expect(readAll(fixture.log, 17)).toEqual(Array.from({ length: 13 }, () => "B".repeat(20_000)));
});

test("a log that lost its end in a gap goes on in the gap", async () => {
  using fixture = filled();
  fixture.log.skipTo(30);
  fixture.commit("after");
  fixture.log.truncateTo(25);
  expect(fixture.log.next).toBe(25);
  fixture.commit("new");
  expect(readAll(fixture.log)).toEqual([...BODIES, null, "new"]);
  await fixture.reopen();
  expect(readAll(fixture.log)).toEqual([...BODIES, null, "new"]);
  expect(fixture.log.next).toBe(26);
});

test.each([0, 5, 6, 9, 20, 100])("a log that restarts at %d has nothing of before, and goes on there", async (to) => {
  using fixture = filled();
  fixture.trimBelow(9);
  readAll(fixture.log);
  fixture.log.restartAt(to, 7777);
  expect([fixture.log.startSequence, fixture.log.next, fixture.files.epochs()]).toEqual([to, to, [{ epoch: 0, firstSequence: to }]]);
  expect(fixture.log.commitsFrom(to, 1000)).toBeUndefined();
  fixture.files.beginEpoch(1);
  fixture.commit("new", "newer");
  expect(readAll(fixture.log)).toEqual(["new", "newer"]);
  for (let i = 0; i < 2; i++) {
    await fixture.reopen();
    expect([fixture.log.startSequence, readAll(fixture.log), fixture.files.epoch]).toEqual([to, ["new", "newer"], 1]);
  }
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("a log that the disk does not let restart can be restarted later", async () => {
  const filling = new FillingDisk();
  using fixture = new LogFixture({ disk: filling.disk, firstSequence: 50 });
  fixture.commit("a", "b");
  for (const to of [10, 90]) {
    filling.full = ".idx";
    expect(() => fixture.log.restartAt(to, 0)).toThrow("ENOSPC");
    filling.full = "";
    fixture.log.restartAt(to, 0);
    fixture.commit("c");
    expect([fixture.log.startSequence, readAll(fixture.log)]).toEqual([to, ["c"]]);
    await fixture.reopen();
    expect([fixture.log.startSequence, readAll(fixture.log)]).toEqual([to, ["c"]]);
  }
});
