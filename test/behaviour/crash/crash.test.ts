import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, testUnless } from "../../support/needs.ts";
import { seedFromEnvironment } from "../../support/random.ts";
import type { Program } from "../../support/server.ts";
import { CrashRun } from "./crash-run.ts";

// BUNSQ_SEED replays a run's decisions (its timing stays the machine's), BUNSQ_CRASH_ROUNDS makes it longer or shorter.
const ROUNDS = Number(process.env.BUNSQ_CRASH_ROUNDS ?? 30);

async function run(program: Program, work: (run: CrashRun) => Promise<void>): Promise<void> {
  const seed = seedFromEnvironment();
  const dataPath = mkdtempSync(join(tmpdir(), "bunsq-crash-"));
  console.log(`${program}: BUNSQ_SEED=${seed}`);
  const crashRun = new CrashRun(program, dataPath, seed);
  try {
    await work(crashRun);
    console.log(crashRun.summary());
  } catch (error) {
    throw new Error(`BUNSQ_SEED=${seed}, data path kept at ${dataPath}: ${(error as Error).message}`);
  } finally {
    await crashRun.killAll();
  }
  expect(crashRun.ledger.violations).toEqual([]);
  expect(crashRun.ledger.deliveryCount).toBeGreaterThan(0);
  rmSync(dataPath, { recursive: true, force: true });
}

test(
  `over ${ROUNDS} kills and stops no acknowledged message is lost, no finished one returns, deferred ones come when due`,
  () =>
    run("bunsq", async (crashRun) => {
      for (let round = 0; round < ROUNDS; round++) await crashRun.round(round, ROUNDS);
      await crashRun.drainAndCompare();
    }),
  120_000 + ROUNDS * 4_000,
);

testUnless(missing("nsqd"))(
  "the ledger finds nothing wrong with nsqd as long as that runs undisturbed",
  () => run("nsqd", (crashRun) => crashRun.undisturbedLife(10_000)),
  120_000,
);
