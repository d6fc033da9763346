import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import manifest from "../package.json" with { type: "json" };
import { commit as commitOfSource } from "./build/commit.ts";
import { checkBinary } from "./build/executable.ts";
import { embedPage } from "./build/page.ts";
import { runsHere, TARGETS, type Target } from "./build/targets.ts";

const ROOT = join(import.meta.dir, "..");
const DIST = join(ROOT, "dist");

/** The binary for this machine. A release is this one file, for each kind of machine. */
export const BINARY_PATH = join(DIST, "bunsq");

/** Bun for x64 processors without AVX2: those before 2013, and virtual machines that hide it. Bun downloads it when it is asked for. */
const BASELINE = "bun-linux-x64-baseline";

/** What a build for another machine is made of: the source, and what says which packages it needs. */
const STAGED = ["src", "package.json", "bun.lock", ".npmrc", "tsconfig.json"];

/** What differs between builds. */
interface Build {
  /** Where the source and its packages are. */
  root: string;
  outfile: string;
  commit: string;
  compile: Partial<Bun.CompileBuildOptions>;
  plugins?: Bun.BunPlugin[];
}

/** Compiles src/main.ts, Bun's runtime and the version stamp into one file. Throws if the source does not bundle. */
async function compile({ root, outfile, commit, compile, plugins = [] }: Build): Promise<void> {
  // Built elsewhere and then moved, because the file of a running program cannot be overwritten.
  const fresh = join(dirname(outfile), "new", basename(outfile));
  mkdirSync(dirname(fresh), { recursive: true });
  const page = await embedPage(root, join(dirname(fresh), "page"));
  await Bun.build({
    entrypoints: [join(root, "src/main.ts")],
    root,
    // @datadog/sketches-js would load this to serialize a sketch. bunsq serializes none, and the package does not depend on it.
    external: ["protobufjs/minimal"],
    define: { BUNSQ_COMMIT: JSON.stringify(commit) },
    minify: true,
    // In the binary, so that stack traces in a log refer to the lines of the source.
    sourcemap: "inline",
    bytecode: true,
    format: "esm",
    // What is imported when it is needed, as the commands and NSQ's tools are, stays out of a broker's memory. In one piece, every module
    // that such an import reaches would be wrapped in a function of its own, which costs a broker another megabyte.
    splitting: true,
    plugins: [page, ...plugins],
    compile: {
      outfile: fresh,
      ...compile,
      // A file that happens to be in the working directory must not change how a broker works.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  });
  renameSync(fresh, outfile);
  rmSync(dirname(fresh), { recursive: true });
  console.log(`${outfile.slice(ROOT.length + 1)}: ${Math.round(statSync(outfile).size / 1e6)} MB, commit ${commit || "unknown"}`);
}

/**
 * Builds the binaries of a release, each with its own native parts, checks them, and writes their checksums.
 *
 * @param folder receives one file for each target, and SHA256SUMS
 */
async function buildAll(folder: string, commit: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const sums: string[] = [];
  for (const target of TARGETS) {
    const stage = mkdtempSync(join(tmpdir(), "bunsq-build-"));
    const outfile = join(folder, `bunsq-${manifest.version}-${target.name}`);
    try {
      install(stage, target);
      await compile({ root: stage, outfile, commit, compile: runtimeOf(stage, target), plugins: [oneLibc(stage, target)] });
      const natives = [...new Bun.Glob("node_modules/@*/*/*.node").scanSync({ cwd: stage, absolute: true })];
      checkBinary(outfile, target, natives);
    } finally {
      rmSync(stage, { recursive: true, force: true });
    }
    if (runsHere(target)) checkVersion(outfile, commit);
    sums.push(`${createHash("sha256").update(readFileSync(outfile)).digest("hex")}  ${basename(outfile)}\n`);
  }
  writeFileSync(join(folder, "SHA256SUMS"), sums.join(""));
}

/** Copies the source, and installs the packages that it has on the target's machines: npm and Bun install only those of the host. */
function install(stage: string, { os, cpu, libc }: Target): void {
  for (const path of STAGED) cpSync(join(ROOT, path), join(stage, path), { recursive: true });
  const machine = [`--os=${os}`, `--cpu=${cpu}`, ...(libc === undefined ? [] : [`--libc=${libc}`])];
  const command = [process.execPath, "install", "--frozen-lockfile", "--production", "--ignore-scripts", ...machine];
  const { exitCode, stderr } = Bun.spawnSync(command, { cwd: stage, stdin: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${command.slice(1).join(" ")}: ${stderr.toString()}`);
}

/** The runtime that goes into the binary. That of a package is what bun.lock has the hash of. */
function runtimeOf(stage: string, { bun, runtime }: Target): Partial<Bun.CompileBuildOptions> {
  return { target: bun, ...(runtime === undefined ? {} : { executablePath: join(stage, "node_modules/@oven", runtime, "bin/bun") }) };
}

/**
 * Packages with native parts look for the libc when they are loaded, by files that a small image does not have. A binary is for
 * one libc, so both of their questions have the same answer.
 */
function oneLibc(stage: string, { libc }: Target): Bun.BunPlugin {
  return {
    name: "one libc",
    setup: (build) => {
      build.onResolve({ filter: /-linux-(x64|arm64)-(gnu|musl)$/ }, ({ path }) => {
        if (libc === undefined) return undefined;
        return { path: Bun.resolveSync(path.replace(/(gnu|musl)$/, libc === "musl" ? "musl" : "gnu"), stage) };
      });
    },
  };
}

function checkVersion(path: string, commit: string): void {
  const { exitCode, stdout } = Bun.spawnSync([path, "--version"], { cwd: DIST, stdin: "ignore" });
  const line = stdout.toString();
  if (exitCode !== 0 || !line.includes(`bunsq v${manifest.version} `) || !line.includes(commit)) {
    throw new Error(`${path} --version ended with ${exitCode} and printed ${JSON.stringify(line)}`);
  }
}

if (import.meta.main) {
  const commit = commitOfSource();
  const words = process.argv.slice(2);
  const unknown = words.find((word) => word !== "--all" && word !== "--baseline");
  if (unknown !== undefined)
    throw new Error(`unknown word ${unknown}: --all builds for all machines, --baseline for this one without AVX2`);
  if (words.includes("--all")) await buildAll(join(DIST, "release"), commit);
  else {
    await compile({ root: ROOT, outfile: BINARY_PATH, commit, compile: words.includes("--baseline") ? { target: BASELINE } : {} });
  }
}
