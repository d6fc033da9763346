import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { lockDataPath } from "../../../src/nsqd-data/data-path-lock.ts";
import { startNsqd } from "../../nsqd-data/support/go-nsqd.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { cleanEnvironment, MAIN, startServer, until } from "../../support/server.ts";
import { type Deliveries, drainAll, FLAGS, fill, fillNsqd, shape, total } from "./support/backlog.ts";

const MESSAGES = Number(process.env.BUNSQ_IMPORT_MESSAGES ?? 20_000);
const KILLS = Number(process.env.BUNSQ_IMPORT_KILLS ?? 10);
/** 200,000 messages and 50 kills take about eight minutes on a busy machine. */
const TIMEOUT_MS = Math.max(600_000, (MESSAGES * KILLS) / 5);

/** A data path of nsqd, and what nsqd itself makes of it. Nothing changes them. */
let template = "";
let wanted: Deliveries;
let wantedShape: string[];
let files: Map<string, string>;
const folders: string[] = [];

describeUnless(missing("nsqd"))("a data path of Go's nsqd", () => {
  beforeAll(async () => {
    const seed = seedFromEnvironment();
    console.log(`import: seed ${seed}, ${MESSAGES} messages`);
    template = temporaryFolder();
    await fillNsqd(template, MESSAGES, new Random(seed));
    files = contents(template);
    const nsqd = await startNsqd(copy(), ["--max-msg-timeout=1h"]);
    wantedShape = await shape(nsqd);
    wanted = await drainAll(nsqd);
    await nsqd.stop();
    console.log(`import: ${total(wanted)} messages in ${wanted.size} channels`);
  }, TIMEOUT_MS);

  afterAll(() => {
    for (const folder of [template, ...folders]) removeFolder(folder);
  });

  test(
    "is taken over by a broker at its start, and left in a folder as it was",
    async () => {
      const folder = copy();
      const broker = await startServer({ dataPath: folder });
      expect(await shape(broker)).toEqual(wantedShape);
      expectEqual(await drainAll(broker), wanted);
      expect(await broker.stop()).toBe(0);
      expect(readdirSync(folder).sort()).toEqual(["bunsq-data", "nsqd-data-imported"]);
      expect(contents(join(folder, "nsqd-data-imported"))).toEqual(files);
      expect(broker.log()).toContain("NSQD DATA: imported 20 topics, 57 channels");

      // It happens once, and nothing comes twice.
      const again = await startServer({ dataPath: folder });
      expect(total(await drainAll(again))).toBe(0);
      expect(again.log()).not.toContain("NSQD DATA");
      await again.stop();
    },
    TIMEOUT_MS,
  );

  test(
    "is taken over whole by an import that is killed at random moments",
    async () => {
      const seed = seedFromEnvironment();
      console.log(`import: seed of the kills ${seed}`);
      const random = new Random(seed);
      let kills = 0;
      let rounds = 0;
      let wholeMs = 0;
      // The first round is not killed: its time says from when to when there is something to kill.
      while (rounds === 0 || kills < KILLS) {
        const folder = copy();
        const target = temporaryFolder();
        folders.push(target);
        for (let finished = false; !finished; ) {
          const child = startImport(folder, target);
          await child.importing;
          const began = performance.now();
          const killed = rounds > 0 && kills < KILLS && (await isWithin(random.next() * wholeMs, child.process.exited));
          if (killed) child.process.kill("SIGKILL");
          await child.process.exited;
          if (rounds === 0) wholeMs = performance.now() - began;
          if (child.process.signalCode === "SIGKILL") kills++;
          // A kill after the last step of an import leaves nothing to do.
          finished = child.process.exitCode === 0 || child.log().includes("an earlier import has moved it");
          if (!finished && !killed) throw new Error(child.log());
        }
        rounds++;
        expect(readdirSync(folder)).toEqual(["nsqd-data-imported"]);
        expect(contents(join(folder, "nsqd-data-imported"))).toEqual(files);
        expect(existsSync(join(target, "bunsq-data", "nsqd-import"))).toBe(false);
        const broker = await startServer({ dataPath: target });
        expect(await shape(broker)).toEqual(wantedShape);
        expectEqual(await drainAll(broker), wanted);
        await broker.stop();
        for (const used of [folder, target]) removeFolder(used);
      }
      console.log(`import: killed ${kills} times in ${rounds - 1} imports, one takes ${wholeMs.toFixed(0)} ms`);
    },
    TIMEOUT_MS,
  );

  test(
    "comes back from an export as it was",
    async () => {
      const [target, back] = [temporaryFolder(), temporaryFolder()];
      folders.push(target, back);
      expect(await run("import", copy(), `--data-path=${target}`)).toMatchObject({ code: 0 });
      expect(await run("export", "--format=nsqd", back, `--data-path=${target}`)).toMatchObject({ code: 0 });
      const nsqd = await startNsqd(back);
      expect(await shape(nsqd)).toEqual(wantedShape);
      expectEqual(await drainAll(nsqd), wanted);
      expect(nsqd.log()).not.toMatch(/WARNING|ERROR/);
      await nsqd.stop();
      expect(readdirSync(back).filter((name) => name.endsWith(".bad"))).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "is refused while nsqd runs on it, and nsqd does not start on one of bunsq",
    async () => {
      const folder = copy();
      const target = temporaryFolder();
      folders.push(target);
      const nsqd = await startNsqd(folder);
      const refusal = await failure(startServer({ dataPath: folder }));
      expect(refusal).toContain(`${folder} is in use by another process, a bunsq or an nsqd`);
      const child = startImport(folder, target);
      expect(await child.process.exited).toBe(2);
      expect(child.log()).toContain(`${folder} is in use by another process`);
      await nsqd.stop();
      const broker = await startServer({ dataPath: folder });
      expect(await failure(startNsqd(folder))).toContain(`cannot flock directory ${folder}`);
      expect(lockDataPath(folder)).toBeInstanceOf(Error);
      await broker.stop();
    },
    TIMEOUT_MS,
  );
});

describeUnless(missing("nsqd"))("the data of a broker", () => {
  test.each(["SIGTERM", "SIGKILL"] as const)(
    "is delivered by Go's nsqd after an export, and imported again as it was, when the broker ended with %s",
    async (signal) => {
      const seed = seedFromEnvironment();
      console.log(`export: seed ${seed}`);
      const [folder, out, copied, back] = [temporaryFolder(), temporaryFolder(), temporaryFolder(), temporaryFolder()];
      folders.push(folder, out, copied, back);
      const broker = await startServer({ dataPath: folder, args: ["--max-bytes-per-file=1048576", ...FLAGS] });
      const counts = await fill(broker, Math.min(MESSAGES, 20_000) / 4, new Random(seed), signal);
      const before = contents(folder, "bunsq-data/topics");
      const exported = await run("export", "--format=nsqd", out, `--data-path=${folder}`);
      expect(exported).toMatchObject({ code: 0 });
      expect(exported.text).toContain("nsqd does not store when they are due");
      expect(contents(folder, "bunsq-data/topics")).toEqual(before);
      expect(await run("export", "--format=nsqd", out, `--data-path=${folder}`)).toMatchObject({ code: 2 });

      cpSync(out, copied, { recursive: true });
      const nsqd = await startNsqd(copied, ["--mem-queue-size=0"]);
      const shown = await shape(nsqd);
      const delivered = await drainAll(nsqd);
      expect(nsqd.log()).not.toMatch(/WARNING|ERROR/);
      await nsqd.stop();
      for (const [channel, lines] of delivered) {
        const [topic = "", name = ""] = channel.split(" ");
        const count = name === "first" ? counts.get(topic) : (counts.get(channel) ?? 0) + (counts.get(topic) ?? 0);
        // A killed broker has not saved what was finished in its last moments.
        if (signal === "SIGTERM") expect({ channel, count: lines.length }).toEqual({ channel, count: count ?? 0 });
        else expect(lines.length).toBeGreaterThanOrEqual(count ?? 0);
        expect(new Set(lines).size).toBe(lines.length);
      }

      expect(await run("import", out, `--data-path=${back}`)).toMatchObject({ code: 0 });
      const again = await startServer({ dataPath: back });
      expect(await shape(again)).toEqual(shown);
      expectEqual(await drainAll(again), delivered);
      await again.stop();
    },
    TIMEOUT_MS,
  );
});

/** A copy of the template, removed at the end. */
function copy(): string {
  const folder = temporaryFolder();
  folders.push(folder);
  cpSync(template, folder, { recursive: true });
  return folder;
}

/** Names and hashes of the files in a folder and those below. */
function contents(folder: string, part = ""): Map<string, string> {
  const path = join(folder, part);
  return new Map(
    readdirSync(path, { recursive: true, encoding: "utf8" })
      .filter((name) => statSync(join(path, name)).isFile())
      .sort()
      .map((name) => [name, Bun.hash(readFileSync(join(path, name))).toString(16)]),
  );
}

/** Runs a command of bunsq to its end. */
async function run(...args: string[]): Promise<{ code: number; text: string }> {
  const child = Bun.spawn([process.execPath, MAIN, ...args], { stdout: "pipe", stderr: "inherit", env: cleanEnvironment() });
  const text = await new Response(child.stdout).text();
  return { code: await child.exited, text };
}

function expectEqual(found: Deliveries, expected: Deliveries): void {
  expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [channel, lines] of expected) {
    const missing = difference(lines, found.get(channel) ?? []);
    const surplus = difference(found.get(channel) ?? [], lines);
    expect({ channel, missing, surplus }).toEqual({ channel, missing: [], surplus: [] });
  }
}

/** The lines of `a` that `b` does not have. */
function difference(a: readonly string[], b: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of b) counts.set(line, (counts.get(line) ?? 0) + 1);
  return a.filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}

/** Waits for a time. @returns false if something ended before */
function isWithin(ms: number, ended: Promise<unknown>): Promise<boolean> {
  return Promise.race([Bun.sleep(ms).then(() => true), ended.then(() => false)]);
}

/** Starts `bunsq import`. `importing` resolves when it has begun. */
function startImport(source: string, target: string) {
  const command = [process.execPath, MAIN, "import", source, `--data-path=${target}`];
  const process_ = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "ignore", env: cleanEnvironment() });
  let log = "";
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of process_.stdout) log += decoder.decode(chunk, { stream: true });
  })();
  const importing = until(
    "the import begins",
    () => log.includes("importing") || process_.exitCode !== null || process_.signalCode !== null,
    60_000,
  );
  return { process: process_, importing, log: () => log };
}

/** Why a server does not start. */
function failure(start: Promise<{ stop(): Promise<number> }>): Promise<string> {
  return start.then(
    async (server) => {
      await server.stop();
      return "started";
    },
    (error: Error) => error.message,
  );
}
