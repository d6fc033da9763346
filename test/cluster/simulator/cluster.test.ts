import { expect, test } from "bun:test";
import { BROKEN_VARIANTS, type BrokenVariant, breakIt, seedOfVariants } from "./broken-variants.ts";
import { ClusterRun } from "./cluster-run.ts";
import { playSchedules } from "./schedules.ts";
import { Violation } from "./violation.ts";

const SCHEDULES = Number(process.env.BUNSQ_SCHEDULES ?? 100);
/** Each broken variant has to be noticed within this many. Most are within 50, and the rarest takes some 200. */
const VARIANT_SCHEDULES = 1_000;
/** What the seeds below were found with. */
const ODDS_BEFORE = { toAndFro: 0 };

test("whatever fails, nothing that was acknowledged is lost, changed or reordered", () => {
  let acked = 0;
  let changes = 0;
  let moves = 0;
  playSchedules(SCHEDULES, (seed, keep) => {
    const run = new ClusterRun(seed);
    keep(run.world.trace);
    run.play();
    acked += run.checks.acked;
    changes += run.checks.answered;
    moves += run.checks.placement.ended;
  });
  console.log(`${SCHEDULES} schedules, ${acked} messages acknowledged, ${changes} changes of the state answered, ${moves} moves ended`);
  expect(Math.min(acked, changes)).toBeGreaterThan(SCHEDULES);
}, 6_000_000);

test.each([
  ["a damaged message is not waited for that only a broker had which is being removed", 500001531],
  ["a leader with a full disk does not leave the set to one whose disk is set back", 500003783],
  ["a broker has one move, also where a new controller hears late of another one", 700001090],
  ["an ordered partition goes on where its right ended and was there again before anybody looked", 800016988],
  ["a damaged message is waited for that a broker has which is started again while it is being removed", 900010437],
  ["a replica does not join before it knows that it was removed and added again", 1300063996],
  ["the last one in sync, without its files, does not lead in the epoch in which it led with them", 600001542],
])("%s (seed %d)", (_what, seed) => new ClusterRun(seed, ODDS_BEFORE).play());

test.each([
  ["a move whose target has got a replica another way does not wait for ever", 1800002457],
  ["a replica that was removed and added again does not take answers that were meant for the one before", 1900038446],
])("%s, while a broker hears late of etcd (seed %d)", (_what, seed) => new ClusterRun(seed).play());

test("a follower that has not been told yet what to keep takes nothing for acknowledged that its leader never had", () => {
  // In these, watermarks came before the leader's answer.
  for (const seed of [1016, 1066, 1079, 1126, 1128, 1137]) {
    const run = new ClusterRun(seed, ODDS_BEFORE);
    run.play();
    expect(run.world.logger.lines.filter((line) => line.includes("the leader has lost them"))).toEqual([]);
  }
}, 600_000);

test.each(BROKEN_VARIANTS.map((variant): [string, BrokenVariant] => [variant.what, variant]))(
  "the simulator notices that %s",
  (_what, variant) => {
    using _broken = breakIt(variant);
    const first = seedOfVariants();
    for (let i = 0; i < VARIANT_SCHEDULES; i++) {
      try {
        new ClusterRun((first + i) >>> 0, variant.odds).play();
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        return console.log(`${variant.what}: noticed in schedule ${i + 1}, of seed ${(first + i) >>> 0}: ${error.message.split("\n")[0]}`);
      }
    }
    throw new Error(`not noticed in ${VARIANT_SCHEDULES} schedules from seed ${first} on`);
  },
  600_000,
);

test("the same seed makes the same run", () => {
  const play = (): string[] => {
    const run = new ClusterRun(7);
    run.play();
    return [...run.world.trace, `${run.world.time.count} events`];
  };
  expect(play()).toEqual(play());
});
