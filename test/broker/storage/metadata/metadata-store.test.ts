import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { StartError } from "../../../../src/base/start-error.ts";
import { MetadataStore } from "../../../../src/broker/storage/metadata/metadata-store.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { testUnless } from "../../../support/needs.ts";

let folder: string;
const open: MetadataStore[] = [];

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => {
  for (const store of open.splice(0)) store.close();
  removeFolder(folder);
});

function openStore(directory = folder): MetadataStore {
  const store = new MetadataStore(directory);
  open.push(store);
  return store;
}

function reopenStore(): MetadataStore {
  open.pop()?.close();
  return openStore();
}

function startError(directory = folder): StartError {
  try {
    openStore(directory);
  } catch (error) {
    if (error instanceof StartError) return error;
    throw error;
  }
  throw new Error("it opened");
}

test("topics and channels come back as they were saved", () => {
  let store = openStore();
  const topic = store.addTopic(0, "t", 17);
  const channel = store.addChannel(topic, "c", 17);
  store.addChannel(topic, "d", 18);
  store.updateTopic({ id: topic, number: 0, name: "t", paused: true, released: 2 ** 41 });
  const progress = new Uint8Array([1, 2, 255]);
  store.saveAll(() => {
    store.updateChannel({
      id: channel,
      topicId: topic,
      name: "c",
      paused: true,
      voidBefore: 1.7e15,
      requeuesVoidBefore: 1.8e15,
      floor: 2 ** 41,
      progress,
    });
  });
  store = reopenStore();
  expect(store.topics()).toEqual([{ id: topic, number: 0, name: "t", paused: true, released: 2 ** 41 }]);
  const [saved, fresh] = store.channels(topic);
  expect(saved).toMatchObject({ name: "c", paused: true, voidBefore: 1.7e15, requeuesVoidBefore: 1.8e15, floor: 2 ** 41 });
  expect([...saved.progress]).toEqual([1, 2, 255]);
  expect(fresh).toMatchObject({ name: "d", paused: false, voidBefore: 0, floor: 18 });
  expect(fresh.progress).toHaveLength(0);
});

test("a removed topic takes its channels along, and a removed channel only itself", () => {
  const store = openStore();
  const first = store.addTopic(0, "t", 0);
  const second = store.addTopic(1, "u", 0);
  store.addChannel(first, "c", 0);
  const channel = store.addChannel(second, "c", 0);
  store.addChannel(second, "d", 0);
  store.removeTopic(first, 0, 5);
  store.removeChannels([channel]);
  expect(store.topics().map(({ name }) => name)).toEqual(["u"]);
  expect(store.channels(first)).toBeEmpty();
  expect(store.channels(second).map(({ name }) => name)).toEqual(["d"]);
});

test("a number that a deleted topic had continues at the sequence that the topic reached", () => {
  const store = openStore();
  expect(store.numbers.allocate(0)).toEqual({ number: 0, nextSequence: 0 });
  const id = store.addTopic(0, "t", 0);
  expect(store.numbers.allocate(0)).toEqual({ number: 1, nextSequence: 0 });
  store.removeTopic(id, 0, 1234);
  expect(store.numbers.allocate(0)).toEqual({ number: 0, nextSequence: 1234 });
  expect(store.numbers.allocate(0)).toEqual({ number: 2, nextSequence: 0 });
});

test("sequences that a memory-only topic used before a crash are not used again", () => {
  let store = openStore();
  expect(store.numbers.allocate(1000)).toEqual({ number: 0, nextSequence: 0 });
  store = reopenStore();
  store.numbers.freeOrphaned();
  expect(store.numbers.allocate(1000)).toEqual({ number: 0, nextSequence: 1000 });
  store.numbers.reserve(0, 9000);
  store = reopenStore();
  store.numbers.freeOrphaned();
  expect(store.numbers.allocate(0)).toEqual({ number: 0, nextSequence: 9000 });
});

test("numbers of topics that exist are not freed", () => {
  const store = openStore();
  store.numbers.allocate(0);
  store.addTopic(0, "t", 0);
  store.numbers.freeOrphaned();
  expect(store.numbers.allocate(0)).toEqual({ number: 1, nextSequence: 0 });
});

