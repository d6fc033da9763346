import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCheck } from "../../src/cli/check.ts";
import { UsageError } from "../../src/cli/flags.ts";
import { InProcess, messages, removeFolder, temporaryFolder } from "../support/in-process.ts";
import { until } from "../support/server.ts";

let template = "";

/** A data path after a clean stop: 60 messages in several segments, a channel that finished two, and some deferred messages. */
beforeAll(async () => {
  const server = InProcess.start({ maxBytesPerFile: 1000 });
  server.broker.registry.topic("orders").channel("a");
  server.broker.registry.topic("orders").channel("b");
  // Each is published alone, so it is a commit of its own.
  for (let i = 0; i < 60; i++)
    await server.broker.publishing.publish(
      server.broker.registry.topic("orders").partitions[0],
      "",
      Buffer.from(`order ${i} ${"x".repeat(50)}`),
      0,
    );
  const consumer = await server.consumer("orders", "a", 2);
  for (const frame of await messages(consumer, 2)) consumer.command(`FIN ${frame.id}`);
  await until("both are finished", () => server.broker.registry.topic("orders").channel("a").partitions[0].floor === 2);
  for (let i = 0; i < 5; i++)
    await server.broker.publishing.publish(server.broker.registry.topic("orders").partitions[0], "", Buffer.from(`later ${i}`), 3_600_000);
  await server.broker.close();
  template = temporaryFolder();
  cpSync(server.dataPath, template, { recursive: true });
  await server[Symbol.asyncDispose]();
});

afterAll(() => removeFolder(template));

class DataPath implements Disposable {
  readonly path = temporaryFolder();
  readonly folder = join(this.path, "bunsq-data");

  constructor() {
    cpSync(template, this.path, { recursive: true });
  }

  /** A topic's files with an extension, in order. */
  files(ending: string): string[] {
    const topic = join(this.folder, "topics", "00000-orders");
    return readdirSync(topic)
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => join(topic, name));
  }

  deferred(ending: string): string {
    const [name] = readdirSync(join(this.folder, "deferred")).filter((one) => one.endsWith(ending));
    return join(this.folder, "deferred", name as string);
  }

  /** The contents of all files except the metadata store's, which is compared through SQLite. */
  content(): Map<string, string> {
    const names = readdirSync(this.path, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(this.path, name)).isFile());
    return new Map(
      names.filter((name) => !name.includes("catalogue")).map((name) => [name, Bun.hash(readFileSync(join(this.path, name))).toString()]),
    );
  }

  async check(...flags: string[]): Promise<{ code: number; text: string }> {
    let text = "";
    const code = await runCheck([...flags, this.path], (part) => {
      text += part;
    });
    return { code, text };
  }

  [Symbol.dispose](): void {
    removeFolder(this.path);
  }
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] ^= 16;
  writeFileSync(path, bytes);
}

function zeroEnd(path: string, count: number): void {
  const bytes = readFileSync(path);
  bytes.fill(0, bytes.length - count);
  writeFileSync(path, bytes);
}

test("a data path has no damage after a clean stop, and its contents are listed in figures", async () => {
  using data = new DataPath();
  const { code, text } = await data.check();
  expect(text).toMatch(/^store: sound; 1 topics, 2 channels$/m);
  expect(text).toMatch(/^topic orders:\n {2}\d segments, 60 messages, sequences 0 to 59, \d+ bytes, 0 damaged regions$/m);
  expect(text).toMatch(/^deferred: 5 messages to be published, 0 requeued/m);
  expect(text).toEndWith("\nsound\n");
  expect(code).toBe(0);
});

interface Damage {
  what: string;
  make: (data: DataPath) => void;
  says: RegExp;
  /** Set if messages are lost. */
  lossy?: boolean;
}

const DAMAGES: Damage[] = [
  {
    what: "a flipped bit in a record",
    make: (data) => flip(data.files(".log")[1] as string, 100),
    says: /1 messages from sequence \d+ on are damaged in .* at byte \d+/,
    lossy: true,
  },
  {
    what: "a flipped bit in the last record",
    make: (data) => flip(data.files(".log").at(-1) as string, statSync(data.files(".log").at(-1) as string).size - 5),
    says: /1 messages from sequence 59 on are damaged/,
    lossy: true,
  },
  {
    what: "zeros at a log's end",
    make: (data) => zeroEnd(data.files(".log").at(-1) as string, 120),
    says: /messages from sequence \d+ on are damaged/,
    lossy: true,
  },
  {
    what: "a log cut short",
    make: (data) => truncateSync(data.files(".log").at(-1) as string, 50),
    says: /messages from sequence \d+ on are damaged/,
    lossy: true,
  },
  {
    what: "an empty log file",
    make: (data) => truncateSync(data.files(".log")[1] as string, 0),
    says: /messages from sequence \d+ on are damaged/,
    lossy: true,
  },
  {
    what: "a missing log file",
    make: (data) => rmSync(data.files(".log")[1] as string),
    says: /\.log is missing, and with it \d+ messages from sequence \d+ on; its index is kept as/,
    lossy: true,
  },
  {
    what: "a flipped bit in an index entry",
    make: (data) => flip(data.files(".idx")[1] as string, 100),
    says: /1 entries of .* are damaged; their messages are kept where they are intact/,
  },
  {
    what: "a flipped bit in an index header",
    make: (data) => flip(data.files(".idx")[1] as string, 17),
    says: /its index header is damaged; the index was rebuilt from the \d+ messages in the log file/,
  },
  {
    what: "zeros at an index's end",
    make: (data) => zeroEnd(data.files(".idx").at(-1) as string, 60),
    says: /the last \d entries of .* are damaged; \d messages were found without them/,
  },
  {
    what: "an empty index",
    make: (data) => truncateSync(data.files(".idx")[1] as string, 0),
    says: /its index has no header; the index was rebuilt/,
  },
  {
    what: "a missing index",
    make: (data) => rmSync(data.files(".idx").at(-1) as string),
    says: /its index is missing; the index was rebuilt/,
  },
  {
    what: "a flipped bit in a deferred message",
    make: (data) => flip(data.deferred(".msg"), 120),
    says: /deferred messages: \d+ bytes in .* are damaged; they are skipped/,
    lossy: true,
  },
  {
    what: "a damaged store",
    make: (data) => writeFileSync(join(data.folder, "catalogue.sqlite"), "this was a database once, before the disk forgot it"),
    says: /catalogue\.sqlite is damaged \(file is not a database\); its copy would replace it/,
  },
  {
    what: "a missing store",
    make: (data) => rmSync(join(data.folder, "catalogue.sqlite")),
    says: /catalogue\.sqlite is missing; its copy would replace it/,
  },
  {
    what: "a flipped bit in a cursor",
    make: (data) => {
      const database = new Database(join(data.folder, "catalogue.sqlite"));
      database.run("UPDATE channels SET floor = floor + 16 WHERE name = 'a'");
      database.close(true);
    },
    says: /the row of channel a of orders in .* is damaged/,
  },
  {
    what: "a missing store without a copy",
    make: (data) => {
      rmSync(join(data.folder, "catalogue.sqlite"));
      rmSync(join(data.folder, "topics", "catalogue.copy"));
    },
    says: /there is no copy of it; topics would be taken from their folders/,
  },
];

