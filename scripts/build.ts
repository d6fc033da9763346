import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { commit } from "./commit.ts";

const ROOT = join(import.meta.dir, "..");
const DIST = join(ROOT, "dist");

/** The binary. A release is this one file. */
export const BINARY_PATH = join(DIST, "bunsq");

/** Bun for x64 processors without AVX2: those before 2013, and virtual machines that hide it. Bun downloads it when it is asked for. */
const BASELINE = "bun-linux-x64-baseline";

/** Compiles src/main.ts, Bun's runtime and the version stamp into dist/bunsq. Throws if the source does not bundle. */
async function build(isBaseline: boolean): Promise<void> {
  // Built elsewhere and then moved, because the file of a running program cannot be overwritten.
  const fresh = join(DIST, "new/bunsq");
  mkdirSync(dirname(fresh), { recursive: true });
  await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts")],
    root: ROOT,
    // @datadog/sketches-js would load this to serialize a sketch. bunsq serializes none, and the package does not depend on it.
    external: ["protobufjs/minimal"],
    define: { BUNSQ_COMMIT: JSON.stringify(commit()) },
    minify: true,
    // In the binary, so that stack traces in a log refer to the lines of the source.
    sourcemap: "inline",
    bytecode: true,
    format: "esm",
    compile: {
      outfile: fresh,
      ...(isBaseline ? { target: BASELINE } : {}),
      // A file that happens to be in the working directory must not change how a broker works.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  });
  renameSync(fresh, BINARY_PATH);
  rmSync(dirname(fresh), { recursive: true });
  console.log(`dist/bunsq: ${Math.round(statSync(BINARY_PATH).size / 1e6)} MB, commit ${commit() || "unknown"}`);
}

if (import.meta.main) await build(process.argv.includes("--baseline"));