test("there are as many topic numbers as ids have room for", () => {
  openStore();
  open.pop()?.close();
  const database = new Database(`${folder}/catalogue.sqlite`);
  database.run(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 16382) INSERT INTO numbers SELECT i, 1, 0 FROM n`);
  database.close(true);
  const store = openStore();
  expect(store.numbers.allocate(0)?.number).toBe((1 << 14) - 1);
  expect(store.numbers.allocate(0)).toBeUndefined();
});

test("a data path that another store has open is refused with an error that says what to do, until that store is closed", () => {
  openStore();
  expect(startError().message).toBe(`${folder} is in use by another process; stop that one, or give this one a --data-path of its own`);
  reopenStore();
});

test("a data path of a newer version is refused with an error that says what to do, and is not locked", () => {
  openStore();
  open.pop()?.close();
  const later = new Database(`${folder}/catalogue.sqlite`);
  later.run("PRAGMA user_version = 99");
  later.close(true);
  for (let i = 0; i < 2; i++) {
    expect(startError().message).toBe(
      `${folder} was written by a newer bunsq (format 99, this one reads 4); start that version, or use another --data-path`,
    );
  }
});

test("a file where the folder should be is refused with an error that names it", () => {
  writeFileSync(`${folder}/in-the-way`, "");
  expect(startError(`${folder}/in-the-way`).message).toContain(`${folder}/in-the-way`);
});

const asRoot = process.getuid?.() === 0 ? "root may write everywhere" : undefined;
testUnless(asRoot)("a data path that cannot be written is refused with an error that says what to do", () => {
  chmodSync(folder, 0o500);
  try {
    expect(startError().message).toEndWith("make it writable for this user, or choose another --data-path");
  } finally {
    chmodSync(folder, 0o700);
  }
});

test("a file that is no database is refused", () => {
  writeFileSync(`${folder}/catalogue.sqlite`, Buffer.alloc(5000, "nonsense"));
  expect(startError().message).toStartWith(`cannot open ${folder}: `);
});

function logBytes(): number {
  return statSync(`${folder}/catalogue.sqlite-wal`).size;
}

/** SQLite fails checkpoints while `work` runs, as it does when it cannot sync a file. */
function withoutCheckpoints(work: () => void): void {
  const { query } = Database.prototype;
  Database.prototype.query = function (this: Database, sql: string) {
    if (sql.includes("wal_checkpoint")) throw new Error("disk I/O error");
    return query.call(this, sql);
  } as typeof query;
  try {
    work();
  } finally {
    Database.prototype.query = query;
  }
}

test("a store whose format is raised for messages with headers has changed: its backup is renewed", () => {
  const store = openStore();
  const { changes } = store;
  store.noteHeaders();
  expect(store.formatVersion).toBe(3);
  expect(store.changes).toBeGreaterThan(changes);
  const raised = store.changes;
  store.noteHeaders();
  expect(store.changes).toBe(raised);
});

test("a store is not durable before everything in it was synced once", () => {
  const store = openStore();
  store.addTopic(0, "t", 0);
  const before = logBytes();
  withoutCheckpoints(() => expect(() => store.makeDurable()).toThrow("disk I/O error"));
  expect(logBytes()).toBe(before);
  store.makeDurable();
  expect(logBytes()).toBe(0);
});

test("after a durable change that failed, the write-ahead log is written to the database before another change counts", () => {
  const store = openStore();
  store.makeDurable();
  for (let i = 0; i < 20; i++) store.addTopic(i, `t${i}`, 0);
  const full = logBytes();
  expect(() => store.addTopic(0, "t0", 0)).toThrow("UNIQUE");
  withoutCheckpoints(() => expect(() => store.addTopic(20, "t20", 0)).toThrow("disk I/O error"));
  expect(logBytes()).toBe(full);
  store.addTopic(20, "t20", 0);
  expect(logBytes()).toBeLessThan(full / 2);
  expect(store.topics()).toHaveLength(21);
});

test("a durable store takes a topic of which only its folder is left", () => {
  const store = openStore();
  store.makeDurable();
  const { id } = store.claimTopic(3, "t");
  expect(store.topics().map(({ id, number, name }) => ({ id, number, name }))).toEqual([{ id, number: 3, name: "t" }]);
});

test("a large write-ahead log is written to the database", async () => {
  const store = openStore();
  const checkpoint = () => new Promise<Error | undefined>((resolve) => store.checkpointIfLarge(resolve));
  const topic = store.addTopic(0, "t", 0);
  const id = store.addChannel(topic, "c", 0);
  const row = { id, topicId: topic, name: "c", paused: false, voidBefore: 0, requeuesVoidBefore: 0, floor: 0 };
  await checkpoint();
  expect(logBytes()).toBeGreaterThan(0);
  for (let i = 0; i < 5; i++) store.updateChannel({ ...row, progress: new Uint8Array(1024 * 1024).fill(i) });
  expect(logBytes()).toBeGreaterThan(4 * 1024 * 1024);
  await checkpoint();
  expect(logBytes()).toBe(0);
});
