import { afterAll, expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runStep } from "../behaviour/interop/support/cache.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { describeUnless, findProgram, missing, testUnless } from "../support/needs.ts";
import { cleanEnvironment, type Program, until } from "../support/server.ts";
import { allScenarios, trafficScenarios } from "./suite/scenarios.ts";
import { CONNECTIONS, STRICT_FLAGS } from "./support/connections.ts";
import { startStand } from "./support/stand.ts";

const ROOT = join(import.meta.dir, "../..");
/** How long a program may take that plays scenarios. Two of them run within the limit of a test. */
const PLAY_LIMIT_MS = 100_000;

/** A program of a user, who has nothing but the package. */
const PROGRAM = `
import { Consumer, Producer, type Message, type MessageFilter, type MessageHeaders, type ProducerEvent } from "bunsq/client";

const producer = new Producer({ brokers: ["127.0.0.1:4150"], onEvent: (event: ProducerEvent) => console.log(event.type) });
const receipt: { broker: string } = await producer.publish("t", JSON.stringify({ n: 1 }));
const consumer = new Consumer({ topic: "t", channel: "c", lookups: ["127.0.0.1:4161"] });
for await (const message of consumer) {
  const value: { n: number } = message.json<{ n: number }>();
  message.finish();
  console.log(value.n, receipt.broker);
}
const handle = (message: Message): boolean => message.requeue(100);
const headers: MessageHeaders = { region: "eu", tries: 3, nested: { list: [null, true] } };
await producer.publish("t", "x", { key: "k", headers, tag: "red", traceId: 1n, partition: 0 });
await producer.publishBatch("t", ["x", { body: new Uint8Array([1]), key: "k", headers }]);
const filter: MessageFilter = { header: "region", equals: "eu", not: true };
const ordered = new Consumer({ topic: "t", channel: "c", brokers: [], order: "key", tag: "red", filter, partition: 1, headers: true });
for await (const { key, tag, traceId, partition, headers: { region } } of ordered) {
  const all: [string | undefined, string | undefined, bigint | undefined, number | undefined] = [key, tag, traceId, partition];
  console.log(all, region);
}
console.log(handle);
await producer[Symbol.asyncDispose]();
`;

const folder = temporaryFolder();
afterAll(() => removeFolder(folder));

const reason = missing("node", "npm") ?? (await install());
const describeHere = describeUnless(reason);

/** Packs and installs. @returns why it cannot be done here: only a network that is missing is no failure */
async function install(): Promise<string | undefined> {
  const packed = await runStep(["npm", "pack", "--pack-destination", folder], ROOT);
  if (packed.code !== 0) throw new Error(`npm pack: ${packed.output}`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  const [tarball = ""] = [...new Bun.Glob("bunsq-*.tgz").scanSync(folder)];
  const command = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", `./${tarball}`];
  const installed = await runStep(command, folder);
  if (installed.code === 0) return undefined;
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/.test(installed.output)) return "no network for npm install";
  throw new Error(`npm install: ${installed.output}`);
}

describeHere("the package", () => {
  test("npx bunsq runs the program", async () => {
    const { code, output } = await runStep(["npx", "--no-install", "bunsq", "--version"], folder);
    expect(output).toStartWith("bunsq v");
    expect(code).toBe(0);
    const help = await runStep(["npx", "--no-install", "bunsq", "--nonsense"], folder);
    expect(help.code).not.toBe(0);
  }, 60_000);

  test("its types are accepted by tsc --strict without any other package", async () => {
    writeFileSync(join(folder, "program.ts"), PROGRAM);
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    for (const module of [
      ["--module", "nodenext"],
      ["--module", "esnext", "--moduleResolution", "bundler"],
    ]) {
      const flags = ["--strict", "--noEmit", "--target", "es2022", "--ignoreConfig", ...module];
      expect(await runStep([tsc, ...flags, "program.ts"], folder)).toEqual({ code: 0, output: "" });
    }
  }, 60_000);

  test("the examples run on node", async () => {
    await using stand = await startStand("bunsq");
    const { tcp, http } = stand.addresses;
    for (const name of ["publish", "ordered", "retry", "replay"]) {
      copyFileSync(join(ROOT, `examples/${name}.js`), join(folder, `${name}.js`));
      const { code, output } = await runStep(
        ["node", `${name}.js`, tcp, ...(name === "replay" || name === "ordered" ? [http] : [])],
        folder,
      );
      expect([name, code, output.trim() === ""]).toEqual([name, 0, false]);
    }
  }, 60_000);

  test("a program that fails or does not end is reported with what it had printed", async () => {
    await using stand = await startStand("bunsq");
    const port = stand.addresses.tcp.split(":")[1];
    const program = `
      import { writeFileSync } from "node:fs";
      import { Producer } from "bunsq/client";
      const producer = new Producer({ brokers: ["${stand.addresses.tcp}"] });
      await producer.ready();
      console.log("FAIL in the middle");
      if (process.argv[2] === "fail") process.exit(1);
      writeFileSync(process.argv[2], "");
    `;
    writeFileSync(join(folder, "open.js"), program);
    for (const runtime of ["node", "bun"]) {
      const command = [runtime === "bun" ? process.execPath : (findProgram("node") ?? "node"), "open.js"];
      const limit = new AbortController();
      const isKilled = runToEnd([...command, `has-printed-${runtime}`], limit.signal).catch((error: Error) => error.message);
      await until("it has printed", () => existsSync(join(folder, `has-printed-${runtime}`)));
      limit.abort();
      expect(await isKilled).toMatch(new RegExp(`did not end in its time.*TCP to port ${port}.*printed:\nFAIL in the middle`));
      await expect(runToEnd([...command, "fail"])).rejects.toThrow("ended with code 1. It had printed:\nFAIL in the middle");
    }
  }, 60_000);

  // The scenarios run from source at nsqd, too (scenarios.test.ts).
  for (const [runtime, program] of [
    ["node", "bunsq"],
    ["node", "nsqd"],
    ["bun", "bunsq"],
  ] as const) {
    const testHere = program === "bunsq" ? test : testUnless(missing("nsqd", "nsqlookupd"));
    testHere(
      `all scenarios pass on ${runtime} at ${program}`,
      async () => {
        const lines = await playSuite(runtime, program);
        expect(lines.filter((line) => line.startsWith("FAIL"))).toEqual([]);
        expect(lines.at(-1)).toBe("END");
        expect(lines.length).toBe(allScenarios.length + trafficScenarios.length * Object.keys(CONNECTIONS).length + 1);
      },
      240_000,
    );
  }
});

