import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { DAMAGES, DamagedPath, type End, KINDS, makeTemplates, type Templates } from "./damaged-path.ts";

const seed = seedFromEnvironment();
let templates: Templates;

beforeAll(async () => {
  console.log(`BUNSQ_SEED=${seed}`);
  templates = await makeTemplates();
});
afterAll(() => templates[Symbol.dispose]());

/** After a clean stop there is neither. */
const ONLY_AFTER_KILL = ["journal", "write-ahead log of the store"];
/** Damage that costs no message, because the messages are elsewhere. */
const COSTS_NOTHING = /status|keys|store|backup|index/;
/**
 * SQLite takes an end of its write-ahead log that it cannot read for one that was not written. While all pages are in that log,
 * it reads none in the database itself.
 */
const UNTOLD = new Set([
  ...["one bit in its body", "its last 100 bytes cut"].map((damage) => `write-ahead log of the store, ${damage}, kill`),
  ...["one bit in its header", "one bit in its body", "cut in half", "its last 100 bytes cut", "zeros", "garbage"].map(
    (damage) => `metadata store, ${damage}, kill`,
  ),
]);

for (const [kind, find] of Object.entries(KINDS)) {
  for (const [damage, make] of Object.entries(DAMAGES)) {
    for (const end of ["kill", "clean stop"] as End[]) {
      if (end === "clean stop" && ONLY_AFTER_KILL.includes(kind)) continue;
      if (UNTOLD.has(`${kind}, ${damage}, ${end}`)) {
        test(`${kind}, ${damage}, after a ${end}: costs no message`, async () => {
          using started = new DamagedPath(templates.path[end]);
          make(find(started.folder), Random.forPart(seed, 1));
          const { bodies } = await started.start();
          expect([...templates.published].filter((body) => !bodies.has(body))).toEqual([]);
        });
        continue;
      }
      test(`${kind}, ${damage}, after a ${end}: told before and at the start, costs what it covers, and is repaired`, async () => {
        const random = Random.forPart(seed, 1);
        using started = new DamagedPath(templates.path[end]);
        const path = find(started.folder);
        const original = readFileSync(path);
        make(path, random);

        const before = await started.check();
        expect(before.text).toMatch(/ERROR/);
        expect(before.text).toContain(basename(path).replace("-wal", ""));
        expect(before.code).toBe(1);

        const { bodies, log, damaged } = await started.start();
        for (const body of bodies) expect(templates.published).toContain(body);
        const lost = [...templates.published].filter((body) => !bodies.has(body));
        for (const body of lost) expect(original.includes(body), `${body} was not in ${path}`).toBeTrue();
        if (COSTS_NOTHING.test(kind)) expect(lost).toEqual([]);
        if (damage.startsWith("one bit") && kind !== "journal") expect(lost.length).toBeLessThanOrEqual(1);
        if (damage.startsWith("one bit") && kind === "journal") expect(lost.length).toBeLessThanOrEqual(6);
        if (damage === "one bit in its header" && kind === "journal") expect(lost).toEqual([]);
        expect(log.matching(/^ERROR/).join("\n")).toContain(basename(path).replace("-wal", ""));
        expect(damaged).toBeGreaterThan(0);
        if (!["removed", "cut to 0"].includes(damage) && !kind.includes("index")) expect(started.kept).not.toEqual([]);
        if (damage === "a folder in its place") expect(started.kept.some((name) => name.includes(basename(path)))).toBeTrue();

        using repaired = new DamagedPath(templates.path[end]);
        make(find(repaired.folder), random);
        expect((await repaired.check("--repair")).code).toBe(1);
        const after = await repaired.check();
        expect(after.text).toEndWith("\nsound\n");
        expect(after.code).toBe(0);
        // A second repair changes nothing more.
        const kept = repaired.kept.sort();
        expect((await repaired.check("--repair")).code).toBe(0);
        expect(repaired.kept.sort()).toEqual(kept);
      });
    }
  }
}

for (const end of ["kill", "clean stop"] as End[]) {
  test(`nothing is damaged after a ${end}`, async () => {
    using path = new DamagedPath(templates.path[end]);
    const { code, text } = await path.check();
    expect(text).not.toMatch(/ERROR/);
    expect(code).toBe(0);
    const { bodies, log, damaged } = await path.start();
    expect([...templates.published].filter((body) => !bodies.has(body))).toEqual([]);
    expect(log.matching(/^(ERROR|WARNING)/)).toEqual([]);
    expect([damaged, path.kept]).toEqual([0, []]);
  });
}
