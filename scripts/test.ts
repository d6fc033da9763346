import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closingLines } from "./test-summary.ts";

// Runs `bun test` with the arguments of `npm test`, then repeats which tests failed, and says how many were skipped and why.

/** Tests that take long say so themselves. */
const TIMEOUT_MS = 30_000;

const folder = mkdtempSync(join(tmpdir(), "bunsq-npm-test-"));
try {
  const report = join(folder, "report.xml");
  const child = Bun.spawn(
    [process.execPath, "test", `--timeout=${TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`, ...process.argv.slice(2)],
    { stdio: ["inherit", "inherit", "inherit"] },
  );
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  process.exitCode = await child.exited;
  if (existsSync(report)) for (const line of closingLines(readFileSync(report, "utf8"))) console.error(line);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
