import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { StartError } from "../../../../src/base/start-error.ts";
import { DeferredStore } from "../../../../src/broker/storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, KIND_REQUEUE, type StoredEntry } from "../../../../src/broker/storage/deferred/entry.ts";
import type { StagedEntries } from "../../../../src/broker/storage/deferred/staged-entries.ts";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";

/** When a bucket of the finest width begins, and one of the next width. */
const START = 1_700_000_000_000;
const WIDE_START = Math.ceil((START + 128_000) / 64_000) * 64_000;
const HEAD_BYTES = 24;
const ENTRIES_VERSION = 2;
const STATUS_VERSION = 1;
/** Ids as earlier releases gave them, and as they are given today. */
const TOPIC_ID = 3;
const CHANNEL_ID = 4;
const LONG_ID = 2 ** 52 + 12_345;
const RECORD_BYTES = 24;

let folder: string;
let nowMs = START;

beforeEach(() => {
  folder = temporaryFolder();
  nowMs = START;
});

afterEach(() => removeFolder(folder));

/** An entry as earlier releases wrote it, byte by byte as entry.ts describes it. */
function entry(number: number, dueMs: number, sequence: number, body: string, kind = KIND_REQUEUE): Buffer {
  const bytes = Buffer.alloc(48 + 34 + body.length);
  bytes.writeUInt32LE(34 + body.length, 4);
  bytes[8] = kind;
  bytes.writeUInt16LE(3, 10);
  bytes.writeUInt32LE(TOPIC_ID, 12);
  bytes.writeUInt32LE(kind === KIND_REQUEUE ? CHANNEL_ID : 0, 16);
  bytes.writeDoubleLE(dueMs, 24);
  bytes.writeDoubleLE(number, 32);
  bytes.writeDoubleLE(sequence, 40);
  bytes.writeUInt32BE(30 + body.length, 48);
  bytes.writeUInt32BE(2, 52);
  bytes.write(body, 48 + 34);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** An entry as it is written today. */
function entryToday(number: number, dueMs: number, sequence: number, body: string, id: number, kind = KIND_REQUEUE): Buffer {
  const bytes = entry(number, dueMs, sequence, body, kind);
  bytes[9] = 1;
  bytes.writeDoubleLE(id, 12);
  bytes.writeUInt32LE(0, 20);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(4)), 0);
  return bytes;
}

function record(value: number, kind: number): Buffer {
  const bytes = Buffer.alloc(RECORD_BYTES);
  bytes.writeDoubleLE(value, 0);
  bytes.writeUInt32LE(kind, 16);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, 20)), 20);
  return bytes;
}

function head(magic: string, version: number): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.write(magic, 0);
  bytes.writeUInt32LE(version, 4);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, 20)), 20);
  return bytes;
}

/** A store; the fixture owns all messages, and all that are due are delivered to it and finished. */
class Fixture {
  readonly log = new MemoryLogger();
  /** Sequences of the entries that recovery visited. */
  readonly recovered: number[] = [];
  /** The entries that recovery visited. */
  readonly entries: StoredEntry[] = [];
  readonly bodies: string[] = [];
  readonly store = new DeferredStore({
    directory: folder,
    disk: systemDisk,
    logger: this.log,
    ballast: NO_BALLAST,
    clock: { currentMs: () => nowMs },
  });

  constructor() {
    this.store.target = {
      wanted: () => true,
      dropped: () => {},
      underWay: () => false,
      room: () => Number.POSITIVE_INFINITY,
      due: (message) => {
        const frame = Buffer.alloc(message.frameBytes);
        this.store.readFrame(message, frame, 0);
        this.bodies.push(frame.toString("latin1", 34));
        this.store.finish(message);
      },
    };
    this.store.recover(
      () => false,
      (entry) => {
        this.recovered.push(entry.sequence);
        this.entries.push({ ...entry });
      },
    );
  }

  stored(staged: StagedEntries, at: number): void {
    this.store.deliverStagedWhenDue(staged, at);
  }

  put(sequence: number, dueMs: number, body: string, channelId = CHANNEL_ID): void {
    const frame = entry(0, 0, 0, body).subarray(48);
    const header = { kind: KIND_REQUEUE, attempts: 3, topicId: 0, channelId, dueMs, sequence };
    this.store.writer.stage(this, header, frame, 0, frame.length, false);
    this.store.commit();
  }

