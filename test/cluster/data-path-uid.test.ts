import { expect, test } from "bun:test";
import { StartError } from "../../src/base/start-error.ts";
import type { Disk } from "../../src/broker/storage/disk/disk.ts";
import { dataPathUid } from "../../src/cluster/data-path-uid.ts";
import { FaultDisk } from "../behaviour/power-cut/support/fault-disk.ts";
import { Random } from "../support/random.ts";

const FOLDER = "/data/bunsq-data";
const PATH = `${FOLDER}/data-path`;

function emptyDisk(): FaultDisk {
  const disk = new FaultDisk();
  disk.makeDirectory(FOLDER);
  disk.syncDirectoryNow("/");
  disk.syncDirectoryNow("/data");
  return disk;
}

const random = new Random(1);
const source = (target: Buffer) => {
  for (let i = 0; i < target.length; i++) target[i] = random.int(0, 255);
};

function write(disk: FaultDisk, text: string): void {
  const fd = disk.open(PATH, "w+");
  disk.write(fd, Buffer.from(text), 0, text.length, 0);
  disk.close(fd);
}

/** A disk whose call number `failing` fails. */
function failingAt(disk: FaultDisk, failing: number): { disk: Disk; calls: () => number } {
  let calls = 0;
  const proxy = new Proxy<Disk>(disk, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        if (calls++ === failing) throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
        return Reflect.apply(value, target, given);
      };
    },
  });
  return { disk: proxy, calls: () => calls };
}

test("a data path gets a uid once, and each one another", () => {
  const disk = emptyDisk();
  const uid = dataPathUid(disk, FOLDER, source);
  expect(uid).toMatch(/^[0-9a-f]{32}$/);
  expect(dataPathUid(disk, FOLDER, source)).toBe(uid);
  expect(disk.content(PATH).toString()).toBe(`{"uid":"${uid}"}\n`);
  expect(dataPathUid(emptyDisk(), FOLDER, source)).not.toBe(uid);
});

test("a power cut leaves it as it was told, or a data path that gets another one", () => {
  for (let round = 0; round < 200; round++) {
    const disk = emptyDisk();
    const start = disk.moment;
    const uid = dataPathUid(disk, FOLDER, source);
    expect(dataPathUid(disk.afterCut(disk.moment, random), FOLDER, source)).toBe(uid);
    for (let moment = start; moment < disk.moment; moment++) {
      const after = disk.afterCut(moment, random);
      const again = dataPathUid(after, FOLDER, source);
      expect(dataPathUid(after, FOLDER, source)).toBe(again);
    }
  }
});

test("whichever call to the disk fails, it is refused, and another start gives one that stays", () => {
  const { calls } = failingAt(emptyDisk(), -1);
  expect(calls()).toBe(0);
  for (const isMade of [false, true]) {
    for (let failing = 0; ; failing++) {
      const memory = emptyDisk();
      const before = isMade ? dataPathUid(memory, FOLDER, source) : undefined;
      const { disk, calls } = failingAt(memory, failing);
      try {
        dataPathUid(disk, FOLDER, source);
        // A failed close is no harm.
        if (calls() <= failing) break;
      } catch (error) {
        expect(error).toBeInstanceOf(StartError);
      }
      const after = dataPathUid(memory, FOLDER, source);
      if (before !== undefined) expect(after).toBe(before);
      expect(dataPathUid(memory.afterCut(memory.moment, random), FOLDER, source)).toBe(after);
    }
  }
});

test("a damaged one is not replaced", () => {
  for (const text of ["", "{", '{"uid":"00"}\n', `{"uid":"${"0".repeat(32)}"}`, "x".repeat(10_000)]) {
    const disk = emptyDisk();
    write(disk, text);
    expect(() => dataPathUid(disk, FOLDER, source)).toThrow("is damaged");
    expect(disk.content(PATH).toString()).toBe(text);
  }
});
