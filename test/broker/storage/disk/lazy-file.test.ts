import { expect, test } from "bun:test";
import { LazyFile } from "../../../../src/broker/storage/disk/lazy-file.ts";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";

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
