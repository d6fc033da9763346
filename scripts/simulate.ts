import { join } from "node:path";

/**
 * Plays many schedules of a cluster, with new seeds and little claim to the processor:
 *
 *     bun scripts/simulate.ts [SCHEDULES] [PROCESSES] [FIRST_SEED]
 */
const [schedules = 10_000, processes = 2, firstSeed = Math.floor(Math.random() * 0x3fffffff)] = process.argv.slice(2).map(Number);

const BATCH = 500;
const TEST = "test/cluster/simulator/cluster.test.ts";
const ROOT = join(import.meta.dir, "..");

let next = 0;
let played = 0;
const failures: number[] = [];

/** @returns whether nothing was violated */
async function playBatch(seed: number, count: number): Promise<boolean> {
  const child = Bun.spawn(["nice", "-n", "19", process.execPath, "test", TEST, "-t", "whatever fails"], {
    cwd: ROOT,
    env: { ...process.env, BUNSQ_SEED: String(seed), BUNSQ_SCHEDULES: String(count) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0) console.log(`${out}${errors}`);
  return code === 0;
}

async function play(): Promise<void> {
  while (next < schedules) {
    const seed = firstSeed + next;
    const count = Math.min(BATCH, schedules - next);
    next += count;
    if (!(await playBatch(seed, count))) failures.push(seed);
    played += count;
    console.log(`${new Date().toISOString()} ${played} of ${schedules} schedules, ${failures.length} batches with violations`);
  }
}

console.log(`${schedules} schedules from seed ${firstSeed} on, in ${processes} processes`);
await Promise.all(Array.from({ length: processes }, play));
if (failures.length > 0) {
  console.log(`violations in the batches of ${BATCH} from seeds ${failures.join(", ")} on`);
  process.exitCode = 1;
}
