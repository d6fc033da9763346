import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { DAMAGES, DamagedPath, type End, makeTemplates, type Templates } from "./damaged-path.ts";

const seed = seedFromEnvironment();
let templates: Templates;

beforeAll(async () => {
  console.log(`BUNSQ_SEED=${seed}`);
  templates = await makeTemplates();
});
afterAll(() => templates[Symbol.dispose]());

function topicFile(folder: string): string {
  const [name = ""] = readdirSync(join(folder, "topics")).filter((one) => one.endsWith("-orders"));
  return join(folder, "topics", name, "topic");
}

for (const damage of ["one bit in its header", "one bit in its body", "cut in half", "cut to 0", "zeros", "garbage"]) {
  for (const end of ["kill", "clean stop"] as End[]) {
    // A kill leaves an empty file between its making and its writing.
    const isTold = damage !== "cut to 0" || end === "clean stop";
    test(`a topic file with ${damage} after a ${end} costs nothing and is ${isTold ? "told, kept and made anew" : "made anew"}`, async () => {
      using path = new DamagedPath(templates.path[end]);
      DAMAGES[damage]?.(topicFile(path.folder), Random.forPart(seed, 1));
      const before = await path.check();
      expect(before.code).toBe(isTold ? 1 : 0);
      if (isTold) expect(before.text).toMatch(/ERROR: TOPIC\(orders\): .*topic is damaged; a start makes a new one/);
      const { bodies, log, damaged } = await path.start();
      expect([...templates.published].filter((body) => !bodies.has(body))).toEqual([]);
      expect(log.matching(/ERROR: TOPIC\(orders\): .*topic is damaged; it is kept as .*topic\.damaged/)).toHaveLength(isTold ? 1 : 0);
      expect(damaged).toBe(isTold ? 1 : 0);
      expect(path.kept.map((name) => name.replace(/^.*\//, ""))).toEqual(isTold ? ["topic.damaged"] : []);
      expect((await path.check()).code).toBe(0);
    });
  }
}
