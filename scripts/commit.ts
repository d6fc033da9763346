import { join } from "node:path";

/** The commit of the source, marked if files differ from it; empty outside of a git clone or without git. */
export function commit(): string {
  if (Bun.which("git") === null) return "";
  const command = ["git", "describe", "--always", "--dirty", "--exclude=*"];
  const { exitCode, stdout } = Bun.spawnSync(command, { cwd: join(import.meta.dir, ".."), stderr: "ignore" });
  return exitCode === 0 ? stdout.toString().trim() : "";
}
