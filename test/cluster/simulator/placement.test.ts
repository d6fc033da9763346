import { expect, test } from "bun:test";
import { Controller } from "../../../src/cluster/placement/controller.ts";
import { PartitionMove } from "../../../src/cluster/placement/partition-move.ts";
import { type BrokenVariant, breakIt, seedOfVariants } from "./broken-variants.ts";
import { PlacementRun } from "./placement-run.ts";
import { playSchedules } from "./schedules.ts";
import { Violation } from "./violation.ts";

const SCHEDULES = Number(process.env.BUNSQ_SCHEDULES ?? 60);
const VARIANT_SCHEDULES = 10 * SCHEDULES;

/** What the replacements use. */
interface Inside {
  readonly move: { readonly to: string };
}

function variant(what: string, prototype: object, member: string, value: (this: Inside, ...values: never[]) => unknown): BrokenVariant {
  return { what, prototype, member, descriptor: { value, configurable: true, writable: true } };
}

const BROKEN: readonly BrokenVariant[] = [
  variant(
    "a replica is removed before the new one is in sync",
    PartitionMove.prototype,
    "isCopied",
    function (partition: { replicas: readonly string[] }) {
      return partition.replicas.includes(this.move.to);
    },
  ),
  variant("a replica is removed while others lag behind", PartitionMove.prototype, "mayDrop", () => true),
  variant("revisions are not checked", Controller.prototype, "allOf", () => []),
];

test("whatever fails: moves end, and no partition has fewer replicas in sync than before", () => {
  let moves = 0;
  playSchedules(SCHEDULES, (seed) => {
    const run = new PlacementRun(seed);
    run.play();
    moves += run.checks.ended;
  });
  console.log(`${SCHEDULES} schedules, ${moves} moves`);
  expect(moves).toBeGreaterThan(SCHEDULES);
}, 600_000);

test.each(BROKEN.map((broken): [string, BrokenVariant] => [broken.what, broken]))(
  "the simulator notices that %s",
  (_what, broken) => {
    using _broken = breakIt(broken);
    const first = seedOfVariants();
    for (let i = 0; i < VARIANT_SCHEDULES; i++) {
      try {
        new PlacementRun((first + i) >>> 0).play();
      } catch (error) {
        if (error instanceof Violation) return;
        throw error;
      }
    }
    throw new Error(`not noticed in ${VARIANT_SCHEDULES} schedules from seed ${first} on`);
  },
  600_000,
);

test("the same seed makes the same run", () => {
  const play = (): number => {
    const run = new PlacementRun(7);
    run.play();
    return run.world.time.count;
  };
  expect(play()).toBe(play());
});
