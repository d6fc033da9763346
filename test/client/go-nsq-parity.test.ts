import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Consumer } from "../../src/client/bun.ts";
import { cachedFolder, runStep } from "../behaviour/interop/support/cache.ts";
import { findProgram, missing, testUnless } from "../support/needs.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { cleanEnvironment, until } from "../support/server.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const SOURCE = join(import.meta.dir, "go-nsq");
const SEED = seedFromEnvironment();

/** Builds the program once. @returns its path, or why it cannot be built here */
async function buildGoNsq(): Promise<{ program: string } | { missing: string }> {
  const go = findProgram("go");
  if (go === undefined) return { missing: missing("go") ?? "" };
  const inputs = ["main.go", "go.mod", "go.sum"].map((file) => readFileSync(join(SOURCE, file), "utf8"));
  const built = await cachedFolder("client-go-nsq", inputs, async (folder) => {
    const download = await runStep([go, "mod", "download"], SOURCE);
    if (download.code !== 0) return `no go-nsq: ${download.output}`;
    const build = await runStep([go, "build", "-mod=readonly", "-o", join(folder, "consumer"), "."], SOURCE);
    if (build.code !== 0) throw new Error(`go build: ${build.output}`);
    return undefined;
  });
  return "missing" in built ? built : { program: join(built.folder, "consumer") };
}

/**
 * go-nsq ignores what happens to a message that comes within microseconds of the RDY 1 of a back-off: it notes the end of the pause
 * only when it has sent it (consumer.go: resume).
 */
const NETWORK = { readyDelayMs: 10 };

/** The commands that go-nsq sends for a script of messages. */
async function playGoNsq(program: string, script: string[]): Promise<string[]> {
  using broker = new RecordingBroker(script, NETWORK);
  const child = Bun.spawn([program, broker.address], { stdout: "ignore", stderr: "ignore", env: cleanEnvironment() });
  try {
    await ended(broker);
    return [...broker.commands];
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

async function playOurs(script: string[]): Promise<string[]> {
  using broker = new RecordingBroker(script, NETWORK);
  const consumer = new Consumer({
    brokers: [broker.address],
    topic: "t",
    channel: "c",
    maxInFlight: 5,
    maxAttempts: 0,
    requeueDelayMs: 0,
    backoffMultiplierMs: 20,
    maxBackoffMs: 200,
  });
  void consumer.run((message) => {
    const body = message.text();
    if (body === "F") throw new Error("failed");
    if (body === "R") message.requeue(0, { backoff: false });
  });
  await ended(broker);
  const commands = [...broker.commands];
  await consumer.close();
  return commands;
}

/** The script ends with successes, so the last RDY is the full one. */
async function ended(broker: RecordingBroker): Promise<void> {
  await until(
    "the end of the script",
    () => broker.isDone && broker.commands.findLast((line) => line.startsWith("RDY")) === "RDY 5",
    30_000,
  );
}

const built = await buildGoNsq();
const testHere = testUnless("missing" in built ? built.missing : undefined);

for (const script of ["F", "SF", "FF", "FFSS", "SSFSFFSSS", "FRS", "RRFSS", "FFFFFFFF"]) {
  testHere(`backs off as go-nsq does: ${script}`, () => compare(script));
}

testHere(
  "backs off as go-nsq does, whatever the order of failures",
  async () => {
    console.log(`seed of the script: ${SEED}`);
    const random = new Random(SEED);
    await compare(Array.from({ length: 60 }, () => random.pick(["S", "S", "S", "F", "R"])).join(""));
  },
  60_000,
);

async function compare(letters: string): Promise<void> {
  if ("missing" in built) return;
  // Enough successes to come out of any back-off.
  const script = [...letters, ..."S".repeat(40)];
  const [theirs, ours] = await Promise.all([playGoNsq(built.program, script), playOurs(script)]);
  expect(ours).toEqual(theirs);
}
