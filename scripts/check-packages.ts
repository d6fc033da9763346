import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

// Compares what `npm install` has put into node_modules/ with bun.lock. npm does not read that file; package.json pins every
// package, those below its own dependencies by `overrides`, so that both come out the same.

const ROOT = join(import.meta.dir, "..");

/** The packages of a lock file, as `name@version`. */
export function lockedPackages(lock: string): Set<string> {
  // A package has one line: its path, and a list that begins with its name and version.
  return new Set([...lock.matchAll(/^ {4}"[^"]+": \["([^"]+)"/gm)].map(([, named = ""]) => named));
}

/** The packages in a node_modules folder and those within them, as `name@version`. */
export function installedPackages(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (name.startsWith(".") || !statSync(path).isDirectory()) return [];
    if (name.startsWith("@")) return installedPackages(path);
    const found = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as { name: string; version: string };
    const inner = join(path, "node_modules");
    return [
      `${found.name}@${found.version}`,
      ...(statSync(inner, { throwIfNoEntry: false }) === undefined ? [] : installedPackages(inner)),
    ];
  });
}

if (import.meta.main) {
  const locked = lockedPackages(readFileSync(join(ROOT, "bun.lock"), "utf8"));
  const strange = installedPackages(join(ROOT, "node_modules")).filter((named) => !locked.has(named));
  for (const named of strange)
    console.error(`${named} is installed, but not in bun.lock: pin it in package.json, or run \`npx bun install\``);
  process.exitCode = strange.length === 0 ? 0 : 1;
}
