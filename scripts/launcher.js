#!/usr/bin/env node
// The command `bunsq` of the npm package: runs the program with the Bun that the package depends on.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const program = join(dirname(fileURLToPath(import.meta.url)), "main.js");

/** The path of Bun: of the package `bun`, or of the part of it for this platform if its install script was not run. */
function findBun() {
  const manifest = require.resolve("bun/package.json");
  const { bin, optionalDependencies } = JSON.parse(readFileSync(manifest, "utf8"));
  const candidates = [join(dirname(manifest), bin.bun)];
  const fromBun = createRequire(manifest);
  for (const name of Object.keys(optionalDependencies ?? {})) {
    try {
      candidates.push(join(dirname(fromBun.resolve(`${name}/package.json`)), "bin", process.platform === "win32" ? "bun.exe" : "bun"));
    } catch {
      // A part for another platform is not installed.
    }
  }
  return candidates;
}

/** Runs the first candidate that can be run. */
function run([bun, ...others]) {
  const child = spawn(bun, [program, ...process.argv.slice(2)], { stdio: "inherit" });
  const forward = (signal) => child.kill(signal);
  // A terminal sends its signals to both; others send them to this process alone.
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2"]) process.on(signal, forward);
  child.on("error", (error) => {
    if (others.length > 0) return run(others);
    console.error(`bunsq: cannot run Bun (${error.message}); install the package again: npm install bunsq`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

if ("Bun" in globalThis) await import(program);
else run(findBun());
