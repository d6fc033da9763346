import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { StartError } from "../../../../src/base/start-error.ts";
import { openBroker } from "../../../../src/broker/broker.ts";
import { readStats } from "../../../../src/broker/metrics/stats.ts";
import { defaultOptions, InProcess, MemoryLogger, messages } from "../../../support/in-process.ts";
import { until } from "../../../support/server.ts";

const FOLDER = "bunsq-data";

function folderOf(server: InProcess): string {
  return `${server.dataPath}/${FOLDER}`;
}

/** Closes the broker, lets the test damage its files, and starts it again. */
async function damageAndRestart(server: InProcess, damage: (folder: string) => void): Promise<void> {
  await server.broker.close();
  server.log.lines.length = 0;
  damage(folderOf(server));
  server.reopen();
}

async function bodies(server: InProcess, topic: string, channel: string, count: number): Promise<string[]> {
  const consumer = await server.consumer(topic, channel, count);
  const found = (await messages(consumer, count)).map((frame) => frame.text);
  consumer.close();
  return found;
}

/** A broker with a topic of four messages and a deferred one; one channel finished two of them, the other is paused. */
async function populated(): Promise<InProcess> {
  const server = InProcess.start();
  server.broker.registry.topic("t").channel("a");
  server.broker.registry.topic("t").channel("b").pause();
  await server.publish("t", "1", "2", "3", "4");
  const consumer = await server.consumer("t", "a", 2);
  for (const frame of await messages(consumer, 2)) consumer.command(`FIN ${frame.id}`);
  await until("both are finished", () => server.broker.registry.topic("t").channel("a").partitions[0].floor === 2);
  const publisher = await server.client();
  await publisher.call("DPUB t 3600000", "later");
  return server;
}

for (const [what, damage] of [
  [
    "deleted",
    (folder: string) =>
      readdirSync(folder)
        .filter((name) => name.startsWith("catalogue"))
        .forEach((name) => void rmSync(`${folder}/${name}`)),
  ],
  ["overwritten", (folder: string) => writeFileSync(`${folder}/catalogue.sqlite`, Buffer.alloc(10_000, 0x55))],
  ["cut to nothing", (folder: string) => writeFileSync(`${folder}/catalogue.sqlite`, "")],
  [
    "damaged inside",
    (folder: string) => {
      const bytes = readFileSync(`${folder}/catalogue.sqlite`);
      bytes.fill(0xff, 4096, 4096 + 512);
      writeFileSync(`${folder}/catalogue.sqlite`, bytes);
    },
  ],
] as const) {
  test(`a store that is ${what} is restored from its backup, with channels, cursors, pauses and deferred messages`, async () => {
    await using server = await populated();
    await damageAndRestart(server, damage);
    expect(server.log.matching(/ERROR.*catalogue\.sqlite is (missing|damaged).* restored from its backup/)).toHaveLength(1);
    const topic = server.broker.registry.topics.get("t");
    expect([...(topic?.channels.keys() ?? [])]).toEqual(["a", "b"]);
    expect(topic?.channels.get("b")?.paused).toBeTrue();
    expect(topic?.channels.get("a")?.deferredCount).toBe(1);
    expect(await bodies(server, "t", "a", 2)).toEqual(["3", "4"]);
    const kept = readdirSync(folderOf(server)).filter((name) => name.includes(".damaged"));
    expect(kept.length > 0).toBe(what !== "deleted");
  });
}

test("without a backup, topics are restored from their folders, and all their messages go to all channels that are made", async () => {
  await using server = await populated();
  await server.publish("other", "x");
  await damageAndRestart(server, (folder) => {
    rmSync(`${folder}/catalogue.sqlite`);
    rmSync(`${folder}/topics/catalogue.copy`);
  });
  expect(server.log.matching(/ERROR.*it has no backup; topics are restored from their folders/)).toHaveLength(1);
  expect(
    server.log.matching(/ERROR.*TOPIC\(t\): the metadata store has no row for it; recovered it from its folder with 4 messages/),
  ).toHaveLength(1);
  server.broker.registry.topic("t").channel("a");
  server.broker.registry.topic("t").channel("b");
  server.broker.registry.releaseAdopted();
  expect(await bodies(server, "t", "a", 4)).toEqual(["1", "2", "3", "4"]);
  expect(await bodies(server, "t", "b", 4)).toEqual(["1", "2", "3", "4"]);
  expect(await bodies(server, "other", "c", 1)).toEqual(["x"]);
  // The topic's file tells its id, and the deferred message names the topic by it.
  expect(server.broker.registry.topic("t").channel("a").deferredCount).toBe(1);
  await server.publish("t", "5");
  await server.publish("new", "y");
  await server.restart();
  expect((await bodies(server, "t", "a", 5)).sort()).toEqual(["1", "2", "3", "4", "5"]);
  expect(await bodies(server, "new", "c", 1)).toEqual(["y"]);
});

