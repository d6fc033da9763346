import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const CACHE = join(import.meta.dir, "../../../../node_modules/.cache/bunsq-interop");
/** A first preparation may have to fetch packages. */
const STEP_TIMEOUT_MS = 120_000;

/** Outcome of a command: its exit code and all it said. */
export interface Outcome {
  code: number;
  output: string;
}

/** Runs a command to its end. A command that hangs is killed after STEP_TIMEOUT_MS and counts as failed. */
export async function runStep(command: string[], cwd: string): Promise<Outcome> {
  const child = Bun.spawn(command, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: STEP_TIMEOUT_MS });
  const [exit, output, errors] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: child.signalCode === null ? exit : -1, output: output + errors };
}

/**
 * A folder under node_modules/.cache that `fill` prepares once for these inputs; later runs find it ready. A folder
 * whose preparation did not end is thrown away.
 *
 * @param inputs everything that the folder's content depends on
 * @returns the folder, or what `fill` said was missing
 */
export async function cachedFolder(
  name: string,
  inputs: string[],
  fill: (folder: string) => Promise<string | undefined>,
): Promise<{ folder: string } | { missing: string }> {
  const key = Bun.hash(inputs.join("\0")).toString(16);
  const folder = join(CACHE, `${name}-${key}`);
  const ready = join(folder, ".ready");
  if (existsSync(ready)) return { folder };
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const missing = await fill(folder);
  if (missing !== undefined) {
    rmSync(folder, { recursive: true, force: true });
    return { missing };
  }
  // Written aside and renamed, so that the mark is there whole or not at all.
  writeFileSync(`${ready}.new`, "");
  renameSync(`${ready}.new`, ready);
  return { folder };
}
