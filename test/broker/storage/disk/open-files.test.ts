import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { DescriptorBudget } from "../../../../src/base/descriptor-budget.ts";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { OpenFiles } from "../../../../src/broker/storage/disk/open-files.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

/** A share that is alone gets 20 descriptors of a limit of 40. */
const LIMIT = 40;
const MOST = 20;

/** Counts the descriptors of the disk below, and says in which order files were closed. */
class CountingDisk {
  open = 0;
  most = 0;
  readonly closed: string[] = [];
  /** Syncs that were asked for and do not end before the test says so. */
  readonly syncs: { fd: number; end: (error: NodeJS.ErrnoException | null) => void }[] = [];
  /** The number of descriptors at which the system says that there are too many. */
  limit = Number.POSITIVE_INFINITY;
  private readonly paths = new Map<number, string>();

  readonly disk: Disk = {
    ...systemDisk,
    open: (path, flags) => {
      if (this.open >= this.limit) throw Object.assign(new Error("EMFILE"), { code: "EMFILE" });
      const fd = systemDisk.open(path, flags);
      this.paths.set(fd, path);
      this.most = Math.max(this.most, ++this.open);
      return fd;
    },
    close: (fd) => {
      this.open--;
      this.closed.push(this.paths.get(fd) ?? "");
      systemDisk.close(fd);
    },
    sync: (fd, end) => {
      this.syncs.push({ fd, end });
    },
  };
}

function start(limit = LIMIT) {
  const below = new CountingDisk();
  return { below, files: new OpenFiles(below.disk, new DescriptorBudget(limit)) };
}

const path = (name: number | string) => join(folder, String(name));
const put = (files: OpenFiles, handle: number, text: string) => files.write(handle, Buffer.from(text), 0, text.length, 0);
function get(files: OpenFiles, handle: number, length: number): string {
  const buffer = Buffer.alloc(length);
  return buffer.toString("latin1", 0, files.read(handle, buffer, 0, length, 0));
}

test("many more files are open than there are descriptors, and each keeps its bytes", () => {
  const { below, files } = start();
  const seed = seedFromEnvironment();
  console.log(`open files: BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  const handles = Array.from({ length: 200 }, (_, i) => files.open(path(i), "w+"));
  const contents = handles.map((handle, i) => {
    put(files, handle, `first ${i}`);
    return `first ${i}`;
  });
  for (let i = 0; i < 2000; i++) {
    const at = random.int(0, handles.length - 1);
    expect(get(files, handles[at], 100)).toBe(contents[at]);
    contents[at] = `again ${i}`.padEnd(contents[at].length);
    put(files, handles[at], contents[at]);
    expect(files.size(handles[at])).toBe(contents[at].length);
  }
  expect(below.most).toBe(MOST);
  for (const handle of handles) files.close(handle);
  expect(below.open).toBe(0);
});

test("the file that was used least recently is closed first", () => {
  const { below, files } = start();
  const handles = Array.from({ length: MOST }, (_, i) => files.open(path(i), "w+"));
  for (const i of [0, 2, 1]) files.size(handles[i]);
  for (let i = 0; i < MOST; i++) files.open(path(`more ${i}`), "w+");
  const order = [...handles.keys()].filter((i) => i > 2);
  expect(below.closed).toEqual([...order, 0, 2, 1].map(path));
});

test("a file that is being synced keeps its descriptor, also when it is closed meanwhile", () => {
  const { below, files } = start();
  const synced = files.open(path("synced"), "w+");
  put(files, synced, "bytes");
  let ended = 0;
  files.sync(synced, () => ended++);
  files.sync(synced, () => ended++);
  const others = Array.from({ length: 3 * MOST }, (_, i) => files.open(path(i), "w+"));
  expect(below.closed).not.toContain(path("synced"));
  files.close(synced);
  for (const handle of others) files.size(handle);
  expect(below.closed).not.toContain(path("synced"));
  below.syncs[0].end(null);
  expect(below.closed).not.toContain(path("synced"));
  below.syncs[1].end(null);
  expect(below.closed).toContain(path("synced"));
  expect(ended).toBe(2);
});

test("syncs of more files than there are descriptors all end, and run on no descriptor that was closed", () => {
  const { below, files } = start();
  const handles = Array.from({ length: 500 }, (_, i) => files.open(path(i), "w+"));
  let ended = 0;
  for (const handle of handles) files.sync(handle, (error) => expect([ended++, error]).toEqual([ended - 1, null]));
  for (let at = 0; at < below.syncs.length; at++) {
    const { fd, end } = below.syncs[at];
    expect(() => systemDisk.size(fd)).not.toThrow();
    end(null);
  }
  expect(ended).toBe(500);
  // As many as run at a time may exceed the share.
  expect(below.most).toBeLessThanOrEqual(32 + 1);
});

test("a file that was renamed is opened again by its new name, and one that was removed is not mistaken for its successor", () => {
  const { files } = start();
  const renamed = files.open(path("old"), "w+");
  put(files, renamed, "renamed");
  const removed = files.open(path("gone"), "w+");
  put(files, removed, "removed");
  const evicted = files.open(path("evicted"), "w+");
  put(files, evicted, "evicted");
  for (let i = 0; i < MOST; i++) files.open(path(i), "w+");
  files.rename(path("old"), path("new"));
  expect(get(files, removed, 10)).toBe("removed");
  files.remove(path("gone"));
  files.remove(path("evicted"));
  for (const name of ["gone", "evicted"]) put(files, files.open(path(name), "w+"), "another");
  for (let i = 0; i < MOST; i++) files.open(path(`more ${i}`), "w+");
  expect(get(files, renamed, 10)).toBe("renamed");
  expect(get(files, removed, 10)).toBe("removed");
  expect(() => get(files, evicted, 10)).toThrow("was removed");
  let failure: unknown;
  files.sync(evicted, (error) => {
    failure = error;
  });
  expect(failure).toBeNull();
});

test("idle files give their descriptors back, and the next use opens them again", () => {
  const { below, files } = start();
  files.closeIdle(1000);
  const handles = [0, 1, 2].map((i) => files.open(path(i), "w+"));
  for (const [i, handle] of handles.entries()) put(files, handle, `${i}`);
  files.closeIdle(9000);
  files.size(handles[1]);
  files.closeIdle(11_000);
  expect(below.closed).toEqual([path(0), path(2)]);
  expect(handles.map((handle) => get(files, handle, 1))).toEqual(["0", "1", "2"]);
  files.closeIdle(31_000);
  expect(below.open).toBe(0);
});

test("when the system has no descriptor left although the budget has, files are closed to get one", () => {
  const { below, files } = start(1000);
  below.limit = 12;
  const handles = Array.from({ length: 100 }, (_, i) => files.open(path(i), "w+"));
  for (const [i, handle] of handles.entries()) put(files, handle, `${i}`);
  expect(handles.map((handle) => get(files, handle, 3))).toEqual(handles.map((_, i) => `${i}`));
});

test("a file that cannot be opened takes no descriptor of the budget", () => {
  const { files } = start();
  for (let i = 0; i < 3 * MOST; i++) expect(() => files.open(path("missing"), "r")).toThrow("ENOENT");
  expect(files.descriptors).toBe(0);
});
