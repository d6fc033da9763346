import { expect, test } from "bun:test";
import { BallastFile } from "../../../../src/broker/storage/disk/ballast.ts";
import { FreeSpace } from "../../../../src/broker/storage/disk/free-space.ts";
import { FaultDisk } from "../../../behaviour/power-cut/support/fault-disk.ts";
import { MemoryLogger } from "../../../support/in-process.ts";

const MIB = 1024 * 1024;
const MIN_FREE_BYTES = 16 * MIB;
const BALLAST = "/data/ballast";

/** A disk of 32 MiB whose free space the test sets. */
class SmallDisk extends FaultDisk {
  freeBytes = 32 * MIB;

  constructor() {
    super();
    this.makeDirectory("/data");
  }

  override space(): { freeBytes: number; totalBytes: number } {
    return { freeBytes: this.freeBytes, totalBytes: 32 * MIB };
  }
}

function watch(disk: SmallDisk): { space: FreeSpace; logger: MemoryLogger; changes: boolean[] } {
  const changes: boolean[] = [];
  const logger = new MemoryLogger();
  const ballast = new BallastFile(disk, "/data");
  return { space: new FreeSpace(disk, "/data", MIN_FREE_BYTES, ballast, logger, (low) => changes.push(low)), logger, changes };
}

test("publishes are refused below the minimum, and accepted again a little above it", () => {
  const disk = new SmallDisk();
  const { space, logger, changes } = watch(disk);
  space.check(0);
  expect([space.refusal, space.critical, space.hasRoom]).toEqual([undefined, false, true]);
  disk.freeBytes = MIN_FREE_BYTES - 1;
  space.check(1000);
  expect(space.refusal?.message).toBe("the disk is nearly full: 16777215 bytes are free, --min-free-bytes keeps 16777216");
  expect([space.critical, space.hasRoom]).toEqual([false, false]);
  disk.freeBytes = MIN_FREE_BYTES / 2 - 1;
  space.check(2000);
  expect(space.critical).toBeTrue();
  disk.freeBytes = MIN_FREE_BYTES + 1;
  space.check(3000);
  expect(space.refusal).toBeDefined();
  disk.freeBytes = MIN_FREE_BYTES * 1.06;
  space.check(4000);
  expect(space.refusal).toBeUndefined();
  expect(changes).toEqual([true, false]);
  expect(logger.matching(/DISK: refusing publishes: the disk is nearly full|DISK: accepting publishes again/)).toHaveLength(2);
});

test("free space is measured every 50 ms when a second of publishes could use it up", () => {
  const disk = new SmallDisk();
  const { space } = watch(disk);
  space.check(0);
  disk.freeBytes = 0;
  space.check(49);
  expect(space.refusal).toBeUndefined();
  space.check(50);
  expect(space.refusal).toBeDefined();
});

test("free space is measured every second when there is plenty, and within 50 ms of a failed write", () => {
  const disk = new SmallDisk();
  const { space } = watch(disk);
  disk.freeBytes = 2 ** 40;
  space.check(0);
  disk.freeBytes = 0;
  space.check(999);
  expect(space.refusal).toBeUndefined();
  space.failed(100);
  space.check(150);
  expect(space.refusal).toBeDefined();
});

test("a disk that does not report its free space changes nothing, and is logged", () => {
  const disk = new SmallDisk();
  const { space, logger, changes } = watch(disk);
  disk.space = () => {
    throw new Error("EIO");
  };
  space.check(0);
  expect(changes).toBeEmpty();
  expect(logger.matching(/DISK: cannot read the free space of \/data: EIO/)).toHaveLength(1);
});

test("the ballast takes a 32nd of a small disk, if there is plenty of room", () => {
  const disk = new SmallDisk();
  const ballast = new BallastFile(disk, "/data");
  disk.freeBytes = MIN_FREE_BYTES + 2 * MIB - 1;
  ballast.create(MIN_FREE_BYTES);
  expect([ballast.exists, disk.exists(BALLAST)]).toEqual([false, false]);
  disk.freeBytes = MIN_FREE_BYTES + 2 * MIB;
  ballast.create(MIN_FREE_BYTES);
  expect([ballast.exists, disk.sizeOf(BALLAST), disk.list("/data")]).toEqual([true, MIB, ["ballast"]]);
  expect(new BallastFile(disk, "/data").exists).toBeTrue();
});

test("work for which the full disk has no room is done once more without the ballast, and then no more", () => {
  const disk = new SmallDisk();
  const ballast = new BallastFile(disk, "/data");
  ballast.create(MIN_FREE_BYTES);
  const full = Object.assign(new Error("no space left"), { code: "ENOSPC" });
  let attempts = 0;
  const work = () => {
    attempts++;
    if (disk.exists(BALLAST)) throw full;
    return "done";
  };
  expect(ballast.use(work)).toBe("done");
  expect([attempts, ballast.exists]).toEqual([2, false]);
  const refused = () => {
    throw full;
  };
  expect(() => ballast.use(refused)).toThrow("no space left");
});
