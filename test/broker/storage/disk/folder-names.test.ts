import { expect, test } from "bun:test";
import { FolderNames, listRenamed } from "../../../../src/broker/storage/disk/folder-names.ts";
import { LazyFile } from "../../../../src/broker/storage/disk/lazy-file.ts";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";
import { Random } from "../../../support/random.ts";

const FOLDER = "/data";

function folder(): { disk: FaultDisk; names: FolderNames } {
  const disk = new FaultDisk();
  disk.makeDirectory(FOLDER);
  disk.syncDirectoryNow("/");
  return { disk, names: new FolderNames(disk, FOLDER) };
}

/** The names that every power cut leaves. */
function namesLeft(disk: FaultDisk): string[] {
  const lists = Array.from({ length: 20 }, (_, seed) => disk.afterCut(disk.moment, new Random(seed)).list(FOLDER));
  return disk.list(FOLDER).filter((name) => lists.every((list) => list.includes(name)));
}

test("a name whose sync failed is made again before a later sync counts, in all files of the folder", () => {
  const { disk, names } = folder();
  const [one, two] = ["one", "two"].map((name) => new LazyFile(disk, `${FOLDER}/${name}`, "create", names));
  one?.create();
  let fails = true;
  disk.failsToSync = () => fails;
  const results: (string | undefined)[] = [];
  names.sync((error) => results.push(error?.message));
  // Its name is in the folder while the sync is under way that fails.
  two?.create();
  disk.endSync();
  expect([results, one?.nameUnsynced, two?.nameUnsynced]).toEqual([["EIO: /data"], true, true]);
  fails = false;
  names.sync((error) => results.push(error?.message));
  disk.endSync();
  expect(results).toEqual(["EIO: /data", undefined]);
  expect([one?.nameUnsynced, two?.nameUnsynced]).toEqual([false, false]);
  expect(namesLeft(disk).sort()).toEqual(["one", "two"]);
});

test("who asks for a sync during another waits for one that begins after it, and nothing is synced twice", () => {
  const { disk, names } = folder();
  const ended: string[] = [];
  new LazyFile(disk, `${FOLDER}/one`, "create", names).create();
  names.sync(() => ended.push("one"));
  names.sync(() => ended.push("again"));
  disk.endSync();
  expect([ended, disk.waiting]).toEqual([["one", "again"], 0]);
  new LazyFile(disk, `${FOLDER}/two`, "create", names).create();
  names.sync(() => ended.push("two"));
  new LazyFile(disk, `${FOLDER}/three`, "create", names).create();
  names.sync(() => ended.push("three"));
  disk.endSync();
  expect([ended, disk.waiting]).toEqual([["one", "again", "two"], 1]);
  disk.endSync();
  names.sync(() => ended.push("none"));
  expect([ended.slice(3), disk.waiting]).toEqual([["three", "none"], 0]);
  names.sync(() => ended.push("a removal"), true);
  expect(disk.waiting).toBe(1);
});

test("a file that was removed or moved away needs no sync of its name", () => {
  const { disk, names } = folder();
  disk.makeDirectory("/other");
  const [removed, moved] = ["removed", "moved"].map((name) => new LazyFile(disk, `${FOLDER}/${name}`, "create", names));
  removed?.create();
  moved?.create();
  removed?.remove();
  moved?.rename("/other/moved");
  let ended = false;
  names.sync(() => {
    ended = true;
  });
  expect([ended, disk.waiting]).toEqual([true, 0]);
});

test("a start gives files and folders their names back that an earlier run was making again", () => {
  const { disk } = folder();
  for (const name of ["one.renaming", "two", "two.renaming"]) disk.close(disk.open(`${FOLDER}/${name}`, "w+"));
  disk.makeDirectory(`${FOLDER}/log.renaming`);
  disk.close(disk.open(`${FOLDER}/log.renaming/records`, "w+"));
  listRenamed(disk, FOLDER);
  expect(disk.list(FOLDER).sort()).toEqual(["log", "one", "two", "two.renaming"]);
  expect(disk.list(`${FOLDER}/log`)).toEqual(["records"]);
});

test("a sync counts for nothing during which another one failed: the kernel may have dropped what both were to cover", () => {
  const { disk, names } = folder();
  const one = new LazyFile(disk, `${FOLDER}/one`, "create", names);
  one.create();
  const results: (string | undefined)[] = [];
  names.sync((error) => results.push(error?.message));
  disk.failsToSync = () => true;
  expect(() => names.syncRemovalNow()).toThrow("EIO");
  disk.failsToSync = () => false;
  disk.endSync();
  // The name was made again, and is being synced.
  expect([results, one.nameUnsynced, disk.waiting]).toEqual([[], true, 1]);
  disk.endSync();
  expect([results, one.nameUnsynced]).toEqual([[undefined], false]);
  expect(namesLeft(disk)).toEqual(["one"]);
});
