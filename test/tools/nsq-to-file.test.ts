import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { startLookupServer } from "../support/lookup.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { type Running, type Server, startServer, until } from "../support/server.ts";
import { type Ending, type Maker, type RunningTool, runTool, startTool, withoutTime } from "./support/tool.ts";

let broker: Server;
let lookup: Running;
let folder: string;
let topics = 0;
let folders = 0;

beforeAll(async () => {
  folder = temporaryFolder();
  lookup = await startLookupServer();
  broker = await startServer({ args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"] });
});

afterAll(async () => {
  await broker.stop();
  await lookup.stop();
  removeFolder(folder);
});

/** Makes a topic with a channel for each maker's tool. */
async function newTopic(): Promise<string> {
  const topic = `topic${++topics}`;
  await broker.http("POST", `/topic/create?topic=${topic}`);
  for (const channel of ["bunsq", "nsq"]) await broker.http("POST", `/channel/create?topic=${topic}&channel=${channel}`);
  return topic;
}

function newFolder(): string {
  const path = join(folder, String(++folders));
  mkdirSync(path);
  return path;
}

const publish = (topic: string, lines: readonly string[]) => broker.http("POST", `/mpub?topic=${topic}`, lines.join("\n"));

interface ChannelStats {
  channel_name: string;
  depth: number;
  in_flight_count: number;
}

/** A channel's numbers, once the topic has given it all messages: a new topic first asks the lookup server for its channels. */
async function channelOf(topic: string, channel: string): Promise<ChannelStats | undefined> {
  const answer = await broker.http("GET", `/stats?format=json&topic=${topic}`);
  const { topics: found } = (await answer.json()) as { topics: { depth: number; channels: ChannelStats[] | null }[] | null };
  return found?.[0]?.depth === 0 ? found[0].channels?.find(({ channel_name }) => channel_name === channel) : undefined;
}

/** Starts the tool on a topic, in a folder. */
function start(maker: Maker, topic: string, outputDir: string, flags: readonly string[] = []): RunningTool {
  const source = `-nsqd-tcp-address=127.0.0.1:${broker.tcpPort}`;
  return startTool(maker, "nsq_to_file", [`-topic=${topic}`, `-channel=${maker}`, `-output-dir=${outputDir}`, source, ...flags], "");
}

async function isDone(topic: string, channel: string): Promise<boolean> {
  const stats = await channelOf(topic, channel);
  return stats !== undefined && stats.depth === 0 && stats.in_flight_count === 0;
}

async function end(tool: RunningTool, signal: NodeJS.Signals = "SIGTERM"): Promise<Ending> {
  tool.process.kill(signal);
  return await tool.ended;
}

/** The files of a folder and what they have in them, uncompressed. */
function contents(path: string): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  return Object.fromEntries(
    files
      .map(({ parentPath, name }): [string, string] => {
        const bytes = readFileSync(join(parentPath, name));
        return [join(parentPath, name).slice(path.length + 1), (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString()];
      })
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`writes each message as a line, and finishes all that it has when ${signal} comes`, async () => {
    const [topic, output] = [await newTopic(), newFolder()];
    await publish(topic, ["a"]);
    const tool = start("bunsq", topic, output, ["-filename-format=<TOPIC>.log"]);
    // A new file is synced with its first message.
    await until("the first is finished", () => isDone(topic, "bunsq"));
    await publish(topic, ["b", "c"]);
    await until("three lines", () => contents(output)[`${topic}.log`] === "a\nb\nc\n");
    // The others wait for the next sync.
    expect(await channelOf(topic, "bunsq")).toMatchObject({ in_flight_count: 2 });
    expect(await end(tool, signal)).toMatchObject({ code: 0, signal: null, stdout: "" });
    expect(await isDone(topic, "bunsq")).toBe(true);
  }, 30_000);
}

test("finishes messages as soon as the broker may send no more, long before the next sync", async () => {
  const [topic, output] = [await newTopic(), newFolder()];
  await publish(
    topic,
    Array.from({ length: 100 }, (_, i) => `${i}`),
  );
  const tool = start("bunsq", topic, output, ["-max-in-flight=10"]);
  await until("all", () => isDone(topic, "bunsq"));
  expect((await end(tool)).stderr).toMatch(/INFO: \[topic\d+\/bunsq\] syncing \d+ records to disk/);
}, 30_000);

test("writes to a new file after SIGHUP, when the old one was renamed", async () => {
  const [topic, output] = [await newTopic(), newFolder()];
  const tool = start("bunsq", topic, output, ["-filename-format=log"]);
  await publish(topic, ["a"]);
  await until("the first line", () => contents(output).log === "a\n");
  renameSync(join(output, "log"), join(output, "old"));
  tool.process.kill("SIGHUP");
  await until("it is finished", () => isDone(topic, "bunsq"));
  await publish(topic, ["b"]);
  await until("the second line", () => contents(output).log === "b\n");
  await end(tool);
  expect(contents(output)).toEqual({ log: "b\n", old: "a\n" });
}, 30_000);

test("begins a new line in a file whose last writer was killed in the middle of one", async () => {
  const [topic, output] = [await newTopic(), newFolder()];
  writeFileSync(join(output, "log"), "whole\nto");
  await publish(topic, ["a"]);
  const tool = start("bunsq", topic, output, ["-filename-format=log"]);
  await until("the line", () => contents(output).log === "whole\nto\na\n");
  await end(tool);
}, 30_000);

test("writes the topics that match a pattern, also those that come later", async () => {
  const output = newFolder();
  const args = ["-topic-pattern=^late[0-9]+$", "-topic-refresh=20ms", `-output-dir=${output}`, "-filename-format=<TOPIC>"];
  const lookups = [`-lookupd-http-address=127.0.0.1:${lookup.httpPort}`, "-consumer-opt=lookupd_poll_interval,20ms"];
  const tool = startTool("bunsq", "nsq_to_file", [...args, ...lookups], "");
  for (const topic of ["late1", "other", "late2"]) await publish(topic, [topic]);
  await until("both topics", () => Bun.deepEquals(contents(output), { late1: "late1\n", late2: "late2\n" }));
  const { code, stderr } = await end(tool);
  expect(code).toBe(0);
  expect(stderr.split("skipping topic other (doesn't match pattern ^late[0-9]+$)")).toHaveLength(2);
}, 30_000);

test("a topic that was found and cannot be written is reported, and is no reason to end", async () => {
  const args = ["-topic-pattern=^odd$", "-gzip", `-output-dir=${newFolder()}`, "-filename-format=<TOPIC>"];
  await publish("odd", ["x"]);
  const tool = startTool("bunsq", "nsq_to_file", [...args, `-lookupd-http-address=127.0.0.1:${lookup.httpPort}`], "");
  await until("the report", () => tool.stderr().includes("missing <REV> in --filename-format"));
  const { code, stderr } = await end(tool);
  expect(code).toBe(0);
  expect(stderr.split("\n").map(withoutTime)).toContain(
    "ERROR: couldn't create logger for new topic odd: missing <REV> in --filename-format when gzip, rotation, or work dir enabled",
  );
  expect(stderr).not.toContain("    at ");
}, 30_000);

test("waits for a broker that is not there yet", async () => {
  const output = newFolder();
  const first = await startServer();
  const { dataPath, tcpPort } = first;
  await first.http("POST", "/pub?topic=t", "a");
  first.process.kill("SIGTERM");
  await first.process.exited;
  const args = ["-topic=t", `-nsqd-tcp-address=127.0.0.1:${tcpPort}`, `-output-dir=${output}`, "-filename-format=log"];
  const tool = startTool("bunsq", "nsq_to_file", args, "");
  await until("an attempt", () => tool.stderr().includes("error connecting to nsqd"));
  const second = await startServer({ dataPath, args: [`--tcp-address=127.0.0.1:${tcpPort}`] });
  await until("the line", () => contents(output).log === "a\n");
  expect(await end(tool)).toMatchObject({ code: 0 });
  await second.stop();
  await first.stop();
}, 30_000);

test("ends with an error, and finishes nothing, when it cannot write", async () => {
  const [topic, output] = [await newTopic(), newFolder()];
  writeFileSync(join(output, "file"), "");
  await publish(topic, ["a"]);
  const ending = await start("bunsq", topic, output, ["-filename-format=file/log"]).ended;
  expect(ending).toMatchObject({ code: 1, stderr: expect.stringMatching(/FATAL: \[topic\d+\/bunsq\] unable to create dir: /) });
  await until("it is back", async () => (await channelOf(topic, "bunsq"))?.depth === 1);
}, 30_000);

test("refuses a format without <REV> where files need a number", async () => {
  const output = newFolder();
  const flags = [["-gzip"], ["-rotate-size=1"], ["-rotate-interval=1h"], [`-work-dir=${newFolder()}`]];
  for (const flag of flags) {
    const args = ["-topic=t", "-nsqd-tcp-address=127.0.0.1:1", `-output-dir=${output}`, "-filename-format=log", ...flag];
    const ending = await runTool("bunsq", "nsq_to_file", args);
    expect(ending).toMatchObject({ code: 1, stderr: expect.stringContaining("missing <REV> in --filename-format") });
  }
}, 30_000);

describeUnless(missing("nsq_to_file"))("as Go's nsq_to_file", () => {
  /** Runs both tools over the same messages. @returns the files of each */
  async function both(lines: readonly string[], flagsFor: (output: string) => readonly string[], before?: (output: string) => void) {
    const topic = await newTopic();
    for (const line of lines) await publish(topic, [line]);
    const outputs = [];
    for (const maker of ["bunsq", "nsq"] as const) {
      await until("its channel has them", async () => (await channelOf(topic, maker))?.depth === lines.length);
      const output = newFolder();
      before?.(output);
      const tool = start(maker, topic, output, flagsFor(output));
      await until("all are finished", () => isDone(topic, maker));
      outputs.push({ code: (await end(tool)).code, files: contents(output) });
    }
    expect(outputs[0]).toEqual(outputs[1] as (typeof outputs)[0]);
    expect(outputs[0]?.code).toBe(0);
    return outputs[0]?.files ?? {};
  }

  const lines = Array.from({ length: 30 }, (_, i) => `message ${i}`);
  const soon = "-sync-interval=50ms";

  test("writes the same file under the same name", async () => {
    const files = await both(lines, () => [soon]);
    expect(Object.keys(files)[0]).toMatch(new RegExp(`^topic\\d+\\.${hostname().split(".")[0]}\\.\\d{4}-\\d\\d-\\d\\d_\\d\\d\\.log$`));
  }, 30_000);

  test("replaces the same words in names, and makes folders", async () => {
    const datetime = "-datetime-format=%Y%m%d-%y-%B-%b-%A-%a-%H-%I-%p-%z-%Z-%%-%q-%";
    const host = "-host-identifier=x<SHORT_HOST>y<HOSTNAME>z";
    await both(lines, () => [soon, datetime, host, "-filename-format=<TOPIC>/<HOST>/<DATETIME>/<TOPIC>.<DATETIME>"]);
  }, 30_000);

  test("starts a new file behind the size", async () => {
    const files = await both(lines, () => [soon, "-rotate-size=100", "-filename-format=log<REV>"]);
    expect(Object.keys(files).length).toBeGreaterThan(2);
  }, 30_000);

  test("goes on in a file that is not full, and leaves full ones alone", async () => {
    await both(
      lines.slice(0, 5),
      () => [soon, "-rotate-size=100", "-filename-format=log<REV>"],
      (output) => {
        writeFileSync(join(output, "log-000000"), "x".repeat(101));
        writeFileSync(join(output, "log-000001"), "short\n");
      },
    );
  }, 30_000);

  test("compresses, in a new file even if there is one", async () => {
    const files = await both(
      lines,
      () => [soon, "-gzip", "-gzip-level=9", "-filename-format=log<REV>"],
      (output) => writeFileSync(join(output, "log-000000.gz"), Bun.gzipSync("there before")),
    );
    expect(Object.keys(files)).toEqual(["log-000000.gz", "log-000001.gz"]);
  }, 30_000);

  test("moves finished files from the work folder, and never over another", async () => {
    await both(
      lines,
      (output) => [soon, `-work-dir=${output}/work`, `-output-dir=${output}/done`, "-rotate-size=200", "-filename-format=a/log<REV>"],
      (output) => {
        mkdirSync(join(output, "done/a"), { recursive: true });
        writeFileSync(join(output, "done/a/log-000001"), "there before");
      },
    );
  }, 30_000);

  test("makes an empty file at a sync, unless it is told not to", async () => {
    for (const skip of [false, true]) {
      const topic = await newTopic();
      const outputs = [];
      for (const maker of ["bunsq", "nsq"] as const) {
        const output = newFolder();
        const tool = start(maker, topic, output, [soon, "-filename-format=log", ...(skip ? ["-skip-empty-files"] : [])]);
        await until(
          "its channel has it",
          async () => (await channelOf(topic, maker)) !== undefined && tool.stderr().includes("connecting"),
        );
        if (!skip) await until("the file", () => existsSync(join(output, "log")));
        outputs.push({ code: (await end(tool)).code, files: contents(output) });
      }
      expect(outputs[0]).toEqual(outputs[1] as (typeof outputs)[0]);
      expect(outputs[0]?.files).toEqual(skip ? {} : { log: "" });
    }
  }, 30_000);
});
