import { afterAll, expect, test } from "bun:test";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runStep } from "../behaviour/interop/support/cache.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { describeUnless, findProgram, missing, testUnless } from "../support/needs.ts";
import { cleanEnvironment, type Program } from "../support/server.ts";
import { allScenarios, trafficScenarios } from "./suite/scenarios.ts";
import { CONNECTIONS, STRICT_FLAGS } from "./support/connections.ts";
import { startStand } from "./support/stand.ts";

const ROOT = join(import.meta.dir, "../..");

/** A program of a user, who has nothing but the package. */
const PROGRAM = `
import { Consumer, Producer, type Message, type ProducerEvent } from "bunsq/client";

const producer = new Producer({ brokers: ["127.0.0.1:4150"], onEvent: (event: ProducerEvent) => console.log(event.type) });
const receipt: { broker: string } = await producer.publish("t", JSON.stringify({ n: 1 }));
const consumer = new Consumer({ topic: "t", channel: "c", lookups: ["127.0.0.1:4161"] });
for await (const message of consumer) {
  const value: { n: number } = message.json<{ n: number }>();
  message.finish();
  console.log(value.n, receipt.broker);
}
const handle = (message: Message): boolean => message.requeue(100);
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
      const { code, output } = await runStep(["node", `${name}.js`, tcp, ...(name === "replay" ? [http] : [])], folder);
      expect([name, code, output.trim() === ""]).toEqual([name, 0, false]);
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
  const child = Bun.spawn([command, "play.js", JSON.stringify(script)], {
    cwd: folder,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    env: cleanEnvironment(),
  });
  const lines = (await new Response(child.stdout).text()).trimEnd().split("\n");
  expect(await child.exited).toBe(0);
  return lines;
}
