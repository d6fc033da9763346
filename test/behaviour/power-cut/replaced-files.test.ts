import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";
import type { FaultDisk, UnsyncedChange } from "./support/fault-disk.ts";

const MEMORY_FOLDER = "/dev/shm";
const TOPIC = "t";
const CHANNEL = "c";
const LONG_MS = 100_000;

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
});

function start(): CutBroker {
  const folder = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
  folders.push(folder);
  const server = new CutBroker(folder, { durability: "fsync", syncTimeoutMs: 20_000, idempotencyWindowMs: 3_600_000 });
  server.broker.registry.topic(TOPIC).channel(CHANNEL);
  return server;
}

/** The names are there, and what is in the files is not. */
const bytes = ({ kind }: UnsyncedChange) => kind !== "names";
/** The old names are gone, and the new ones are not there. */
const newNames = ({ kind, path }: UnsyncedChange) => kind === "names" && !path.endsWith(".damaged");
const everything = () => true;

/** Flips a bit of the only file whose name ends so. */
function damage(disk: FaultDisk, ending: string, at: number): void {
  const [path, ...others] = disk.paths().filter((name) => name.endsWith(ending));
  expect(others).toEqual([]);
  const content = disk.content(path as string);
  content[at < 0 ? content.length + at : at] ^= 0x10;
  const fd = disk.open(path as string, "r+");
  disk.write(fd, content, 0, content.length, 0);
  disk.sync(fd, () => {});
  disk.endSync();
  disk.close(fd);
}

/** Kills a broker, damages a file, and starts again: the file is replaced. */
function replaced(server: CutBroker, ending: string, at: number): CutBroker {
  const after = server.kill((disk) => damage(disk, ending, at));
  expect(after.disk.paths().some((path) => path.endsWith(`${ending}.damaged`))).toBe(true);
  return after;
}

function owedBy(server: CutBroker): string[] {
  const bodies = [...owed(server.broker, TOPIC, CHANNEL)].sort();
  server.abandon();
  return bodies;
}

for (const [what, loses] of [
  ["what is in the new file", bytes],
  ["the new file's name", newNames],
  ["everything that is not synced", everything],
] as const) {
  test(`a power cut that takes ${what} takes nothing that was sound in a damaged bucket`, async () => {
    const server = start();
    for (const body of ["damaged", "one", "two"]) expect(await server.publish(TOPIC, body, { deferMs: LONG_MS })).toBe("OK");
    const after = replaced(server, ".msg", 24 + 48 + 40);
    expect(owedBy(after.restart(after.disk.afterLosing(loses)))).toEqual(["one", "two"]);
  });

  test(`a power cut that takes ${what} takes nothing that was sound in damaged status records`, async () => {
    const server = start();
    const channel = server.broker.registry.topic(TOPIC).channel(CHANNEL);
    const consumer = new MemoryConsumer(1, channel, 600_000);
    channel.addConsumer(consumer);
    for (const body of ["0", "1", "2", "3"]) expect(await server.publish(TOPIC, body)).toBe("OK");
    for (const sequence of [0, 1, 2, 3]) channel.partitions[0].requeue(consumer, sequence, 1000);
    await server.pass(2000, 2);
    expect(consumer.deliveries.length).toBe(8);
    for (const sequence of [0, 1, 2]) {
      channel.partitions[0].finish(consumer, sequence);
      await server.pass(10);
    }
    await server.pass(60_000, 50);
    const after = replaced(server, ".done", 24 + 3);
    expect(owedBy(after.restart(after.disk.afterLosing(loses)))).toEqual(["0", "3"]);
  });

  test(`a power cut that takes ${what} takes no sound key of a damaged file of keys`, async () => {
    const server = start();
    for (const key of ["damaged", "one", "two"]) expect(await server.publish(TOPIC, `first ${key}`, { key })).toBe("OK");
    const after = replaced(server, ".keys", 24 + 35);
    const cut = after.restart(after.disk.afterLosing(loses));
    for (const key of ["one", "two"]) expect(await cut.publish(TOPIC, `second ${key}`, { key })).toBe("OK");
    expect(owedBy(cut)).toEqual(["first damaged", "first one", "first two"]);
  });

  test(`a power cut that takes ${what} takes no message whose index was damaged`, async () => {
    const server = start();
    for (const body of ["one", "two"]) expect(await server.publish(TOPIC, body)).toBe("OK");
    const after = replaced(server, ".idx", 3);
    expect(owedBy(after.restart(after.disk.afterLosing(loses)))).toEqual(["one", "two"]);
  });
}
