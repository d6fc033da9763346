import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestFailures } from "./test-failures.ts";
import { closingLines } from "./test-summary.ts";

// Runs `bun test` with the arguments of `npm test`, then repeats what failed tests printed and which they are, and says how many were
// skipped and why.

/** Tests that take long say so themselves. */
const TIMEOUT_MS = 30_000;
/** A process that a test left behind may hold the output open. */
const OUTPUT_ENDS_WITHIN_MS = 2_000;

const folder = mkdtempSync(join(tmpdir(), "bunsq-npm-test-"));
try {
  const report = join(folder, "report.xml");
  const command = [process.execPath, "test", `--timeout=${TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`];
  // One pipe for both outputs, so that their lines stay in the order in which they were written.
  const child = Bun.spawn(["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", ...command, ...process.argv.slice(2)], {
    stdio: ["inherit", "pipe", "inherit"],
    env: process.stderr.isTTY && process.stderr.hasColors() ? { ...process.env, FORCE_COLOR: "1" } : process.env,
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  const failures = new TestFailures(process.argv.some((argument) => argument.startsWith("--parallel")));
  const passed = passOn(child.stdout, failures);
  process.exitCode = await child.exited;
  await Promise.race([passed, new Promise((resolve) => setTimeout(resolve, OUTPUT_ENDS_WITHIN_MS).unref())]);
  for (const line of failures.lines) console.error(line);
  if (existsSync(report)) for (const line of closingLines(readFileSync(report, "utf8"))) console.error(line);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Prints what the tests print. */
async function passOn(output: ReadableStream<Uint8Array>, failures: TestFailures): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of output) {
    process.stderr.write(bytes);
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) failures.add(line);
  }
  if (rest !== "") failures.add(rest);
}
