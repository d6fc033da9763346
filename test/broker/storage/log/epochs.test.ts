import { expect, test } from "bun:test";
import { readdirSync, readFileSync, unlinkSync } from "node:fs";
import { encodeHeader, INDEX_HEADER_BYTES } from "../../../../src/broker/storage/log/index-format.ts";
import { FillingDisk, LogFixture, readAll, TOPIC_NUMBER } from "../../../support/log-fixture.ts";

function indexPaths({ directory }: LogFixture): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".idx"))
    .sort()
    .map((name) => `${directory}/${name}`);
}

test("a log that is not replicated has epoch 0, and its indexes are those of earlier releases", () => {
  using fixture = new LogFixture();
  fixture.commit("a");
  expect(fixture.files.epochs()).toEqual([{ epoch: 0, firstSequence: 0 }]);
  const [index] = indexPaths(fixture);
  const header = { topicNumber: TOPIC_NUMBER, prefix: undefined, baseSequence: 0, basePosition: 0, epoch: 0 };
  expect(encodeHeader(header).equals(readFileSync(index as string).subarray(0, INDEX_HEADER_BYTES))).toBe(true);
  expect(encodeHeader(header).readUInt32LE(32)).toBe(0);
});

test("each epoch begins a segment, and a restart finds them all", async () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(1);
  fixture.commit("a", "b");
  fixture.files.beginEpoch(4);
  fixture.commit("c");
  fixture.commit("d");
  fixture.files.beginEpoch(2 ** 32 - 1);
  const epochs = [
    { epoch: 1, firstSequence: 0 },
    { epoch: 4, firstSequence: 2 },
    { epoch: 2 ** 32 - 1, firstSequence: 4 },
  ];
  expect(fixture.files.epochs()).toEqual(epochs);
  expect(fixture.files.epoch).toBe(2 ** 32 - 1);
  fixture.commit("e");
  fixture.open();
  expect(fixture.files.epochs()).toEqual(epochs);
  await fixture.reopen();
  expect(fixture.files.epochs()).toEqual(epochs);
  fixture.commit("f");
  expect(readAll(fixture.log)).toEqual(["a", "b", "c", "d", "e", "f"]);
  expect(indexPaths(fixture)).toHaveLength(3);
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("an epoch without messages writes nothing, and a restart does not know of it", async () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(1);
  expect(readdirSync(fixture.directory)).toBeEmpty();
  fixture.commit("a");
  fixture.files.beginEpoch(2);
  expect(fixture.files.epoch).toBe(2);
  expect(indexPaths(fixture)).toHaveLength(1);
  await fixture.reopen();
  expect(fixture.files.epochs()).toEqual([{ epoch: 1, firstSequence: 0 }]);
  fixture.commit("b");
  expect(indexPaths(fixture)).toHaveLength(1);
});

test("an epoch without messages is gone when the log is truncated to its end", () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(1);
  fixture.commit("a");
  fixture.files.beginEpoch(7);
  fixture.log.truncateTo(1);
  expect(fixture.files.epochs()).toEqual([{ epoch: 1, firstSequence: 0 }]);
  fixture.files.beginEpoch(6);
  fixture.commit("b");
  expect(fixture.files.epochs()[1]).toEqual({ epoch: 6, firstSequence: 1 });
});

test("a log whose first messages are skipped in an epoch begins with the gap", async () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(3);
  fixture.log.skipTo(5);
  fixture.commit("f");
  expect(fixture.files.startSequence).toBe(0);
  await fixture.reopen();
  expect(fixture.files.startSequence).toBe(0);
  expect(fixture.files.epoch).toBe(3);
});

test("an epoch without messages gives way to the next one, in the same segment", async () => {
  using fixture = new LogFixture();
  fixture.commit("a");
  fixture.files.beginEpoch(1);
  fixture.files.beginEpoch(2);
  fixture.files.beginEpoch(3);
  expect(fixture.files.epochs()).toEqual([
    { epoch: 0, firstSequence: 0 },
    { epoch: 3, firstSequence: 1 },
  ]);
  fixture.commit("b");
  await fixture.reopen();
  expect(fixture.files.epoch).toBe(3);
  expect(readAll(fixture.log)).toEqual(["a", "b"]);
  expect(readdirSync(fixture.directory).filter((name) => name.endsWith(".new"))).toBeEmpty();
});

test("an epoch that is not above the newest one is refused", () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(5);
  for (const epoch of [5, 4, 0, -1, 5.5, 2 ** 32, Number.NaN]) expect(() => fixture.files.beginEpoch(epoch)).toThrow(RangeError);
  expect(fixture.files.epoch).toBe(5);
});

test("segments that follow each other by size have one epoch, and trims leave that of the oldest one that stays", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 100 });
  for (const epoch of [1, 2]) {
    fixture.files.beginEpoch(epoch);
    for (let i = 0; i < 6; i++) fixture.commit("x".repeat(60));
  }
  expect(fixture.files.epochs()).toEqual([
    { epoch: 1, firstSequence: 0 },
    { epoch: 2, firstSequence: 6 },
  ]);
  fixture.trimBelow(4);
  expect(fixture.files.epochs()[0]).toEqual({ epoch: 1, firstSequence: 4 });
  fixture.trimBelow(9);
  expect(fixture.files.epochs()).toEqual([{ epoch: 2, firstSequence: 8 }]);
  await fixture.reopen();
  expect(fixture.files.epochs()).toEqual([{ epoch: 2, firstSequence: 8 }]);
  // All messages are finished: the segment that replaces the last one has its epoch.
  fixture.trimBelow(12);
  expect(fixture.files.startSequence).toBe(12);
  await fixture.reopen();
  expect(fixture.files.epochs()).toEqual([{ epoch: 2, firstSequence: 12 }]);
});

test("the records of a segment whose index is lost count as of the epoch before", async () => {
  using fixture = new LogFixture();
  fixture.files.beginEpoch(7);
  fixture.commit("a");
  fixture.files.beginEpoch(9);
  fixture.commit("b");
  await fixture.files.close();
  unlinkSync(indexPaths(fixture)[1] as string);
  fixture.open();
  expect(readAll(fixture.log)).toEqual(["a", "b"]);
  expect(fixture.files.epochs()).toEqual([{ epoch: 7, firstSequence: 0 }]);
  fixture.open();
  expect(fixture.files.epoch).toBe(7);
});

test("messages of an epoch whose segment the disk refuses are refused, and the next ones begin it", async () => {
  const filling = new FillingDisk();
  using fixture = new LogFixture({ disk: filling.disk });
  fixture.files.beginEpoch(1);
  fixture.commit("a");
  fixture.log.truncateTo(0);
  // The empty segment gets the epoch.
  fixture.files.beginEpoch(2);
  filling.full = ".new";
  expect(() => fixture.commit("b")).toThrow("ENOSPC");
  filling.full = "";
  fixture.commit("c");
  fixture.files.beginEpoch(3);
  filling.full = ".idx";
  expect(() => fixture.commit("d")).toThrow("ENOSPC");
  expect(fixture.files.epoch).toBe(3);
  filling.full = "";
  fixture.commit("e");
  await fixture.reopen();
  expect(fixture.files.epochs()).toEqual([
    { epoch: 2, firstSequence: 0 },
    { epoch: 3, firstSequence: 1 },
  ]);
  expect(readAll(fixture.log)).toEqual(["c", "e"]);
});