test("a topic whose row was lost is restored from its folder", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1", "2");
  await damageAndRestart(server, (folder) => {
    const database = new Database(`${folder}/catalogue.sqlite`);
    database.run("DELETE FROM topics; DELETE FROM numbers");
    database.close(true);
  });
  server.broker.registry.releaseAdopted();
  expect(await bodies(server, "t", "c", 2)).toEqual(["1", "2"]);
});

test("a topic that was deleted stays deleted, wherever a crash cut the deletion short", async () => {
  await using server = InProcess.start();
  await server.publish("gone", "1");
  await server.publish("stays", "2");
  const [folder] = readdirSync(`${folderOf(server)}/topics`).filter((name) => name.endsWith("-gone"));
  const path = `${folderOf(server)}/topics/${folder}`;
  await damageAndRestart(server, () => writeFileSync(`${path}/deleted`, ""));
  expect([...server.broker.registry.topics.keys()]).toEqual(["stays"]);
  expect(existsSync(path)).toBeFalse();
  // A crash after the row was removed leaves an empty folder.
  await damageAndRestart(server, () => mkdirSync(path));
  expect([...server.broker.registry.topics.keys()]).toEqual(["stays"]);
  expect(existsSync(path)).toBeFalse();
  expect(server.log.matching(/ERROR|WARNING/)).toBeEmpty();
  await server.publish("gone", "3");
  expect(await bodies(server, "gone", "c", 1)).toEqual(["3"]);
});

test("a topic folder whose number another topic has is kept aside, and the other topic is left alone", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1");
  await damageAndRestart(server, (folder) => {
    mkdirSync(`${folder}/topics/00000-other`);
    writeFileSync(`${folder}/topics/00000-other/0000000000000000.log`, "?");
  });
  expect(server.log.matching(/ERROR.*00000-other cannot become a topic beside t; kept it as .*damaged-00000-other/)).toHaveLength(1);
  expect(await bodies(server, "t", "c", 1)).toEqual(["1"]);
});

test("a copied data path is complete", async () => {
  await using server = await populated();
  await server.broker.close();
  const copy = `${server.dataPath}/elsewhere`;
  cpSync(folderOf(server), `${copy}/${FOLDER}`, { recursive: true });
  const log = new MemoryLogger();
  const broker = openBroker(defaultOptions({ dataPath: copy }), log);
  expect([
    broker.registry.topic("t").partitions[0].log.next,
    broker.registry.topic("t").channel("a").depth,
    broker.registry.topic("t").channel("a").deferredCount,
  ]).toEqual([4, 2, 1]);
  expect(log.matching(/ERROR|WARNING/)).toBeEmpty();
  await broker.close();
  server.reopen();
});

test("ids that the store knows are not used again when the log lost its end", async () => {
  await using server = InProcess.start();
  server.broker.registry.topic("t").channel("c");
  await server.publish("t", "1", "2", "3");
  await damageAndRestart(server, (folder) => {
    const [topic] = readdirSync(`${folder}/topics`).filter((name) => name.endsWith("-t"));
    for (const name of readdirSync(`${folder}/topics/${topic}`)) rmSync(`${folder}/topics/${topic}/${name}`);
  });
  expect(server.log.matching(/ERROR.*TOPIC\(t\): its log ends before sequence 0, but messages up to 2 were in it/)).toHaveLength(1);
  await server.publish("t", "4");
  expect(await bodies(server, "t", "c", 1)).toEqual(["4"]);
  expect(server.broker.registry.topic("t").partitions[0].log.next).toBe(4);
});

