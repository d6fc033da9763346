import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBroker } from "../../src/broker/broker.ts";
import { UsageError } from "../../src/cli/flags.ts";
import { runExport, runImport } from "../../src/cli/migration.ts";
import { encodeHeader, NO_BYTES } from "../../src/frame/header.ts";
import { lockDataPath } from "../../src/nsqd-data/data-path-lock.ts";
import { formatNsqdMetadata } from "../../src/nsqd-data/nsqd-metadata.ts";
import { readAll } from "../nsqd-data/support/go-nsqd.ts";
import { message, putQueue, records } from "../nsqd-data/support/queue-fixture.ts";
import { defaultOptions, MemoryLogger, numbers, removeFolder, temporaryFolder } from "../support/in-process.ts";

let broker = "";
let nsqd = "";
beforeEach(() => {
  broker = temporaryFolder();
  nsqd = temporaryFolder();
});
afterEach(() => {
  for (const folder of [broker, nsqd]) removeFolder(folder);
});

type Command = (args: readonly string[], print: (text: string) => void) => Promise<number>;

async function run(command: Command, ...args: string[]): Promise<{ code: number; text: string }> {
  let text = "";
  const code = await command(args, (part) => (text += part));
  return { code, text };
}

/** Has a broker store three messages for a channel. */
async function fillBroker(): Promise<void> {
  const { registry, publishing, close } = openBroker(defaultOptions({ dataPath: broker }), new MemoryLogger());
  registry.topic("t").channel("a");
  for (const body of ["one", "two", "three"]) await publishing.publish(registry.topic("t").partitions[0], "", Buffer.from(body), 0);
  await close();
}

function fillNsqd(): void {
  const bytes = records([message(1), message(2)]);
  putQueue(nsqd, { 0: bytes }, `2\n0,0\n0,${bytes.length}\n`, "t:a");
  writeFileSync(join(nsqd, "nsqd.dat"), formatNsqdMetadata([{ name: "t", paused: false, channels: [{ name: "a", paused: false }] }]));
}

describe("bunsq import", () => {
  test("takes the path before or after its flags, and says what it took", async () => {
    for (const args of [
      [nsqd, `--data-path=${broker}`],
      ["-data-path", broker, nsqd],
    ]) {
      fillNsqd();
      const { code, text } = await run(runImport, ...args);
      expect(text).toContain("imported 1 topics, 1 channels and 2 messages");
      expect(code).toBe(0);
    }
    expect(readdirSync(nsqd).sort()).toEqual(["nsqd-data-imported", "nsqd-data-imported-2"]);
  });

  test("ends with 1 if something could not be read", async () => {
    fillNsqd();
    writeFileSync(join(nsqd, "t:a.diskqueue.000000.dat"), "", { flag: "a" });
    writeFileSync(join(nsqd, "t:a.diskqueue.000000.dat"), "torn", { flag: "a" });
    const { code, text } = await run(runImport, nsqd, `--data-path=${broker}`);
    expect(code).toBe(1);
    expect(text).toContain("WARNING: NSQD DATA: t:a.diskqueue.000000.dat has no whole message in its last 4 bytes");
  });

  test("refuses a path without data of nsqd, one that is in use, and a wrong command line", async () => {
    expect(await run(runImport, nsqd, `--data-path=${broker}`)).toMatchObject({
      code: 2,
      text: `ERROR: there is no data of nsqd in ${nsqd}\n`,
    });
    expect(existsSync(join(broker, "bunsq-data"))).toBe(false);
    fillNsqd();
    for (const folder of [nsqd, broker]) {
      const lock = lockDataPath(folder);
      expect(await run(runImport, nsqd, `--data-path=${broker}`)).toMatchObject({ code: 2 });
      if (!(lock instanceof Error)) lock.release();
    }
    expect(run(runImport)).rejects.toThrow(UsageError);
    expect(run(runImport, nsqd, broker)).rejects.toThrow("exactly one path");
    expect(run(runImport, nsqd, "--data-pat=x")).rejects.toThrow("did you mean -data-path?");
    expect((await run(runImport, "--help")).text).toStartWith("usage: bunsq import");
  });

  test("that another path was begun from has to be finished from there", async () => {
    fillNsqd();
    const other = temporaryFolder();
    writeFileSync(join(other, "nsqd.dat"), readFileSync(join(nsqd, "nsqd.dat")));
    // The queue's file cannot be opened, so the import fails after it has begun.
    removeFolder(join(nsqd, "t:a.diskqueue.meta.dat"));
    await Bun.write(join(nsqd, "t:a.diskqueue.meta.dat", "x"), "x");
    expect(await run(runImport, nsqd, `--data-path=${broker}`)).toMatchObject({ code: 2 });
    expect(await run(runImport, other, `--data-path=${broker}`)).toMatchObject({
      code: 2,
      text: expect.stringContaining(`an import of nsqd's data from ${nsqd} is not finished`),
    });
    removeFolder(join(nsqd, "t:a.diskqueue.meta.dat"));
    expect(await run(runImport, nsqd, `--data-path=${broker}`)).toMatchObject({ code: 1, text: expect.stringContaining("2 messages") });
    removeFolder(other);
  });
});

