import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import { dirname } from "node:path";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";
import { ImmediateDisk } from "./support/immediate-disk.ts";

const MEMORY_FOLDER = "/dev/shm";
const FILE = "/file";
/** Less than a sector. */
const SYNCED = Buffer.from("what was synced, ".repeat(10));
const ADDED = Buffer.from("and what was not, ".repeat(10));
const TOPIC = "t";
const CHANNEL = "c";
/** What a power cut leaves is random, so it is tried this often, each time from another seed. */
const CUTS = 200;

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
});

const everything = () => true;

function newDataPath(): string {
  const folder = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
  folders.push(folder);
  return folder;
}

/** What power cuts leave of a file whose beginning was synced, after a write at offset 0 that was not. */
function filesAfterCuts(written: Buffer): Buffer[] {
  const disk = new ImmediateDisk();
  const fd = disk.open(FILE, "w+");
  disk.write(fd, SYNCED, 0, SYNCED.length, 0);
  disk.sync(fd, () => {});
  disk.syncDirectoryNow("/");
  disk.write(fd, written, 0, written.length, 0);
  return Array.from({ length: CUTS }, (_, seed) => disk.afterCut(disk.moment, new Random(seed)).content(FILE));
}

test("a sector that is written again with more behind the end of the file keeps what was synced, and what is added may be torn", () => {
  const files = filesAfterCuts(Buffer.concat([SYNCED, ADDED]));
  for (const file of files) expect(file.subarray(0, SYNCED.length)).toEqual(SYNCED);
  const added = files.map((file) => file.subarray(SYNCED.length)).filter((bytes) => !bytes.equals(ADDED));
  expect(added.some((bytes) => bytes.length === 0)).toBe(true);
  expect(added.some((bytes) => bytes.length > 0 && bytes.length < ADDED.length)).toBe(true);
  expect(added.some((bytes) => bytes.length === ADDED.length)).toBe(true);
});

test("a sector that is written with other bytes over the end of the file may be torn from its beginning on", () => {
  const other = Buffer.from(SYNCED).fill("x");
  const files = filesAfterCuts(Buffer.concat([other, ADDED])).map((file) => file.subarray(0, SYNCED.length));
  expect(files.some((file) => !file.equals(SYNCED) && !file.equals(other))).toBe(true);
});

test("what is made in a folder whose new name a power cut takes is in it under its old name", () => {
  const disk = new ImmediateDisk();
  disk.makeDirectory("/old");
  disk.syncDirectoryNow("/");
  disk.rename("/old", "/new");
  const fd = disk.open("/new/file", "w+");
  disk.write(fd, SYNCED, 0, SYNCED.length, 0);
  disk.sync(fd, () => {});
  expect(disk.afterLosing(everything).paths()).toEqual(["/old"]);
  disk.syncDirectoryNow("/new");
  const after = disk.afterLosing(everything);
  expect(after.paths()).toEqual(["/old", "/old/file"]);
  expect(after.content("/old/file")).toEqual(SYNCED);
});

test("a sync of a folder by its new name covers what was made in it by its old one, and not the new name", () => {
  const disk = new ImmediateDisk();
  disk.makeDirectory("/old");
  disk.open("/old/file", "w+");
  disk.rename("/old", "/new");
  disk.syncDirectoryNow("/new");
  expect(disk.afterLosing(everything).paths()).toEqual([]);
  disk.syncDirectoryNow("/");
  expect(disk.afterLosing(everything).paths()).toEqual(["/new", "/new/file"]);
});

test("a topic whose folder gets its name back at the start loses nothing when a power cut takes the name again", async () => {
  const before = new CutBroker(newDataPath(), { durability: "fsync", syncTimeoutMs: 1000, maxBytesPerFile: 300 });
  before.broker.registry.topic(TOPIC).channel(CHANNEL);
  expect(await before.publish(TOPIC, "0")).toBe("OK");
  // The metadata store notes what is synced, so the next run has no reason to sync it again.
  await before.pass(3000, 50);
  const left = before.disk.afterLosing(() => false);
  const folder = left.paths().find((path) => path.endsWith(`-${TOPIC}`)) as string;
  // A power cut has left the name that the folder has while its name is made again.
  left.rename(folder, `${folder}.renaming`);
  const started = before.restart(left.afterLosing(() => false));
  started.disk.failsToSync = (path) => path === dirname(folder);
  const bodies = Array.from({ length: 20 }, (_, number) => `${number}`);
  for (const body of bodies.slice(1)) expect(await started.publish(TOPIC, body)).toBe("OK");
  const cut = started.disk.afterLosing(everything);
  expect(cut.paths()).toContain(`${folder}.renaming`);
  const after = started.restart(cut);
  const owes = owed(after.broker, TOPIC, CHANNEL);
  after.abandon();
  expect([...owes].sort()).toEqual(bodies.sort());
});

test("a message that was synced survives a kill, syncs that fail from then on, and a power cut", async () => {
  const before = new CutBroker(newDataPath(), { durability: "fsync", syncTimeoutMs: 1000 });
  before.broker.registry.topic(TOPIC).channel(CHANNEL);
  expect(await before.publish(TOPIC, "synced")).toBe("OK");
  // The run after a kill does not know what was synced, and writes it again in the same sector as the next message.
  const killed = before.kill();
  killed.disk.failsToSync = () => true;
  expect(await killed.publish(TOPIC, "not synced")).not.toBe("OK");
  const { disk } = killed;
  for (let seed = 0; seed < CUTS; seed++) {
    const after = killed.restart(disk.afterCut(disk.moment, new Random(seed)));
    const left = owed(after.broker, TOPIC, CHANNEL);
    after.abandon();
    expect(left).toContain("synced");
  }
}, 60_000);