test("a store of a newer version is refused with an error that says what to do", async () => {
  await using server = InProcess.start();
  await server.broker.close();
  const database = new Database(`${folderOf(server)}/catalogue.sqlite`);
  database.run("PRAGMA user_version = 99");
  database.close(true);
  const open = () => openBroker(defaultOptions({ dataPath: server.dataPath }), new MemoryLogger());
  expect(open).toThrow(StartError);
  expect(open).toThrow(/was written by a newer bunsq \(format 99.*start that version, or use another --data-path/);
  rmSync(folderOf(server), { recursive: true });
  server.reopen();
});

test("a damaged region is skipped, logged, and counted in /stats", async () => {
  await using server = InProcess.start();
  for (const body of ["1", "2", "3"]) await server.publish("t", body);
  await damageAndRestart(server, (folder) => {
    const [topic] = readdirSync(`${folder}/topics`).filter((name) => name.endsWith("-t"));
    const path = `${folder}/topics/${topic}/0000000000000000.log`;
    const bytes = readFileSync(path);
    bytes[35 + 34] ^= 1;
    writeFileSync(path, bytes);
  });
  expect(await bodies(server, "t", "c", 2)).toEqual(["1", "3"]);
  expect(server.log.matching(/ERROR.*TOPIC\(t\): 1 messages from sequence 1 on are damaged in .* at byte 35/)).toHaveLength(1);
  await server.publish("sound", "x");
  const { topics } = readStats(server.broker, "", "", false);
  expect(topics?.map(({ topic_name, corrupt_regions }) => [topic_name, corrupt_regions])).toEqual([
    ["sound", undefined],
    ["t", 1],
  ]);
});

test("a damaged deferred message is skipped and logged, and the others are kept", async () => {
  await using server = InProcess.start();
  const topic = server.broker.registry.topic("t");
  topic.channel("c");
  for (const body of ["1", "2", "3"]) await server.broker.publishing.publish(topic.partitions[0], "", Buffer.from(body), 3_600_000);
  await damageAndRestart(server, (folder) => {
    const [name] = readdirSync(`${folder}/deferred`).filter((file) => file.endsWith(".msg"));
    const bytes = readFileSync(`${folder}/deferred/${name}`);
    bytes[Math.floor(bytes.length / 2)] ^= 1;
    writeFileSync(`${folder}/deferred/${name}`, bytes);
  });
  expect(server.log.matching(/ERROR.*deferred messages: \d+ bytes in .*\.msg are damaged; they are skipped/)).toHaveLength(1);
  expect(server.broker.registry.topic("t").channel("c").deferredCount).toBe(2);
});

test("a cursor with a flipped bit skips no message: its channel begins where the log does", async () => {
  await using server = await populated();
  await damageAndRestart(server, (folder) => {
    const database = new Database(`${folder}/catalogue.sqlite`);
    database.run("UPDATE channels SET floor = floor + 1024 WHERE name = 'a'");
    database.close(true);
  });
  expect(
    server.log.matching(/ERROR.*CHANNEL\(a\) of t: its row in the metadata store is damaged; it starts at the beginning of the log/),
  ).toHaveLength(1);
  expect(await bodies(server, "t", "a", 4)).toEqual(["1", "2", "3", "4"]);
  expect(server.broker.registry.topic("t").channel("b").paused).toBeTrue();
  expect(server.broker.registry.topic("t").partitions[0].log.next).toBe(4);
});

for (const column of ["name = 'u'", "number = 4", "released = 1000000"]) {
  test(`a topic's row with ${column.split(" ")[0]} damaged is repaired from its folder`, async () => {
    await using server = await populated();
    await damageAndRestart(server, (folder) => {
      const database = new Database(`${folder}/catalogue.sqlite`);
      database.run(`UPDATE topics SET ${column}`);
      database.close(true);
    });
    expect(server.log.matching(/ERROR.*TOPIC\(t\): its row in the metadata store is damaged/)).toHaveLength(1);
    expect(await bodies(server, "t", "a", 2)).toEqual(["3", "4"]);
    await server.restart();
    expect([...server.broker.registry.topics.keys()]).toEqual(["t"]);
    expect(server.broker.registry.topic("t").partitions[0].number).toBe(0);
  });
}

test("a store that lost its last changes, as a power cut may leave it, is replaced by its later backup", async () => {
  await using server = InProcess.start();
  await server.publish("before", "1");
  await server.broker.close();
  cpSync(`${folderOf(server)}/catalogue.sqlite`, `${server.dataPath}/earlier`);
  server.reopen();
  await server.publish("t", "2");
  server.broker.registry.topic("t").channel("c").pause();
  await damageAndRestart(server, (folder) => cpSync(`${server.dataPath}/earlier`, `${folder}/catalogue.sqlite`));
  expect(server.log.matching(/ERROR.*catalogue\.sqlite is older than its backup, and kept as .*; restored from its backup/)).toHaveLength(
    1,
  );
  expect(server.broker.registry.topics.get("t")?.channels.get("c")?.paused).toBeTrue();
  expect(server.broker.registry.topic("t").channel("c").depth).toBe(1);
  await server.restart();
  expect(server.log.matching(/older than its backup/)).toHaveLength(1);
});
