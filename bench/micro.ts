/**
 * Measures the steps of the hot path one by one, with mitata: `bun run bench:micro`.
 *
 *     --only=REGEX      run the cases whose names match
 *     --markdown=FILE   write the table at the end to a file
 *     --percentiles     measure a broker that computes latency percentiles
 *
 * mitata's lines are per call, which is a thousand messages in most cases. The table at the end is per message.
 *
 * mitata's heap figure is the growth of the process during a call, which does not show garbage that was collected. So the
 * allocated bytes are measured in a second process without garbage collection, where the growth equals the allocations.
 */
import { memoryUsage } from "bun:jsc";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { bench, group, run } from "mitata";
import { Bed } from "./micro/bed.ts";
import { type Case, makeCases } from "./micro/cases.ts";
import { table } from "./support/report.ts";

/** Calls before allocations are counted, after which the code is compiled and pools and buffers have grown. */
const WARM_UP_CALLS = 500;
/** The process grows in steps of 128 KiB, which is an eighth of a byte per message over a million messages. */
const COUNTED_CALLS = 1000;
/** The lowest of this many counts is used, because the compiler allocates too during some of them. */
const COUNTS = 3;

/** The allocated bytes per message, by name of the case. Only meaningful without garbage collection. */
function countAllocations(cases: Case[]): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const { group, name, messages, run } of cases) {
    for (let call = 0; call < WARM_UP_CALLS; call++) run();
    let least = Number.POSITIVE_INFINITY;
    for (let count = 0; count < COUNTS; count++) {
      const before = memoryUsage().current;
      for (let call = 0; call < COUNTED_CALLS; call++) run();
      least = Math.min(least, (memoryUsage().current - before) / (COUNTED_CALLS * messages));
    }
    bytes[`${group}: ${name}`] = Math.max(0, least);
  }
  return bytes;
}

async function allocationsInChild(args: string[]): Promise<Record<string, number>> {
  const child = Bun.spawn([process.execPath, import.meta.path, ...args, "--count-allocations"], {
    env: { ...process.env, BUN_JSC_useGC: "0" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const [output, code] = await Promise.all([child.stdout.text(), child.exited]);
  if (code !== 0) throw new Error(`counting allocations ended with ${child.signalCode ?? code}`);
  return JSON.parse(output);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      markdown: { type: "string" },
      percentiles: { type: "boolean" },
      "count-allocations": { type: "boolean" },
    },
  });
  using bed = new Bed(values.percentiles ? { e2eProcessingLatencyPercentiles: [0.99] } : {});
  const only = new RegExp(values.only ?? "");
  const cases = makeCases(bed).filter((one) => only.test(one.group) || only.test(one.name));
  if (values["count-allocations"]) {
    console.log(JSON.stringify(countAllocations(cases)));
    return;
  }
  for (const [name, members] of Map.groupBy(cases, (one) => one.group)) {
    group(name, () => {
      for (const one of members) bench(`${one.name} (${one.messages} messages)`, one.run);
    });
  }
  const { benchmarks } = await run({ throw: true });
  const bytes = await allocationsInChild(process.argv.slice(2).filter((argument) => /^--(only|percentiles)/.test(argument)));
  const rows = cases.map((one, n) => {
    const stats = benchmarks[n]?.runs[0]?.stats;
    if (stats === undefined) throw new Error(`mitata has no result for ${one.name}`);
    const allocated = bytes[`${one.group}: ${one.name}`];
    return [
      `${one.group}: ${one.name}`,
      (stats.p50 / one.messages).toFixed(1),
      (stats.p99 / one.messages).toFixed(1),
      allocated?.toFixed(2) ?? "–",
      one.shows,
    ];
  });
  const markdown = `${table(["step", "ns/msg p50", "p99", "bytes allocated/msg", "what it shows"], rows)}\n`;
  console.log(`\n${markdown}`);
  if (values.markdown !== undefined) writeFileSync(values.markdown, markdown);
}

await main();
process.exit(0);
