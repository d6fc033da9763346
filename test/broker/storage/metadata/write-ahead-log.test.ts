import { expect, spyOn, test } from "bun:test";
import { copyFileSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { inspectMetadata } from "../../../../src/broker/storage/metadata/metadata-backup.ts";
import { MetadataStore } from "../../../../src/broker/storage/metadata/metadata-store.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";

/** A store with a channel whose cursor moves. */
class Cursors implements Disposable {
  readonly folder = temporaryFolder();
  readonly store = new MetadataStore(this.folder);
  private readonly topicId = this.store.makeTopic("t", (number) => number)?.id ?? 0;
  private readonly channelId = this.store.addChannel(this.topicId, "c", 0);
  private floor = 0;

  save(count: number, progressBytes = 100): void {
    const rest = { paused: false, voidBefore: 0, requeuesVoidBefore: 0, progress: new Uint8Array(progressBytes) };
    for (let i = 0; i < count; i++) {
      this.store.updateChannel({ id: this.channelId, topicId: this.topicId, name: "c", floor: ++this.floor, ...rest });
    }
  }

  /** @returns why it failed */
  checkpoint(): Promise<Error | undefined> {
    return new Promise((resolve) => this.store.checkpointIfLarge(resolve));
  }

  /** Checksum of the database without its write-ahead log. */
  get database(): number {
    return Bun.hash.crc32(readFileSync(this.store.path));
  }

  get logBytes(): number {
    return statSync(`${this.store.path}-wal`).size;
  }

  get savedFloor(): number | undefined {
    return this.store.channels(this.topicId)[0]?.floor;
  }

  [Symbol.dispose](): void {
    this.store.close();
    removeFolder(this.folder);
  }
}

test("saves only write to the write-ahead log, and a checkpoint first has the log synced off the event loop", async () => {
  using cursors = new Cursors();
  const before = cursors.database;
  cursors.save(3000);
  expect(cursors.database).toBe(before);
  const synced: string[] = [];
  using sync = spyOn(systemDisk, "sync").mockImplementation((_fd, done) => {
    synced.push(cursors.database === before ? "before" : "after");
    setImmediate(done, null);
  });
  const checkpoint = cursors.checkpoint();
  expect(cursors.database).toBe(before);
  await checkpoint;
  expect(cursors.database).not.toBe(before);
  expect([sync.mock.calls.length, ...synced]).toEqual([1, "before"]);
  await cursors.checkpoint();
  expect(sync.mock.calls.length).toBe(1);
});

test("the write-ahead log stays small while cursors move, large ones too", async () => {
  using cursors = new Cursors();
  for (let round = 0; round < 20; round++) {
    cursors.save(500);
    cursors.save(20, 130_000);
    await cursors.checkpoint();
  }
  expect(cursors.logBytes).toBeLessThan(16 * 1024 * 1024);
  expect(cursors.savedFloor).toBe(20 * 520);
});

test("a checkpoint whose sync fails is made later, and one that the end of the store overtakes is not made", async () => {
  using cursors = new Cursors();
  const before = cursors.database;
  cursors.save(2000);
  {
    using _ = spyOn(systemDisk, "sync").mockImplementation((_fd, done) => setImmediate(done, new Error("EIO")));
    expect((await cursors.checkpoint())?.message).toBe("EIO");
    expect(cursors.database).toBe(before);
  }
  await cursors.checkpoint();
  expect(cursors.database).not.toBe(before);
  cursors.save(2000);
  const late = cursors.checkpoint();
  cursors.store.close();
  await late;
  const again = new MetadataStore(join(cursors.folder));
  expect(again.channels(again.topics()[0]?.id ?? 0)[0]?.floor).toBe(4000);
  again.close();
});

test("a write-ahead log whose size the disk does not tell is a checkpoint that failed", async () => {
  using cursors = new Cursors();
  const path = `${cursors.store.path}-wal`;
  rmSync(path);
  symlinkSync(path, path);
  expect((await cursors.checkpoint())?.message).toContain("ELOOP");
});

test("a store that was cut in a page that nothing uses is damaged, and one that a kill left is not", () => {
  const folder = temporaryFolder();
  const store = new MetadataStore(folder);
  const { path } = store;
  const topicId = store.makeTopic("t", (number) => number)?.id ?? 0;
  const id = store.addChannel(topicId, "c", 0);
  const row = { id, topicId, name: "c", paused: false, voidBefore: 0, requeuesVoidBefore: 0, floor: 0 };
  // A large row, and then a small one: pages at the end of the file are free.
  store.updateChannel({ ...row, progress: new Uint8Array(100_000) });
  store.updateChannel({ ...row, progress: new Uint8Array() });
  const killed = temporaryFolder();
  for (const ending of ["", "-wal"]) copyFileSync(path + ending, join(killed, `store${ending}`));
  expect(inspectMetadata(join(killed, "store"))).toBe("sound");
  store.close();
  expect(inspectMetadata(path)).toBe("sound");
  truncateSync(path, statSync(path).size - 100);
  expect(inspectMetadata(path)).toEqual({ damage: expect.stringContaining("no multiple of its page size") });
  removeFolder(folder);
  removeFolder(killed);
});