  passTo(endMs: number): void {
    while (nowMs < endMs) {
      nowMs = Math.min(endMs, nowMs + 200);
      this.store.process(nowMs);
      this.store.commit();
      this.store.syncBegins();
      this.store.syncEnded(undefined);
    }
  }
}

function content(name: string): Buffer {
  return readFileSync(`${folder}/${name}`);
}

test("new files of entries and of status records begin with their head", () => {
  const fixture = new Fixture();
  fixture.put(7, START + 500, "a");
  fixture.passTo(START + 600);
  expect(content(`${START}-1000.msg`).subarray(0, HEAD_BYTES)).toEqual(head("BQDE", ENTRIES_VERSION));
  expect(content(`${START}-1000.done`).subarray(0, HEAD_BYTES)).toEqual(head("BQDS", STATUS_VERSION));
  expect(content(`${START}-1000.msg`).length).toBe(HEAD_BYTES + entry(0, 0, 0, "a").length);
  expect(content(`${START}-1000.done`).length).toBe(HEAD_BYTES + RECORD_BYTES);
});

test("files of earlier brokers, which have no head, are read and go on without one", () => {
  const near = START + 5000;
  const first = entry(1, WIDE_START, 11, "moved already");
  writeFileSync(
    `${folder}/${near}-1000.msg`,
    Buffer.concat([entry(2, near, 12, "near"), entry(3, near + 10, 13, "finished"), entry(4, near + 20, 14, "near too")]),
  );
  writeFileSync(`${folder}/${near}-1000.done`, record(3, 1));
  writeFileSync(
    `${folder}/${WIDE_START}-64000.msg`,
    Buffer.concat([first, entry(5, WIDE_START + 1000, 15, "far"), entry(6, WIDE_START + 2000, 16, "far too")]),
  );
  writeFileSync(`${folder}/${WIDE_START}-64000.done`, record(first.length, 2));
  const fixture = new Fixture();
  expect(fixture.recovered.toSorted()).toEqual([12, 14, 15, 16]);
  fixture.put(17, near + 30, "new in an old file");
  expect(content(`${near}-1000.msg`).readUInt32LE(4)).toBe(34 + "near".length);
  const again = new Fixture();
  expect(again.recovered.toSorted()).toEqual([12, 14, 15, 16, 17]);
  again.passTo(WIDE_START + 3000);
  expect(again.bodies).toEqual(["near", "near too", "new in an old file", "far", "far too"]);
  expect(again.log.matching(/WARNING|ERROR/)).toBeEmpty();
  expect(new Fixture().recovered).toBeEmpty();
});

test.each(["msg", "done"])(
  "a %s file of a newer version is refused with an error that says what to do, and nothing is changed",
  (ending) => {
    new Fixture().put(1, START + 5000, "a");
    const other = `${START + 7000}-1000`;
    // A torn tail, which a start that is not refused would cut off.
    writeFileSync(
      `${folder}/${other}.msg`,
      Buffer.concat([head("BQDE", ENTRIES_VERSION), entry(2, START + 7000, 2, "b"), Buffer.from("torn")]),
    );
    const name = `${START + 5000}-1000.${ending}`;
    writeFileSync(
      `${folder}/${name}`,
      Buffer.concat([ending === "msg" ? head("BQDE", ENTRIES_VERSION + 1) : head("BQDS", STATUS_VERSION + 1), Buffer.from("unknown")]),
    );
    writeFileSync(`${folder}/${START + 9000}-1000.done`, head("BQDS", STATUS_VERSION));
    const before = readdirSync(folder).map((file) => [file, content(file)]);
    const [what, version] = ending === "msg" ? ["deferred entries", ENTRIES_VERSION] : ["status records", STATUS_VERSION];
    expect(() => new Fixture()).toThrow(StartError);
    expect(() => new Fixture()).toThrow(
      `${folder}/${name} was written by a newer bunsq (${what} version ${version + 1}, this one reads ${version}); start that version, or use another --data-path`,
    );
    expect(readdirSync(folder).map((file) => [file, content(file)])).toEqual(before);
  },
);