describe("bunsq export", () => {
  test("writes what is still to be delivered, and leaves the broker's data alone", async () => {
    await fillBroker();
    const target = join(nsqd, "new");
    const { code, text } = await run(runExport, "--format=nsqd", target, `--data-path=${broker}`);
    expect(text).toBe(`exported 1 topics, 1 channels and 3 messages in their queues to ${target}\n`);
    expect(code).toBe(0);
    const { queues, problems } = readAll(target);
    expect(problems).toEqual([]);
    expect(queues.get("t:a")?.map(({ body, attempts }) => `${body} ${attempts}`)).toEqual(["one 0", "two 0", "three 0"]);
    expect(readdirSync(broker)).toEqual(["bunsq-data"]);
  });

  test("puts the partitions of a topic together, each in its order and all about in that of the publishes, and says what is lost", async () => {
    const { registry, publishing, turn, close } = openBroker(defaultOptions({ dataPath: broker }), new MemoryLogger());
    const topic = registry.topicWith("t", 3);
    topic.channel("a");
    topic.channel("b");
    const header = encodeHeader({ traceId: 7n, key: Buffer.from("k"), tag: NO_BYTES, text: Buffer.from("{}") });
    for (let i = 0; i < 9; i++) {
      const partition = topic.partitions[i % 3];
      // The first ones are longer than what is read at a time.
      const body = Buffer.from(`${i}`.padEnd(i < 3 ? 600_000 : 1));
      partition.publishWithHeader(i === 4 ? header : NO_BYTES, body, 0, body.length, turn.time);
      await publishing.publish(partition, "", Buffer.from(`${i}'`), 0);
    }
    await publishing.publish(topic.partitions[2], "", Buffer.from("later"), 60_000);
    topic.channels.get("b")?.partitions[1].forceFinish(0);
    await close();
    const { code, text } = await run(runExport, "--format=nsqd", nsqd, `--data-path=${broker}`);
    expect(text).toContain("exported 1 topics, 2 channels and 36 messages");
    expect(text).toContain("1 messages had headers");
    expect(code).toBe(0);
    const { queues, problems } = readAll(nsqd);
    expect(problems).toEqual([]);
    expect(queues.get("t")?.map(({ body }) => body.toString())).toEqual(["later"]);
    for (const [channel, finished] of [
      ["a", ""],
      ["b", "1"],
    ]) {
      const bodies = queues.get(`t:${channel}`)?.map(({ body }) => body.toString().trim()) ?? [];
      expect(bodies.indexOf("2")).toBeLessThan(bodies.indexOf("3"));
      expect(bodies.toSorted()).toEqual(
        [...numbers(9), ...numbers(9).map((body) => `${body}'`)].filter((body) => body !== finished).toSorted(),
      );
      for (const partition of [0, 1, 2]) {
        const own = bodies.filter((body) => Number.parseInt(body, 10) % 3 === partition);
        expect(own).toEqual(own.toSorted());
      }
    }
  });

  test("has a channel paused that is paused in any partition", async () => {
    const { registry, close } = openBroker(defaultOptions({ dataPath: broker }), new MemoryLogger());
    const topic = registry.topicWith("t", 2);
    for (const name of ["a", "b"]) topic.channel(name);
    const { partitions } = topic.channel("b");
    topic.channel("b").pause([partitions[1]]);
    await close();
    await run(runExport, "--format=nsqd", nsqd, `--data-path=${broker}`);
    const { topics } = JSON.parse(readFileSync(join(nsqd, "nsqd.dat"), "utf8"));
    expect(topics[0].channels).toEqual([
      { name: "a", paused: false },
      { name: "b", paused: true },
    ]);
  });

  test("names messages that cannot be read, and ends with 1", async () => {
    await fillBroker();
    const [file = ""] = readdirSync(join(broker, "bunsq-data/topics/00000-t")).filter((name) => name.endsWith(".log"));
    const path = join(broker, "bunsq-data/topics/00000-t", file);
    const bytes = readFileSync(path);
    bytes[40] = 0;
    writeFileSync(path, bytes.subarray(0, 200));
    const { code, text } = await run(runExport, "--format=nsqd", nsqd, `--data-path=${broker}`);
    expect(text).toMatch(/ERROR: [1-3] messages are damaged or missing in the logs, and were not exported/);
    expect(code).toBe(1);
  });

  test("refuses a target with data of nsqd, one in use, the broker's own path, and a wrong command line", async () => {
    await fillBroker();
    const tryTo = (...args: string[]) => run(runExport, "--format=nsqd", ...args, `--data-path=${broker}`);
    fillNsqd();
    const before = readdirSync(nsqd);
    expect(await tryTo(nsqd)).toMatchObject({ code: 2, text: `ERROR: ${nsqd} has data of nsqd already; name an empty folder\n` });
    expect(readdirSync(nsqd)).toEqual(before);
    expect(await tryTo(broker)).toMatchObject({ code: 2, text: expect.stringContaining("the broker's own data path") });
    const empty = temporaryFolder();
    for (const folder of [empty, broker]) {
      const lock = lockDataPath(folder);
      expect(await tryTo(empty)).toMatchObject({ code: 2, text: expect.stringContaining(`${folder} is in use by another process`) });
      if (!(lock instanceof Error)) lock.release();
    }
    expect(await run(runExport, "--format=nsqd", empty, `--data-path=${empty}x`)).toMatchObject({ code: 2 });
    expect(run(runExport, empty)).rejects.toThrow("needs --format=nsqd");
    expect(run(runExport, empty, "--format=kafka")).rejects.toThrow(UsageError);
    expect((await run(runExport, "-h")).text).toStartWith("usage: bunsq export");
    expect(readdirSync(empty)).toEqual([]);
    removeFolder(empty);
  });
});
