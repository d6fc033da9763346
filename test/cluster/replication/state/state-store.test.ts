import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import type { StateChange } from "../../../../src/cluster/replication/state/replica-state.ts";
import { StateStore } from "../../../../src/cluster/replication/state/state-store.ts";
import { FailingDatabase } from "../../../support/failing-database.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { until } from "../../../support/server.ts";

function put(key: string, number: number, value = `${key} ${number}`): StateChange {
  return { key, epoch: 3, number, value: Buffer.from(value) };
}

/** A store whose turns end when the test says so. */
function open(folder: string) {
  const turns: (() => void)[] = [];
  const store = new StateStore(folder, { callAfterTurn: (callback) => turns.push(callback) }, NO_BALLAST);
  const endTurn = () => {
    for (const end of turns.splice(0)) end();
  };
  return { store, endTurn, one: store.of(1, () => false), other: store.of(2, () => true) };
}

function withFolder(play: (folder: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const folder = temporaryFolder();
    try {
      await play(folder);
    } finally {
      removeFolder(folder);
    }
  };
}

test(
  "what was stored is there after a restart, by partition and in the order of the keys",
  withFolder(async (folder) => {
    const { store, endTurn, one, other } = open(folder);
    const told: string[] = [];
    one.apply([put("b", 1), put("a", 2), put("c", 3)], () => told.push("one"));
    other.apply([put("b", 9)], () => told.push("other"));
    one.apply([put("b", 4), { key: "c", epoch: 3, number: 5, value: undefined }], () => told.push("again"));
    expect([told, one.get("b")?.number]).toEqual([[], 4]);
    endTurn();
    expect(told).toEqual(["one", "again"]);
    // The other one waits for the disk.
    await until("the sync", () => told.length === 3);
    store.close();
    const after = open(folder);
    expect(after.one.keysAfter("", 9)).toEqual([
      { key: "a", epoch: 3, number: 2 },
      { key: "b", epoch: 3, number: 4 },
    ]);
    expect(after.one.keysAfter("a", 9).map(({ key }) => key)).toEqual(["b"]);
    expect(after.one.keysAfter("", 1).map(({ key }) => key)).toEqual(["a"]);
    expect(after.one.get("a")?.value.toString()).toBe("a 2");
    expect(after.other.keysAfter("", 9).length).toBe(1);
    expect(after.store.damaged.size).toBe(0);
    after.store.remove(2);
    after.endTurn();
    expect(after.other.keysAfter("", 9)).toEqual([]);
    after.store.close();
  }),
);

test(
  "a large log whose sync ends within a turn is emptied when that has ended",
  withFolder(async (folder) => {
    const { store, endTurn, one } = open(folder);
    one.apply([put("a", 1, "x".repeat(5 * 1024 * 1024))], () => {});
    endTurn();
    const logBytes = () => statSync(join(folder, "cluster-state.sqlite-wal")).size;
    expect(logBytes()).toBeGreaterThan(5 * 1024 * 1024);
    const told: (Error | undefined)[] = [];
    let synced = 0;
    const sync = spyOn(systemDisk, "sync").mockImplementation((_fd, done) => {
      synced++;
      queueMicrotask(() => done(null));
    });
    try {
      store.review((failure) => told.push(failure));
      one.apply([put("b", 2)], () => {});
      await until("the log is synced", () => synced === 1);
      await Bun.sleep(0);
      expect(told).toEqual([]);
      endTurn();
      expect([told, logBytes()]).toEqual([[undefined], 0]);
    } finally {
      sync.mockRestore();
    }
    store.close();
    const after = open(folder);
    expect(after.one.keysAfter("", 9).map(({ number }) => number)).toEqual([1, 2]);
    after.store.close();
  }),
);

test(
  "where a change of a turn fails, none of the turn is made, and all who wait are told",
  withFolder((folder) => {
    let isFailing = false;
    using _failing = new FailingDatabase((call) => {
      if (isFailing && call !== "read") throw new Error("disk I/O error");
    });
    const { store, endTurn, one, other } = open(folder);
    const told: (string | undefined)[] = [];
    const done = (failure: Error | undefined) => void told.push(failure?.message);
    one.apply([put("a", 1)], done);
    endTurn();
    one.apply([put("b", 2)], done);
    isFailing = true;
    other.apply([put("c", 3)], done);
    isFailing = false;
    one.apply([put("d", 4)], done);
    endTurn();
    expect(told).toEqual([undefined, "disk I/O error", "disk I/O error", "disk I/O error"]);
    expect([...one.keysAfter("", 9), ...other.keysAfter("", 9)].map(({ key }) => key)).toEqual(["a"]);
    one.apply([put("b", 5)], done);
    endTurn();
    expect(told.at(-1)).toBeUndefined();
    expect(one.get("b")?.number).toBe(5);
    store.close();
  }),
);

test(
  "a value that is damaged is removed at the start, and its partition is named",
  withFolder((folder) => {
    const { store, endTurn, one } = open(folder);
    one.apply([put("a", 1), put("b", 2)], () => {});
    endTurn();
    store.close();
    const database = new Database(join(folder, "cluster-state.sqlite"));
    database.run("UPDATE state SET value = x'00' WHERE key = 'a'");
    database.close();
    const after = open(folder);
    expect([...after.store.damaged]).toEqual([1]);
    expect(after.one.keysAfter("", 9).map(({ key }) => key)).toEqual(["b"]);
    after.store.close();
  }),
);
