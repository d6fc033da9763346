import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seedFromEnvironment } from "../../support/random.ts";

/** As many lines of what happened last are printed when a schedule fails. */
const PRINTED = 40;

/**
 * Plays schedules, each from a seed of its own. When one fails, its seed is printed, and `BUNSQ_SEED=<seed> BUNSQ_SCHEDULES=1` plays it
 * again. What happened in it is printed, too, and is in a file as a whole.
 *
 * @param usual how many, unless BUNSQ_SCHEDULES says another number
 * @param play one schedule; it throws if something does not hold, and gives `keep` the lines that say what happens
 */
export function playSchedules(usual: number, play: (seed: number, keep: (trace: readonly string[]) => void) => void): void {
  const count = Number(process.env.BUNSQ_SCHEDULES ?? usual);
  const first = seedFromEnvironment();
  for (let i = 0; i < count; i++) {
    const seed = (first + i) >>> 0;
    let trace: readonly string[] = [];
    try {
      play(seed, (lines) => {
        trace = lines;
      });
    } catch (error) {
      console.log(`schedule ${i + 1} of ${count} failed; play it again with BUNSQ_SEED=${seed} BUNSQ_SCHEDULES=1`);
      if (trace.length > 0) printTrace(seed, trace);
      throw error;
    }
  }
}

function printTrace(seed: number, trace: readonly string[]): void {
  const path = join(tmpdir(), `bunsq-schedule-${seed}.log`);
  writeFileSync(path, `${trace.join("\n")}\n`);
  console.log(`the last of ${trace.length} lines in ${path}:\n${trace.slice(-PRINTED).join("\n")}`);
}
