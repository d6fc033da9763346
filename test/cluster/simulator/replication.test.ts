import { expect, test } from "bun:test";
import { seedFromEnvironment } from "../../support/random.ts";
import { BROKEN_VARIANTS, type BrokenVariant, breakIt } from "./broken-variants.ts";
import { Violation } from "./replication-checks.ts";
import { ReplicationRun } from "./replication-run.ts";
import { playSchedules } from "./schedules.ts";

const SCHEDULES = Number(process.env.BUNSQ_SCHEDULES ?? 100);
/** Each broken variant has to be noticed within this many. */
const VARIANT_SCHEDULES = 10 * SCHEDULES;

test("whatever fails, nothing that was acknowledged is lost, changed or reordered", () => {
  let acked = 0;
  let changes = 0;
  playSchedules(SCHEDULES, (seed) => {
    const run = new ReplicationRun(seed);
    run.play();
    acked += run.checks.acked;
    changes += run.checks.state.answered;
  });
  console.log(`${SCHEDULES} schedules, ${acked} messages acknowledged, ${changes} changes of the state answered`);
  expect(Math.min(acked, changes)).toBeGreaterThan(SCHEDULES);
}, 600_000);

test.each(BROKEN_VARIANTS.map((variant): [string, BrokenVariant] => [variant.what, variant]))(
  "the simulator notices that %s",
  (_what, variant) => {
    using _broken = breakIt(variant);
    const first = seedFromEnvironment();
    for (let i = 0; i < VARIANT_SCHEDULES; i++) {
      try {
        new ReplicationRun((first + i) >>> 0).play();
      } catch (error) {
        if (error instanceof Violation) return;
        throw error;
      }
    }
    throw new Error(`not noticed in ${VARIANT_SCHEDULES} schedules from seed ${first} on`);
  },
  600_000,
);
