import { expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { StartError } from "../../../../src/base/start-error.ts";
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES } from "../../../../src/broker/storage/log/index-format.ts";
import { recordAt } from "../../../../src/broker/storage/log/records.ts";
import { BODY_OFFSET } from "../../../../src/frame/frame.ts";
import { bodyAt, HEADER_LENGTH_BYTES, HeaderReader, NO_BYTES } from "../../../../src/frame/header.ts";
import { headerFor } from "../../../support/headed-message.ts";
import { LogFixture, readAll, TIME } from "../../../support/log-fixture.ts";
import { until } from "../../../support/server.ts";

/** Bytes of a record with a body of 10 bytes. */
const RECORD = 44;
const BODIES = Array.from({ length: 10 }, (_, i) => `body-${String(i).padStart(5, "0")}`);

/** A log with ten commits of one record each, `perSegment` of them in a segment, after a clean close. */
async function written(perSegment = 10): Promise<LogFixture> {
  const fixture = new LogFixture({ maxBytesPerFile: perSegment * RECORD });
  for (const body of BODIES) fixture.commit(body);
  await fixture.files.close();
  return fixture;
}

function filesOf(fixture: LogFixture, ending: string): string[] {
  return readdirSync(fixture.directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${fixture.directory}/${name}`);
}

function change(path: string, at: number, ...bytes: number[]): void {
  const whole = readFileSync(path);
  if (bytes.length === 0) whole[at]++;
  else whole.set(bytes, at);
  writeFileSync(path, whole);
}

function zero(path: string, from: number): void {
  const whole = readFileSync(path);
  whole.fill(0, from);
  writeFileSync(path, whole);
}

async function expectGoesOn(fixture: LogFixture, bodies: (string | null)[], synced?: number): Promise<void> {
  fixture.commit("next");
  await fixture.files.close();
  fixture.open({ syncedSequence: synced });
  expect(readAll(fixture.log)).toEqual([...bodies, "next"]);
}

test("a damaged last index entry costs nothing when its records were on the disk", async () => {
  using fixture = await written();
  change(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 9 * INDEX_ENTRY_BYTES + 5);
  fixture.open({ syncedSequence: 10 });
  expect(readAll(fixture.log)).toEqual(BODIES);
  expect(fixture.corrupt).toBe(1);
  expect(fixture.logger.matching(/ERROR.*the last 1 entries of .* are damaged; 1 messages were found without them/)).toHaveLength(1);
  await expectGoesOn(fixture, BODIES, 11);
  expect(fixture.corrupt).toBe(1);
});

test("a torn last index entry costs a commit that was never synced, and the commit stays lost", async () => {
  using fixture = await written();
  zero(filesOf(fixture, ".idx")[0], INDEX_HEADER_BYTES + 9 * INDEX_ENTRY_BYTES + 5);
  fixture.open({ syncedSequence: 9 });
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 9));
  expect(fixture.corrupt).toBe(0);
  expect(fixture.logger.matching(/WARNING.*the last 1 entries of .* were torn by a crash/)).toHaveLength(1);
  await expectGoesOn(fixture, BODIES.slice(0, 9));
});

for (const [what, damage] of [
  ["missing", (path: string) => rmSync(path)],
  ["empty", (path: string) => truncateSync(path, 0)],
  ["cut in its header", (path: string) => truncateSync(path, 20)],
  ["all zeros", (path: string) => zero(path, 0)],
  ["damaged in its header", (path: string) => change(path, 17)],
] as const) {
  for (const which of [0, 1, 3])
    test(`the index of segment ${which + 1} of 4, ${what}, is rebuilt from the records`, async () => {
      using fixture = await written(3);
      damage(filesOf(fixture, ".idx")[which]);
      fixture.open({ syncedSequence: 10 });
      expect(readAll(fixture.log)).toEqual(BODIES);
      expect(fixture.corrupt).toBe(1);
      expect(fixture.logger.matching(/ERROR.*the index was rebuilt from the [13] messages in the log file/)).toHaveLength(1);
      expect(filesOf(fixture, ".damaged")).toHaveLength(what === "missing" ? 0 : 1);
      await expectGoesOn(fixture, BODIES, 11);
      expect(fixture.corrupt).toBe(1);
    });
}

test("without an index, a damaged record is lost and never delivered", async () => {
  using fixture = await written();
  rmSync(filesOf(fixture, ".idx")[0]);
  // The size of the fourth record, and the frame type of the eighth.
  change(filesOf(fixture, ".log")[0], 3 * RECORD + 3);
  change(filesOf(fixture, ".log")[0], 7 * RECORD + 6);
  fixture.open({ syncedSequence: 10 });
  const found = readAll(fixture.log);
  expect(found.filter((body) => body !== null && !BODIES.includes(body))).toBeEmpty();
  expect(found).toEqual([...BODIES.slice(0, 3), null, ...BODIES.slice(4, 6), null, ...BODIES.slice(8)]);
  expect(fixture.logger.matching(/3 more are damaged and are skipped/)).toHaveLength(1);
  expect(fixture.log.next).toBe(10);
  await expectGoesOn(fixture, found, 11);
});

test("when an index is rebuilt, older records in a recycled file are not taken for the new segment", async () => {
  using fixture = new LogFixture({ maxBytesPerFile: 4 * RECORD });
  for (const body of BODIES.slice(0, 8)) fixture.commit(body);
  fixture.trimBelow(4);
  await until("the file may be overwritten", () => fixture.recycler.hasReady);
  fixture.commit("new-000000");
  await fixture.files.close();
  const newest = filesOf(fixture, ".idx")[1];
  expect(readFileSync(newest.replace("idx", "log")).length).toBe(4 * RECORD);
  rmSync(newest);
  fixture.open();
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(4, 8), "new-000000"]);
});

test("records that were never synced are not used when their index is lost, and are kept in a file", async () => {
  using fixture = await written(5);
  rmSync(filesOf(fixture, ".idx")[1]);
  fixture.open({ syncedSequence: 5 });
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 5));
  expect(fixture.logger.matching(/ERROR.*is not used: its index is missing; it is kept as .*\.log\.damaged/)).toHaveLength(1);
  expect(readFileSync(filesOf(fixture, ".log.damaged")[0]).length).toBe(5 * RECORD);
  await expectGoesOn(fixture, BODIES.slice(0, 5));
});

test("a missing log file costs only its own messages, and its index is kept", async () => {
  using fixture = await written(3);
  rmSync(filesOf(fixture, ".log")[1]);
  fixture.open({ syncedSequence: 10 });
  const left = [...BODIES.slice(0, 3), null, ...BODIES.slice(6)];
  expect(readAll(fixture.log)).toEqual(left);
  expect(readAll(fixture.log, 4)).toEqual([null, ...BODIES.slice(6)]);
  expect(fixture.logger.matching(/ERROR.*3\.log is missing, and with it 3 messages from sequence 3 on; its index is kept/)).toHaveLength(1);
  await expectGoesOn(fixture, left, 11);
});

test("an empty log file costs only its own messages", async () => {
  using fixture = await written(3);
  truncateSync(filesOf(fixture, ".log")[1], 0);
  fixture.open({ syncedSequence: 10 });
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 3), null, null, null, ...BODIES.slice(6)]);
  expect(fixture.logger.matching(/ERROR.*messages from sequence 3 on are damaged/)).not.toBeEmpty();
});

test("zeros at the log's end are cut off if they were never synced, and skipped as damage if they were", async () => {
  using fixture = await written();
  zero(filesOf(fixture, ".log")[0], 8 * RECORD);
  copyFileSync(filesOf(fixture, ".idx")[0], `${fixture.folder}/idx`);
  fixture.open({ syncedSequence: 10 });
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 8), null, null]);
  expect(fixture.log.next).toBe(10);
  renameSync(`${fixture.folder}/idx`, filesOf(fixture, ".idx")[0]);
  fixture.open({ syncedSequence: 8 });
  expect(readAll(fixture.log)).toEqual(BODIES.slice(0, 8));
  expect(fixture.logger.matching(/WARNING.*the last 2 messages .* torn by a crash/)).toHaveLength(1);
});

test("a torn commit with intact ones behind it is skipped, and does not count as damage", async () => {
  using fixture = await written(3);
  change(filesOf(fixture, ".log")[1], RECORD + 40);
  fixture.open({ syncedSequence: 4 });
  expect(readAll(fixture.log)).toEqual([...BODIES.slice(0, 4), null, ...BODIES.slice(5)]);
  expect(fixture.corrupt).toBe(0);
  expect(fixture.logger.matching(/WARNING.*1 messages from sequence 4 on were torn by a crash before they reached the disk/)).toHaveLength(
    1,
  );
});

test("a segment of another topic is not used, and is kept and not overwritten", async () => {
  using fixture = await written();
  fixture.open({ topicNumber: 4 });
  expect(fixture.log.next).toBe(0);
  expect(fixture.logger.matching(/not used: its index belongs to topic number 3; it is kept as/)).toHaveLength(1);
  fixture.commit("other");
  expect(readFileSync(filesOf(fixture, ".log.damaged")[0]).length).toBe(10 * RECORD);
});

test("an index of a newer version is refused, and the error says what to do", async () => {
  using fixture = await written();
  const path = filesOf(fixture, ".idx")[0];
  const header = readFileSync(path);
  header.writeUInt32LE(2, 4);
  header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 36)), 36);
  writeFileSync(path, header);
  const open = () => fixture.open();
  expect(open).toThrow(StartError);
  expect(open).toThrow(/was written by a newer bunsq \(index version 2, this one reads 1\); start that version/);
});

test("a log file without an index and without records, as a crash may leave it, is removed", async () => {
  using fixture = await written();
  writeFileSync(`${fixture.directory}/00000000000000ff.log`, "half written");
  writeFileSync(`${fixture.directory}/0000000000000000.idx.new`, "half rebuilt");
  fixture.open();
  expect(readdirSync(fixture.directory)).toHaveLength(2);
  expect(readAll(fixture.log)).toEqual(BODIES);
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("a segment whose removal a crash interrupted is removed without a log line", async () => {
  using fixture = await written(3);
  rmSync(filesOf(fixture, ".idx")[0]);
  fixture.open({ syncedSequence: 10, neededSequence: 3 });
  expect(readAll(fixture.log)).toEqual(BODIES.slice(3));
  expect(existsSync(`${fixture.directory}/0000000000000000.log`)).toBeFalse();
  expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
});

test("skipped sequences are a gap for readers, are never given again, and do not count as damage after a restart", async () => {
  using fixture = await written(3);
  fixture.open({ syncedSequence: 10 });
  fixture.log.skipTo(25);
  expect([fixture.log.next, readAll(fixture.log).length]).toEqual([25, 11]);
  fixture.commit("a");
  fixture.commit("b");
  const expected = [...BODIES, null, "a", "b"];
  expect(readAll(fixture.log)).toEqual(expected);
  expect(readAll(fixture.log, 15)).toEqual([null, "a", "b"]);
  expect([
    fixture.files.survivedRestart(9),
    fixture.files.survivedRestart(10),
    fixture.files.survivedRestart(24),
    fixture.files.survivedRestart(25),
  ]).toEqual([true, false, false, false]);
  await fixture.files.close();
  fixture.open({ syncedSequence: 27 });
  expect(fixture.files.survivedRestart(25)).toBeTrue();
  expect(readAll(fixture.log)).toEqual(expected);
  expect(fixture.corrupt).toBe(0);
});

for (const [what, index] of [
  ["without an index", undefined],
  ["with an empty index", Buffer.alloc(0)],
  ["with half an index header", Buffer.from("BQIX\x01\0\0\0", "latin1")],
  ["with zeros for an index", Buffer.alloc(INDEX_HEADER_BYTES)],
] as const) {
  test(`a new segment that a crash left unfinished, ${what} beside a recycled file, is removed without a log line`, async () => {
    using fixture = await written(5);
    // The recycled file has older records of the same topic, with lower sequences.
    copyFileSync(filesOf(fixture, ".log")[0], `${fixture.directory}/000000000000000a.log`);
    if (index !== undefined) writeFileSync(`${fixture.directory}/000000000000000a.idx`, index);
    fixture.open({ syncedSequence: 10 });
    expect(readAll(fixture.log)).toEqual(BODIES);
    expect(filesOf(fixture, ".log")).toHaveLength(2);
    expect(fixture.logger.matching(/ERROR|WARNING/)).toBeEmpty();
    await expectGoesOn(fixture, BODIES, 11);
  });
}

const HEADER_BODIES = BODIES.map((body, i) => `${body}${"y".repeat(i)}`);
/** Offsets in a record: the length of its header, and the header's version. */
const [HEADER_LENGTH_AT, HEADER_VERSION_AT] = [BODY_OFFSET, BODY_OFFSET + HEADER_LENGTH_BYTES];

/** Ten messages, of which those with odd numbers have a header, some of them at the end of a segment. @returns where each record begins in its segment */
async function writtenWithHeaders(maxBytesPerFile: number): Promise<{ fixture: LogFixture; starts: number[] }> {
  const fixture = new LogFixture({ maxBytesPerFile });
  const starts: number[] = [];
  for (const [i, text] of HEADER_BODIES.entries()) {
    const body = Buffer.from(text);
    fixture.log.appendWithHeader(i % 2 === 0 ? NO_BYTES : headerFor(text), body, 0, body.length, TIME);
    fixture.log.commit(1000);
    starts.push(fixture.log.committedEnd);
  }
  await fixture.files.close();
  return { fixture, starts: [0, ...starts] };
}

for (const maxBytesPerFile of [400, 1_000_000]) {
  test(`records with headers are found without their indexes, in segments of ${maxBytesPerFile} bytes`, async () => {
    const { fixture } = await writtenWithHeaders(maxBytesPerFile);
    using _ = fixture;
    for (const path of filesOf(fixture, ".idx")) rmSync(path);
    fixture.open({ syncedSequence: 10 });
    expect(readAll(fixture.log)).toEqual(HEADER_BODIES);
  });
}

test("a record whose header does not end within it is damaged, and those behind it are found without their index", async () => {
  const { fixture, starts } = await writtenWithHeaders(1_000_000);
  using _ = fixture;
  const [path] = filesOf(fixture, ".log");
  for (const path of filesOf(fixture, ".idx")) rmSync(path);
  const bytes = readFileSync(path);
  bytes.writeUInt32BE(starts[4] - starts[3] - HEADER_VERSION_AT + 1, starts[3] + HEADER_LENGTH_AT);
  bytes.writeUInt32BE(0xffffffff, starts[7] + HEADER_LENGTH_AT);
  writeFileSync(path, bytes);
  fixture.open({ syncedSequence: 10 });
  // Nothing confirms the length of the one before it.
  expect(readAll(fixture.log)).toEqual([...HEADER_BODIES.slice(0, 2), null, ...HEADER_BODIES.slice(4, 6), null, ...HEADER_BODIES.slice(8)]);
});

test("a header of a version that is not known, found without an index, costs the header and not the body", async () => {
  const { fixture, starts } = await writtenWithHeaders(1_000_000);
  using _ = fixture;
  const [path] = filesOf(fixture, ".log");
  for (const path of filesOf(fixture, ".idx")) rmSync(path);
  change(path, starts[3] + HEADER_VERSION_AT, 2);
  fixture.open({ syncedSequence: 10 });
  const found = recordAt(fixture.log, 3);
  if (found === undefined) throw new Error("it is not there");
  const { buffer, from, to } = found;
  expect(buffer.toString("utf8", bodyAt(buffer, from), to)).toBe(HEADER_BODIES[3]);
  expect(new HeaderReader().read(buffer, from)).toBeFalse();
});
