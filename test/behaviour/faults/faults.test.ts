import { afterAll, describe, expect, test } from "bun:test";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { type Cell, callsOf, type Duration, type Fault, FaultRun, type Moment, nameOf, removeBases } from "./support/fault-run.ts";
import { FILE_KINDS } from "./support/file-kinds.ts";

// Each call to the disk fails, at each kind of file, once, for a moment or for ever, while a broker starts, works and stops. Which calls
// there are, a run without a fault tells.

/** How many cells of the table are played, chosen by the seed; all: every one. */
const CELLS = process.env.BUNSQ_FAULT_CELLS ?? "150";
const MOMENTS: readonly Moment[] = ["first start", "start", "work", "stop"];
const DURATIONS: readonly Duration[] = ["once", "150 ms", "for ever"];

const seed = seedFromEnvironment();
const table: Fault[] = [];
for (const durability of ["write", "fsync"] as const) {
  const cells: Cell[] = await callsOf(durability);
  for (const cell of cells) for (const duration of DURATIONS) table.push({ ...cell, duration, durability });
}
const share = CELLS === "all" ? 1 : Number(CELLS) / table.length;
let played = 0;
let failures = 0;

afterAll(() => {
  removeBases();
  console.log(`faults: ${played} of ${table.length} cells were played, with ${failures} failures, BUNSQ_SEED=${seed}`);
});

test("a run uses every kind of file", () => {
  const seen = new Set(table.map(({ kind }) => kind));
  expect(FILE_KINDS.filter((kind) => !seen.has(kind)).map(({ name }) => name)).toEqual([]);
});

for (const moment of MOMENTS) {
  describe(moment === "work" ? "at work" : `at the ${moment}`, () => {
    for (const kind of FILE_KINDS) {
      const cells = table.map((fault, index) => ({ fault, index })).filter(({ fault }) => fault.moment === moment && fault.kind === kind);
      for (const call of new Set(cells.map(({ fault }) => fault.call))) {
        test(`${kind.name}: ${call} fails`, async () => {
          for (const { fault, index } of cells) {
            const random = Random.forPart(seed, index);
            if (fault.call !== call || !random.chance(share)) continue;
            const run = await FaultRun.begin(moment, fault.durability, random);
            await run.play(fault);
            played++;
            failures += run.failures;
            const { violations } = run.ledger;
            if (violations.length === 0) continue;
            const said = [`${nameOf(fault)}, BUNSQ_SEED=${seed}`, ...violations, ...run.log.slice(-30)];
            throw new Error(said.join("\n"));
          }
        }, 60_000);
      }
    }
  });
}
