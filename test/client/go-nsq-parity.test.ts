import { expect } from "bun:test";
import { join } from "node:path";
import { Consumer } from "../../src/client/bun.ts";
import { buildGoProgram } from "../behaviour/interop/support/go-program.ts";
import { testUnless } from "../support/needs.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { cleanEnvironment, until } from "../support/server.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const SEED = seedFromEnvironment();

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

const built = await buildGoProgram(join(import.meta.dir, "go-nsq"), "go-nsq-backoff");
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
