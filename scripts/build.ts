import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const DIST = join(ROOT, "dist");

/** The one file that a release is. */
export const BINARY_PATH = join(DIST, "bunsq");

/** Compiles src/main.ts, Bun's runtime and the version stamp into dist/bunsq. Throws where the source does not bundle. */
async function build(): Promise<void> {
  // Built aside and then moved: a running bunsq may have been started from the old file, which cannot be written over.
  const fresh = join(DIST, "new/bunsq");
  mkdirSync(dirname(fresh), { recursive: true });
  await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts")],
    root: ROOT,
    // What @datadog/sketches-js would load if a sketch were serialized. None is, and it does not depend on it itself.
    external: ["protobufjs/minimal"],
    define: { BUNSQ_COMMIT: JSON.stringify(commit()) },
    minify: true,
    // Goes into the binary, so that stack traces in a log name the source's own lines.
    sourcemap: "inline",
    bytecode: true,
    format: "esm",
    compile: {
      outfile: fresh,
      // A broker must not change its ways by a file that happens to lie in its working directory.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  });
  renameSync(fresh, BINARY_PATH);
  rmSync(dirname(fresh), { recursive: true });
  console.log(`dist/bunsq: ${Math.round(statSync(BINARY_PATH).size / 1e6)} MB, commit ${commit() || "unknown"}`);
}

/** The commit of the source, marked where files differ from it; empty outside a git clone, and where there is no git. */
function commit(): string {
  if (Bun.which("git") === null) return "";
  const { exitCode, stdout } = Bun.spawnSync(["git", "describe", "--always", "--dirty", "--exclude=*"], { cwd: ROOT, stderr: "ignore" });
  return exitCode === 0 ? stdout.toString().trim() : "";
}

if (import.meta.main) await build();