/** Plays the scenarios with the installed package. @returns its lines: those of one broker, then those of one that wants TLS */
async function playSuite(runtime: "node" | "bun", program: Program): Promise<string[]> {
  const built = await Bun.build({
    entrypoints: [join(import.meta.dir, "suite/play.ts")],
    outdir: folder,
    target: "node",
    external: ["bunsq/client"],
  });
  expect(built.success).toBe(true);
  await using plain = await startStand(program);
  const lines = await playAt(runtime, { stage: plain.addresses, connections: withTls(false) });
  await using strict = await startStand(program, STRICT_FLAGS);
  return [...lines.slice(0, -1), ...(await playAt(runtime, { stage: strict.addresses, connections: withTls(true), isTrafficOnly: true }))];
}

function withTls(has: boolean): typeof CONNECTIONS {
  return Object.fromEntries(Object.entries(CONNECTIONS).filter(([, { tls }]) => (tls !== undefined) === has));
}

async function playAt(runtime: "node" | "bun", script: object): Promise<string[]> {
  const command = runtime === "node" ? (findProgram("node") ?? "node") : process.execPath;
  return (await runToEnd([command, "play.js", JSON.stringify(script)])).trimEnd().split("\n");
}

/** Runs a program in the folder. @returns what it prints. @throws Error with that, if it fails or is killed at its limit */
async function runToEnd(command: string[], limit = AbortSignal.timeout(PLAY_LIMIT_MS)): Promise<string> {
  const child = Bun.spawn(command, { cwd: folder, stdin: "ignore", stdout: "pipe", stderr: "inherit", env: cleanEnvironment() });
  let open: string[] | undefined;
  const kill = () => {
    open = openFiles(child.pid);
    child.kill("SIGKILL");
  };
  limit.addEventListener("abort", kill);
  const output = await new Response(child.stdout).text();
  const code = await child.exited;
  limit.removeEventListener("abort", kill);
  if (open !== undefined) {
    throw new Error(`it did not end in its time. Open were ${open.join(", ")}. It had printed:\n${lastLines(output)}`);
  }
  if (code !== 0) throw new Error(`it ended with code ${code}. It had printed:\n${lastLines(output)}`);
  return output;
}

/** The failures, which may be far up, and the end. */
function lastLines(output: string): string {
  const lines = output.trimEnd().split("\n");
  return [...lines.slice(0, -20).filter((line) => line.startsWith("FAIL")), ...lines.slice(-20)].join("\n");
}

/** What a process has open: files and pipes by name, TCP connections by where they lead. Empty where there is no /proc. */
function openFiles(pid: number): string[] {
  try {
    const peers = new Map<string, string>();
    for (const line of readFileSync(`/proc/${pid}/net/tcp`, "latin1").split("\n").slice(1)) {
      const [, , peer = "", , , , , , , inode = ""] = line.trim().split(/\s+/);
      peers.set(`socket:[${inode}]`, `TCP to port ${Number.parseInt(peer.split(":")[1] ?? "", 16)}`);
    }
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      const name = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return peers.get(name) ?? name;
    });
  } catch {
    return [];
  }
}