test("a torn head is written again, wherever it was torn", () => {
  const name = `${START + 5000}-1000`;
  for (let length = 0; length < HEAD_BYTES; length++) {
    writeFileSync(`${folder}/${name}.msg`, head("BQDE", ENTRIES_VERSION).subarray(0, length));
    writeFileSync(`${folder}/${name}.done`, head("BQDS", STATUS_VERSION).subarray(0, length));
    const fixture = new Fixture();
    expect([fixture.recovered, fixture.log.matching(/WARNING|ERROR/)]).toEqual([[], []]);
    fixture.put(length, START + 5000, "a");
    expect(content(`${name}.msg`).subarray(0, HEAD_BYTES)).toEqual(head("BQDE", ENTRIES_VERSION));
    expect(new Fixture().recovered).toEqual([length]);
  }
});

test("a status file with a torn head gets a whole one with its next records", () => {
  const name = `${START + 5000}-1000`;
  const entries = [entry(1, START + 5000, 1, "a"), entry(2, START + 5000, 2, "b")];
  writeFileSync(`${folder}/${name}.msg`, Buffer.concat([head("BQDE", ENTRIES_VERSION), ...entries]));
  writeFileSync(`${folder}/${name}.done`, head("BQDS", STATUS_VERSION).subarray(0, 11));
  const fixture = new Fixture();
  fixture.passTo(START + 5001);
  expect(fixture.bodies).toEqual(["a", "b"]);
  expect(content(`${name}.done`)).toEqual(Buffer.concat([head("BQDS", STATUS_VERSION), record(1, 1), record(2, 1)]));
  expect(new Fixture().recovered).toBeEmpty();
});

test("a damaged head costs no message, whichever byte of it is damaged", () => {
  const near = `${START + 5000}-1000`;
  const wide = `${WIDE_START}-64000`;
  const moved = entry(3, WIDE_START, 3, "moved already");
  for (let at = 0; at < HEAD_BYTES; at++) {
    const damaged = (magic: string) => {
      const bytes = head(magic, magic === "BQDE" ? ENTRIES_VERSION : STATUS_VERSION);
      bytes[at] ^= 0x10;
      return bytes;
    };
    writeFileSync(`${folder}/${near}.msg`, Buffer.concat([damaged("BQDE"), entry(1, 0, 1, "a"), entry(2, 0, 2, "b")]));
    writeFileSync(`${folder}/${near}.done`, Buffer.concat([damaged("BQDS"), record(1, 1)]));
    writeFileSync(`${folder}/${wide}.msg`, Buffer.concat([damaged("BQDE"), moved, entry(4, WIDE_START, 4, "c")]));
    writeFileSync(`${folder}/${wide}.done`, Buffer.concat([head("BQDS", STATUS_VERSION), record(moved.length, 2)]));
    const fixture = new Fixture();
    expect(fixture.recovered.toSorted()).toEqual([2, 4]);
    expect(fixture.log.matching(/ERROR.*24 bytes in .* are damaged/)).toHaveLength(2);
    fixture.put(5, START + 5000, "d");
    expect(new Fixture().recovered.toSorted()).toEqual([2, 4, 5]);
  }
  const last = new Fixture();
  last.passTo(WIDE_START + 1000);
  expect(last.bodies.toSorted()).toEqual(["b", "c", "d"]);
});

test("an entry names its topic or its channel by an id of 53 bits, and entries of earlier releases by one of 32", () => {
  const near = START + 5000;
  const old = [entry(1, near, 11, "requeue"), entry(2, near, 0, "publish", KIND_PUBLISH)];
  writeFileSync(`${folder}/${near}-1000.msg`, Buffer.concat([head("BQDE", 1), ...old]));
  const fixture = new Fixture();
  expect(fixture.entries.map(({ topicId, channelId }) => [topicId, channelId])).toEqual([
    [0, CHANNEL_ID],
    [TOPIC_ID, 0],
  ]);
  fixture.put(12, near + 10, "today", LONG_ID);
  const today = entryToday(3, near + 10, 12, "today", LONG_ID);
  expect(content(`${near}-1000.msg`)).toEqual(Buffer.concat([head("BQDE", 1), ...old, today]));
  expect(new Fixture().entries.map(({ topicId, channelId }) => [topicId, channelId])).toEqual([
    [0, CHANNEL_ID],
    [TOPIC_ID, 0],
    [0, LONG_ID],
  ]);
  const publish = entryToday(4, near, 0, "publish", LONG_ID, KIND_PUBLISH);
  writeFileSync(`${folder}/${near}-1000.msg`, Buffer.concat([head("BQDE", ENTRIES_VERSION), publish]));
  expect(new Fixture().entries.map(({ topicId, channelId }) => [topicId, channelId])).toEqual([[LONG_ID, 0]]);
});
