import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Disk, systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { InProcess, messages } from "../../support/in-process.ts";

function topicsOf(server: InProcess): string {
  return join(server.dataPath, "bunsq-data", "topics");
}

function foldersOf(server: InProcess): string[] {
  return readdirSync(topicsOf(server))
    .filter((name) => !name.startsWith("catalogue"))
    .sort();
}

async function bodies(server: InProcess, topic: string, count: number): Promise<string[]> {
  const consumer = await server.consumer(topic, "c", count);
  return (await messages(consumer, count)).map(({ text }) => text);
}

/** A disk that does not remove some files. */
function sticky(): Disk & { sticks: (path: string) => boolean } {
  const failure = (path: string) => Object.assign(new Error(`EIO: i/o error, unlink '${path}'`), { code: "EIO" });
  const disk = {
    ...systemDisk,
    sticks: (_path: string) => false,
    remove(path: string) {
      if (disk.sticks(path)) throw failure(path);
      systemDisk.remove(path);
    },
    removeLater(path: string, done: (error: NodeJS.ErrnoException | null) => void) {
      if (disk.sticks(path)) done(failure(path));
      else systemDisk.removeLater(path, done);
    },
    rename(from: string, to: string) {
      // A segment that goes to the recycler is renamed out of its folder.
      if (disk.sticks(from)) throw failure(from);
      systemDisk.rename(from, to);
    },
  };
  return disk;
}

test("a folder inside a topic's folder stays when the topic is deleted, keeps no broker from starting, and costs no later topic a message", async () => {
  await using server = InProcess.start();
  await server.publish("t", "old");
  const [{ id }] = server.broker.registry.topic("t").partitions;
  mkdirSync(join(topicsOf(server), "00000-t", "backup"));
  writeFileSync(join(topicsOf(server), "00000-t", "backup", "notes"), "an operator's");
  expect(server.broker.registry.deleteTopic("t")).toBeTrue();
  expect(foldersOf(server)).toEqual([`deleted-${id}`]);
  expect(readdirSync(join(topicsOf(server), `deleted-${id}`))).toEqual(["backup"]);
  await server.publish("t", "new 1", "new 2");
  for (let start = 0; start < 2; start++) {
    await server.restart();
    expect(
      server.broker.registry.topic("t").partitions[0].log.next - server.broker.registry.topic("t").partitions[0].log.startSequence,
    ).toBe(2);
    expect(existsSync(join(topicsOf(server), `deleted-${id}`, "backup", "notes"))).toBeTrue();
    expect(server.log.matching(/WARNING: cannot remove .*deleted-\d+, which a deleted topic left: .*; remove it by hand/)).toHaveLength(
      start + 1,
    );
  }
  expect(await bodies(server, "t", 2)).toEqual(["new 1", "new 2"]);
});

for (const [what, sticks] of [
  ["one segment", (path: string) => path.endsWith(".log")],
  ["one index", (path: string) => path.endsWith(".idx")],
  ["the topic's file", (path: string) => path.endsWith("/topic")],
] as const) {
  test(`a topic stays deleted, and one that is made again stays, when the disk does not remove ${what}`, async () => {
    const disk = sticky();
    await using server = InProcess.start({}, { disk });
    await server.publish("t", "old");
    await server.publish("other", "x");
    disk.sticks = (path) => path.includes("topics/") && sticks(path);
    expect(server.broker.registry.deleteTopic("t")).toBeTrue();
    await server.publish("t", "new");
    await server.restart();
    expect([...server.broker.registry.topics.keys()].toSorted()).toEqual(["other", "t"]);
    disk.sticks = () => false;
    await server.restart();
    expect(await bodies(server, "t", 1)).toEqual(["new"]);
    expect(await bodies(server, "other", 1)).toEqual(["x"]);
    await server.broker.recycler.folders.done();
    expect(foldersOf(server)).toEqual(["00000-t", "00001-other"]);
  });
}

test("a deletion that a crash cut short after the folder was renamed is finished at the next start, without a word", async () => {
  await using server = InProcess.start();
  await server.publish("gone", "1");
  await server.publish("stays", "2");
  const [{ id, log }] = server.broker.registry.topic("gone").partitions;
  const { next } = log;
  await server.broker.close();
  systemDisk.rename(join(topicsOf(server), "00000-gone"), join(topicsOf(server), `deleted-${id}`));
  server.reopen();
  expect([...server.broker.registry.topics.keys()]).toEqual(["stays"]);
  await server.broker.recycler.folders.done();
  expect(foldersOf(server)).toEqual(["00001-stays"]);
  expect(server.log.matching(/ERROR|WARNING/)).toBeEmpty();
  await server.publish("gone", "3");
  expect(server.broker.registry.topic("gone").partitions[0].log.startSequence).toBeGreaterThanOrEqual(next);
  expect(await bodies(server, "gone", 1)).toEqual(["3"]);
});

test("a topic whose folder cannot be renamed is not deleted, and goes on as before", async () => {
  const disk = sticky();
  await using server = InProcess.start({}, { disk });
  await server.publish("t", "1");
  disk.sticks = (path) => path.endsWith("-t");
  expect(() => server.broker.registry.deleteTopic("t")).toThrow("NOT_STORED");
  await server.publish("t", "2");
  await server.restart();
  expect(await bodies(server, "t", 2)).toEqual(["1", "2"]);
  disk.sticks = () => false;
  expect(server.broker.registry.deleteTopic("t")).toBeTrue();
  expect(foldersOf(server)).toEqual([]);
});

test("a topic whose folder somebody has removed can be deleted and made again", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1");
  rmSync(join(topicsOf(server), "00000-t"), { recursive: true });
  expect(server.broker.registry.deleteTopic("t")).toBeTrue();
  await server.publish("t", "2");
  await server.restart();
  expect(await bodies(server, "t", 1)).toEqual(["2"]);
});

test("where a folder of one partition cannot be renamed, the whole topic stays as it is, over a restart", async () => {
  const refused = { name: "" };
  const disk = {
    ...systemDisk,
    rename(from: string, to: string) {
      if (refused.name !== "" && from.endsWith(refused.name))
        throw Object.assign(new Error(`EIO: i/o error, rename '${from}'`), { code: "EIO" });
      systemDisk.rename(from, to);
    },
  };
  await using server = InProcess.start({}, { disk });
  server.broker.registry.topicWith("t", 4).channel("c");
  await server.publish("t", "0", "1", "2", "3");
  const folders = ["00000-t", "00001-t@1", "00002-t@2", "00003-t@3"];
  for (const { name } of server.broker.registry.topic("t").partitions) {
    refused.name = `-${name}`;
    expect(() => server.broker.registry.deleteTopic("t")).toThrow("NOT_STORED");
    expect(foldersOf(server)).toEqual(folders);
  }
  await server.publish("t", "4", "5", "6", "7");
  await server.restart();
  expect(server.broker.registry.topic("t").channel("c").depth).toBe(8);
  refused.name = "";
  expect(server.broker.registry.deleteTopic("t")).toBeTrue();
  await server.restart();
  expect(server.broker.registry.topics.size).toBe(0);
});
