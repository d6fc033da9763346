import { expect, test } from "bun:test";
import { LazyFile } from "../../../../src/broker/storage/disk/lazy-file.ts";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";
import { Random } from "../../../support/random.ts";

const PATH = "/data/file";

function folder(): FaultDisk {
  const disk = new FaultDisk();
  disk.makeDirectory("/data");
  return disk;
}

test("the first use opens a file, and so does the first use after it was closed", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  expect([file.isOpen, disk.exists(PATH)]).toEqual([false, false]);
  file.write(Buffer.from("abc"), 0, 3, 0);
  expect([file.isOpen, file.unsynced, file.nameUnsynced]).toEqual([true, true, true]);
  file.close();
  expect(file.isOpen).toBeFalse();
  const read = Buffer.alloc(3);
  file.read(read, 0, 2, 1);
  expect(read.toString()).toBe("bc\0");
  expect([file.isOpen, file.size]).toEqual([true, 3]);
});

test("using a missing file that may not be created is an error, and so is syncing it", () => {
  const file = new LazyFile(folder(), PATH);
  expect(() => file.size).toThrow("ENOENT");
  let failure: Error | undefined;
  file.sync((error) => {
    failure = error;
  });
  expect(failure?.message).toContain("ENOENT");
  file.create();
  expect(file.size).toBe(0);
});

test("read() needs all bytes, and readUpTo() takes those that the file has", () => {
  const file = new LazyFile(folder(), PATH, "create");
  file.write(Buffer.from("abc"), 0, 3, 0);
  expect(file.readUpTo(Buffer.alloc(8), 0, 8, 0)).toBe(3);
  expect(() => file.read(Buffer.alloc(8), 0, 8, 0)).toThrow("file ends 5 bytes early");
});

test("a file that is closed during a sync stays open until the sync ends, and longer if it is used again", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  let synced = 0;
  const sync = () => file.sync(() => synced++);
  file.write(Buffer.from("a"), 0, 1, 0);
  sync();
  expect(file.unsynced).toBeFalse();
  file.close();
  expect(file.isOpen).toBeTrue();
  disk.endSync();
  expect([file.isOpen, synced]).toEqual([false, 1]);

  sync();
  sync();
  file.close();
  disk.endSync();
  expect(file.isOpen).toBeTrue();
  disk.endSync();
  expect([file.isOpen, synced]).toEqual([false, 3]);

  sync();
  file.close();
  file.write(Buffer.from("b"), 0, 1, 1);
  disk.endSync();
  expect([file.isOpen, file.unsynced]).toEqual([true, true]);
});

test("a renamed or removed file stays open", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  file.write(Buffer.from("abc"), 0, 3, 0);
  file.nameUnsynced = false;
  file.rename("/data/other");
  expect([file.path, file.nameUnsynced, disk.exists(PATH)]).toEqual(["/data/other", true, false]);
  file.remove();
  expect([file.size, disk.exists("/data/other")]).toEqual([3, false]);
  file.remove();
});

/** Ends all syncs under way, and those that they make necessary. */
function endSyncs(disk: FaultDisk): void {
  while (disk.waiting > 0) disk.endSync();
}

/** What a power cut leaves of the file, at worst. */
function leftOf(disk: FaultDisk): string {
  const seeds = Array.from({ length: 20 }, (_, i) => i);
  const contents = seeds.map((seed) => disk.afterCut(disk.moment, new Random(seed)).content(PATH).toString());
  return contents.reduce((worst, content) => (content.length < worst.length ? content : worst));
}

for (const times of [1, 3]) {
  test(`what a sync lost that failed ${times} times is written again before a later sync counts`, () => {
    const disk = folder();
    const file = new LazyFile(disk, PATH, "create");
    file.create();
    disk.syncDirectoryNow("/data");
    disk.syncDirectoryNow("/");
    const results: (string | undefined)[] = [];
    const sync = () => file.sync((error) => results.push(error?.message));
    file.write(Buffer.from("abc"), 0, 3, 0);
    sync();
    endSyncs(disk);
    let left = times;
    disk.failsToSync = () => left-- > 0;
    file.write(Buffer.from("def"), 0, 3, 3);
    for (let i = 0; i < times; i++) {
      sync();
      // It is written while the sync is under way, and no sync of it fails.
      file.write(Buffer.from(`${i}`), 0, 1, 6 + i);
      endSyncs(disk);
      expect(file.unsynced).toBeTrue();
    }
    sync();
    endSyncs(disk);
    expect(results).toEqual([undefined, ...Array(times).fill("EIO: /data/file"), undefined]);
    expect(leftOf(disk)).toBe(times === 1 ? "abcdef0" : "abcdef012");
  });
}

test("a truncation is made again as well", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  file.create();
  disk.syncDirectoryNow("/data");
  disk.syncDirectoryNow("/");
  file.write(Buffer.from("abcdef"), 0, 6, 0);
  file.sync(() => {});
  endSyncs(disk);
  disk.failsToSync = () => true;
  file.truncate(3);
  file.sync(() => {});
  endSyncs(disk);
  disk.failsToSync = () => false;
  file.sync(() => {});
  endSyncs(disk);
  expect(disk.afterCut(disk.moment, new Random(1)).content(PATH).toString()).toBe("abc");
});

test("a sync fails as long as what was written again does not match its checksums", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  let problem: Error | undefined = new Error("these bytes are others");
  const checked: [number, number][] = [];
  file.check = (from, to) => {
    checked.push([from, to]);
    return problem;
  };
  const results: (string | undefined)[] = [];
  const sync = () => {
    file.sync((error) => results.push(error?.message));
    endSyncs(disk);
  };
  file.write(Buffer.from("abcdef"), 0, 6, 0);
  disk.failsToSync = () => true;
  sync();
  disk.failsToSync = () => false;
  sync();
  sync();
  problem = undefined;
  sync();
  expect(results).toEqual(["EIO: /data/file", "these bytes are others", "these bytes are others", undefined]);
  expect(checked).toEqual(Array(3).fill([0, 6]));
  file.write(Buffer.from("g"), 0, 1, 6);
  sync();
  expect([checked.length, results.at(-1)]).toEqual([3, undefined]);
});

test("no two syncs of a file overlap, and who asks for one during another waits for one that begins after it", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  const ended: number[] = [];
  file.write(Buffer.from("a"), 0, 1, 0);
  file.sync(() => ended.push(1));
  file.write(Buffer.from("b"), 0, 1, 1);
  file.sync(() => ended.push(2));
  file.sync(() => ended.push(3));
  expect(disk.waiting).toBe(1);
  disk.endSync();
  expect([ended, disk.waiting]).toEqual([[1], 1]);
  disk.endSync();
  expect(ended).toEqual([1, 2, 3]);
});

test("much that was lost is written again in pieces, each of which is synced before the next", () => {
  const disk = folder();
  const file = new LazyFile(disk, PATH, "create");
  file.create();
  disk.syncDirectoryNow("/data");
  disk.syncDirectoryNow("/");
  const bytes = Buffer.alloc(9 * 1024 * 1024, "x");
  file.write(bytes, 0, bytes.length, 0);
  let syncs = 0;
  disk.failsToSync = () => syncs++ === 0;
  file.sync(() => {});
  endSyncs(disk);
  let failure: Error | undefined;
  file.sync((error) => {
    failure = error;
  });
  endSyncs(disk);
  expect([failure, syncs, file.unsynced]).toEqual([undefined, 3, false]);
  expect(disk.afterCut(disk.moment, new Random(1)).content(PATH).equals(bytes)).toBeTrue();
});