for (const { what, make, says, lossy = false } of DAMAGES) {
  test(`${what} is found and reported, nothing is changed, and --repair repairs what it can`, async () => {
    using data = new DataPath();
    make(data);
    const before = data.content();
    const found = await data.check();
    expect(found.text).toMatch(says);
    expect(found.text).toContain("\ndamage was found; ");
    expect(found.code).toBe(1);
    expect(data.content()).toEqual(before);

    const repaired = await data.check("--repair");
    expect(repaired.code).toBe(1);
    expect(repaired.text).toStartWith("repairing:\n");

    const after = await data.check();
    expect(after.code).toBe(0);
    if (!lossy) expect(after.text).toContain(" 60 messages, sequences 0 to 59, ");
  });
}

test("each partition of a topic is checked, and one whose row and folder are gone is told", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("orders", 3).channel("a");
  await server.publish("orders", "0", "1", "2", "3");
  await server.close();
  const check = async () => {
    let text = "";
    const code = await runCheck([server.dataPath], (part) => {
      text += part;
    });
    return { code, text };
  };
  const sound = await check();
  expect(sound.text).toMatch(/^store: sound; 1 topics, 1 channels$/m);
  expect(sound.text).toMatch(/^topic orders:\n {2}1 segments, 2 messages/m);
  expect(sound.text).toMatch(/^topic orders, partition 2:\n {2}1 segments, 1 messages/m);
  expect(sound).toMatchObject({ code: 0, text: expect.stringMatching(/\nsound\n$/) });
  const folder = join(server.dataPath, "bunsq-data");
  rmSync(join(folder, "topics", "00001-orders@1"), { recursive: true });
  const store = new Database(join(folder, "catalogue.sqlite"), { readwrite: true, create: false });
  store.run("DELETE FROM topics WHERE name = 'orders@1'");
  store.close(true);
  const damaged = await check();
  expect(damaged.text).toContain("ERROR: topic orders has 3 partitions here, and 2 of them have rows; a start makes the others anew");
  expect(damaged.code).toBe(1);
  server.reopen();
  expect(server.log.matching(/ERROR.*of 3 partitions these are missing: 1;/).length).toBe(1);
  expect(
    server.broker.registry
      .topic("orders")
      .channel("a")
      .partitions.map(({ depth }) => depth),
  ).toEqual([2, 0, 1]);
  await server.publish("orders", "4", "5", "6");
  expect(server.broker.registry.topic("orders").channel("a").depth).toBe(6);
});

test("a data path that a running broker has open is not checked", async () => {
  await using server = InProcess.start();
  let text = "";
  const code = await runCheck([server.dataPath], (part) => {
    text += part;
  });
  expect([code, text]).toEqual([2, `${server.dataPath}/bunsq-data is in use by a running broker; stop it first\n`]);
});

test("a folder that is no data path, or one of a newer version, cannot be checked", async () => {
  using data = new DataPath();
  const index = data.files(".idx")[0] as string;
  const header = readFileSync(index);
  header.writeUInt32LE(9, 4);
  header.writeUInt32LE(Bun.hash.crc32(header.subarray(0, 36)), 36);
  writeFileSync(index, header);
  const newer = await data.check();
  expect(newer.code).toBe(2);
  expect(newer.text).toMatch(/was written by a newer bunsq \(index version 9/);
  rmSync(data.folder, { recursive: true });
  expect(await data.check()).toEqual({ code: 2, text: `there is no bunsq-data in ${data.path}\n` });
  expect(existsSync(data.folder)).toBeFalse();
});

test("a wrong command line is refused, and --help explains the command", async () => {
  let text = "";
  const print = (part: string) => {
    text += part;
  };
  for (const args of [[], ["a", "b"], ["--fix", "a"]]) expect(runCheck(args, print)).rejects.toThrow(UsageError);
  expect(text).toBe("");
  expect(await runCheck(["--help"], print)).toBe(0);
  expect(text).toStartWith("usage: bunsq check [--repair] DATA_PATH\n");
});
