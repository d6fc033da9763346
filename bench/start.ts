/**
 * Measures how long the binary takes from its call until broker and lookup server have said that they are up: `npx bun bench/start.ts`.
 *
 *     --rounds=N        default 20
 *     --bunsq=COMMAND   the command that starts bunsq (default dist/bunsq)
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startProcess, until } from "../test/support/server.ts";
import { cpuSeconds, peakRssBytes } from "./support/process-usage.ts";
import { median } from "./support/statistics.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "20" },
    bunsq: { type: "string", default: join(import.meta.dir, "../dist/bunsq") },
  },
});
const ADDRESSES = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address", "admin-http-address"].map(
  (flag) => `--${flag}=127.0.0.1:0`,
);

const rounds: { ms: number; cpuMs: number; rssMb: number }[] = [];
for (let i = 0; i < Number(flags.rounds); i++) {
  const dataPath = mkdtempSync(join(tmpdir(), "bunsq-start-"));
  const began = performance.now();
  const both = await startProcess("bunsq", [
    ...flags.bunsq.split(" "),
    `--data-path=${dataPath}`,
    "--broadcast-address=127.0.0.1",
    ...ADDRESSES,
  ]);
  await until("both are up", () => both.log().includes("broker up: ") && both.log().includes("lookup up: "));
  const ms = performance.now() - began;
  rounds.push({ ms, cpuMs: cpuSeconds(both.process.pid) * 1000, rssMb: peakRssBytes(both.process.pid) / 1e6 });
  await both.stop("SIGINT");
  rmSync(dataPath, { recursive: true, force: true });
}

const show = (name: string, values: number[]) =>
  console.log(`| ${name} | ${median(values).toFixed(0)} | ${Math.min(...values).toFixed(0)} | ${Math.max(...values).toFixed(0)} |`);
console.log("| start of broker and lookup server | median | least | most |\n| --- | ---: | ---: | ---: |");
show(
  "time, ms",
  rounds.map(({ ms }) => ms),
);
show(
  "CPU, ms",
  rounds.map(({ cpuMs }) => cpuMs),
);
show(
  "peak memory, MB",
  rounds.map(({ rssMb }) => rssMb),
);
