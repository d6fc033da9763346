import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Broker, openBroker } from "../../../src/broker/broker.ts";
import { runCheck } from "../../../src/cli/check.ts";
import { defaultOptions, InProcess, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { LogFixture } from "../../support/log-fixture.ts";
import { until } from "../../support/server.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) removeFolder(folder);
});

/** A copy of a data path: what a kill at this moment leaves. */
function imageOf(dataPath: string): string {
  const image = temporaryFolder();
  folders.push(image);
  cpSync(dataPath, image, { recursive: true });
  return image;
}

function start(dataPath: string, log = new MemoryLogger()): Broker {
  return openBroker(defaultOptions({ dataPath }), log);
}

test("a kill between the removal of a finished segment's index and its records is no damage, synced or not", () => {
  for (const syncedSequence of [0, 30, undefined]) {
    using fixture = new LogFixture({ maxBytesPerFile: 400 });
    for (let i = 0; i < 30; i++) fixture.commit(`message ${i} ${"x".repeat(60)}`);
    const names = readdirSync(fixture.directory).sort();
    const index = names.find((name) => name.endsWith(".idx")) as string;
    rmSync(join(fixture.directory, index));
    const changes = syncedSequence === undefined ? {} : { syncedSequence };
    fixture.open({ ...changes, neededSequence: 29, lastRun: "killed" });
    expect([fixture.logger.lines, fixture.corrupt]).toEqual([[], 0]);
    expect(existsSync(join(fixture.directory, index.replace("idx", "log")))).toBeFalse();
    expect(readdirSync(fixture.directory).filter((name) => name.includes("damaged"))).toEqual([]);
  }
});

/** Both files of a segment are gone, so nothing in the topic's folder names what was in them. */
for (const [which, at] of [["first", 0] as const, ["inner", 2] as const, ["last", -1] as const]) {
  for (const channels of [[], ["a"], ["a", "b"]]) {
    test(`the ${which} segment without both its files is told with ${channels.length} channels, and not again after a repair`, async () => {
      await using server = InProcess.start({ maxBytesPerFile: 600 });
      for (const channel of channels) server.broker.registry.topic("t").channel(channel);
      const { publishing, registry } = server.broker;
      for (let i = 0; i < 40; i++)
        await publishing.publish(registry.topic("t").partitions[0], "", Buffer.from(`${i} ${"x".repeat(50)}`), 0);
      for (const channel of channels.slice(1)) {
        for (let sequence = 0; sequence < 40; sequence++)
          await server.broker.messageControl.finish(registry.topic("t").channel(channel).partitions[0], sequence);
      }
      await server.broker.close();
      const path = imageOf(server.dataPath);
      expect(await runCheck([path], () => {})).toBe(0);
      const folder = join(path, "bunsq-data", "topics", "00000-t");
      const segments = readdirSync(folder).filter((name) => name.endsWith(".log"));
      const name = segments.sort().at(at) as string;
      for (const file of [name, name.replace("log", "idx")]) rmSync(join(folder, file));
      let text = "";
      expect(await runCheck([path], (part) => (text += part))).toBe(1);
      expect(text).toMatch(/ERROR: .*(these are lost|are missing before|but \d+ more messages were on the disk)/);
      const log = new MemoryLogger();
      const broker = start(imageOf(path), log);
      expect(broker.registry.corruptRegions).toBe(1);
      expect(log.matching(/ERROR/)).toHaveLength(1);
      await broker.close();
      expect(await runCheck(["--repair", path], () => {})).toBe(1);
      expect(await runCheck([path], () => {})).toBe(0);
    });
  }
}

test("what an operator or a file system put in recycled/ is left alone, and named once", async () => {
  await using server = InProcess.start();
  await server.broker.close();
  const folder = join(server.dataPath, "bunsq-data", "recycled");
  const foreign = ["README", "lost+found", "7.txt", "-1", "1e3", "00", "99999999999999999999", "Infinity", ".hidden"];
  for (const name of foreign) {
    if (name === "lost+found") mkdirSync(join(folder, name));
    else writeFileSync(join(folder, name), "an operator's note");
  }
  mkdirSync(join(folder, "3"));
  server.reopen();
  for (const topic of ["a", "b", "c"]) await server.publish(topic, "message");
  server.broker.registry.deleteTopic("a");
  await until("its file is recycled", () => existsSync(join(folder, "4")));
  await server.publish("d", "message");
  for (const name of foreign.filter((one) => one !== "lost+found"))
    expect(readFileSync(join(folder, name), "utf8")).toBe("an operator's note");
  expect(readdirSync(join(folder, "lost+found"))).toEqual([]);
  expect(server.log.matching(/WARNING: .*recycled has files that the broker did not put there/)).toHaveLength(1);
});

test("after a kill between the deletion of a topic's folder and its row's removal, no id is given again", async () => {
  await using server = InProcess.start();
  const { broker } = server;
  await server.publish("t", ...Array.from({ length: 7 }, (_, i) => `${i}`));
  const { next } = broker.registry.topic("t").partitions[0].log;
  const { metadata } = broker;
  const { removeTopic } = metadata;
  let image = "";
  metadata.removeTopic = (...row) => {
    image = imageOf(server.dataPath);
    removeTopic.apply(metadata, row);
  };
  broker.registry.deleteTopic("t");
  const again = start(image);
  expect([...again.registry.topics.keys()]).toEqual([]);
  const made = again.registry.topic("other");
  expect([made.partitions[0].number, made.partitions[0].log.next >= next]).toEqual([0, true]);
  await again.close();
});

/** A data path with a topic of 100 messages and two channels whose metadata store and backup are gone. */
async function lostStore(): Promise<string> {
  await using server = InProcess.start();
  await server.publish("t", ...Array.from({ length: 100 }, (_, i) => `${i}`));
  await server.broker.close();
  const path = imageOf(server.dataPath);
  const data = join(path, "bunsq-data");
  for (const name of readdirSync(data)) if (name.startsWith("catalogue.sqlite")) rmSync(join(data, name));
  rmSync(join(data, "topics", "catalogue.copy"));
  return path;
}

const BETWEEN: Record<string, (path: string) => Promise<string>> = {
  nothing: async (path) => path,
  "check --repair": async (path) => {
    expect(await runCheck(["--repair", path], () => {})).toBe(1);
    return path;
  },
  "check --repair, twice": async (path) => {
    expect(await runCheck(["--repair", path], () => {})).toBe(1);
    expect(await runCheck(["--repair", path], () => {})).toBe(0);
    return path;
  },
  "a restart": async (path) => {
    await start(path).close();
    return path;
  },
  "a kill and a channel that was there already": async (path) => {
    const broker = start(path);
    broker.registry.topic("t").channel("a");
    const image = imageOf(path);
    await broker.close();
    return image;
  },
};

for (const [what, between] of Object.entries(BETWEEN)) {
  test(`where the metadata store is lost, all messages go to every channel of the next minute, with ${what} before`, async () => {
    const path = await between(await lostStore());
    const broker = start(path);
    const topic = broker.registry.topic("t");
    const a = topic.channel("a");
    const b = topic.channel("b");
    // As a broker does after a minute.
    broker.registry.releaseAdopted();
    expect([a.depth, b.depth]).toEqual([100, 100]);
    await broker.close();
    const later = start(path);
    expect(later.registry.hasAdopted).toBeFalse();
    await later.close();
  });
}
