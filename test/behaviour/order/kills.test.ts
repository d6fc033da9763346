import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seedFromEnvironment } from "../../support/random.ts";
import { KillRun } from "./support/kill-run.ts";

// One every two seconds: 30 take a minute. Order of the partition is the simpler one.
const KILLS = Number(process.env.BUNSQ_ORDER_KILLS ?? 5);

for (const [order, kills] of [
  ["key", KILLS],
  ["partition", Math.ceil(KILLS / 3)],
] as const) {
  test(
    `over ${kills} kills each ${order} is in order, never two at once, nothing lost, and only what was in flight comes again`,
    async () => {
      const seed = seedFromEnvironment();
      const dataPath = mkdtempSync(join(tmpdir(), "bunsq-order-"));
      console.log(`order of the ${order}: BUNSQ_SEED=${seed}`);
      const run = new KillRun(order, dataPath, seed);
      try {
        for (let kill = 0; kill < kills; kill++) await run.lifeAndKill();
        await run.drain();
        console.log(run.summary());
      } catch (error) {
        throw new Error(`BUNSQ_SEED=${seed}, data path kept at ${dataPath}: ${(error as Error).message}`, { cause: error });
      } finally {
        await run.close();
      }
      expect(run.ledger.repeatedCount).toBeGreaterThan(0);
      rmSync(dataPath, { recursive: true, force: true });
    },
    150_000 + kills * 8000,
  );
}
